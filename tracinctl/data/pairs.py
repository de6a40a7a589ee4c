"""Samples (items with inputs) and ranking pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NAMED = 3  # offenders named in a message


def pair_id(first_id: str, second_id: str) -> str:
    """The id of the pair of two items, ``<first>_<second>``."""
    return f"{first_id}_{second_id}"


@dataclass(frozen=True)
class Pairs:
    """Ranking pairs ``(first, second, target)``, one comparison a row.

    The same two items may be compared many times, with either outcome.

    Attributes:
        first: indices of the first items, shape (pairs,), int64.
        second: indices of the second items, shape (pairs,), int64.
        target: +1 where the first item ranks above the second, -1 where below, 0 for a tie, shape (pairs,), int64.
        ids: one unique text a row; None = made from the items' ids.
        weight: of each row in the training loss, shape (pairs,); None = 1 each.
        margin: of each row, shape (pairs,); takes the place of the loss's own margin. None = that margin.
        groups: further columns by name (an annotator, a session), one value a row.
        ties: whether 0 is a tie even where no target is -1. Without it such targets are refused, because 0 then
            often means "below".

    Raises:
        DataError: the columns differ in length, a target is not one of +1, -1 and 0, a weight is negative, or an id
            occurs twice.
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
        wrong = np.flatnonzero(np.abs(self.target) > 1)
        if wrong.size:
            raise DataError(
                f"pairs: a target must be +1, -1 or 0 (a tie); {wrong.size} are not ({_some(wrong, self.target)})"
            )
        values = set(np.unique(self.target).tolist())
        if values == {0, 1} and not self.ties:
            raise DataError(
                "pairs: every target is 0 or 1, and a target must be +1, -1 or 0 (a tie)",
                hint="Write -1 where the first item ranks below, or give ties=True where 0 means a tie.",
            )

    def _check_lengths(self) -> None:
        if not len(self.first) == len(self.second) == len(self.target):
            raise DataError(
                f"pairs: first, second and target have {len(self.first):,}, {len(self.second):,} "
                f"and {len(self.target):,} entries; they must be equally many"
            )
        for name, values in (("ids", self.ids), ("weight", self.weight), ("margin", self.margin), *self.groups.items()):
            if values is not None and len(values) != len(self):
                raise DataError(
                    f"pairs: `{name}` has {len(values):,} entries for {len(self):,} pairs",
                    hint="Give one entry a pair.",
                )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, items: Sequence[str], *, ties: bool = False) -> Pairs:
        """The pairs of a pandas frame, one a row.

        Args:
            frame: with the columns ``id1``, ``id2`` and ``target``, and perhaps ``id``, ``weight`` and ``margin``. Each
                other column becomes a group.
            items: the items' ids, in the order of their ``Samples``.
            ties: whether 0 is a tie even where no target is -1.

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
        """The how-many-th comparison of its two items, in this order, each row is; from 1."""
        if self._repeat is not None:
            return self._repeat
        key = self.first * (int(self.second.max(initial=0)) + 1) + self.second
        order = np.argsort(key, kind="stable")
        begins = np.flatnonzero(np.diff(key[order], prepend=-1))
        number = np.empty(len(self), dtype=np.int64)
        number[order] = np.arange(len(self)) - np.repeat(begins, np.diff([*begins, len(self)])) + 1
        return number

    def pair_ids(self, item_ids: Sequence[str]) -> list[str]:
        """The ids of the rows' two items, ``a_b``; repeats have the same."""
        return [
            pair_id(item_ids[i], item_ids[j]) for i, j in zip(self.first.tolist(), self.second.tolist(), strict=True)
        ]

    def row_ids(self, item_ids: Sequence[str]) -> list[str]:
        """One id a row: its own, or ``a_b`` with a running number behind repeats, ``a_b#2``.

        A row keeps its number where only some rows are taken.
        """
        if self.ids is not None:
            return list(self.ids)
        return [
            name if number == 1 else f"{name}#{number}"
            for name, number in zip(self.pair_ids(item_ids), self.repeat.tolist(), strict=True)
        ]

    def check_ids(self, item_ids: Sequence[str], what: str) -> None:
        """Raise DataError where two rows have one id; ``what`` names the pairs in the message."""
        ids = self.row_ids(item_ids)
        if len(set(ids)) != len(ids):
            raise DataError(
                f"{what}: two different pairs have the id {_repeated(ids)[0]}",
                hint="Rename items so that ids are unambiguous, or give the pairs ids of their own.",
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

    def check_items(self, items: int, what: str) -> None:
        """Raise DataError where a pair points past ``items`` items; ``what`` names the pairs in the message."""
        wrong = np.flatnonzero((self.first < 0) | (self.first >= items) | (self.second < 0) | (self.second >= items))
        if wrong.size:
            shown = ", ".join(f"pair {k}: ({self.first[k]}, {self.second[k]})" for k in wrong[:_NAMED])
            raise DataError(
                f"{what}: {wrong.size} pairs point to items that are not there, of {items} ({shown})",
                hint=f"Pairs number the items from 0: here from 0 to {items - 1}.",
            )


@dataclass(frozen=True)
class Samples:
    """Items: their ids, the model's inputs, and (where known) their class or rank value.

    ``inputs`` holds one item a row, as one of

    - a tensor or a numeric array, items first; sparse ones are made dense one item at a time;
    - a list of items, each a tensor, an array, a number or a list of numbers; shapes may differ;
    - a list of tuples of tensors, the positional arguments of the model;
    - a mapping of these, the keyword arguments of the model;
    - a pandas frame of numbers, one item a row;
    - a torch ``Dataset`` that gives such an item, a mapping of tensors or lists of numbers, or a tuple
      ``(input, label)``. A label is one number, and is left out.

    Whatever else it holds is refused.

    Attributes:
        ids: one unique text an item.
        inputs: of the model, see above.
        labels: class or rank value an item, shape (items,); None where unknown.
        texts: what people read of an item, one text an item, where inputs are made from texts; None where they are not.

    Raises:
        DataError: ids are not unique, or labels or texts are not one an item.
    """

    ids: Sequence[str]
    inputs: Any
    labels: npt.NDArray[Any] | None = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(str(i) for i in self.ids))
        check_unique("samples", self.ids)
        for name in ("labels", "texts"):
            if (values := getattr(self, name)) is not None and len(values) != len(self.ids):
                raise DataError(f"samples: {len(values)} `{name}` for {len(self.ids)} ids; they must be equally many")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RankingData:
    """Training items and pairs, and held-out ("test") items and pairs.

    Attributes:
        train, test: the items.
        train_pairs, test_pairs: pairs by index into ``train`` and ``test``.
        score: how to score items, ``score(model, inputs) -> (items,)``, where calling the model does not do it.
        notes: what a user should know of how the data came to be.
        classes: names of the classes from the lowest rank up, where labels are ranks of classes.
    """

    train: Samples
    train_pairs: Pairs
    test: Samples
    test_pairs: Pairs
    score: Callable[[Any, Any], Any] | None = field(default=None)
    notes: Sequence[str] = ()
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.train_pairs.check_items(len(self.train), "train_pairs")
        self.test_pairs.check_items(len(self.test), "test_pairs")


