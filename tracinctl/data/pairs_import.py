"""Make a pairs file from comparisons in tables of many layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tracinctl.data.answers import answers_in_pairs
from tracinctl.data.comparisons import Columns, cell_text, find_column, find_comparisons, plain
from tracinctl.data.item_texts import items_file
from tracinctl.data.pairs_file import COLUMNS, HELD_OUT, OPTIONAL, TRAIN, is_number, not_an_amount
from tracinctl.data.recordings import SOUNDS, nfc
from tracinctl.data.split import TRAIN_SHARE
from tracinctl.data.tables import Table, read_table
from tracinctl.errors import DataError
from tracinctl.files import write_text_atomic
from tracinctl.text import clean, count, first_few

if TYPE_CHECKING:
    import pandas as pd

SPLITS: Final = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("heldout", "test", "testing", "val", "valid", "validation", "dev", "eval", "holdout"), HELD_OUT),
}
"""The meaning of cells in a split column."""

_MISSING = frozenset({"nan", "NaN", "NAN", "<NA>", "null", "NULL", "None"})
_LONGEST_ID = 100  # characters; a longer cell is a text, from which its item's id is made
_ID_DIGITS = 12

_FILL_IN = "Fill it in, or remove the line."
_LARGEST_PART = 0.5  # if comparisons connect more than this share of the items, items are divided one by one


@dataclass(frozen=True)
class ImportedPairs:
    """Comparisons as rows of a pairs file.

    Attributes:
        frame: the columns of the pairs file, with ``split`` first.
        items: ids, and contents as JSON, of items that are texts; empty if cells are ids.
        understood: sentences on how the table was read.
        notes: what was left out, and why.
    """

    frame: pd.DataFrame
    items: Mapping[str, Any]
    understood: Sequence[str]
    notes: Sequence[str]


def import_pairs(
    path: str | Path, columns: Columns | None = None, *, seed: int = 42, train_share: float = TRAIN_SHARE
) -> ImportedPairs:
    """Read a table of comparisons from CSV, TSV, Parquet or JSON, in a common layout or as ``columns`` says.

    Items are divided by the table's own split, if it has one, else at random by the seed: in groups of items that
    comparisons connect, or one by one if most are connected, leaving out pairs that mix the two sides.

    Raises:
        DataError: the table cannot be read, understood or divided; the message names file and line.
        UsageError: a given column does not exist.
    """
    table = read_table(path, "table of comparisons")
    if not len(table.frame):
        raise DataError(f"{table.path} has no rows", hint="Write one comparison per row.")
    table, answered = answers_in_pairs(table)
    work = _Import(table, columns or Columns())
    work.understood += answered
    items, first, second = work.items()
    frame = work.frame(first, second)
    work.note_scores()
    frame = work.divided(work.without_self_pairs(frame), seed, train_share)
    return ImportedPairs(frame, items, work.understood, work.notes)


def write_imported(pairs: ImportedPairs, path: str | Path) -> list[Path]:
    """Write the pairs file, and ``<name>_items.jsonl`` beside it if items are texts; return the written paths.

    Raises:
        DataError: a file exists already with other content.
        TracinctlError: a file cannot be written.
    """
    path = Path(path)
    contents = {path: pairs.frame.to_csv(index=False, lineterminator="\n")}
    if pairs.items:
        lines = [json.dumps({"id": name, **content}, ensure_ascii=False) for name, content in pairs.items.items()]
        contents[items_file(path)] = "\n".join(lines) + "\n"
    for place, text in contents.items():
        if place.exists() and not (place.is_file() and place.read_bytes() == text.encode()):
            raise DataError(f"{place} exists already", hint="Use another name, or move it away.")
    for place, text in contents.items():
        write_text_atomic(place, text)
    return list(contents)


def sentence(row: Mapping[str, Any]) -> str:
    """A row of the pairs file in words."""
    verb = {1: "ranks above", -1: "ranks below", 0: "ties with"}[int(row["target"])]
    more = [f"{name} {row[name]}" for name in row if name not in COLUMNS and row[name] != ""]
    return clean(f"{row['id1']} {verb} {row['id2']}, {row['split']}" + (f" ({', '.join(more)})" if more else ""))


class _Import:
    """The import of a table: its columns, how it was read, and notes on what was left out."""

    def __init__(self, table: Table, columns: Columns) -> None:
        names = [str(name) for name in table.frame.columns]
        self.table, self.columns = table, columns
        self.compared = find_comparisons(table, columns)
        self.prompt = columns.prompt or find_column(names, ("prompt", "instruction", "question", "history"))
        self.id = columns.id or find_column(names, ("id", "pairid", "comparisonid"))
        self.split = columns.split or find_column(names, ("split",))
        self.understood = [f"{count(len(table.frame), 'row')}: {self.compared.understood}"]
        self.notes: list[str] = []

    def items(self) -> tuple[dict[str, Any], list[str], list[str]]:
        """The contents of items that are texts by id, and the ids of the first and the second items."""
        names = (self.compared.first, self.compared.second)
        cells = [self.table.frame[name].tolist() for name in names]
        for name, column in zip(names, cells, strict=True):
            for row, value in enumerate(column):
                if cell_text(value) == "":
                    raise self._wrong(row, f"{clean(name)} is empty", _FILL_IN)
                if isinstance(value, (list, dict)) and not _are_messages(value):
                    hint = "Write one comparison per row, and messages with a role and a content."
                    raise self._wrong(row, f"{clean(name)} is neither a text nor a list of messages", hint)
        if self.prompt is not None or any(_is_text(value) for column in cells for value in column):
            return self._text_items(cells)
        for name, column in zip(names, cells, strict=True):
            for row, value in enumerate(column):
                if value in _MISSING:
                    raise self._wrong(row, f"{clean(name)} is {value!r}, which means a missing cell", _FILL_IN)
        first, second = map(_names, cells)
        if all(name.lower().endswith(SOUNDS) for name in (*first, *second)):
            self.understood.append("items are sound files; ids are their names without folder and ending")
            first, second = ([Path(name.replace("\\", "/")).stem for name in side] for side in (first, second))
        return {}, first, second

    def _text_items(self, cells: list[list[Any]]) -> tuple[dict[str, Any], list[str], list[str]]:
        contents: dict[str, Any] = {}
        prompts = self.table.frame[self.prompt].tolist() if self.prompt else [None] * len(self.table.frame)
        first, second = (
            [_named_text(contents, ask, text) for ask, text in zip(prompts, side, strict=True)] for side in cells
        )
        of, texts = f" with {clean(self.prompt)} before it" if self.prompt else "", count(len(contents), "text")
        self.understood.append(f"items are texts{of}; ids are made from them, and {texts} are written too")
        return contents, first, second

    def _wrong(self, row: int, problem: str, hint: str) -> DataError:
        return DataError(f"{self.table.where(row)}: {problem}", hint=hint)

    def frame(self, first: list[str], second: list[str]) -> pd.DataFrame:
        """The columns of the pairs file, ``split`` only if the table has it, and the line of each row."""
        import pandas as pd

        pair_columns: dict[str, Any] = {"id1": first, "id2": second, "target": self.compared.target}
        used = {*self.compared.used, self.prompt, self.split}
        if self.id:
            names = _names(self.table.frame[self.id])
            if len(set(names)) == len(names) and all(names):
                pair_columns["id"] = names
                used.add(self.id)
            elif self.columns.id:
                problem = f"{clean(self.id)} has the same id or no id in several rows"
                raise DataError(f"{self.table.path}: {problem}", hint="Leave it out.")
        if self.split:
            pair_columns["split"] = self._sides(self.split)
        groups, text_columns = [], []
        for name in map(str, self.table.frame.columns):
            if name in used or not name.strip():
                continue
            cells = self.table.frame[name].tolist()
            if plain(name) in {"weight", "margin"}:
                pair_columns[plain(name)] = self._amounts(name)
            elif any(_is_text(value) for value in cells if value is not None):
                text_columns.append(clean(name))
            else:
                column = f"source_{name}" if name in {*COLUMNS, *OPTIONAL} else name
                pair_columns[column] = [cell_text(value) for value in cells]
                groups.append(clean(column))
        self.understood += [f"other columns, which group rows: {', '.join(groups)}"] if groups else []
        self.understood += [f"columns of texts are left out: {', '.join(text_columns)}"] if text_columns else []
        return pd.DataFrame(pair_columns).assign(line=self.table.lines)

    def _amounts(self, name: str) -> list[str]:
        """The cells of a column of weights or margins, which are numbers from 0 up, or all empty."""
        cells = [cell_text(value) for value in self.table.frame[name]]
        for row, cell in enumerate(cells if any(cells) else ()):
            if not is_number(cell):
                raise not_an_amount(self.table.where(row), clean(name), clean(cell))
        return cells

    def _sides(self, column: str) -> list[str]:
        cells = [cell_text(value) for value in self.table.frame[column]]
        for row, cell in enumerate(cells):
            if plain(cell) not in SPLITS:
                hint = f"Write one of {first_few(list(SPLITS), len(SPLITS))}."
                raise self._wrong(row, f"{clean(column)} is {clean(cell)!r}", hint)
        return [SPLITS[plain(cell)] for cell in cells]

    def note_scores(self) -> None:
        """Note the rows whose scores, such as trl's ``score_chosen``, do not rank the better item higher."""
        names, first = list(self.table.frame.columns), self.compared.first
        better, worse = (
            find_column(names, (f"score{side}", f"{side}score", f"{side}rating", f"{side}avgrating"))
            for side in ("chosen", "rejected")
        )
        if better is None or worse is None or plain(first) not in {"chosen", "chosenresponse"}:
            return
        scores = [[cell_text(value) for value in self.table.frame[name]] for name in (better, worse)]
        lines = [
            str(line)
            for line, a, b in zip(self.table.lines, *scores, strict=True)
            if is_number(a) and is_number(b) and float(a) <= float(b)
        ]
        if lines:
            problem = f"{clean(better)} is not above {clean(worse)}, although {clean(first)} is the better item"
            self.notes.append(f"in {count(len(lines), 'row')}, {problem}: {self.table.unit} {first_few(lines)}")

    def without_self_pairs(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows that compare two different items."""
        same = frame["id1"] == frame["id2"]
        if same.all():
            raise DataError(f"{self.table.path}: every row compares an item with itself", hint="Name other columns.")
        if same.any():
            rows, lines = count(int(same.sum()), "row"), first_few([str(line) for line in frame["line"][same]])
            self.notes.append(f"{rows} left out, because both items are the same: {self.table.unit} {lines}")
        return frame[~same].reset_index(drop=True)

    def divided(self, frame: pd.DataFrame, seed: int, train_share: float) -> pd.DataFrame:
        """The frame with its split in front, without rows that mix the two sides."""
        if self.split:
            self.understood.append(f"{clean(self.split)} says which rows train and which are held out")
            self.notes += _on_both_sides(frame)
        else:
            trains = self._training_items(frame, seed, train_share)
            first, second = (frame[name].isin(trains) for name in ("id1", "id2"))
            frame["split"] = np.select([first & second, first | second], [TRAIN, ""], HELD_OUT)
        mixed = frame["split"] == ""
        if mixed.any():
            rows = count(int(mixed.sum()), "row")
            self.notes.append(f"{rows} left out that compare a training item with a held-out one")
        for side, kind in ((TRAIN, "training"), (HELD_OUT, "held-out")):
            if (frame["split"] == side).any():
                continue
            if not self.split:
                raise DataError(
                    f"{self.table.path}: {count(len(frame), 'row')} cannot be divided into training and held-out pairs",
                    hint="Add a column with train or held-out, and name it with `split`.",
                )
            self.notes.append(f"no row is a {kind} pair")
        return frame[~mixed][["split", *frame.columns.drop(["split", "line"])]].reset_index(drop=True)

    def _training_items(self, frame: pd.DataFrame, seed: int, train_share: float) -> set[str]:
        parts = _connected(frame)
        total = sum(map(len, parts))
        in_groups = max(map(len, parts), default=0) <= _LARGEST_PART * total
        units = parts if in_groups else [[name] for part in parts for name in part]
        trains: set[str] = set()
        for k in np.random.default_rng(seed).permutation(len(units)):
            if len(trains) + len(units[k]) > train_share * total:
                break
            trains.update(units[k])
        unit, items = "groups of compared items are" if in_groups else "items are", count(total, "item")
        self.understood.append(f"{unit} divided with seed {seed}: {len(trains):,} of {items} train")
        return trains


def _named_text(contents: dict[str, Any], prompt: Any, text: Any) -> str:
    content = {"text": text} if prompt is None else {"prompt": prompt, "text": text}
    key = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:_ID_DIGITS]
    contents.setdefault(key, content)
    return key


def _names(cells: Sequence[Any]) -> list[str]:
    return [nfc(cell_text(value)) for value in cells]


def _is_text(value: Any) -> bool:
    return not isinstance(value, (str, int, float)) or (
        isinstance(value, str) and (len(value) > _LONGEST_ID or "\n" in value or len(value.split()) > 4)  # noqa: PLR2004
    )


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(message, dict) and {"role", "content"} <= set(message) for message in value
    )


def _on_both_sides(frame: pd.DataFrame) -> list[str]:
    """A note on items that both train and are held out."""
    sides = (frame[frame["split"] == side] for side in (TRAIN, HELD_OUT))
    both = set.intersection(*({*rows["id1"], *rows["id2"]} for rows in sides))
    items = count(len(both), "item both trains and is", "items both train and are")
    names = first_few([clean(name) for name in sorted(both)])
    return [f"{items} held out, which tracinctl compute refuses: {names}"] if both else []


def _connected(frame: pd.DataFrame) -> list[list[str]]:
    """Groups of items that comparisons connect, each in the order of first appearance."""
    group_of: dict[str, set[str]] = {}
    for first, second in zip(frame["id1"], frame["id2"], strict=True):
        small, large = sorted((group_of.setdefault(name, {name}) for name in (first, second)), key=len)
        if small is not large:
            large |= small
            group_of.update(dict.fromkeys(small, large))
    groups: dict[int, list[str]] = {}
    for name, group in group_of.items():
        groups.setdefault(id(group), []).append(name)
    return list(groups.values())
