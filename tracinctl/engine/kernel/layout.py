"""The inner products that a kernel holds.

A kernel has a row for every item, and a column for the items of the first rows.

- With up to ``COMPLETE`` items, every item has a column, so that the kernel serves any pairs and any division into
  training and held-out items.
- With more items, the held-out ones have columns, and ``NEIGHBOURS`` training items with which item-level influence
  compares the others. The kernel also has the products of the items of each training pair.
- If items each occur in little more than one pair, as in preference data, and the loss depends on the difference of
  scores, rows are not items but pairs: the differences of their gradients, which are a quarter of the products. With up
  to ``COMPLETE`` items, every pair has a column. With more, the held-out pairs do, and for methods that need landmarks
  ``NEIGHBOURS`` training pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import IntArray, Pairs
from tracinctl.engine.items import Items

Bytes = npt.NDArray[np.uint8]

COMPLETE = 2048
"""Up to this many items (32 MiB per checkpoint), all inner products are held."""

NEIGHBOURS = 1024
"""With more items, this many training items have columns."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio
_ONCE = 0.75  # largest number of pairs per item for which rows are pairs


@dataclass(frozen=True)
class KernelLayout:
    """The rows and columns of a kernel, and the additional pairs of rows whose products it holds.

    Attributes:
        first: item of each row, shape (rows,).
        second: item whose gradient is subtracted, shape (rows,); None if rows are items.
        columns: number of first rows that have columns.
        pairs: rows of the two items of each training pair, shape (pairs, 2), if not all rows have columns.
        train_rows, test_rows: rows of the training and held-out items, or of the pairs if rows are pairs.
        neighbours: columns of the training items or pairs with which item-level influence compares.
        digests: digests of the rows, 16 bytes each, shape (rows, 16).
        item_digests: digests of the items, shape (items, 16).
    """

    first: IntArray
    second: IntArray | None
    columns: int
    pairs: IntArray
    train_rows: IntArray
    test_rows: IntArray
    neighbours: IntArray
    digests: Bytes
    item_digests: Bytes

    def __len__(self) -> int:
        return len(self.first)

    @property
    def item_view(self) -> str:
        """How item-level influence is computed, in words."""
        if self.second is not None:
            return "all pairs" if len(self.neighbours) else "own pairs"
        return "all items" if self.columns == len(self) else f"{len(self.neighbours):,} neighbours"

    @property
    def notes(self) -> list[str]:
        """Notes for the user."""
        if self.columns < len(self) and self.second is not None:
            return [f"more than {COMPLETE:,} items in one pair each: item-level influence uses only their own scores"]
        if self.columns < len(self):
            return [f"more than {COMPLETE:,} items: item-level influence uses {len(self.neighbours):,} training items"]
        return []

    def items_of(self, rows: IntArray) -> IntArray:
        """The items behind these rows: the first ones, then the second ones."""
        return self.first[rows] if self.second is None else np.concatenate([self.first[rows], self.second[rows]])

    @cached_property
    def key(self) -> str:
        """A digest of the layout, for the name of a file."""
        state = hashlib.sha256(self.digests.tobytes())
        state.update(self.item_digests.tobytes())
        state.update(f"{self.columns} {self.second is None}".encode())
        state.update(self.pairs.tobytes())
        return state.hexdigest()[:40]


def kernel_layout(
    items: Items,
    train_items: int,
    train_pairs: Pairs,
    test_pairs: Pairs,
    *,
    of_difference: bool,
    landmarks: bool = False,
) -> KernelLayout:
    """The layout for these pairs.

    Args:
        items: training items, then held-out ones.
        train_items: number of training items.
        train_pairs: pairs as indices into the training items.
        test_pairs: pairs as indices into the held-out items.
        of_difference: whether the loss depends only on the difference of scores.
        landmarks: whether some training rows need columns even if rows are pairs.
    """
    count = len(items)
    digests = np.frombuffer(bytes.fromhex("".join(items.digests)), dtype=np.uint8).reshape(count, -1)[:, :16].copy()
    shape = items.shapes
    nothing = np.zeros(0, dtype=np.int64)
    if of_difference and _occur_once(train_pairs, test_pairs):
        few = NEIGHBOURS if landmarks else 0
        train_columns = len(train_pairs) if count <= COMPLETE else few
        return _pairs_layout(digests, shape, train_items, train_pairs, test_pairs, train_columns)
    if count <= COMPLETE:
        order = np.argsort(shape, kind="stable")
        place = _places(order)
        train = place[:train_items]
        return KernelLayout(
            order, None, count, nothing.reshape(0, 2), train, place[train_items:], train, digests[order], digests
        )
    test = np.arange(train_items, count)
    # choose neighbours by their content, so that the choice does not depend on other items
    by_content = _by_content(digests[:train_items])
    neighbours = by_content[:NEIGHBOURS]
    columns = np.concatenate([test, np.sort(neighbours)])
    columns = columns[np.argsort(shape[columns], kind="stable")]
    others = _beside_their_partners(train_pairs, np.setdiff1d(np.arange(train_items), neighbours))
    order = np.concatenate([columns, others])
    place = _places(order)
    pairs = np.sort(np.stack([place[train_pairs.first], place[train_pairs.second]], 1), 1)
    pairs = np.unique(pairs, axis=0)
    return KernelLayout(
        order,
        None,
        len(columns),
        pairs,
        place[:train_items],
        place[train_items:],
        place[np.sort(neighbours)],
        digests[order],
        digests,
    )


