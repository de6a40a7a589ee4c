"""Split items into training and held-out ones, and make their pairs, if no file does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, Pairs
from tracinctl.errors import UsageError

TRAIN_SHARE: Final = 0.7
MOST_TRAIN_PAIRS: Final = 100_000
MOST_TEST_PAIRS: Final = 5_000
"""Limits on the numbers of pairs, above which pairs are drawn; both together make a score file of 4 GB."""


@dataclass(frozen=True)
class Split:
    """Rows of the training items and of the held-out items, pairs as indices into these, and remarks for the user."""

    train: list[int]
    test: list[int]
    train_pairs: Pairs
    test_pairs: Pairs
    notes: tuple[str, ...] = ()


def split_by_seed(
    labels: FloatArray, rule: str | None = None, seed: int = 42, train_share: float = TRAIN_SHARE
) -> Split:
    """Divide items at random, and make their pairs by a rule, ``every`` or ``drawn``; None = ``every``."""
    if rule not in {None, "every", "drawn"}:
        raise UsageError(f"pairs is {rule!r}; it must be every or drawn")
    train, test = split_items(len(labels), seed, train_share)
    if rule == "drawn":
        drawn, held_out = draw_pairs(labels[train], labels[test], seed)
        return Split(train, test, drawn, held_out)
    sides = (labels[train], MOST_TRAIN_PAIRS, "training"), (labels[test], MOST_TEST_PAIRS, "held-out")
    notes = [
        f"{most:,} of {total:,} {part} pairs were drawn at random with the seed; give a pairs file to use others"
        for side, most, part in sides
        if (total := pair_count(side)) > most
    ]
    train_pairs, test_pairs = (every_pair(side, most, seed) for side, most, _ in sides)
    return Split(train, test, train_pairs, test_pairs, tuple(notes))


def split_items(items: int, seed: int = 42, train_share: float = TRAIN_SHARE) -> tuple[list[int], list[int]]:
    """Divide items at random into a training share (rounded down) and a held-out rest.

    The indices are in the order of ``torch.utils.data.random_split`` with a generator of this seed.

    Raises:
        UsageError: ``train_share`` is not between 0 and 1.
    """
    import torch

    if not 0 < train_share < 1:
        raise UsageError(f"train_share is {train_share}; it must be between 0 and 1, for example {TRAIN_SHARE}")
    train = int(train_share * items)
    order = torch.randperm(items, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[:train], order[train:]


def pair_count(labels: FloatArray) -> int:
    """Number of pairs of items of different class."""
    _, sizes = np.unique(labels, return_counts=True)
    return (len(labels) ** 2 - int((sizes.astype(np.int64) ** 2).sum())) // 2


def every_pair(labels: FloatArray, most: int | None = None, seed: int = 42) -> Pairs:
    """Every pair of items of different class once, in item order; target +1 if the first item ranks above.

    If there are more than ``most``, that many are drawn, each with the same chance.
    """
    if most is not None and pair_count(labels) > most:
        return _some_pairs(labels, most, seed)
    first, second = np.triu_indices(len(labels), k=1)
    return _with_targets(labels, first, second)


def draw_pairs(train_labels: FloatArray, test_labels: FloatArray, seed: int = 42) -> tuple[Pairs, Pairs]:
    """Draw n(n-1)/2 pairs of different items with replacement, for each part.

    Draws of equal class are dropped, so there are fewer pairs than draws. A pair can occur twice and in both orders.
    The draws equal those of ``numpy.random.seed(seed)`` and ``numpy.random.choice(n, 2, replace=False)``, first for
    the training items, then for the held-out ones.
    """
    random = np.random.RandomState(seed)  # the generator behind numpy.random.choice
    train, test = (_drawn(labels, random) for labels in (train_labels, test_labels))
    return train, test


def _drawn(labels: FloatArray, random: np.random.RandomState) -> Pairs:
    n = len(labels)
    draws = np.empty((n * (n - 1) // 2, 2), dtype=np.int64)
    for draw in draws:
        draw[:] = random.choice(n, 2, replace=False)
    return _with_targets(labels, draws[:, 0], draws[:, 1])


def _some_pairs(labels: FloatArray, most: int, seed: int) -> Pairs:
    random, n = np.random.default_rng(seed), len(labels)
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < most:
        drawn = random.integers(0, n, (2, 2 * most))
        low, high = drawn.min(axis=0), drawn.max(axis=0)
        differ = labels[low] != labels[high]
        keys = np.unique(np.concatenate([keys, low[differ] * n + high[differ]]))
    chosen = np.sort(random.permutation(keys)[:most])
    return _with_targets(labels, chosen // n, chosen % n)


def _with_targets(labels: FloatArray, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Pairs:
    target = np.sign(labels[first] - labels[second]).astype(np.int64)
    differ = target != 0
    return Pairs(first[differ], second[differ], target[differ])
