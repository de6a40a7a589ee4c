"""The headers of a Parquet file's pages, held against what the file says of itself at its end.

Checksums cover what a page holds and not its header, and a reader believes the header: one that names another encoding
turns the same bytes into other numbers. A header is a struct in Thrift's compact protocol (``PageHeader`` of the
format's ``parquet.thrift``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracinctl.scores.files.thrift_compact import read_struct

_USUAL, _LONGEST = 1 << 8, 1 << 16  # bytes of a header; statistics of texts may stand in it
_DATA_PAGE, _PLAIN = 0, 0


def check_pages(path: Path, metadata: Any) -> None:
    """Make sure that every page of every column is a plain one, and that the pages fill their column.

    Raises:
        ValueError: one is not, or they do not.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        for group in (metadata.row_group(k) for k in range(metadata.num_row_groups)):
            for column in (group.column(k) for k in range(group.num_columns)):
                at, values = column.data_page_offset, 0
                end = at + column.total_compressed_size
                while at < end:
                    file.seek(at)
                    start = file.read(_USUAL)
                    try:
                        header = _header(start)
                    except ValueError:
                        header = _header(start + file.read(_LONGEST))
                    kind, size, packed, count, encoding, length = header
                    if (kind, encoding) != (_DATA_PAGE, _PLAIN) or packed != size:
                        raise ValueError(f"a page of {column.path_in_schema} is not as the file says")
                    at += length + packed
                    values += count
                if at != end or values != column.num_values:
                    raise ValueError(f"the pages of {column.path_in_schema} are not as many as the file says")


def _header(data: bytes) -> tuple[int, int, int, int, int, int]:
    """Type, size unpacked and packed, number of values, encoding, and the header's own length."""
    try:
        fields, length = read_struct(data)
        page = fields[5]
        found = (fields[1], fields[2], fields[3], page[1], page[2], length)
    except (IndexError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the header of a page is broken") from error
    if min(found) < 0:
        raise ValueError("the header of a page is broken")
    return found
