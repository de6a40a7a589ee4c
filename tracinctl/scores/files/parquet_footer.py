"""What a Parquet file says of itself at its end, looked at before pyarrow does: some lies there end the whole process.

The footer is ``FileMetaData`` of the format's ``parquet.thrift``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tracinctl.scores.files.thrift_compact import read_struct

_MAGIC = b"PAR1"
ABOUT_KEY = b"tracinctl"
"""Of what a score file says of its scores: a JSON object."""

_STRING_FIELD = 0x18  # the next field, bytes
_REQUIRED, _REPEATED = 0, 2
_TYPES, _REPETITIONS, _CODECS, _ENCODINGS = 8, 3, 8, {0, 2, 3, 4, 5, 6, 7, 8, 9}


def check_footer(path: Path) -> None:
    """Make sure that the schema is a tree and that every column chunk is one of its leaves, of a known kind.

    Raises:
        ValueError: it is not.
        OSError: the file cannot be read.
    """
    data = _footer(path)
    try:
        _check(read_struct(data)[0])
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its footer is broken") from error


def value_of(path: Path, key: bytes, most: int) -> bytes | None:
    """The value of a key of the file's metadata; None where there is none, or the footer has more than ``most`` bytes.

    Raises:
        ValueError, IndexError: there is no footer, or it is broken.
        OSError: the file cannot be read.
    """
    data = _footer(path, most)
    # all else that stands before it need not be taken apart
    entry = bytes([_STRING_FIELD, len(key)]) + key + bytes([_STRING_FIELD])
    at = data.rfind(entry)
    return None if at < 0 else bytes(read_struct(data, at)[0][2])


def _footer(path: Path, most: int | None = None) -> bytes:
    with path.open("rb") as file:
        whole = file.seek(0, 2)
        file.seek(max(0, whole - 8))
        end = file.read()
        size = int.from_bytes(end[:4], "little")
        if end[4:] != _MAGIC or not size <= whole - 12:
            raise ValueError("it has no footer of Parquet")
        if most is not None and size > most:
            return b""
        file.seek(whole - 8 - size)
        return file.read(size)


def _check(about: dict[int, Any]) -> None:
    elements = about[2]
    leaves = list(_leaves(elements))
    for group in about[4]:
        if len(group[1]) != len(leaves):
            raise ValueError("a row group has other columns than the schema")
        for chunk, leaf in zip(group[1], leaves, strict=True):
            column = chunk[3]
            known = column[4] in range(_CODECS) and set(column[2]) <= _ENCODINGS
            if not known or (column[3], column[1]) != (leaf.path, leaf.kind):
                raise ValueError("a column is not what the schema says")
            sizes = column.get(16, {})
            for field, levels in ((2, leaf.repetition), (3, leaf.definition)):
                if len(sizes.get(field, [])) not in {0, levels + 1}:
                    raise ValueError("a column has other levels than the schema")


class _Leaf(NamedTuple):
    path: list[bytes]
    kind: int
    repetition: int  # the highest level of each
    definition: int


def _leaves(elements: Sequence[dict[int, Any]]) -> Iterator[_Leaf]:
    """Each column; the elements stand in a row, each followed by its children."""
    open_groups: list[tuple[bytes, int, int]] = []  # name, repetition, children that are still to come
    for place, element in enumerate(elements):
        children = element.get(5, 0)
        if place == 0:
            if children <= 0 or 1 in element:
                raise ValueError("the schema has no root")
            open_groups.append((b"", _REQUIRED, children))
            continue
        if not open_groups or element[3] not in range(_REPETITIONS):
            raise ValueError("the schema is no tree")
        name, repetition, left = open_groups.pop()
        open_groups.append((name, repetition, left - 1))
        if 1 in element:
            if element[1] not in range(_TYPES) or children:
                raise ValueError("a leaf of no known type")
            path = [*open_groups[1:], (element[4], element[3], 0)]
            kinds = [repetition for _, repetition, _ in path]
            yield _Leaf(
                [name for name, _, _ in path],
                element[1],
                kinds.count(_REPEATED),
                len(kinds) - kinds.count(_REQUIRED),
            )
        else:
            if children <= 0:
                raise ValueError("a group without children")
            open_groups.append((element[4], element[3], children))
        while open_groups and open_groups[-1][2] == 0:
            open_groups.pop()
    if open_groups:
        raise ValueError("the schema is cut short")
