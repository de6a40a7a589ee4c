"""The file of ranking pairs, ``pairs.csv``: ``split,id1,id2,target``, one drawn pair a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tracinctl.data.pairs import Pairs, RankingData
from tracinctl.errors import DataError

COLUMNS: Final = ("split", "id1", "id2", "target")
TRAIN: Final = "train"
HELD_OUT: Final = "held-out"

_TARGETS: Final = {"1": 1, "+1": 1, "-1": -1, "1.0": 1, "-1.0": -1}


def read_pairs_file(path: str | Path, train_ids: Sequence[str], test_ids: Sequence[str]) -> tuple[Pairs, Pairs]:
    """Read training and held-out pairs; a pair drawn twice comes twice, in the file's order.

    Args:
        path: a CSV file with the columns ``split`` (``train`` or ``held-out``), ``id1``, ``id2`` and ``target`` (1
            where the first ranks above the second, -1 where below); further columns are let be.
        train_ids: ids of the training items; pairs hold their indices.
        test_ids: ids of the held-out items.

    Raises:
        DataError: the file is missing or no such table, an id, split or target is unknown, an item is paired with
            itself, or the same pair stands there with both targets. File and line are named.
    """
    path = Path(path)
    index = {TRAIN: {k: i for i, k in enumerate(train_ids)}, HELD_OUT: {k: i for i, k in enumerate(test_ids)}}
    rows: dict[str, list[tuple[int, int, int]]] = {TRAIN: [], HELD_OUT: []}
    first_seen: dict[tuple[str, str, str], tuple[int, int]] = {}
    for line, row in _lines(path):
        where = f"{path}, line {line}"
        split, first, second, target = _parse(row, where)
        if first == second:
            raise DataError(f"{where}: {first!r} is paired with itself", hint="Take the line out.")
        for item in (first, second):
            if item not in index[split]:
                raise _unknown_item(where, item, split, index)
        before, at = first_seen.setdefault((split, first, second), (target, line))
        if before != target:
            raise DataError(
                f"{where}: the pair {first!r}, {second!r} has target {target}, but {before} on line {at}",
                hint="A pair can only rank one way: take one of the two lines out.",
            )
        rows[split].append((index[split][first], index[split][second], target))
    return _pairs(rows[TRAIN]), _pairs(rows[HELD_OUT])


def write_pairs_file(path: str | Path, data: RankingData) -> None:
    """Write the training pairs, then the held-out pairs, in order; the file is complete or absent."""
    from tracinctl.files import write_text_atomic

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for split, samples, pairs in ((TRAIN, data.train, data.train_pairs), (HELD_OUT, data.test, data.test_pairs)):
        ids = samples.ids
        for i, j, y in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True):
            writer.writerow((split, ids[i], ids[j], y))
    write_text_atomic(Path(path), text.getvalue())


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column {', '.join(missing)}",
                    hint=f"Its first line must be {','.join(COLUMNS)}.",
                )
            for row in reader:
                yield reader.line_num, row
    except FileNotFoundError as error:
        raise DataError(f"there is no file of pairs {path}", hint="Check --pairs-file.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", hint="Check --pairs-file.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is no CSV file in UTF-8: {error}", hint=f"Its columns must be {','.join(COLUMNS)}."
        ) from error


def _parse(row: dict[str, str | None], where: str) -> tuple[str, str, str, int]:
    empty = [name for name in COLUMNS if not (row[name] or "").strip()]
    if empty:
        raise DataError(f"{where}: {', '.join(empty)} is empty", hint=f"A line is {','.join(COLUMNS)}.")
    first, second = str(row["id1"]), str(row["id2"])  # taken as they are: an id may begin or end with a space
    split, text = (str(row[name]).strip() for name in ("split", "target"))
    if split not in (TRAIN, HELD_OUT):
        raise DataError(f"{where}: the split {split!r} is neither {TRAIN} nor {HELD_OUT}", hint="Correct the line.")
    if text not in _TARGETS:
        raise DataError(
            f"{where}: the target {text!r} is neither 1 nor -1",
            hint="1 means that the first item ranks above the second, -1 that it ranks below.",
        )
    return split, first, second, _TARGETS[text]


def _unknown_item(where: str, item: str, split: str, index: dict[str, dict[str, int]]) -> DataError:
    other = HELD_OUT if split == TRAIN else TRAIN
    if item in index[other]:
        return DataError(
            f"{where}: {item!r} is a {other} item, but the pair is one of the split {split}",
            hint="The file was made from another division of the items: make it again, or use its recordings and seed.",
        )
    return DataError(
        f"{where}: there is no item {item!r}",
        hint="The pairs must be of this material's and frequency's recordings: check --pairs-file and the data folder.",
    )


def _pairs(rows: list[tuple[int, int, int]]) -> Pairs:
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Pairs(table[:, 0], table[:, 1], table[:, 2])
