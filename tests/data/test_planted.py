"""The file of planted errors."""

from __future__ import annotations

import pytest

from tracinctl.data.planted import Planted, planted_ids, read_planted, write_planted
from tracinctl.errors import DataError

ROWS = [
    Planted("pair", "plastic", "500hz", "a_b", "target turned round"),
    Planted("item", "plastic", "500hz", "a, b", "recorded at 36 degrees"),
    Planted("pair", "plastic", "1000hz", "c_d"),
    Planted("pair", "box", "500hz", "e_f"),
]


def test_planted_errors_are_read_back_by_material_and_frequency(tmp_path):
    path = tmp_path / "planted.csv"
    write_planted(path, ROWS)
    assert read_planted(path) == ROWS
    assert planted_ids(path, "plastic", "500hz") == ({"a_b"}, {"a, b"})
    assert planted_ids(path, "box", "1000hz") == (set(), set())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"kind,material,frequency,id\npair,plastic,500hz\n", "line 2 lacks one of"),
        (b"id,target\na,1\n", "line 2 lacks one of"),
        (b"\xef\xbb\xbf\t\n", "is empty"),
        (b"kind,material,frequency,id\npear,plastic,500hz,a_b\n", "line 2 has the unknown kind 'pear'"),
        (b"\xff\xfe", "is text in UTF-16"),
        (None, "there is no list of planted errors"),
    ],
)
def test_a_broken_or_missing_file_is_named(tmp_path, text, message):
    path = tmp_path / "planted.csv"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DataError, match=message) as caught:
        read_planted(path)
    assert str(path) in caught.value.message
