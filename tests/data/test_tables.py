"""Tables in common forms."""

from __future__ import annotations

import gzip
import json

import pandas as pd
import pytest

from tracinctl.data.tables import read_table, read_text_table
from tracinctl.errors import DataError

ROWS = [["a", "b", "1"], ["c, d", 'say "e"', "-1"]]


def read(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, "table")


def cells(table):
    return [list(table.frame.columns), *table.frame.to_numpy().tolist()]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('x,y,z\na,b,1\n"c, d","say ""e""",-1\n', [2, 3]),
        ('\ufeffx;y;z\r\na;b;1\r\n\r\n"c, d";"say ""e""";-1', [2, 4]),
        ('\n\nx\ty\tz\na\tb\t1\n\t\t\nc, d\t"say ""e"""\t-1\n', [4, 6]),
        ('x|y|z\ra|b|1\rc, d|"say ""e"""|-1\r', [2, 3]),
        (' x , y , z \n"a",b,1\n"c, d","say ""e""",-1\n\n\n', [2, 3]),
    ],
)
def test_csv_of_spreadsheets_and_programs_is_read_with_its_lines(tmp_path, text, lines):
    table = read(tmp_path, text)
    assert cells(table) == [["x", "y", "z"], *ROWS]
    assert table.lines.tolist() == lines
    assert table.where(1) == f"{tmp_path / 't.csv'}, line {lines[1]}"


def test_line_breaks_in_cells_are_counted(tmp_path):
    table = read(tmp_path, 'x,y\n"a\nb\nc",1\nd,2\n')
    assert table.lines.tolist() == [2, 5]


def test_missing_cells_at_the_end_of_a_row_are_empty(tmp_path):
    assert cells(read(tmp_path, "x,y,z\na\n")) == [["x", "y", "z"], ["a", "", ""]]


@pytest.mark.parametrize("text", [",x,,y\n0,a,,1\n,b,5,2\n", "\ufeff;;;\n;x; ;y\n;a;;1\n;b;;2\n"])
def test_columns_without_a_name_are_ignored(tmp_path, text):
    assert cells(read(tmp_path, text)) == [["x", "y"], ["a", "1"], ["b", "2"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (",,\n,,\n", "is empty"),
        ("x,y\na,b,c\n", "line 2 has 3 cells, but the header has 2"),
        ("\nx,y\n\na,b\na,b,c\n", "line 5 has 3 cells, but the header has 2"),
        ('x,y\na,b\nc,"d\n', "a quote that begins on line 3 does not end"),
        ("x,x\n1,2\n", "two columns x"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"\xe4,b", "not UTF-8 text"),
        ("version https://git-lfs.github.com/spec/v1\nsize 3\n", "not a text table but a pointer of Git LFS"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "t.csv") in caught.value.message
    assert caught.value.hint


def test_a_packed_file_is_unpacked_and_a_damaged_one_named(tmp_path):
    packed = gzip.compress(b"x,y\n1,2\n")
    assert cells(read(tmp_path, packed, "t.csv.gz")) == [["x", "y"], ["1", "2"]]
    for damaged in (packed[:-9], b"x,y\n1,2\n"):
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path, damaged, "t.csv.gz")


def test_tabs_alone_separate_a_tsv_file(tmp_path):
    assert cells(read(tmp_path, "x,1\ty,1\na\tb\n", "t.tsv")) == [["x,1", "y,1"], ["a", "b"]]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.ndjson"])
def test_json_lines_keep_their_types_and_lines(tmp_path, name):
    table = read(tmp_path, '\n{"x": [1], "y": null}\n\n{"x": "b", "z": 1.5}\n', name)
    assert table.frame["x"].tolist() == [[1], "b"]
    assert table.frame["y"].tolist() == [None, None]
    assert table.frame["z"].tolist() == [None, 1.5]
    assert table.lines.tolist() == [2, 4]


def test_a_json_list_is_read_by_object(tmp_path):
    table = read(tmp_path, json.dumps([{"x": 1}, {"x": 2}]), "t.json")
    assert table.where(1).endswith("object 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"x": 1}\n{"x": \n', "line 2 is not a JSON object"),
        ('{"x": 1}\n3\n', "line 2 is not a JSON object"),
        ("[1", "not a JSON file"),
    ],
)
def test_broken_json_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, "t.json")


def test_parquet_is_read_and_a_broken_file_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_text("<!DOCTYPE html>")
    with pytest.raises(DataError, match="is not a Parquet file but a web page"):
        read_table(path, "table")
    pd.DataFrame({"x": [["a", "b"], None], "y": [1, 2]}).to_parquet(path)
    table = read_table(path, "table")
    assert table.frame["x"].tolist() == [["a", "b"], None]
    assert table.where(1).endswith("row 2")
    path.write_bytes(b"PAR1\x15\x04cut off")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_table(path, "table")


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.parquet"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match=f"there is no table .*{name}"):
        read_table(tmp_path / name, "table")


def test_pairs_files_are_read_by_the_same_reader(tmp_path):
    (tmp_path / "t.csv").write_text("x;y\n1;2\n")
    assert cells(read_text_table(tmp_path / "t.csv", "table")) == [["x", "y"], ["1", "2"]]
