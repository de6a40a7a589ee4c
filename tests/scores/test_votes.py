"""Thresholds, votes and sweeps, against obviously right loops."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_project import ROOT, needs_reference
from score_tables import InBlocks, matrices, scores_of_any_size, table

from tracinctl import InfluenceTable
from tracinctl.errors import UsageError
from tracinctl.scores import quantiles
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.quantiles import nonzero_quantiles
from tracinctl.scores.source import BLOCK_BYTES, rows_per_block
from tracinctl.scores.sweep import never_fires, sweep_thresholds
from tracinctl.scores.votes import (
    Threshold,
    count_votes,
    parse_threshold,
    parse_thresholds,
    required_votes,
    voters_against,
)

limits = st.lists(st.floats(-60, 60), min_size=1, max_size=3)


def loop_votes(scores, threshold, upper):
    """votes[row][column], by the definition."""
    active = [any(row[c] != 0 for row in scores) for c in range(len(scores[0]))]
    return [
        [on and (v < threshold or (upper is not None and v > upper)) for v, on in zip(row, active, strict=True)]
        for row in scores
    ]


@given(matrices(), limits, st.none() | st.floats(61, 90), st.integers(1, 4))
def test_votes_are_what_a_loop_counts(scores, thresholds, upper, rows):
    source = InBlocks(table(scores), rows)
    counted = count_votes(source, [Threshold("", value) for value in thresholds], upper)
    assert source.readings == 1
    assert counted.active.tolist() == [any(row[c] != 0 for row in scores) for c in range(len(scores[0]))]
    for k, threshold in enumerate(thresholds):
        votes = loop_votes(scores, threshold, upper)
        assert counted.votes[k].tolist() == [sum(row) for row in votes]
        assert counted.test_votes[k].tolist() == [sum(column) for column in zip(*votes, strict=True)]
    for mean, values in zip(counted.mean, scores, strict=True):
        assert math.isclose(mean, sum(values) / len(values), abs_tol=1e-9)
    assert (counted.lowest, counted.highest) == (min(map(min, scores)), max(map(max, scores)))


@pytest.mark.parametrize("columns", [300, 2100])
def test_more_rows_than_a_tile_and_more_columns_than_a_byte_are_counted_right(columns):
    scores = np.random.default_rng(0).normal(size=(700, columns)) - 1.5
    counted = count_votes(table(scores), [Threshold("", -0.5), Threshold("", 0.0)])
    for k, value in enumerate((-0.5, 0.0)):
        assert np.array_equal(counted.votes[k], [sum(v < value for v in row) for row in scores.tolist()])
        assert np.array_equal(counted.test_votes[k], [sum(v < value for v in col) for col in scores.T.tolist()])


def test_votes_of_more_than_65535_test_pairs_are_counted_right():
    scores = np.full((2, 70_000), -1.0)
    scores[1, :10] = 1
    assert count_votes(table(scores), [parse_threshold("0")]).votes.tolist() == [[70_000, 69_990]]


def test_an_inactive_test_pair_cannot_vote_even_if_zero_is_below_the_threshold():
    counted = count_votes(table([[3.0, 0.0], [-3.0, 0.0]]), [Threshold("1", 1.0)])
    assert counted.votes.tolist() == [[0, 1]]
    assert counted.test_votes.tolist() == [[1, 0]]


def test_the_mean_of_huge_scores_is_finite():
    assert count_votes(table([[1e308, 1e308, 1e308]]), [parse_threshold("0")]).mean[0] == pytest.approx(1e308)


@given(matrices(), st.floats(-60, 0), st.none() | st.floats(61, 90))
def test_the_voters_against_a_pair_are_those_that_were_counted(scores, threshold, upper):
    source = table(scores)
    counted = count_votes(source, [Threshold("", threshold)], upper)
    found = voters_against(source, counted, source.train_ids[::2])
    assert list(found) == source.train_ids[::2]
    for row, votes in list(enumerate(loop_votes(scores, threshold, upper)))[::2]:
        want = [name for name, vote in zip(source.test_ids, votes, strict=True) if vote]
        assert found[source.train_ids[row]] == want


@given(matrices(scores_of_any_size, rows=30), st.lists(st.integers(0, 100), min_size=1, max_size=4), st.integers(1, 9))
@pytest.mark.parametrize("gathered", [0, 3, quantiles.GATHERED])
@pytest.mark.parametrize("tile", [7, 1 << 17])
def test_quantiles_are_the_sorted_scores_of_their_ranks(gathered, tile, scores, percents, rows):
    values = sorted(v for row in scores for v in row if v != 0)
    want = [values[min(len(values) - 1, p * len(values) // 100)] if values else 0.0 for p in percents]
    source = InBlocks(table(scores), rows)
    with mock.patch.object(quantiles, "GATHERED", gathered), mock.patch.object(quantiles, "_TILE", tile):
        found = nonzero_quantiles(source, [p / 100 for p in percents])
    assert found.tolist() == want
    assert source.readings <= len(quantiles._WIDTHS) + 1


def test_many_quantiles_take_two_readings():
    source = InBlocks(table(np.random.default_rng(0).normal(size=(300, 40))), 16)
    count_votes(source, parse_thresholds("1%,2%,3%,5%,50%,-1"))
    assert source.readings == 3, "two for the quantiles and one for the votes"


@pytest.mark.parametrize(
    ("rule", "active", "votes"),
    [("60%", 5, 3), ("60%", 2, 2), ("60%", 1000, 600), ("60%", 0, 1), ("3", 2, 3), ("1%", 5, 1), ("100%", 7, 7)],
)
def test_the_required_votes_of_a_rule(rule, active, votes):
    assert required_votes(rule, active) == votes


@pytest.mark.parametrize("share", range(1, 101))
def test_a_share_of_the_active_test_pairs_is_rounded_up_exactly(share):
    for active in (1, 7, 100, 1000, 12345):
        assert required_votes(f"{share}%", active) == -(-share * active // 100)


@pytest.mark.parametrize("rule", ["0", "-1", "x", "", "0%", "101%", "1.5", "%", "nan%"])
def test_a_wrong_rule_is_an_error_that_shows_it(rule):
    with pytest.raises(UsageError) as error:
        required_votes(rule, 5)
    assert repr(rule) in error.value.message
    assert "60%" in error.value.hint


@pytest.mark.parametrize("text", ["abc", "--5", "", "200%", "-1%", "nan", "inf", "-5,,3", "%", "nan%", "-5%5"])
def test_a_wrong_threshold_is_an_error(text):
    with pytest.raises(UsageError, match="neither a score nor a share"):
        parse_thresholds(text)


def test_a_threshold_above_zero_is_an_error_that_says_why():
    with pytest.raises(UsageError, match="'5' is above zero, so helpful scores"):
        parse_threshold("5")


@pytest.mark.parametrize(("text", "value", "quantile"), [("-5", -5, False), (" 0 ", 0, False), ("2.5%", 0.025, True)])
def test_a_threshold_is_a_score_or_a_share(text, value, quantile):
    threshold = parse_threshold(text)
    assert (threshold.value, threshold.quantile) == (value, quantile)


@pytest.mark.parametrize("upper", [math.nan, math.inf, -5.0, -6.0])
def test_an_upper_threshold_must_be_above_the_others(upper):
    with pytest.raises(UsageError, match="upper threshold"):
        count_votes(table([[1.0]]), parse_thresholds("-10,-5"), upper)


@given(matrices(), st.floats(-60, 0), st.sampled_from(["1", "2", "60%", "100%"]))
def test_a_sweep_counts_pairs_at_every_number_of_votes_and_the_items_they_touch(scores, threshold, rule):
    source = table(scores)
    result = sweep_thresholds(source, [Threshold("", threshold)], rule)
    row = result.rows[0]
    votes = [sum(row) for row in loop_votes(scores, threshold, None)]
    assert row.votes == {k: sum(v >= k for v in votes) for k in range(1, len(scores[0]) + 1)}
    harmful = [k for k, v in enumerate(votes) if v >= row.required_votes]
    assert row.harmful == len(harmful)
    assert row.pair_share == len(harmful) / len(scores)
    touched = {item for k in harmful for item in source.train_items[k]}
    assert row.item_share == len(touched) / (len(scores) + 1)


def test_a_sweep_without_known_items_has_no_item_share():
    source = InfluenceTable(["nothing-to-split"], ["t"], np.array([[-1.0]]))
    assert sweep_thresholds(source, [parse_threshold("0")]).rows[0].item_share is None


def test_a_rule_that_never_fires_has_a_reason_and_a_suggestion():
    assert never_fires("2", 2, 2, 5) == ""
    assert "none of the 5 test pairs is active" in never_fires("60%", 1, 0, 5)
    why = never_fires("3", 3, 2, 5)
    assert "needs 3 votes, but only 2 of 5 test pairs are active" in why
    assert "give `min_occurrences` 2 or less" in why


@needs_reference
@pytest.mark.parametrize(
    ("frequency", "counts"),
    [
        ("500hz", [(268, 98, 0), (228, 85, 0), (201, 71, 0), (74, 0, 0)]),
        ("1000hz", [(222, 36, 0), (182, 6, 0), (163, 0, 0), (60, 0, 0)]),
    ],
)
def test_the_users_files_give_their_known_counts(frequency, counts):
    source = open_scores(ROOT / f"plastic_{frequency}_influence_metadata.json")
    result = sweep_thresholds(source, parse_thresholds("-5,-10,-15,-100"), "3")
    assert [tuple(row.votes[k] for k in (1, 2, 3)) for row in result.rows] == counts
    assert result.active_test_pairs == {"500hz": 2, "1000hz": 5}[frequency]
    assert bool(result.never_fires) == (frequency == "500hz")
    told = result.to_json("x.json", "plastic", frequency)
    assert told["thresholds"][0]["votes"] == dict(zip("12345", [*counts[0], 0, 0], strict=True))
    assert (told["train_pairs"], told["test_pairs"], told["thresholds"][1]["threshold"]) == (441, 5, -10.0)


def test_a_block_has_at_least_one_row():
    assert rows_per_block(1 << 40) == 1
    assert rows_per_block(0) == rows_per_block(1) == BLOCK_BYTES // 8


@pytest.mark.parametrize(("text", "share"), [("0%", 0.0), ("0.5%", 0.005), (" 1 %", 0.01), ("100%", 1.0)])
def test_shares_below_a_hundredth_and_of_everything(text, share):
    assert parse_threshold(text) == Threshold(text.strip(), share, quantile=True)