def _pairs_layout(
    digests: Bytes,
    shape: IntArray,
    train_items: int,
    train_pairs: Pairs,
    test_pairs: Pairs,
    train_columns: int,
) -> KernelLayout:
    """The layout whose rows are pairs, with columns for the held-out ones and this many training ones."""
    train_rows, train_once = _once(train_pairs)
    test_rows, test_once = _once(test_pairs)
    first = np.concatenate([test_once[:, 0] + train_items, train_once[:, 0]])
    second = np.concatenate([test_once[:, 1] + train_items, train_once[:, 1]])
    held_out = len(test_once)
    own_digests = _digests_of_pairs(digests[first], digests[second])
    by_content = _by_content(own_digests[held_out:])
    with_columns, others = np.split(held_out + by_content, [train_columns])
    parts = np.arange(held_out), with_columns, np.sort(others)
    order = np.concatenate([part[np.lexsort([shape[second[part]], shape[first[part]]])] for part in parts])
    place = _places(order)
    nothing = np.zeros(0, dtype=np.int64)
    return KernelLayout(
        first[order],
        second[order],
        held_out + len(with_columns),
        nothing.reshape(0, 2),
        place[held_out:][train_rows],
        place[:held_out][test_rows],
        nothing if len(others) else np.sort(place[held_out:]),
        own_digests[order],
        digests,
    )


def _occur_once(*sides: Pairs) -> bool:
    """Whether items occur in little more than one pair."""
    items = sum(len(np.unique([pairs.first, pairs.second])) for pairs in sides)
    return sum(map(len, sides)) <= _ONCE * items


def _by_content(digests: Bytes) -> IntArray:
    """The order of these digests of 16 bytes."""
    halves = np.ascontiguousarray(digests).view(">u8")
    return np.lexsort([halves[:, 1], halves[:, 0]])


def _digests_of_pairs(first: Bytes, second: Bytes) -> Bytes:
    """Digests of pairs from those of their items, 16 bytes each."""
    a, b = (np.ascontiguousarray(digests).view(np.uint64) for digests in (first, second))
    # digests are as good as random, so sums modulo 2^64 are; the factor tells a pair from its reverse
    return (_FACTOR * a + b).view(np.uint8)


def _once(pairs: Pairs) -> tuple[IntArray, IntArray]:
    """For each pair, its number among the distinct pairs; and their items, shape (distinct pairs, 2), in order."""
    key = pairs.first * (int(pairs.second.max(initial=0)) + 1) + pairs.second
    _, begins, place = np.unique(key, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(begins))
    begins = np.sort(begins)
    return rank[place], np.stack([pairs.first[begins], pairs.second[begins]], 1)


def _places(order: IntArray) -> IntArray:
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


def _beside_their_partners(pairs: Pairs, items: Sequence[int] | IntArray) -> IntArray:
    """Order these items so that those of a pair are neighbours, as far as possible."""
    wanted = np.zeros(max(int(max(pairs.first.max(), pairs.second.max())) + 1, int(np.max(items, initial=0)) + 1), bool)
    wanted[items] = True
    mentioned = np.stack([pairs.first, pairs.second], 1).reshape(-1)
    _, at = np.unique(mentioned, return_index=True)
    by_pair = mentioned[np.sort(at)]
    unpaired = np.setdiff1d(np.asarray(items), by_pair)
    return np.concatenate([by_pair[wanted[by_pair]], unpaired])
