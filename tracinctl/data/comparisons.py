"""Find the columns of comparisons in a table, and the meaning of their cells.

A table has two columns for the better and the worse item (``winner`` and ``loser``, ``chosen`` and ``rejected``), or
two columns of items and a third that says which one won (``item1``, ``item2``, ``label``). The direction of a
comparison is never guessed: the user must explain labels that are only 0 and 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tracinctl.data.tables import Table
from tracinctl.errors import DataError, UsageError
from tracinctl.text import clean, did_you_mean, first_few

IntArray = npt.NDArray[np.int64]

BETTER_AND_WORSE: Final = (
    ("winner", "loser"), ("chosen", "rejected"), ("better", "worse"), ("preferred", "dispreferred"),
    ("preferred", "rejected"), ("positive", "negative"), ("winnerid", "loserid"), ("chosenid", "rejectedid"),
    ("chosenresponse", "rejectedresponse"),
)  # fmt: skip
FIRST_AND_SECOND: Final = (
    ("id1", "id2"), ("item1", "item2"), ("left", "right"), ("first", "second"), ("a", "b"), ("itema", "itemb"),
    ("leftid", "rightid"), ("leftitem", "rightitem"), ("firstitem", "seconditem"), ("response1", "response2"),
    ("responsea", "responseb"), ("response0", "response1"), ("optiona", "optionb"), ("modela", "modelb"),
    ("text1", "text2"), ("sentence1", "sentence2"), ("x1", "x2"), ("humanrefa", "humanrefb"),
)  # fmt: skip
OUTCOMES: Final = (
    "target", "label", "choice", "winner", "preference", "preferred", "vote", "outcome", "result", "better", "answer",
    "labels", "betterresponseid",
)  # fmt: skip

SINGLES: Final = (
    (("completions", "labels"), "steps of one answer with a label each, as in trl's stepwise supervision"),
    (("completion", "label"), "one answer with a label, as in trl's unpaired preference"),
    (("completion",), "one answer to one prompt, as in trl's prompt-completion"),
    (("messages",), "one conversation, as in trl's language modeling"),
    (("text",), "one text, as in trl's language modeling"),
    (("prompt",), "only a prompt, as in trl's prompt-only"),
)
"""Columns of layouts without comparisons, and the content of their rows."""

_FIRST = frozenset({"left", "l", "first", "1st", "a", "item1", "itema", "id1", "responsea", "modela", "optiona"})
_SECOND = frozenset({"right", "r", "second", "2nd", "b", "item2", "itemb", "id2", "responseb", "modelb", "optionb"})
_TIE = frozenset({"tie", "tied", "equal", "same", "draw", "both", "neither", "tiebothbad"})


@dataclass(frozen=True)
class Columns:
    """The user's names of columns and meanings of cells; None = taken from the table.

    Attributes:
        winner, loser: columns of the better and the worse item.
        first, second: columns of the two items, if a third column says which one won.
        outcome: that third column.
        first_wins, second_wins, tie: its values, several with commas.
        prompt: column of the text that both items answer.
        split: column that says whether a row trains or is held out.
        id: column of the comparison's id.
    """

    winner: str | None = None
    loser: str | None = None
    first: str | None = None
    second: str | None = None
    outcome: str | None = None
    first_wins: str | None = None
    second_wins: str | None = None
    tie: str | None = None
    prompt: str | None = None
    split: str | None = None
    id: str | None = None

    def names(self) -> dict[str, str]:
        """The given columns by parameter."""
        parameters = ("winner", "loser", "first", "second", "outcome", "prompt", "split", "id")
        return {name: value for name in parameters if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Comparisons:
    """The comparisons in the rows of a table.

    Attributes:
        first, second: names of the columns of the two items.
        target: for each row, +1 if the first item is better, -1 if it is worse, 0 for a tie.
        used: names of all columns that were used.
        understood: how the table was read, in words.
    """

    first: str
    second: str
    target: IntArray
    used: Sequence[str]
    understood: str


def find_comparisons(table: Table, columns: Columns) -> Comparisons:
    """Find the columns of the comparisons, and the outcome of each row.

    Raises:
        UsageError: a given column does not exist.
        DataError: there are no columns of comparisons, or the meaning of an outcome is unknown.
    """
    names = [str(name) for name in table.frame.columns]
    for parameter, name in columns.names().items():
        if name not in names:
            shown = [clean(n) for n in names]
            raise UsageError(
                f"{table.path} has no column {clean(name)!r}, which `{parameter}` names",
                hint=did_you_mean(name, shown, f"It has {first_few(shown, 8)}."),
            )
    if not (columns.first or columns.second or columns.outcome):
        pair = _pair(names, columns.winner, columns.loser, BETTER_AND_WORSE)
        if pair:
            target = np.ones(len(table.frame), dtype=np.int64)
            return Comparisons(*pair, target, pair, f"{clean(pair[0])} is better than {clean(pair[1])}")
    pair = _pair(names, columns.first, columns.second, FIRST_AND_SECOND)
    outcome = columns.outcome or find_column([name for name in names if name not in (pair or ())], OUTCOMES)
    if pair is None or outcome is None:
        raise _not_found(table, names, pair)
    target, meaning = _targets(table, pair, outcome, columns)
    understood = f"{clean(pair[0])} against {clean(pair[1])}, {clean(outcome)} says which is better: {meaning}"
    return Comparisons(*pair, target, (*pair, outcome), understood)


def _not_found(table: Table, names: Sequence[str], pair: tuple[str, str] | None) -> DataError:
    existing = f"There are {first_few([clean(n) for n in names], 8)}"
    if pair:
        return DataError(
            f"{table.path}: no known column says whether {clean(pair[0])} or {clean(pair[1])} is better. {existing}",
            hint="Name the column with `outcome`, and its value for the first item with `first_wins`.",
        )
    plain_names = {plain(name) for name in names}
    for columns, content in SINGLES:
        if plain_names.issuperset(columns):
            return DataError(
                f"{table.path}: a row has {content}, not two items to compare",
                hint="Write two items and the better one in each row, for example as columns chosen and rejected.",
            )
    return DataError(
        f"{table.path}: no known columns of comparisons. {existing}",
        hint="Name the columns with `winner` and `loser`, or with `first`, `second` and `outcome`.",
    )


def plain(name: Any) -> str:
    """A name in lower case without spaces and signs, so that ``Item_1`` equals ``item1``."""
    return re.sub(r"[\W_]+", "", str(name)).casefold()


def find_column(names: Iterable[str], usual: Iterable[str]) -> str | None:
    """The column with the first of these common names that the table has."""
    by_plain_name = {plain(name): name for name in reversed(list(names))}
    return next((by_plain_name[name] for name in usual if name in by_plain_name), None)


def _pair(
    names: Sequence[str], given_first: str | None, given_second: str | None, usual: Sequence[tuple[str, str]]
) -> tuple[str, str] | None:
    by_plain_name = {plain(name): name for name in reversed(names)}
    if given_first and given_second:
        if given_first == given_second:
            raise UsageError(f"both items would be in the column {clean(given_first)!r}", hint="Name two columns.")
        return given_first, given_second
    for first, second in usual:
        pair = by_plain_name.get(first), by_plain_name.get(second)
        if all(pair) and given_first in (None, pair[0]) and given_second in (None, pair[1]):
            return str(pair[0]), str(pair[1])
    return None


def _targets(table: Table, pair: tuple[str, str], outcome: str, columns: Columns) -> tuple[IntArray, str]:
    """The target of each row, and the meaning of the cells in words."""
    cells = [cell_text(value) for value in table.frame[outcome]]
    empty = [row for row, cell in enumerate(cells) if not cell]
    if empty:
        raise DataError(f"{table.where(empty[0])}: {clean(outcome)} is empty", hint="Fill it in, or remove the line.")
    first, second = ([cell_text(value) for value in table.frame[name]] for name in pair)
    if all(cell in sides for cell, *sides in zip(cells, first, second, strict=True) if plain(cell) not in _TIE):
        target = [0 if plain(c) in _TIE else 1 if c == a else -1 for c, a in zip(cells, first, strict=True)]
        return np.array(target, dtype=np.int64), "it names the better one"
    meanings = _meanings(table, sorted(set(cells)), pair, columns)
    unknown = [row for row, cell in enumerate(cells) if cell not in meanings]
    if unknown:
        raise DataError(
            f"{table.where(unknown[0])}: {clean(outcome)} is {clean(cells[unknown[0]])!r}, whose meaning is unknown",
            hint="Give the meanings with `first_wins`, `second_wins` and `tie`, or remove the line.",
        )
    words = {1: clean(pair[0]), -1: clean(pair[1]), 0: "tie"}
    meaning_texts = [f"{clean(cell)} = {words[value]}" for cell, value in meanings.items()]
    return np.array([meanings[cell] for cell in cells], dtype=np.int64), ", ".join(meaning_texts)


def _meanings(table: Table, cells: Sequence[str], pair: tuple[str, str], columns: Columns) -> dict[str, int]:
    stated: dict[str, int] = {}
    for text, value in ((columns.first_wins, 1), (columns.second_wins, -1), (columns.tie, 0)):
        stated |= dict.fromkeys(_values(text, cells), value)
    meanings = {cell: stated[cell.casefold()] for cell in cells if cell.casefold() in stated}
    unexplained = [cell for cell in cells if cell and cell not in meanings]
    if columns.first_wins is not None and columns.second_wins is None and len(unexplained) == 1:
        return meanings | {unexplained[0]: -1}
    first, second = _FIRST | {plain(pair[0])}, _SECOND | {plain(pair[1])}
    for cell in unexplained:
        for words, value in ((first, 1), (second, -1), (_TIE, 0)):
            if plain(cell) in words and not _is_number(cell):
                meanings[cell] = value
    numbers = {cell: float(cell) for cell in unexplained if _is_number(cell)}
    return meanings | _numbers(table, numbers)


def _values(text: str | None, cells: Sequence[str]) -> list[str]:
    """The values in a flag, in lower case: the text itself if it is a cell, else its parts between commas."""
    if text is None:
        return []
    folded = text.strip().casefold()
    return [folded] if folded in map(str.casefold, cells) else [part.strip() for part in folded.split(",")]


def _numbers(table: Table, numbers: dict[str, float]) -> dict[str, int]:
    """The meaning of numbers: 1, -1 and 0, or 1 and 2."""
    values = set(numbers.values())
    if values <= {1, -1, 0} and -1 in values:
        return {cell: int(value) for cell, value in numbers.items()}
    if values <= {1, 2} and 2 in values:  # noqa: PLR2004  the second item
        return {cell: 1 if value == 1 else -1 for cell, value in numbers.items()}
    if numbers:
        names = sorted(numbers, key=numbers.__getitem__)
        raise DataError(
            f"{table.path}: outcomes are {first_few(names, 8)}, and it is unclear which item each means",
            hint=f"Give all values of a win of the first item, for example `first_wins` {names[-1]}, and with more "
            "than two values also `second_wins` and `tie`.",
        )
    return {}


def cell_text(value: Any) -> str:
    """A cell as text: empty if missing, without decimal point for a whole number, and ``true`` or ``false``."""
    if value is None or value != value:  # noqa: PLR0124  only NaN differs from itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(?:\.\d*)?", text) is not None
