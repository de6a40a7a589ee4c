"""The pairs file."""

from __future__ import annotations

import numpy as np
import pytest

from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.data.pairs_file import read_pairs_file, write_pairs_file
from tracinctl.errors import DataError, TracinctlError

TRAIN, TEST = ("a", "b", "c"), ("x", "y")
HEADER = "split,id1,id2,target\n"


def _rows(pairs):
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True))


def _read(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pairs_file(path).pairs(TRAIN, TEST)


def test_pairs_are_read_in_order_with_repeated_draws_and_mirror_images(tmp_path):
    train, test = _read(tmp_path, HEADER + "train,b,a,1\nheld-out,x,y,-1\ntrain,b,a,1\ntrain,a,b,-1\ntrain,c,a,+1\n")
    assert _rows(train) == [(1, 0, 1), (1, 0, 1), (0, 1, -1), (2, 0, 1)]
    assert _rows(test) == [(0, 1, -1)]


def test_column_order_other_columns_and_windows_line_ends_do_not_matter(tmp_path):
    train, test = _read(tmp_path, "\ufeffid2,target,note,id1,split\r\na,1,,b,train\r\nx,-1,why,y,held-out")
    assert _rows(train) == [(1, 0, 1)]
    assert _rows(test) == [(1, 0, -1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("split,id1,target\n", "no column id2"),
        (HEADER + "train,a,b,1\ntrain,a,q,1\n", "line 3: there is no item 'q'"),
        (HEADER + "train,a,x,1\n", "line 2: there is no item 'x'"),
        (HEADER + "held-out,a,x,1\n", "line 2: there is no item 'a'"),
        (HEADER + "test,x,y,1\n", "line 2: the split 'test'"),
        (HEADER + "train,a,b,0\n", "line 2: the target '0'"),
        (HEADER + "train,a,b,yes\n", "line 2: the target 'yes'"),
        (HEADER + "train,a,b\n", "line 2: target is empty"),
        (HEADER + "train,,b,1\n", "line 2: id1 is empty"),
        (HEADER + "train,a,a,1\n", "line 2: 'a' is paired with itself"),
        (HEADER + 'train,"a,b,1\n', "not a CSV file"),
        (b"\xff\xfe\x00", "text in UTF-16"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        _read(tmp_path, text)
    assert "pairs.csv" in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no pairs file .*nowhere\.csv"):
        read_pairs_file(tmp_path / "nowhere.csv")
    with pytest.raises(TracinctlError, match="is not a file but a folder"):
        read_pairs_file(tmp_path)


def test_a_written_file_is_read_back_unchanged(tmp_path):
    ids = ('with "quotes", and commas', "b", "ü")
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 40)
    pairs = Pairs(first, (first + 1) % 3, np.where(first > (first + 1) % 3, 1, -1))
    data = RankingData(Samples(ids, None), pairs, Samples(TEST, None), Pairs([0], [1], [-1]))
    path = tmp_path / "new" / "pairs.csv"
    write_pairs_file(path, data)
    train, test = read_pairs_file(path).pairs(ids, TEST)
    assert _rows(train) == _rows(pairs)
    assert _rows(test) == [(0, 1, -1)]
    assert path.read_text(encoding="utf-8").startswith(HEADER + "train,")


def test_optional_columns_are_read_and_others_are_groups(tmp_path):
    train, test = _read(
        tmp_path,
        "annotator;id;id1;id2;margin;split;target;weight\n"
        "anna;r1;a;b;0.5;train;1;2\n;r2;a;b;0;train;-1;0.25\nbert;;x;y;;held-out;tie;\n",
    )
    assert train.ids == ("r1", "r2")
    assert train.weight.tolist() == [2, 0.25]
    assert train.margin.tolist() == [0.5, 0]
    assert train.groups["annotator"].tolist() == ["anna", ""]
    assert (test.ids, test.weight, test.margin) == (None, None, None)
    assert test.target.tolist() == [0]


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("weight", ("1", ""), "line 3: weight is empty"),
        ("weight", ("1", "nan"), "line 3: weight is 'nan', which is not a number from 0 up"),
        ("weight", ("-1", "1"), "line 2: weight is '-1', which is not a number from 0 up"),
        ("margin", ("inf", "1"), "line 2: margin is 'inf'"),
        ("id", ("r", "r"), "line 3: the id 'r' is given twice"),
        ("id", ("r", ""), "line 3: id is empty"),
    ],
)
def test_incomplete_or_wrong_optional_columns_are_refused_with_their_line(tmp_path, column, cells, message):
    rows = [f"train,a,b,1,{cells[0]}", f"train,b,c,-1,{cells[1]}"]
    with pytest.raises(DataError, match=message) as caught:
        _read(tmp_path, "\n".join([f"{HEADER.strip()},{column}", *rows]))
    assert caught.value.hint


def test_all_columns_are_written_and_read_back(tmp_path):
    groups = {"annotator": np.array(["anna", "bert, the elder"], dtype=object)}
    train = Pairs([0, 0], [1, 1], [1, -1], ids=["r1", "r2"], weight=[1, 0.1], margin=[2, 0], groups=groups)
    data = RankingData(Samples(TRAIN, None), train, Samples(TEST, None), Pairs([0], [1], [0], ties=True))
    path = tmp_path / "pairs.csv"
    write_pairs_file(path, data)
    again, test = read_pairs_file(path).pairs(TRAIN, TEST)
    for name in ("first", "second", "target", "weight", "margin"):
        assert getattr(again, name).tolist() == getattr(train, name).tolist()
    assert again.ids == train.ids
    assert again.groups["annotator"].tolist() == groups["annotator"].tolist()
    assert (test.target.tolist(), test.ids, test.weight) == ([0], None, None)
