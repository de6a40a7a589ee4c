"""Scores taken straight from the bytes of a Parquet file, as quickly as the bytes themselves can be read.

Values that are neither packed, encoded nor null stand one after the other at the end of their page, and tracinctl
writes one page a row group. Where a file is laid out in another way, these are not the scores: their sums show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracinctl.scores.table import FloatArray

Sums = npt.NDArray[np.uint64]


class Values(NamedTuple):
    """Where the values of a row group stand: the first byte, and how many rows there are."""

    offset: int
    rows: int


def row_sums(scores: FloatArray) -> Sums:
    """The sum of the bit patterns of a row's scores, modulo 2^64, shape (rows,): any one flipped bit changes it."""
    words = np.ascontiguousarray(scores, dtype="<f8").view("<u8")
    sums: Sums = words.sum(axis=1, dtype=np.uint64)
    return sums


def values_of(about: Any, column: str, width: int, size: int) -> list[Values]:
    """Where the values of a column of ``width`` numbers a row should stand, by row group.

    Args:
        about: a ``pyarrow.parquet.FileMetaData``.
        column: how the column's path begins.
        width: values a row.
        size: of the file, bytes.
    """
    found = []
    for k in range(about.num_row_groups):
        group = about.row_group(k)
        chunks = (group.column(n) for n in range(group.num_columns))
        chunk = next((each for each in chunks if each.path_in_schema.split(".")[0] == column), None)
        end = chunk.data_page_offset + chunk.total_compressed_size if chunk else 0
        begin = end - 8 * width * group.num_rows
        found.append(Values(begin if 0 <= begin <= size else 0, group.num_rows))  # which only a broken file needs
    return found


def read_values(file: FileIO, where: Values, width: int, step: int) -> Iterator[FloatArray]:
    """Yield what stands there, in pieces of ``step`` rows, shape (rows, width); less where the file ends before."""
    file.seek(where.offset)
    for start in range(0, where.rows, step):
        piece = np.empty((min(step, where.rows - start), width), dtype="<f8")
        left = memoryview(piece.data).cast("B")
        while left.nbytes:
            got = file.readinto(left)
            if not got:
                return
            left = left[got:]
        yield piece
