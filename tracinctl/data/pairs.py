"""Samples (items with inputs) and their ranking pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError
from tracinctl.text import count

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NAMED = 3  # number of wrong entries that a message names


def pair_id(first_id: str, second_id: str) -> str:
    """The id of the pair of two items, ``<first>_<second>``."""
    return f"{first_id}_{second_id}"


@dataclass(frozen=True)
class Pairs:
    """Ranking pairs ``(first, second, target)``, one comparison per row.

    The same two items may be compared several times, with different outcomes.

    Attributes:
        first: indices of the first items, shape (pairs,), int64.
        second: indices of the second items, shape (pairs,), int64.
        target: +1 if the first item ranks above the second, -1 if below, 0 for a tie, shape (pairs,), int64.
        ids: one unique text per row; None = made from the items' ids.
        weight: weights in the training loss, shape (pairs,); None = 1.
        margin: margins that replace the loss's margin, shape (pairs,); None = the loss's margin.
        groups: additional columns by name (an annotator, a session), one value per row.
        ties: whether 0 means a tie even if no target is -1. Otherwise such targets are refused, because 0 then
            often means "below".

    Raises:
        DataError: the columns differ in length, a target is not +1, -1 or 0, a weight is negative, or an id occurs
            twice.
    """

    first: IntArray
    second: IntArray
    target: IntArray
    ids: Sequence[str] | None = None
    weight: FloatArray | None = None
    margin: FloatArray | None = None
    groups: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    ties: bool = False
    _repeat: IntArray | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("first", "second", "target"):
            object.__setattr__(self, name, _whole_numbers(name, getattr(self, name)))
        for name in ("weight", "margin"):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _numbers_from_zero(name, values))
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(map(str, self.ids)))
            check_unique("pairs", self.ids)
        object.__setattr__(self, "groups", {str(k): _column(k, v) for k, v in self.groups.items()})
        self._check_lengths()
        self._check_targets()

    def _check_targets(self) -> None:
        _refuse("target", "+1, -1 or 0 (a tie)", np.abs(self.target) > 1, self.target)
        values = set(np.unique(self.target).tolist())
        if values == {0, 1} and not self.ties:
            raise DataError(
                "pairs: every target is 0 or 1, and a target must be +1, -1 or 0 (a tie)",
                hint="Write -1 if the first item ranks below, or give ties=True if 0 means a tie.",
            )

    def _check_lengths(self) -> None:
        columns = {name: getattr(self, name) for name in ("second", "target", "ids", "weight", "margin")}
        for name, values in (*columns.items(), *self.groups.items()):
            if values is not None and len(values) != len(self):
                raise DataError(
                    f"pairs: `{name}` has {len(values):,} entries for {len(self):,} pairs",
                    hint="Give one entry per pair.",
                )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, items: Sequence[str], *, ties: bool = False) -> Pairs:
        """Make pairs from a pandas frame, one per row.

        Args:
            frame: has the columns ``id1``, ``id2`` and ``target``, optionally ``id``, ``weight`` and ``margin``. Every
                other column becomes a group.
            items: the items' ids, in the order of their ``Samples``.
            ties: whether 0 means a tie even if no target is -1.

        Raises:
            DataError: a column is missing, or a cell holds an unknown item.
        """
        columns: dict[str, Any] = {str(name): frame[name].to_numpy() for name in frame.columns}
        missing = [name for name in ("id1", "id2", "target") if name not in columns]
        if missing:
            raise DataError(
                f"pairs: the frame has no column {', '.join(missing)}", hint=f"It has {', '.join(columns)}."
            )
        place = {str(item): k for k, item in enumerate(items)}
        return cls(
            _places(columns.pop("id1"), place, "id1"),
            _places(columns.pop("id2"), place, "id2"),
            columns.pop("target"),
            ids=columns.pop("id", None),
            weight=columns.pop("weight", None),
            margin=columns.pop("margin", None),
            groups=columns,
            ties=ties,
        )

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def repeat(self) -> IntArray:
        """Number each row among the comparisons of its two items in this order, from 1."""
        if self._repeat is not None:
            return self._repeat
        key = self.first * (int(self.second.max(initial=0)) + 1) + self.second
        order = np.argsort(key, kind="stable")
        begins = np.flatnonzero(np.diff(key[order], prepend=-1))
        number = np.empty(len(self), dtype=np.int64)
        number[order] = np.arange(len(self)) - np.repeat(begins, np.diff([*begins, len(self)])) + 1
        return number

    def pair_ids(self, item_ids: Sequence[str]) -> list[str]:
        """The ids of the rows' two items, ``a_b``; repeats have the same id."""
        return [
            pair_id(item_ids[i], item_ids[j]) for i, j in zip(self.first.tolist(), self.second.tolist(), strict=True)
        ]

    def row_ids(self, item_ids: Sequence[str]) -> list[str]:
        """One id per row: its own, or ``a_b``; repeats have a number, ``a_b#2``.

        A row keeps its number when only some rows are taken.
        """
        if self.ids is not None:
            return list(self.ids)
        names, repeat = self.pair_ids(item_ids), self.repeat
        for row in np.flatnonzero(repeat > 1).tolist():
            names[row] = f"{names[row]}#{repeat[row]}"
        return names

    def check_ids(self, item_ids: Sequence[str], label: str) -> None:
        """Raise DataError if two rows have the same id; ``label`` names the pairs in the message."""
        ids = self.row_ids(item_ids)
        if len(set(ids)) != len(ids):
            raise DataError(
                f"{label}: two different pairs have the id {_repeated(ids)[0]}",
                hint="Rename items so that ids are unambiguous, or give the pairs their own ids.",
            )

    def take(self, rows: npt.NDArray[Any]) -> Pairs:
        """The pairs at these rows (indices or a boolean mask)."""
        where = np.arange(len(self))[rows]

        def part(values: npt.NDArray[Any] | None) -> Any:
            return None if values is None else values[where]

        return Pairs(
            self.first[where],
            self.second[where],
            self.target[where],
            None if self.ids is None else [self.ids[k] for k in where],
            part(self.weight),
            part(self.margin),
            {name: values[where] for name, values in self.groups.items()},
            ties=True,
            _repeat=self.repeat[where],
        )

    def check_items(self, items: int, label: str) -> None:
        """Raise DataError if a pair's index is not below ``items``; ``label`` names the pairs in the message."""
        wrong = np.flatnonzero((self.first < 0) | (self.first >= items) | (self.second < 0) | (self.second >= items))
        if wrong.size:
            shown = ", ".join(f"pair {k}: ({self.first[k]}, {self.second[k]})" for k in wrong[:_NAMED])
            raise DataError(
                f"{label}: {count(int(wrong.size), 'pair')} with an index outside the {items} items ({shown})",
                hint=f"Items are numbered from 0 to {items - 1}.",
            )


