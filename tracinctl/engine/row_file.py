"""Rows of numbers in a temporary file: what is asked for many times, takes long to calculate and fits no memory."""

from __future__ import annotations

import tempfile
import weakref

import numpy as np
import numpy.typing as npt

from tracinctl.errors import TracinctlError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class RowFile:
    """Rows of float64 numbers, written one after the other and read by their places. The file ends with this object.

    Args:
        columns: numbers a row.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._file = tempfile.TemporaryFile(prefix="tracinctl-")  # noqa: SIM115 - it lives as long as this object
        weakref.finalize(self, self._file.close)

    def append(self, rows: FloatArray) -> None:
        """Write rows, shape (rows, columns), behind those that are there.

        Raises:
            TracinctlError: the disk takes no more.
        """
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise TracinctlError(
                f"cannot write to the temporary folder {tempfile.gettempdir()}: {error.strerror or error}",
                hint="Make room there, name another folder by the variable TMPDIR, or give more `memory`.",
            ) from error

    def read(self, rows: IntArray) -> FloatArray:
        """These rows, shape (rows, columns); their places in ascending order."""
        result = np.empty((len(rows), self._columns))
        begins = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
            self._file.seek(8 * self._columns * int(rows[begin]))
            self._file.readinto(result[begin:end].data)
        return result
