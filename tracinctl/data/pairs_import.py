"""Make a pairs file from comparisons in tables of many layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tracinctl.data.answers import answers_in_pairs
from tracinctl.data.comparisons import Columns, Comparisons, cell_text, find_column, find_comparisons, plain
from tracinctl.data.item_texts import items_file
from tracinctl.data.pairs_file import COLUMNS, HELD_OUT, OPTIONAL, TRAIN, is_number, not_an_amount
from tracinctl.data.recordings import ENDINGS, nfc
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
    columns = columns or Columns()
    compared = find_comparisons(table, columns)
    items, ids, item_notes = _items(table, compared, columns)
    frame, named = _frame(table, compared, columns, ids)
    understood = [f"{count(len(frame), 'row')}: {compared.understood}", *answered, *item_notes, *named]
    notes = _scores_against(table, compared)
    frame = _without_selves(table, frame, notes)
    frame = _split(table, frame, columns, seed, train_share, understood, notes)
    return ImportedPairs(frame, items, understood, notes)


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


def _items(
    table: Table, compared: Comparisons, columns: Columns
) -> tuple[dict[str, Any], tuple[list[str], list[str]], list[str]]:
    """The contents of text items, the ids of the first and second items, and notes."""
    cells = [table.frame[name].tolist() for name in (compared.first, compared.second)]
    for name, column in zip((compared.first, compared.second), cells, strict=True):
        for row, value in enumerate(column):
            if cell_text(value) == "":
                raise DataError(f"{table.where(row)}: {clean(name)} is empty", hint="Fill it in, or remove the line.")
            if isinstance(value, (list, dict)) and not _are_messages(value):
                raise DataError(
                    f"{table.where(row)}: {clean(name)} is neither a text nor a list of messages",
                    hint="Write one comparison per row, and messages with a role and a content.",
                )
    prompt = _prompt(table, columns)
    if prompt is None and not any(_is_text(value) for column in cells for value in column):
        _refuse_missing(table, compared)
        first, second = _names(cells[0]), _names(cells[1])
        if all(name.lower().endswith(ENDINGS) for name in (*first, *second)):
            first, second = ([Path(name.replace("\\", "/")).stem for name in side] for side in (first, second))
            return {}, (first, second), ["items are sound files; ids are their names without folder and ending"]
        return {}, (first, second), []
    contents: dict[str, Any] = {}
    prompts = table.frame[prompt].tolist() if prompt else [None] * len(table.frame)
    first, second = (
        [_named_text(contents, ask, text) for ask, text in zip(prompts, side, strict=True)] for side in cells
    )
    of = f" with {clean(prompt)} before it" if prompt else ""
    note = f"items are texts{of}; ids are made from them, and {count(len(contents), 'text')} are written too"
    return contents, (first, second), [note]


def _prompt(table: Table, columns: Columns) -> str | None:
    return columns.prompt or find_column(table.frame.columns, ("prompt", "instruction", "question", "history"))


def _refuse_missing(table: Table, compared: Comparisons) -> None:
    for name in (compared.first, compared.second):
        for row, value in enumerate(table.frame[name]):
            if value in _MISSING:
                raise DataError(
                    f"{table.where(row)}: {clean(name)} is {value!r}, which means a missing cell",
                    hint="Fill it in, or remove the line.",
                )


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


def _frame(
    table: Table, compared: Comparisons, columns: Columns, ids: tuple[list[str], list[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """The columns of the pairs file without the split, and notes."""
    import pandas as pd

    pair_columns: dict[str, Any] = {"id1": ids[0], "id2": ids[1], "target": compared.target}
    id_column = columns.id or find_column(table.frame.columns, ("id", "pairid", "comparisonid"))
    if id_column:
        names = _names(table.frame[id_column])
        if len(set(names)) == len(names) and all(names):
            pair_columns["id"] = names
        elif columns.id:
            raise DataError(
                f"{table.path}: {clean(id_column)} has the same id or no id in several rows", hint="Leave it out."
            )
    groups, text_columns = [], []
    for name in map(str, table.frame.columns):
        if (
            not name.strip()
            or name in {*compared.used, _prompt(table, columns)}
            or (name == id_column and "id" in pair_columns)
            or _is_split(name, columns)
        ):
            continue
        cells = table.frame[name].tolist()
        if plain(name) in {"weight", "margin"}:
            pair_columns[plain(name)] = _amounts(table, name)
        elif any(_is_text(value) for value in cells if value is not None):
            text_columns.append(clean(name))
        else:
            column = f"source_{name}" if name in {*COLUMNS, *OPTIONAL} else name
            pair_columns[column] = [cell_text(value) for value in cells]
            groups.append(clean(column))
    notes = [f"other columns, which group rows: {', '.join(groups)}"] if groups else []
    notes += [f"columns of texts are left out: {', '.join(text_columns)}"] if text_columns else []
    return pd.DataFrame(pair_columns).assign(line=table.lines), notes


def _amounts(table: Table, name: str) -> list[str]:
    """The cells of a column of weights or margins, which are numbers from 0 up, or all empty."""
    cells = [cell_text(value) for value in table.frame[name]]
    for row, cell in enumerate(cells if any(cells) else ()):
        if not is_number(cell):
            raise not_an_amount(table.where(row), clean(name), clean(cell))
    return cells


def _scores_against(table: Table, compared: Comparisons) -> list[str]:
    """A note on rows whose scores, such as trl's ``score_chosen``, do not rank the better item higher."""
    names = list(table.frame.columns)
    pairs = [(f"score{side}", f"{side}score", f"{side}rating", f"{side}avgrating") for side in ("chosen", "rejected")]
    better, worse = (find_column(names, usual) for usual in pairs)
    if better is None or worse is None or plain(compared.first) not in {"chosen", "chosenresponse"}:
        return []
    scores = [[cell_text(value) for value in table.frame[name]] for name in (better, worse)]
    scored = [
        (row, float(a), float(b))
        for row, (a, b) in enumerate(zip(*scores, strict=True))
        if is_number(a) and is_number(b)
    ]
    lines = [str(table.lines[row]) for row, a, b in scored if a <= b]
    problem = f"{clean(better)} is not above {clean(worse)}, although {clean(compared.first)} is the better item"
    return [f"in {count(len(lines), 'row')}, {problem}: {table.unit} {first_few(lines)}"] if lines else []