@dataclass(frozen=True)
class Samples:
    """Items: their ids, the model's inputs, and their class or rank value, if known.

    ``inputs`` holds one item per row, as one of

    - a tensor or a numeric array, items first; sparse ones are made dense one item at a time;
    - a list of items, each a tensor, an array, a number or a list of numbers; shapes may differ;
    - a list of tuples of tensors, the positional arguments of the model;
    - a mapping of these, the keyword arguments of the model;
    - a pandas frame of numbers, one item per row;
    - a torch ``Dataset`` that returns such an item, a mapping of tensors or lists of numbers, or a tuple
      ``(input, label)``. A label is one number and is left out.

    Any other form is refused.

    Attributes:
        ids: one unique text per item.
        inputs: the model's inputs, see above.
        labels: one class or rank value per item, shape (items,); None if unknown.
        texts: one text per item for people to read, if inputs are made from texts; else None.

    Raises:
        DataError: ids are not unique, or there is not one label or text per item.
    """

    ids: Sequence[str]
    inputs: Any
    labels: npt.NDArray[Any] | None = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ids, str) or not isinstance(self.ids, Iterable):
            raise DataError(
                f"samples: `ids` is a {type(self.ids).__name__}, not a list of ids", hint="Give one text per item."
            )
        object.__setattr__(self, "ids", tuple(str(i) for i in self.ids))
        check_unique("samples", self.ids)
        for name in ("labels", "texts"):
            if (values := getattr(self, name)) is not None and len(values) != len(self.ids):
                raise DataError(
                    f"samples: {len(values)} `{name}` for {len(self.ids)} ids", hint="Give as many as there are ids."
                )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RankingData:
    """Training items and pairs, and held-out ("test") items and pairs.

    Attributes:
        train, test: the items.
        train_pairs, test_pairs: pairs by index into ``train`` and ``test``.
        score: ``score(model, inputs) -> (items,)``, if calling the model does not return the scores.
        notes: remarks on the data for the user.
        classes: names of the classes, lowest rank first, if labels are ranks of classes.
    """

    train: Samples
    train_pairs: Pairs
    test: Samples
    test_pairs: Pairs
    score: Callable[[Any, Any], Any] | None = field(default=None)
    notes: Sequence[str] = ()
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, kind in (("train", Samples), ("train_pairs", Pairs), ("test", Samples), ("test_pairs", Pairs)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise DataError(
                    f"data: `{name}` is a {type(value).__name__}, not {kind.__name__}",
                    hint="Give RankingData(Samples(...), Pairs(...), Samples(...), Pairs(...)).",
                )
        self.train_pairs.check_items(len(self.train), "train_pairs")
        self.test_pairs.check_items(len(self.test), "test_pairs")


def check_unique(label: str, ids: Sequence[str]) -> None:
    """Raise DataError if an id occurs twice; ``label`` names the ids in the message."""
    if len(set(ids)) != len(ids):
        twice = _repeated(ids)
        raise DataError(f"{label}: ids must be unique; {len(twice)} are not ({', '.join(twice[:_NAMED])})")


def _repeated(ids: Sequence[str]) -> list[str]:
    return [name for name, times in Counter(ids).items() if times > 1]


def _refuse(name: str, rule: str, wrong: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> None:
    """Raise DataError if some values break a rule; the message names the first ones."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        shown = ", ".join(f"pair {k}: {values[k]}" for k in rows[:_NAMED])
        raise DataError(f"pairs: `{name}` must be {rule}; {rows.size} are not ({shown})")


def _column(name: object, values: Any) -> npt.NDArray[Any]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(f"pairs: `{name}` must have one value per pair, got shape {column.shape}")
    return column


def _whole_numbers(name: str, values: Any) -> IntArray:
    column = _column(name, values)
    if column.size and column.dtype.kind not in "iuf":
        raise DataError(f"pairs: `{name}` must be a list of whole numbers, got {column.dtype}")
    # NaN and numbers out of range become other whole numbers, which the check finds
    with np.errstate(invalid="ignore"):
        numbers = column.astype(np.int64)
    _refuse(name, "whole numbers", numbers != column, column)
    return numbers


def _numbers_from_zero(name: str, values: Any) -> FloatArray:
    try:
        numbers = _column(name, values).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"pairs: `{name}` must be a list of numbers: {error}") from error
    _refuse(name, "finite and not negative", ~(np.isfinite(numbers) & (numbers >= 0)), numbers)
    return numbers


def _places(ids: npt.NDArray[Any], place: Mapping[str, int], name: str) -> IntArray:
    names = [str(item) for item in ids]
    unknown = [k for k, item in enumerate(names) if item not in place]
    if unknown:
        shown = ", ".join(f"row {k}: {names[k]}" for k in unknown[:_NAMED])
        raise DataError(
            f"pairs: column {name} holds {len(unknown)} unknown items ({shown})",
            hint="Give the ids of all items, as in their Samples.",
        )
    return np.array([place[item] for item in names], dtype=np.int64)
