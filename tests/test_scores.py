"""Score files, votes, sweeps and exclusions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracinctl import InfluenceTable, TracinctlError, load_influence_scores
from tracinctl.errors import ExclusionListError, ScoreFileError, UsageError
from tracinctl.files import write_text_atomic
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.exclusion_list import read_exclusion_list, write_exclusion_list
from tracinctl.scores.files import open_scores, write_scores
from tracinctl.scores.metadata import mark_excluded, write_self_influence
from tracinctl.scores.pair_ids import split_pair_id
from tracinctl.scores.provenance_file import provenance_path
from tracinctl.scores.quantiles import nonzero_quantiles
from tracinctl.scores.sweep import sweep_thresholds
from tracinctl.scores.votes import Threshold, count_votes, parse_threshold, parse_thresholds, required_votes

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the first users' files are not here")


def table(scores, **more):
    scores = np.asarray(scores, dtype=np.float64)
    items = [(f"m_{k}", f"m_{k + 1}") for k in range(len(scores))]
    return InfluenceTable(
        train_ids=[f"{a}_{b}" for a, b in items],
        test_ids=[f"m_{k}_m_{k + 900}" for k in range(scores.shape[1])],
        scores=scores,
        train_items=items,
        **more,
    )


finite = st.floats(-100, 100, allow_nan=False).map(lambda v: 0.0 if abs(v) < 20 else v)
matrices = st.integers(1, 6).flatmap(
    lambda c: st.lists(st.lists(finite, min_size=c, max_size=c), min_size=1, max_size=9)
)


@given(matrices, st.lists(st.floats(-60, 60), min_size=1, max_size=3), st.none() | st.floats(61, 90))
def test_votes_are_what_a_loop_counts(scores, thresholds, upper):
    source = table(scores)
    counted = count_votes(source, [Threshold("", value) for value in thresholds], upper)
    active = [any(row[c] != 0 for row in scores) for c in range(len(scores[0]))]
    assert counted.active.tolist() == active
    for k, threshold in enumerate(thresholds):
        vote = [
            [a and (v < threshold or (upper is not None and v > upper)) for v, a in zip(row, active, strict=True)]
            for row in scores
        ]
        assert counted.votes[k].tolist() == [sum(row) for row in vote]
        assert counted.test_votes[k].tolist() == [sum(column) for column in zip(*vote, strict=True)]
    for mean, values in zip(counted.mean, scores, strict=True):
        assert math.isclose(mean, sum(values) / len(values), abs_tol=1e-9)


@given(matrices, st.floats(0, 1))
def test_a_quantile_is_the_sorted_score_of_its_rank(scores, share):
    values = sorted(v for row in scores for v in row if v != 0)
    want = values[min(len(values) - 1, int(share * len(values)))] if values else 0.0
    assert nonzero_quantiles(table(scores), [share])[0] == want


@pytest.mark.parametrize(
    ("rule", "active", "votes"),
    [("60%", 5, 3), ("60%", 2, 2), ("60%", 1000, 600), ("60%", 0, 1), ("3", 2, 3), ("1%", 5, 1)],
)
def test_required_votes(rule, active, votes):
    assert required_votes(rule, active) == votes


@pytest.mark.parametrize("rule", ["0", "-1", "x", "", "0%", "101%", "1.5"])
def test_a_rule_that_makes_no_sense_is_an_error(rule):
    with pytest.raises(UsageError):
        required_votes(rule, 5)


@pytest.mark.parametrize("text", ["abc", "--5", "", "200%", "-1%", "nan", "inf", "-5,,3"])
def test_a_threshold_that_makes_no_sense_is_an_error(text):
    with pytest.raises(UsageError, match="neither a score nor a share"):
        parse_thresholds(text)


@needs_reference
@pytest.mark.parametrize(
    ("frequency", "counts"),
    [
        ("500hz", [(268, 98, 0), (228, 85, 0), (201, 71, 0), (74, 0, 0)]),
        ("1000hz", [(222, 36, 0), (182, 6, 0), (163, 0, 0), (60, 0, 0)]),
    ],
)
def test_the_users_own_files_give_the_counts_they_know(frequency, counts):
    source = open_scores(REFERENCE / f"plastic_{frequency}_influence_metadata.json")
    result = sweep_thresholds(source, parse_thresholds("-5,-10,-15,-100"), "3")
    assert [tuple(row.votes[k] for k in (1, 2, 3)) for row in result.rows] == counts
    assert bool(result.never_fires) == (frequency == "500hz")


@needs_reference
def test_two_votes_find_98_harmful_pairs_in_the_users_file():
    source = open_scores(REFERENCE / "plastic_500hz_influence_metadata.json")
    chosen = choose_exclusions(source, threshold=parse_threshold("-5"), min_occurrences="2")
    assert len(chosen.harmful) == 98
    ids = set(source.train_ids)
    halves = [split_pair_id(each) for each in chosen.ids]
    assert all(f"{b}_{a}" in chosen.ids for a, b in halves if f"{b}_{a}" in ids)
    assert len(chosen.ids) == 98 + len(chosen.mirrored) == 122


@settings(max_examples=25)
@given(matrices)
def test_scores_come_back_from_json_and_parquet_as_they_were(tmp_path_factory, scores):
    folder = tmp_path_factory.mktemp("scores")
    source = table(
        scores,
        self_influence=np.arange(len(scores), dtype=np.float64),
        sample_ids=["m_0", "m_1"],
        sample_influence=np.array([0.5, 2.0]),
        checkpoint_names=["a.pt"],
        provenance={"method": "tracin"},
    )
    for name in ("m_500hz_influence_metadata.json", "m_500hz_influence.parquet"):
        write_scores(source, folder / name)
        back = open_scores(folder / name)
        assert np.array_equal(np.concatenate([b for _, b in back.blocks()]), source.scores)
        assert list(back.train_ids) == source.train_ids
        assert list(back.test_ids) == source.test_ids
        assert list(back.train_items) == source.train_items
        assert back.self_influence.tolist() == source.self_influence.tolist()
        assert back.sample_influence.tolist() == [0.5, 2.0]
        assert back.provenance == {"method": "tracin"}
        loaded = load_influence_scores(folder / name)
        assert loaded[source.train_ids[0]][f"tracin_influence_{source.test_ids[0]}"] == source.scores[0, 0]


def test_provenance_of_other_scores_is_not_believed(tmp_path):
    path = tmp_path / "m_500hz_influence_metadata.json"
    write_scores(table([[1.0]], provenance={"method": "tracin"}), path)
    path.write_text(path.read_text().replace("1.0", "2.0"))
    assert open_scores(path).provenance == {}
    assert provenance_path(path).name == "m_500hz_influence_provenance.json"


ONE = '"a_1_a_2": {"tracin_influence_t": 1.0}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ('{"a_1_a_2": {"tracin_inf', "not whole JSON"),
        ("[1]", "holds a list"),
        ("3", "holds a number"),
        ("{}", "no influence scores"),
        ('{"a_1_a_2": {}}', "no influence scores"),
        ('{"a_1_a_2": [1]}', "'a_1_a_2' is a list"),
        ('{"a_1_a_2": {"tracin_influence_t": "x"}}', "finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": NaN}}', "finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": 1e999}}', "finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": true}}', "finite number"),
        (f'{{{ONE}, "a_1_a_3": {{"tracin_influence_u": 1.0}}}}', "'a_1_a_3' has no score on test pair 't'"),
        (
            f'{{{ONE}, "a_1_a_3": {{"tracin_influence_t": 1.0, "tracin_influence_u": 1.0}}}}',
            "'u', which 'a_1_a_2' has not",
        ),
        (f"{{{ONE}, {ONE}}}", "stands there twice"),
        (f'{{{ONE}, "b_1_b_2": {{"tracin_influence_t": 1.0}}}}', "mixes materials"),
        ("[" * 100000, "JSON|nested"),
        (b"\xff\xfe{}", "not UTF-8"),
    ],
)
def test_a_broken_score_file_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "a_500hz_influence_metadata.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ScoreFileError, match=message) as error:
        open_scores(path)
    assert "a_500hz_influence_metadata.json" in error.value.message


@given(st.binary(max_size=200))
@pytest.mark.parametrize("name", ["x.json", "x.parquet"])
def test_any_bytes_end_in_scores_or_in_an_error_of_ours(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    with pytest.raises(ScoreFileError):
        open_scores(path)


def test_a_parquet_file_cut_short_is_an_error(tmp_path):
    path = tmp_path / "x.parquet"
    write_scores(table([[1.0, 2.0]]), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ScoreFileError, match="cannot be read"):
        open_scores(path)


def test_pair_ids_are_split_by_items_or_by_the_repeated_material():
    assert split_pair_id("a_1_a_1_2", {"a_1", "a_1_2"}) == ("a_1", "a_1_2")
    assert split_pair_id("metal_deg000_500hz_01_metal_deg036_500hz_02") == (
        "metal_deg000_500hz_01",
        "metal_deg036_500hz_02",
    )
    with pytest.raises(ScoreFileError, match="'a_a_a_a_a' can be split in 2 ways"):
        split_pair_id("a_a_a_a_a")
    with pytest.raises(ScoreFileError, match="no two items"):
        split_pair_id("a_1_b_2", {"a_1"})
    with pytest.raises(ScoreFileError, match="2 ways"):
        split_pair_id("a_a_a", {"a", "a_a"})


SCORES = [[-9.0, -9.0], [-1.0, -3.0], [5.0, 5.0], [-2.0, -9.0]]


def choose(source=None, **more):
    more.setdefault("threshold", parse_threshold("0"))
    return choose_exclusions(source or table(SCORES), **more)


def test_most_votes_come_first_then_the_lowest_mean():
    assert choose().ids == ["m_0_m_1", "m_3_m_4", "m_1_m_2"]
    assert choose(min_occurrences="1", threshold=parse_threshold("-2.5")).ids == ["m_0_m_1", "m_3_m_4", "m_1_m_2"]


def test_a_cap_keeps_the_first_and_says_what_it_cut():
    chosen = choose(max_exclusions=2)
    assert chosen.ids == ["m_0_m_1", "m_3_m_4"]
    assert (chosen.cut, len(chosen.harmful)) == (1, 3)


def test_a_cap_never_parts_a_pair_from_its_mirror_image():
    items = [("x", "y"), ("u", "v"), ("y", "x")]
    source = InfluenceTable(
        [f"{a}_{b}" for a, b in items], ["t"], np.array([[-5.0], [-4.0], [-5.0]]), train_items=items
    )
    assert choose(source, max_exclusions=1).ids == ["x_y", "y_x"]
    assert choose(source, max_exclusions=2).ids == ["x_y", "y_x", "u_v"]


def test_full_pair_lists_both_items_of_each_harmful_pair():
    assert choose(mode="full_pair").ids == ["m_0", "m_1", "m_3", "m_4", "m_2"]


def test_sample_lists_the_items_that_stand_out():
    influence = np.array([1.0, 1.1, 0.9, 1.2, 0.8, 400.0, 900.0])
    source = table(SCORES, sample_ids=[f"m_{k}" for k in range(7)], sample_influence=influence)
    assert choose(source, mode="sample").ids == ["m_6", "m_5"]
    assert choose(source, mode="sample", max_exclusions=1).cut == 1
    with pytest.raises(ScoreFileError, match="single items"):
        choose(mode="sample")


def test_a_list_comes_back_whatever_the_editor_did_to_it(tmp_path):
    path = tmp_path / "lists" / "x.txt"
    write_exclusion_list(path, choose(), "scores.json")
    text = path.read_text()
    assert read_exclusion_list(path).ids == choose().ids
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").rstrip().encode())
    assert read_exclusion_list(path).ids == choose().ids
    path.write_bytes(b"\xff\xff")
    with pytest.raises(ExclusionListError, match="not UTF-8"):
        read_exclusion_list(path)


def test_an_id_that_would_break_the_list_is_refused(tmp_path):
    source = InfluenceTable(["a\n# b"], ["t"], np.array([[-1.0]]))
    with pytest.raises(ExclusionListError, match="cannot stand"):
        write_exclusion_list(tmp_path / "x.txt", choose(source), "scores")
    assert not (tmp_path / "x.txt").exists()


def test_metadata_is_merged_into_and_never_overwritten(tmp_path):
    path = tmp_path / "m_500hz_metadata.json"
    path.write_text(json.dumps({"m_0": {"angle": 36, "notes": "loud"}}))
    source = table(SCORES, self_influence=np.ones(4), sample_ids=["m_0"], sample_influence=np.array([2.0]))
    write_self_influence(source, path)
    for _ in range(2):
        assert mark_excluded(source, choose(source, mode="full_pair"), path) == 5
    records = json.loads(path.read_text())
    assert records["m_0_m_1"]["tracin_self_influence"] == 1.0
    record = records["m_0"]
    assert (record["angle"], record["tracin_sample_influence"], record["excluded"]) == (36, 2.0, True)
    assert record["notes"] == "loud; tracinctl: excluded as full_pair"
    assert record["tracin_info"]["negative_occurrences"] == 2
    assert record["tracin_info"]["affected_test_samples"] == list(source.test_ids)
    path.write_text("{broken")
    with pytest.raises(ScoreFileError):
        write_self_influence(source, path)
    assert path.read_text() == "{broken"


@pytest.mark.parametrize("failing", ["replace", "write_bytes"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, failing, fail)
    with pytest.raises(TracinctlError, match=r"x\.txt: No space left"):
        write_text_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