def _is_split(name: str, columns: Columns) -> bool:
    return name == columns.split or (columns.split is None and plain(name) == "split")


def _without_selves(table: Table, frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    same = frame["id1"] == frame["id2"]
    if same.all():
        raise DataError(f"{table.path}: every row compares an item with itself", hint="Name other columns.")
    if same.any():
        lines = first_few([str(line) for line in frame["line"][same]])
        notes.append(f"{count(int(same.sum()), 'row')} left out, because both items are the same: {table.unit} {lines}")
    return frame[~same].reset_index(drop=True)


def _split(
    table: Table,
    frame: pd.DataFrame,
    columns: Columns,
    seed: int,
    train_share: float,
    understood: list[str],
    notes: list[str],
) -> pd.DataFrame:
    """The frame with its split in front, without rows that mix the two sides."""
    split_column = next((name for name in map(str, table.frame.columns) if _is_split(name, columns)), None)
    if split_column is not None:
        by_line = dict(zip(table.lines.tolist(), table.frame[split_column].tolist(), strict=True))
        names = [_split_name(table, split_column, line, by_line[line]) for line in frame["line"].tolist()]
        understood.append(f"{clean(split_column)} says which rows train and which are held out")
        sides = np.array(names, dtype=object)
        notes += _on_both_sides(frame, sides)
    else:
        trains = _training_items(frame, seed, train_share, understood)
        first, second = (frame[name].isin(trains).to_numpy() for name in ("id1", "id2"))
        sides = np.select([first & second, first | second], [TRAIN, ""], HELD_OUT).astype(object)
    keep = sides != ""
    if not keep.all():
        notes.append(f"{count(int((~keep).sum()), 'row')} left out that compare a training item with a held-out one")
    for side, kind in ((TRAIN, "training"), (HELD_OUT, "held-out")):
        if side not in sides and split_column is not None:
            notes.append(f"no row is a {kind} pair")
        elif side not in sides:
            raise DataError(
                f"{table.path}: {count(len(frame), 'row')} cannot be divided into training and held-out pairs",
                hint="Add a column with train or held-out, and name it with `split`.",
            )
    result = frame.drop(columns="line")[keep]
    result.insert(0, "split", sides[keep])
    return result.reset_index(drop=True)


def _on_both_sides(frame: pd.DataFrame, sides: npt.NDArray[np.object_]) -> list[str]:
    """A note on items that both train and are held out."""
    of = ({*frame["id1"][sides == side], *frame["id2"][sides == side]} for side in (TRAIN, HELD_OUT))
    both = [clean(name) for name in sorted(set.intersection(*of))]
    items = count(len(both), "item both trains and is", "items both train and are")
    return [f"{items} held out, which tracinctl compute refuses: {first_few(both)}"] if both else []


def _split_name(table: Table, column: str, line: int, value: Any) -> str:
    side = SPLITS.get(plain(cell_text(value)))
    if side is None:
        raise DataError(
            f"{table.path}, {table.unit} {line}: {clean(column)} is {clean(cell_text(value))!r}",
            hint=f"Write one of {first_few(list(SPLITS), len(SPLITS))}.",
        )
    return side


def _training_items(frame: pd.DataFrame, seed: int, train_share: float, understood: list[str]) -> set[str]:
    parts = _connected(frame)
    total = sum(map(len, parts))
    in_groups = max(map(len, parts), default=0) <= _LARGEST_PART * total
    units = parts if in_groups else [[name] for part in parts for name in part]
    trains: set[str] = set()
    for k in np.random.default_rng(seed).permutation(len(units)):
        if len(trains) + len(units[k]) > train_share * total:
            break
        trains.update(units[k])
    unit = "groups of compared items are" if in_groups else "items are"
    understood.append(f"{unit} divided with seed {seed}: {len(trains):,} of {count(total, 'item')} train")
    return trains


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
