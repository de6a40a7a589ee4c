"""Influence of groups, against a loop and against Student's distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from score_tables import InBlocks, table

from tracinctl.data.leave_out import leave_out
from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.scores import groups
from tracinctl.scores.files.open import open_scores, write_scores
from tracinctl.scores.groups import (
    Members,
    group_influence,
    group_scores,
    influence_by_group,
    members_of,
    names_for_list,
)
from tracinctl.scores.student import student_t
from tracinctl.scores.table import InfluenceTable
from tracinctl.text import natural_key


def influence_of(totals, names, **more):
    return group_influence(np.asarray(totals, dtype=float), Members.of("annotator", names), **more)


def test_groups_equal_a_loop():
    random = np.random.default_rng(0)
    totals, doubts = random.normal(size=60), random.random(60)
    names = [[f"a{k}", "all"] for k in random.integers(0, 7, size=60)]
    found = influence_of(totals, names, contradicted=doubts)
    assert [group.name for group in found] == ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "all"]
    for group in found:
        mine = [total for total, of in zip(totals, names, strict=True) if group.name in of]
        doubted = [doubt for doubt, of in zip(doubts, names, strict=True) if group.name in of]
        assert group.pairs == len(mine)
        assert group.total == pytest.approx(sum(mine))
        assert group.mean == pytest.approx(sum(mine) / len(mine))
        assert group.harmful == sum(total < 0 for total in mine)
        assert group.contradicted == pytest.approx(sum(doubt > 0.5 for doubt in doubted) / len(doubted))
        error = np.std(mine, ddof=1) / math.sqrt(len(mine))
        assert group.high - group.low == pytest.approx(2 * student_t(len(mine) - 1) * error)


def test_one_pair_has_no_interval():
    [group] = influence_of([-2.0], [["Anna"]])
    assert (group.mean, group.low, group.high, group.harmful) == (-2, -math.inf, math.inf, 1)
    plain = {"name": "Anna", "pairs": 1, "total": -2, "mean": -2, "low": None, "high": None, "harmful": 1}
    assert group.to_json() == plain


def test_an_interval_covers_the_mean_of_pairs_like_these():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        [group] = influence_of(random.normal(1, 2, size=8), [["Anna"]] * 8)
        covered += group.low <= 1 <= group.high
    assert 0.93 <= covered / 400 <= 0.97


@pytest.mark.parametrize("by", ["annotator", "item"])
def test_the_scores_of_a_group_are_the_mean_of_its_pairs_and_are_read_once(by):
    random = np.random.default_rng(2)
    scores = random.normal(size=(50, 6))
    source = table(scores, groups={"annotator": [f"a{k}" for k in random.integers(0, 5, size=50)]})
    slow = InBlocks(source, 7)
    grouped = group_scores(slow, by)
    assert slow.readings == 1
    [(start, means)] = grouped.blocks()
    assert start == 0
    assert grouped.train_ids == sorted(grouped.train_ids, key=natural_key)
    for name, row, group in zip(grouped.train_ids, means, grouped.influence, strict=True):
        if by == "item":
            mine = [k for k, pair in enumerate(source.train_items) if name in pair]
        else:
            mine = [k for k, value in enumerate(source.groups[by]) if value == name]
        np.testing.assert_allclose(row, scores[mine].mean(0), atol=1e-12)
        assert group.name == name
        assert group.total == pytest.approx(scores[mine].sum())
        assert grouped.members.rows_of([name]) == mine
    members, influence = influence_by_group(slow, by)
    assert slow.readings == 2
    assert members.names == grouped.train_ids
    for group, same in zip(influence, grouped.influence, strict=True):
        assert group.total == pytest.approx(same.total)
        assert (group.name, group.pairs, group.harmful) == (same.name, same.pairs, same.harmful)


def test_the_table_returns_groups_the_most_harmful_first():
    source = table([[-3.0], [1.0], [-1.0]], groups={"annotator": ["b", "a", "b"]})
    assert [(group.name, group.mean) for group in source.by_group("annotator")] == [("b", -2.0), ("a", 1.0)]


def test_a_column_with_a_value_for_each_of_many_pairs_is_refused(monkeypatch):
    monkeypatch.setattr(groups, "_MOST_BYTES", 8 * 9 * 2)
    source = table(np.ones((10, 2)), groups={"comment": [str(k) for k in range(10)]})
    with pytest.raises(UsageError, match="'comment' has 10 values, too many"):
        group_scores(source, "comment")
    assert len(source.by_group("comment")) == 10, "sums of groups need little memory"


def test_a_list_names_only_the_rows_of_a_group():
    items = [("a", "b"), ("a", "b"), ("b", "c")]
    source = InfluenceTable(["a_b", "a_b#2", "b_c"], ["x"], np.zeros((3, 1)), train_items=items)
    assert names_for_list(source, [0, 2]) == ["a_b#1", "b_c"]
    assert names_for_list(source, [1]) == ["a_b#2"]
    samples, nothing = Samples(["a", "b", "c"], [[0.0]] * 3), Samples([], [])
    none = Pairs(*np.zeros((3, 0), dtype=int))
    data = RankingData(samples, Pairs([0, 0, 1], [1, 1, 2], [1, 1, 1]), nothing, none)
    assert leave_out(data, names_for_list(source, [0])).pairs.row_ids(data.train.ids) == ["a_b#2", "b_c"]
    own = InfluenceTable(["a_b", "x", "x#2"], ["t"], np.zeros((3, 1)), train_items=items)
    assert names_for_list(own, [1, 2]) == ["x", "x#2"], "given ids stay unchanged"


def table_with_groups():
    ids = ["box_deg000_1hz_00", "box_deg036_1hz_00", "box_deg036_1hz_01"]
    pairs = [(ids[0], ids[1]), (ids[2], ids[0]), (ids[1], ids[2])]
    return InfluenceTable(
        [f"{a}_{b}" for a, b in pairs],
        ["box_deg072_1hz_00_box_deg000_1hz_09"],
        np.array([[-1.0], [2.0], [3.0]]),
        train_items=pairs,
        groups={"annotator": ["Anna", "Bén", "Anna"], "session": ["=1", "", "a,b"]},
    )


@pytest.mark.parametrize("name", ["box_1hz_influence_metadata.json", "box_1hz_influence.parquet"])
def test_groups_come_back_from_a_file(tmp_path, name):
    original = table_with_groups()
    write_scores(original, tmp_path / name)
    source = open_scores(tmp_path / name)
    assert source.groups == original.groups
    found = members_of(source, "annotator")
    assert (found.names, found.groups.tolist()) == (["Anna", "Bén"], [0, 1, 0])


def names_of_rows(members):
    rows = [[] for _ in range(members.rows.max() + 1)]
    for row, group in zip(members.rows.tolist(), members.groups.tolist(), strict=True):
        rows[row].append(members.names[group])
    return rows


def test_pairs_are_grouped_by_their_items_and_classes():
    source = table_with_groups()
    assert names_of_rows(members_of(source, "item")) == [list(pair) for pair in source.train_items]
    assert names_of_rows(members_of(source, "class")) == [["deg000", "deg036"], ["deg036", "deg000"], ["deg036"]]


def test_an_unknown_column_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="no column 'anotator'") as error:
        members_of(table_with_groups(), "anotator")
    assert error.value.hint == "Did you mean annotator?"
    with pytest.raises(ScoreFileError, match="do not show the items' classes"):
        members_of(table([[1.0], [2.0]], train_items=[("a", "b_c"), ("d_e", "f")]), "class")
