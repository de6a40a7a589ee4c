"""Columns of pairs: accepted and refused values, and the ids of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tracinctl import Pairs, RankingData, Samples
from tracinctl.data.leave_out import leave_out
from tracinctl.errors import DataError

ITEMS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"target": [1, 0.5]}, "`target` must be whole numbers; 1 are not .pair 1: 0.5"),
        ({"target": [1, np.nan]}, "`target` must be whole numbers"),
        ({"target": [1, 2]}, r"\+1, -1 or 0 .a tie.; 1 are not .pair 1: 2"),
        ({"target": [1, 0]}, "every target is 0 or 1"),
        ({"target": [True, False]}, "got bool"),
        ({"target": ["1", "-1"]}, "`target` must be a list of whole numbers"),
        ({"target": [1]}, "`target` has 1 entries for 2 pairs"),
        ({"first": [[0, 1]]}, "`first` must have one value per pair, got shape"),
        ({"first": [0.0, 1e30]}, "`first` must be whole numbers"),
        ({"weight": [1, -1]}, "`weight` must be finite and not negative; 1 are not .pair 1"),
        ({"weight": [1, np.nan]}, "`weight` must be finite"),
        ({"weight": [1]}, "`weight` has 1 entries for 2 pairs"),
        ({"weight": ["heavy", "light"]}, "`weight` must be a list of numbers"),
        ({"margin": [0, -0.1]}, "`margin` must be finite and not negative"),
        ({"ids": ["x", "x"]}, "ids must be unique; 1 are not .x."),
        ({"ids": ["x"]}, "`ids` has 1 entries"),
        ({"groups": {"annotator": ["ann"]}}, "`annotator` has 1 entries"),
        ({"groups": {"annotator": [["ann"], ["bob"]]}}, "`annotator` must have one value per pair"),
    ],
)
def test_a_wrong_column_is_named(columns, said):
    with pytest.raises(DataError, match=said):
        Pairs(**({"first": [0, 1], "second": [1, 2], "target": [1, -1]} | columns))


def test_ties_need_a_target_of_minus_1_or_ties_true():
    assert Pairs([0, 1, 0], [1, 2, 2], [1, 0, -1]).target.tolist() == [1, 0, -1]
    assert Pairs([0, 1], [1, 2], [1, 0], ties=True).target.tolist() == [1, 0]


def test_taken_rows_keep_ids_and_columns():
    pairs = Pairs(
        [0, 0, 1, 0],
        [1, 1, 2, 1],
        [1, -1, 0, 1],
        weight=[1, 2, 3, 4],
        groups={"annotator": ["ann", "bob", "ann", "eve"]},
    )
    assert pairs.row_ids(ITEMS) == ["a_b", "a_b#2", "b_c", "a_b#3"]
    some = pairs.take(np.array([False, True, True, True])).take(np.array([2, 1]))
    assert some.row_ids(ITEMS) == ["a_b#3", "b_c"]
    assert some.weight.tolist() == [4, 3]
    assert some.groups["annotator"].tolist() == ["eve", "ann"]


def test_a_frame_gives_pairs_with_its_columns():
    frame = pd.DataFrame(
        {
            "id": ["x1", "x2"],
            "id1": ["c", "a"],
            "id2": ["b", "b"],
            "target": [1, -1],
            "weight": [0.5, 2],
            "annotator": ["ann", "bob"],
            "room": [4, 7],
        },
        index=[7, 3],
    )
    pairs = Pairs.from_frame(frame, items=ITEMS)
    assert [pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist()] == [[2, 0], [1, 1], [1, -1]]
    assert pairs.row_ids(ITEMS) == ["x1", "x2"]
    assert pairs.weight.tolist() == [0.5, 2]
    assert {name: values.tolist() for name, values in pairs.groups.items()} == {
        "annotator": ["ann", "bob"],
        "room": [4, 7],
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id1": ["c", "nobody"]}, "column id1 holds 1 unknown items .row 1: nobody"),
        ({"target": [1, None]}, "`target` must be whole numbers"),
    ],
)
def test_a_wrong_frame_is_refused(change, said):
    frame = pd.DataFrame({"id1": ["c", "a"], "id2": ["b", "b"], "target": [1, -1]} | change)
    with pytest.raises(DataError, match=said):
        Pairs.from_frame(frame, items=ITEMS)
    with pytest.raises(DataError, match="no column id2"):
        Pairs.from_frame(frame.drop(columns="id2"), items=ITEMS)


def test_ids_and_parts_of_another_type_are_named():
    for ids, kind in ((None, "NoneType"), ("abc", "str"), (3, "int")):
        with pytest.raises(DataError, match=f"`ids` is a {kind}, not a list of ids"):
            Samples(ids, np.zeros((3, 1)))
    items, pairs = Samples(["a", "b"], np.zeros((2, 1))), Pairs([0], [1], [1])
    with pytest.raises(DataError, match="`train_pairs` is a list, not Pairs"):
        RankingData(items, [(0, 1, 1)], items, pairs)
    with pytest.raises(DataError, match="`test` is a Pairs, not Samples"):
        RankingData(items, pairs, pairs, items)


def test_there_is_one_label_and_text_per_item():
    with pytest.raises(DataError, match="2 `labels` for 3 ids"):
        Samples(ITEMS, np.zeros((3, 2)), labels=np.zeros(2))
    with pytest.raises(DataError, match="4 `texts` for 3 ids"):
        Samples(ITEMS, np.zeros((3, 2)), texts=["x"] * 4)


@pytest.mark.parametrize(
    ("listed", "kept"),
    [
        (["a_b"], ["a_b#2", "b_c"]),
        (["a_b#1"], ["a_b#2", "b_c", "a_b#3"]),
        (["a_b#2"], ["a_b", "b_c", "a_b#3"]),
        (["a"], ["b_c"]),
        (["b_c#1"], ["a_b", "a_b#2", "a_b#3"]),
    ],
)
def test_a_list_names_repeats_of_one_outcome_or_a_single_one(listed, kept):
    pairs = Pairs([0, 0, 1, 0], [1, 1, 2, 1], [1, -1, 1, 1])
    items = Samples(ITEMS, np.zeros((3, 2)))
    held_out = Samples(["x", "y"], np.zeros((2, 2)))
    left = leave_out(RankingData(items, pairs, held_out, Pairs([0], [1], [1])), [*listed, "x_y", "nobody"])
    assert left.pairs.row_ids(ITEMS) == kept
    assert left.held_out == ["x_y"]
    assert left.unknown == ["nobody"]
