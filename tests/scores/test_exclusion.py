"""Exclusions: harmful pairs, their items, or single items; and the lists that training reads."""

from __future__ import annotations

import dataclasses
import re
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_project import ROOT, needs_reference
from score_tables import table

from tracinctl import InfluenceTable
from tracinctl.errors import ExclusionListError, ScoreFileError, TracinctlError, UsageError
from tracinctl.scores.exclusion import choose_exclusions, suspicious_items
from tracinctl.scores.files.exclusion_list import list_text, read_exclusion_list, write_exclusion_list
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.options import Rule
from tracinctl.scores.pair_ids import split_pair_id
from tracinctl.scores.sweep import sweep_thresholds
from tracinctl.scores.votes import parse_threshold

SCORES = [[-9.0, -9.0], [-1.0, -3.0], [5.0, 5.0], [-2.0, -9.0]]


def choose(source=None, **rule):
    return choose_exclusions(source or table(SCORES), Rule(**rule))


@st.composite
def mirrored_sources(draw):
    """Pairs of few items, so that mirror images are many, with scores of their own."""
    pairs = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=12, unique=True)
    )
    scores = draw(
        st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=len(pairs), max_size=len(pairs))
    )
    return InfluenceTable(
        [f"{a}_{b}" for a, b in pairs], ["t", "u", "v"], np.array(scores, dtype=float), train_items=pairs
    )


def slow_order(source, required):
    """Harmful rows in their order, by the definition."""
    votes = [sum(v < 0 for v in row) for row in source.scores.tolist()]
    means = [sum(row) / 3 for row in source.scores.tolist()]
    rows = [k for k, v in enumerate(votes) if v >= required]
    return sorted(rows, key=lambda k: (-votes[k], round(means[k], 9), source.train_ids[k]))


@given(mirrored_sources(), st.integers(1, 3), st.none() | st.integers(1, 6))
def test_a_list_equals_slow_obvious_loops(source, required, cap):
    chosen = choose(source, min_occurrences=str(required), max_exclusions=cap)
    order = slow_order(source, required)
    assert [pair.id for pair in chosen.harmful] == [source.train_ids[k] for k in order]

    comparisons = list(dict.fromkeys(frozenset(source.train_items[k]) for k in order))
    kept = comparisons if cap is None else comparisons[:cap]
    in_training = dict(zip(source.train_items, source.train_ids, strict=True))
    want = {name for pair, name in in_training.items() if frozenset(pair) in kept}
    assert set(chosen.ids) == want, "mirror images are listed too, and never more comparisons than the cap"
    assert len(chosen.ids) == len(want)
    by_own_scores = [name for name in chosen.ids if name not in chosen.mirrored]
    assert by_own_scores == [source.train_ids[k] for k in order if frozenset(source.train_items[k]) in kept]
    assert list(chosen.ids) == by_own_scores + list(chosen.mirrored)
    assert [pair.id for pair in chosen.listed] == chosen.ids
    assert chosen.cut == sum(frozenset(source.train_items[k]) not in kept for k in order)


@given(mirrored_sources(), st.integers(1, 3))
def test_full_pair_names_both_items_of_each_harmful_pair_once(source, required):
    chosen = choose(source, min_occurrences=str(required), mode="full_pair")
    want = [item for k in slow_order(source, required) for item in source.train_items[k]]
    assert chosen.ids == list(dict.fromkeys(want))


def test_most_votes_come_first_then_the_lowest_mean():
    assert choose().ids == ["m_0_m_1", "m_3_m_4", "m_1_m_2"]


def test_a_cap_keeps_the_first_pairs_and_counts_the_rest():
    chosen = choose(max_exclusions=2)
    assert chosen.ids == ["m_0_m_1", "m_3_m_4"]
    assert (chosen.cut, len(chosen.harmful)) == (1, 3)


def test_a_cap_never_parts_a_pair_from_its_mirror_image():
    items = [("x", "y"), ("u", "v"), ("y", "x")]
    source = table([[-5.0], [-4.0], [-5.0]], train_items=items)
    assert choose(source, max_exclusions=1).ids == ["x_y", "y_x"]
    assert choose(source, max_exclusions=2).ids == ["x_y", "y_x", "u_v"]


def test_a_mirror_image_is_listed_even_if_its_scores_differ():
    source = table([[-5.0], [9.0], [3.0]], train_items=[("x", "y"), ("y", "x"), ("u", "v")])
    chosen = choose(source)
    assert (chosen.ids, chosen.mirrored, len(chosen.harmful)) == (["x_y", "y_x"], ["y_x"], 1)
    assert "at the end: 1 mirror image of pairs above" in list_text(chosen, "scores.json")


