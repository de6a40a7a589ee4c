"""Rows of numbers in a temporary file, for results that are too large for memory and slow to compute again."""

from __future__ import annotations

import tempfile
import weakref

import numpy as np

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.errors import TracinctlError


class RowFile:
    """Rows of float64 numbers, appended and read by place. The file is removed with this object.

    Args:
        columns: numbers per row.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._file = tempfile.TemporaryFile(prefix="tracinctl-")  # noqa: SIM115 - open as long as this object lives
        weakref.finalize(self, self._file.close)

    def append(self, rows: FloatArray) -> None:
        """Append rows, shape (rows, columns).

        Raises:
            TracinctlError: the disk is full or cannot be written.
        """
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise TracinctlError(
                f"cannot write to the temporary folder {tempfile.gettempdir()}: {error.strerror or error}",
                hint="Free space there, set another folder in the variable TMPDIR, or give more `memory`.",
            ) from error

    def read(self, rows: IntArray) -> FloatArray:
        """Read the rows at these places, which must ascend; shape (rows, columns)."""
        result = np.empty((len(rows), self._columns))
        begins = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
            self._file.seek(8 * self._columns * int(rows[begin]))
            self._file.readinto(result[begin:end].data)
        return result
