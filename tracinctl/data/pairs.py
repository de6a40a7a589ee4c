"""Samples (items with inputs) and ranking pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError

IntArray = npt.NDArray[np.int64]

_NAMED = 3  # offenders named in a message


def pair_id(first_id: str, second_id: str) -> str:
    """The id of the pair of two items, ``<first>_<second>``."""
    return f"{first_id}_{second_id}"


@dataclass(frozen=True)
class Pairs:
    """Ranking pairs ``(first, second, target)``.

    Attributes:
        first: indices of the first items, shape (pairs,), int64.
        second: indices of the second items, shape (pairs,), int64.
        target: +1 where the first item ranks above the second, -1 where below, shape (pairs,), int64.

    Raises:
        DataError: the three differ in length, or a target is neither +1 nor -1.
    """

    first: IntArray
    second: IntArray
    target: IntArray

    def __post_init__(self) -> None:
        for name in ("first", "second", "target"):
            values = np.asarray(getattr(self, name))
            whole = values.astype(np.int64)
            if values.ndim != 1 or (values.size and not np.array_equal(whole, values)):
                raise DataError(f"pairs: `{name}` must be a list of whole numbers, got shape {values.shape}")
            object.__setattr__(self, name, whole)
        if not len(self.first) == len(self.second) == len(self.target):
            raise DataError(
                f"pairs: first, second and target have {len(self.first)}, {len(self.second)} "
                f"and {len(self.target)} entries; they must be equally many"
            )
        wrong = np.flatnonzero(np.abs(self.target) != 1)
        if wrong.size:
            shown = ", ".join(f"pair {k}: {self.target[k]}" for k in wrong[:_NAMED])
            raise DataError(f"pairs: a target must be +1 or -1; {wrong.size} are not ({shown})")

    def __len__(self) -> int:
        return len(self.first)

    def ids(self, item_ids: Sequence[str]) -> list[str]:
        """The pairs' ids, given the items' ids."""
        return [pair_id(item_ids[i], item_ids[j]) for i, j in zip(self.first, self.second, strict=True)]

    def take(self, rows: npt.NDArray[Any]) -> Pairs:
        """The pairs at these rows (indices or a boolean mask)."""
        return Pairs(self.first[rows], self.second[rows], self.target[rows])

    def check_items(self, items: int, what: str) -> None:
        """Raise DataError where a pair points past ``items`` items; ``what`` names the pairs in the message."""
        wrong = np.flatnonzero((self.first < 0) | (self.first >= items) | (self.second < 0) | (self.second >= items))
        if wrong.size:
            shown = ", ".join(f"pair {k}: ({self.first[k]}, {self.second[k]})" for k in wrong[:_NAMED])
            raise DataError(f"{what}: {wrong.size} pairs point to items that are not there, of {items} ({shown})")


@dataclass(frozen=True)
class Samples:
    """Items: their ids, the model's inputs, and (where known) their class or rank value.

    Attributes:
        ids: one unique text an item.
        inputs: a tensor with items first, a list of tensors (one an item, shapes may differ), a mapping of tensors,
            or a torch ``Dataset``.
        labels: class or rank value an item, shape (items,); None where unknown.
    """

    ids: Sequence[str]
    inputs: Any
    labels: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(str(i) for i in self.ids))
        if len(set(self.ids)) != len(self.ids):
            seen: set[str] = set()
            twice = [i for i in self.ids if i in seen or seen.add(i)]  # type: ignore[func-returns-value]
            raise DataError(f"samples: ids must be unique; {len(twice)} are not ({', '.join(twice[:_NAMED])})")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RankingData:
    """Training items and pairs, and held-out ("test") items and pairs.

    Attributes:
        train, test: the items.
        train_pairs, test_pairs: pairs by index into ``train`` and ``test``.
        score: how to score items, ``score(model, inputs) -> (items,)``, where calling the model does not do it.
    """

    train: Samples
    train_pairs: Pairs
    test: Samples
    test_pairs: Pairs
    score: Callable[[Any, Any], Any] | None = field(default=None)

    def __post_init__(self) -> None:
        self.train_pairs.check_items(len(self.train), "train_pairs")
        self.test_pairs.check_items(len(self.test), "test_pairs")