def test_pairs_of_unknown_items_are_listed():
    source = InfluenceTable(["b-a", "a-b"], ["t"], np.array([[-1.0], [-2.0]]))
    assert choose(source, max_exclusions=1).ids == ["a-b"]
    with pytest.raises(ScoreFileError, match="'b-a' fits no two items"):
        choose(source, mode="full_pair")


@needs_reference
def test_two_votes_find_98_harmful_pairs_in_the_users_file_and_name_their_mirror_images():
    source = open_scores(ROOT / "plastic_500hz_influence_metadata.json")
    chosen = choose(source, threshold="-5", min_occurrences="2")
    assert len(chosen.harmful) == 98
    ids = set(source.train_ids)
    halves = [split_pair_id(name) for name in chosen.ids]
    assert all(f"{b}_{a}" in chosen.ids for a, b in halves if f"{b}_{a}" in ids)
    assert len(chosen.ids) == 98 + len(chosen.mirrored) == 122


ITEMS = [f"m_{k}" for k in range(7)]


@pytest.mark.parametrize(
    ("influence", "found"),
    [
        ([1.0, 1.1, 0.9, 1.2, 0.8, 400.0, 900.0], ["m_6", "m_5"]),
        # the median is 1, the robust standard deviation 1.4826 * 0.1: items stand out above 1.5189
        ([0.9, 1.0, 1.0, 1.1, 0.8, 1.2, 1.518], []),
        ([0.9, 1.0, 1.0, 1.1, 0.8, 1.2, 1.52], ["m_6"]),
        ([1.0, 1.1, 0.9, 1.2, 0.8, 1.3, 1.0], []),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0], ["m_6"]),  # more than half are equal, so their deviation is zero
        ([0.0] * 7, []),
        ([2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0 + 1e-12], []),  # equal up to rounding
    ],
)
def test_suspicious_items_are_those_that_stand_out(influence, found):
    source = table(SCORES, sample_ids=ITEMS, sample_influence=np.array(influence))
    assert list(suspicious_items(source)) == found
    assert choose(source, mode="sample").ids == found


def test_in_mode_sample_a_cap_counts_items():
    source = table(SCORES, sample_ids=ITEMS, sample_influence=np.array([1.0, 1.1, 0.9, 1.2, 0.8, 400.0, 900.0]))
    chosen = choose(source, mode="sample", max_exclusions=1)
    assert (chosen.ids, chosen.cut, chosen.sample_scores) == (["m_6"], 1, {"m_6": 900.0})


def test_mode_sample_needs_item_level_influence():
    with pytest.raises(ScoreFileError, match="item-level influence") as error:
        choose(mode="sample")
    assert "tracinctl compute" in error.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "pairs"},
        {"max_exclusions": 0},
        {"max_exclusions": -1},
        {"rule": "mean"},
        {"rule": "total", "upper_threshold": 5.0},
    ],
)
def test_a_wrong_setting_is_a_usage_error(wrong):
    with pytest.raises(UsageError):
        choose(**wrong)


@pytest.mark.parametrize("mode", ["ranking_pair", "full_pair", "sample"])
def test_a_list_is_read_back_after_an_editor_saved_it(tmp_path, mode):
    source = table(SCORES, sample_ids=ITEMS, sample_influence=np.array([1.0, 1.1, 0.9, 1.2, 0.8, 400.0, 900.0]))
    chosen = choose(source, mode=mode)
    path = tmp_path / "lists" / "x.txt"
    write_exclusion_list(path, chosen, "scores.json")
    text = path.read_text()
    assert text.endswith("\n")
    found = read_exclusion_list(path)
    assert found.ids == chosen.ids
    assert len(found.ids) > 1
    assert any("scores.json" in line for line in found.comments)
    assert any(mode in line for line in found.comments)
    damaged = text.replace("\n", "\r\n").rstrip()
    first = chosen.ids[0]
    path.write_bytes(b"\xef\xbb\xbf" + damaged.replace(first, f"  {first}\t\r\n\r\n{first}", 1).encode())
    assert read_exclusion_list(path).ids == chosen.ids


