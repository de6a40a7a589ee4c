"""Rows in a temporary file."""

from __future__ import annotations

import errno
import tempfile

import numpy as np
import pytest

from tracinctl.engine.row_file import RowFile
from tracinctl.errors import TracinctlError


def test_rows_are_read_as_written():
    rows = np.random.default_rng(0).standard_normal((20, 3))
    file = RowFile(3)
    for part in np.array_split(rows, 4):
        file.append(part)
    for numbers in ([0], [19], [1, 2, 3, 7, 8, 15], list(range(20))):
        assert np.array_equal(file.read(np.array(numbers)), rows[numbers])
    file.append(rows[:1])
    assert np.array_equal(file.read(np.array([5, 20])), rows[[5, 0]])


def test_a_full_disk_is_an_error_with_remedies(monkeypatch):
    class Full:
        def seek(self, *_):
            pass

        def close(self):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(TracinctlError, match=r"temporary folder .*: No space left on device") as refused:
        RowFile(2).append(np.zeros((1, 2)))
    assert "TMPDIR" in refused.value.hint
