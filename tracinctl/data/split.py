"""Which items train and which are held out, and which pairs are made of them where nobody says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import Pairs

TRAIN_SHARE = 0.7


def split_items(items: int, seed: int = 42) -> tuple[list[int], list[int]]:
    """Divide items at random into 70 % (rounded down) to train on and the rest, held out.

    Returns:
        Indices of the training items and of the held-out items, each in the order that the draw gave them: the order
        of ``torch.utils.data.random_split`` with a generator of this seed.
    """
    import torch

    train = int(TRAIN_SHARE * items)
    order = torch.randperm(items, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[:train], order[train:]


def every_pair(labels: npt.NDArray[np.float64]) -> Pairs:
    """Every pair of items of different class once, in item order; target +1 where the first ranks above."""
    first, second = np.triu_indices(len(labels), k=1)
    return _with_targets(labels, first, second)


def draw_pairs(
    train_labels: npt.NDArray[np.float64], test_labels: npt.NDArray[np.float64], seed: int = 42
) -> tuple[Pairs, Pairs]:
    """Draw n(n-1)/2 pairs of two different items, with replacement between draws, of either part in turn.

    Draws of equal class are dropped, so there are fewer pairs than draws, and a pair can come twice and in both
    orders. The draws are those of ``numpy.random.seed(seed)`` and ``numpy.random.choice(n, 2, replace=False)``, first
    for the training items, then for the held-out ones.
    """
    random = np.random.RandomState(seed)  # the generator that the users' training code draws from
    parts = []
    for labels in (train_labels, test_labels):
        n = len(labels)
        draws = [random.choice(n, 2, replace=False) for _ in range(n * (n - 1) // 2)]
        drawn = np.array(draws, dtype=np.int64).reshape(-1, 2)
        parts.append(_with_targets(labels, drawn[:, 0], drawn[:, 1]))
    return parts[0], parts[1]


def _with_targets(
    labels: npt.NDArray[np.float64], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> Pairs:
    target = np.sign(labels[first] - labels[second]).astype(np.int64)
    differ = target != 0
    return Pairs(first[differ], second[differ], target[differ])