def test_a_list_has_its_complete_rule():
    source = table(SCORES)
    text = list_text(choose(source, min_occurrences="1", upper_threshold=4.5, max_exclusions=1), "s\n# x.json")
    assert "at least 1 of 2 active test pairs score below 0 or above 4.5 (min_occurrences 1); positive" in text
    assert "positive = helpful, negative = harmful; a cap of 1 left 3 off" in text
    assert "# from: s?# x.json\n" in text
    assert "(50% of the non-zero scores)" in list_text(choose(source, threshold="50%"), "s")


def slow_totals(source, cut):
    """Rows with a total below the cut, lowest first, by the definition."""
    totals = [sum(row) for row in source.scores.tolist()]
    rows = [k for k, total in enumerate(totals) if total < cut]
    return sorted(rows, key=lambda k: (totals[k], source.train_ids[k]))


@given(mirrored_sources(), st.sampled_from(["0", "-1", "-4", "-99"]))
def test_by_total_a_pair_is_harmful_whose_scores_add_up_to_less_than_the_threshold(source, threshold):
    chosen = choose(source, rule="total", threshold=threshold)
    want = slow_totals(source, float(threshold))
    assert [pair.id for pair in chosen.harmful] == [source.train_ids[k] for k in want]
    assert [pair.total for pair in chosen.harmful] == pytest.approx([sum(source.scores[k]) for k in want])
    swept = sweep_thresholds(source, [parse_threshold(threshold)], rule="total")
    assert [row.harmful for row in swept.rows] == [len(want)]


@given(mirrored_sources(), st.sampled_from([0, 10, 25, 50, 100]))
def test_by_total_a_share_takes_the_lowest_pairs_and_no_helpful_one(source, percent):
    chosen = choose(source, rule="total", threshold=f"{percent}%")
    most = percent * len(source.train_ids) // 100
    lowest = slow_totals(source, 0)
    assert [pair.id for pair in chosen.harmful] == [source.train_ids[k] for k in lowest][: len(chosen.harmful)]
    assert len(chosen.harmful) <= most
    totals = sorted(source.scores.sum(axis=1))
    if percent == 100 or (totals[most] > totals[most - 1] if most else False):  # no tie at the cut
        assert len(chosen.harmful) == min(most, len(lowest))


def test_the_two_rules_differ_if_few_test_pairs_are_hurt_much():
    source = table([[-90.0, 1.0, 1.0], [-1.0, -1.0, 90.0]])
    assert choose(source, min_occurrences="2").ids == ["m_1_m_2"]
    assert choose(source, rule="total").ids == ["m_0_m_1"]


def test_cap_and_mirror_images_are_the_same_by_total_and_by_votes():
    source = table([[-5.0], [-4.0], [-6.0]], train_items=[("x", "y"), ("y", "x"), ("u", "v")])
    chosen = choose(source, rule="total", max_exclusions=1)
    assert (chosen.ids, chosen.cut) == (["u_v"], 2)
    assert choose(source, rule="total", max_exclusions=2).ids == ["u_v", "x_y", "y_x"]
    text = list_text(choose(source, rule="total", threshold="67%"), "s")
    assert "the total score on all 1 test pairs is below -4 (the lowest 67% of the training pairs) (rule total)" in text


def test_an_empty_list_is_written_and_read(tmp_path):
    write_exclusion_list(tmp_path / "x.txt", choose(threshold="-99"), "s")
    found = read_exclusion_list(tmp_path / "x.txt")
    assert found.ids == []
    assert found.notes == ["the exclusion list is empty, so training uses all pairs"]


@pytest.mark.parametrize("name", ["a\nb", "a\r", "# a", "", " a", "a ", "#", "a # b"])
def test_an_id_that_would_break_the_list_is_refused(tmp_path, name):
    source = InfluenceTable([name], ["t"], np.array([[-1.0]]))
    with pytest.raises(ExclusionListError, match="cannot contain"):
        write_exclusion_list(tmp_path / "x.txt", choose(source), "scores")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def written(tmp_path):
    """A list of two ids."""
    path = tmp_path / "x.txt"
    write_exclusion_list(path, choose(min_occurrences="2", threshold="-2"), "s")
    assert read_exclusion_list(path).ids == ["m_0_m_1"]
    write_exclusion_list(path, choose(min_occurrences="1"), "s")
    assert len(read_exclusion_list(path).ids) == 3
    return path


def test_a_list_that_is_cut_after_its_first_line_is_refused(written):
    whole = written.read_bytes()
    ids = whole.index(b"\nm_") + 1
    for end in range(whole.index(b"\n"), len(whole) - 1):
        written.write_bytes(whole[:end])
        with pytest.raises(ExclusionListError, match="its first line says 3|is cut off" if end > ids else "says 3"):
            read_exclusion_list(written)