def check_unique(what: str, ids: Sequence[str]) -> None:
    """Raise DataError where an id occurs twice; ``what`` names the ids in the message."""
    if len(set(ids)) != len(ids):
        twice = _repeated(ids)
        raise DataError(f"{what}: ids must be unique; {len(twice)} are not ({', '.join(twice[:_NAMED])})")


def _repeated(ids: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [i for i in ids if i in seen or seen.add(i)]  # type: ignore[func-returns-value]  # add gives None


def _some(rows: IntArray, values: npt.NDArray[Any]) -> str:
    return ", ".join(f"pair {k}: {values[k]}" for k in rows[:_NAMED])


def _whole_numbers(name: str, values: Any) -> IntArray:
    given = np.asarray(values)
    if given.ndim != 1:
        raise DataError(f"pairs: `{name}` must be a list of whole numbers, got shape {given.shape}")
    if given.size and given.dtype.kind not in "iuf":
        raise DataError(f"pairs: `{name}` must be a list of whole numbers, got {given.dtype}")
    # a NaN or a number beyond the range becomes another whole number, and is found as such below
    with np.errstate(invalid="ignore"):
        whole = given.astype(np.int64)
    wrong = np.flatnonzero(whole != given)
    if wrong.size:
        raise DataError(f"pairs: `{name}` must be whole numbers; {wrong.size} are not ({_some(wrong, given)})")
    return whole


def _numbers_from_zero(name: str, values: Any) -> FloatArray:
    try:
        given = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"pairs: `{name}` must be a list of numbers: {error}") from error
    if given.ndim != 1:
        raise DataError(f"pairs: `{name}` must be a list of numbers, got shape {given.shape}")
    wrong = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if wrong.size:
        raise DataError(
            f"pairs: `{name}` must be finite and not negative; {wrong.size} are not ({_some(wrong, given)})"
        )
    return given


def _column(name: object, values: Any) -> npt.NDArray[Any]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(f"pairs: `{name}` must be one value a pair, got shape {column.shape}")
    return column


def _places(ids: npt.NDArray[Any], place: Mapping[str, int], name: str) -> IntArray:
    names = [str(item) for item in ids]
    unknown = [k for k, item in enumerate(names) if item not in place]
    if unknown:
        shown = ", ".join(f"row {k}: {names[k]}" for k in unknown[:_NAMED])
        raise DataError(
            f"pairs: column {name} holds {len(unknown)} unknown items ({shown})",
            hint="Give the ids of all items, as their Samples have them.",
        )
    return np.array([place[item] for item in names], dtype=np.int64)
