"""The headers of a Parquet file's pages, held against what the file says of itself at its end.

Checksums cover what a page holds and not its header, and a reader believes the header: one that names another encoding
turns the same bytes into other numbers. A header is a struct in Thrift's compact protocol (``PageHeader`` of the
format's ``parquet.thrift``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_USUAL, _LONGEST = 1 << 8, 1 << 16  # bytes of a header; statistics of texts may stand in it
_DATA_PAGE, _PLAIN = 0, 0
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 12


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
        fields, length = _struct(data, 0)
        page = fields[5]
        found = (fields[1], fields[2], fields[3], page[1], page[2], length)
    except (IndexError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the header of a page is broken") from error
    if min(found) < 0:
        raise ValueError("the header of a page is broken")
    return found


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Fields by number, and where they end."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        if kind in {_TRUE, _FALSE}:
            value: Any = kind == _TRUE
        elif kind == _BYTE:
            value, at = data[at], at + 1
        elif kind in {_I16, _I32, _I64}:
            value, at = _integer(data, at)
        elif kind == _BINARY:
            size, at = _unsigned(data, at)
            value, at = None, at + size
        elif kind == _STRUCT:
            value, at = _struct(data, at)
        else:
            raise ValueError("the header of a page is broken")
        if number in fields:
            raise ValueError("the header of a page is broken")
        fields[number] = value
    return fields, at + 1


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:  # noqa: PLR2004  the highest bit says that there is more
            return value, at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Signs stand in the lowest bit."""
    value, at = _unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at