def test_a_list_edited_by_hand_is_read_and_marked(written):
    found = read_exclusion_list(written)
    assert not found.edited
    text = written.read_text()
    written.write_text(text.replace("m_0_m_1\n", "m_8_m_9  # my own\n\n# why\n"))
    changed = read_exclusion_list(written)
    assert changed.edited
    assert changed.notes == ["the exclusion list was edited by hand"]
    assert found.notes == []
    assert set(changed.ids) == {*found.ids} - {"m_0_m_1"} | {"m_8_m_9"}
    written.write_text(text.replace("m_0_m_1\n", ""))
    with pytest.raises(ExclusionListError, match="has 2 ids, but its first line says 3") as error:
        read_exclusion_list(written)
    assert "If you changed it by hand, correct the number in its first line" in error.value.hint
    written.write_text("m_1_m_2 # a comment behind an id\n\tm_3\t#x\n")
    assert read_exclusion_list(written).ids == ["m_1_m_2", "m_3"]
    assert not read_exclusion_list(written).edited, "a list of another program is never called edited"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no such device")
@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_neither_read_nor_replaced_as_a_list(tmp_path, linked):
    device = Path("/dev/full")
    if linked:
        device = tmp_path / "link.txt"
        device.symlink_to("/dev/full")
    with pytest.raises(TracinctlError, match="it is a device or a pipe"):
        write_exclusion_list(device, choose(), "s")
    with pytest.raises(ExclusionListError, match="it is a device or a pipe"):
        read_exclusion_list(device)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_list_or_a_tracinctl_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x.txt"
    path.write_bytes(data)
    try:
        found = read_exclusion_list(path)
    except TracinctlError as error:
        assert "x.txt" in error.message  # noqa: PT017  both results are right, but the message must be right too
    else:
        assert all(name == name.strip() and name and not name.startswith("#") for name in found.ids)


@pytest.mark.parametrize("content", [b"\xff\xff", "ä".encode("utf-16")])
def test_a_list_in_another_encoding_is_refused(tmp_path, content):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(ExclusionListError, match="not UTF-8") as error:
        read_exclusion_list(path)
    assert "UTF-8" in error.value.hint


@pytest.mark.parametrize("name", ["missing.txt", ".", "nul\0l"])
def test_a_missing_list_is_named(tmp_path, name):
    with pytest.raises(ExclusionListError, match="cannot read exclusion list"):
        read_exclusion_list(tmp_path / name)


def test_pair_ids_are_split_where_the_material_occurs_again():
    assert split_pair_id("metal_deg000_500hz_01_metal_deg036_500hz_02") == (
        "metal_deg000_500hz_01",
        "metal_deg036_500hz_02",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a_a_a_a_a", "'a_a_a_a_a' can be split in 2 ways"),
        ("a_1_b_2", "fits no two items"),
        ("plain", "fits no two items"),
    ],
)
def test_an_ambiguous_pair_id_is_an_error_that_names_it(name, message):
    with pytest.raises(ScoreFileError, match=message):
        split_pair_id(name)


def slow_splits(name):
    """All splits after which both halves begin with the first token."""
    tokens = name.split("_")
    halves = [("_".join(tokens[:k]), "_".join(tokens[k:])) for k in range(2, len(tokens))]
    return [(a, b) for a, b in halves if "_" in b and b.split("_")[0] == tokens[0]]


@given(st.text("ab_", min_size=1, max_size=12))
def test_a_pair_id_is_split_in_the_one_way_or_refused(name):
    splits = slow_splits(name)
    if len(splits) == 1:
        assert [split_pair_id(name)] == splits
    else:
        with pytest.raises(ScoreFileError, match=re.escape(repr(name))):
            split_pair_id(name)


def test_a_rule_that_can_never_fire_is_reported_only_where_votes_count():
    some = InfluenceTable(
        ["a_b", "b_c"],
        ["t", "u"],
        np.array([[-1.0, 0.0], [-2.0, 0.0]]),
        sample_ids=["a", "b", "c"],
        sample_influence=np.array([1.0, 2.0, 3.0]),
    )
    for mode in ("ranking_pair", "full_pair"):
        source = dataclasses.replace(some, train_items=[("a", "b"), ("b", "c")])
        assert "only 1 of 2 test pairs are active" in choose(source, mode=mode, min_occurrences="2").never_fires
    assert choose(some, mode="sample", min_occurrences="2").never_fires == ""
