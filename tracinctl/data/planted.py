"""The known errors of a demo, ``planted.csv``: bad comparisons and recordings, and why they are bad.

Columns: ``kind`` (``pair`` for a training comparison with a flipped target, ``item`` for a recording with a wrong
angle), ``material``, ``frequency``, ``id`` (as in ``pairs.csv``, or the item's with its wrong angle), ``what``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from tracinctl.errors import DataError
from tracinctl.files import write_text_atomic

PLANTED_FILE: Final = "planted.csv"
PAIR, ITEM = "pair", "item"


@dataclass(frozen=True)
class Planted:
    """One planted error; its attributes are the columns of the file."""

    kind: str
    material: str
    frequency: str
    id: str
    what: str = ""


_COLUMNS: Final = tuple(field.name for field in fields(Planted))


def write_planted(path: str | Path, planted: Iterable[Planted]) -> None:
    """Write the known errors; the file is complete or absent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(one) for one in planted)
    write_text_atomic(Path(path), text.getvalue())


def read_planted(path: str | Path) -> list[Planted]:
    """Read the known errors in order.

    Raises:
        DataError: the file is missing or not such a table, or a kind is not ``pair`` or ``item``.
    """
    path = Path(path)
    planted = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            for row in reader:
                values = {name: row.get(name) or "" for name in _COLUMNS}
                if not all(values[name] for name in _COLUMNS[:-1]):
                    raise _broken(path, f"line {reader.line_num} lacks one of {', '.join(_COLUMNS[:-1])}")
                if values["kind"] not in (PAIR, ITEM):
                    raise _broken(path, f"line {reader.line_num} has the unknown kind {values['kind']!r}")
                planted.append(Planted(**values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken(path, str(getattr(error, "strerror", None) or error)) from error
    return planted


def planted_ids(path: str | Path, material: str, frequency: str) -> tuple[set[str], set[str]]:
    """Ids of the planted pairs and of the planted items of a material and frequency.

    Raises:
        DataError: from ``read_planted``.
    """
    here = [one for one in read_planted(path) if (one.material, one.frequency) == (material, frequency)]
    return {one.id for one in here if one.kind == PAIR}, {one.id for one in here if one.kind == ITEM}


def _broken(path: Path, why: str) -> DataError:
    return DataError(f"{path} cannot be read as a list of planted errors: {why}", hint="Correct it or move it away.")
