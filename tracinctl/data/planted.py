"""The known errors of a demo, ``planted.csv``: bad comparisons and recordings, and why they are bad.

Columns: ``kind`` (``pair`` for a training comparison with a flipped target, ``item`` for a recording with a wrong
angle), ``material``, ``frequency``, ``id`` (as in ``pairs.csv``, or the item's with its wrong angle), ``what``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from tracinctl.data.tables import read_text_table
from tracinctl.errors import DataError
from tracinctl.files import write_text_atomic
from tracinctl.text import csv_text

PLANTED_FILE: Final = "planted.csv"
PAIR, ITEM = "pair", "item"
_HINT: Final = "Correct it or move it away."


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
    write_text_atomic(Path(path), csv_text(_COLUMNS, map(astuple, planted)))


def read_planted(path: str | Path) -> list[Planted]:
    """Read the known errors in order."""
    table = read_text_table(path, "list of planted errors")
    planted = [Planted(*row) for row in table.frame.reindex(columns=_COLUMNS, fill_value="").fillna("").to_numpy()]
    for row, error in enumerate(planted):
        if not all((error.kind, error.material, error.frequency, error.id)):
            raise DataError(f"{table.where(row)} lacks one of {', '.join(_COLUMNS[:-1])}", hint=_HINT)
        if error.kind not in (PAIR, ITEM):
            raise DataError(f"{table.where(row)} has the unknown kind {error.kind!r}", hint=_HINT)
    return planted


def planted_ids(path: str | Path, material: str, frequency: str) -> tuple[set[str], set[str]]:
    """Ids of the planted pairs and of the planted items of a material and frequency."""
    planted = [e for e in read_planted(path) if (e.material, e.frequency) == (material, frequency)]
    return {e.id for e in planted if e.kind == PAIR}, {e.id for e in planted if e.kind == ITEM}
