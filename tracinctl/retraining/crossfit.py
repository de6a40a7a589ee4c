"""Out-of-fold rankers judge each training pair without having trained on it (cross-fitting).

Comparisons are repeatedly halved at random, and a ranker is trained on each half. The suspicion of a comparison is the
share of the rankers not trained on it that rank it the other way. This needs trainings, but no held-out pairs.

Further rounds gain little for their trainings (see the package's README), so there are 16 rankers and one round. The
choice lists what more than half of the rankers contradict, if rankers that trained on it do not fit it either
(``margins.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, IntArray, RankingData
from tracinctl.retraining.trainer import END, Train, Trained, Training

BoolArray = npt.NDArray[np.bool_]

RANKERS = 16


@dataclass(frozen=True)
class CrossFit:
    """Rankers on halves of the training comparisons.

    Attributes:
        seed: seed of the first ranker; the others use the following ones.
        trained_on: whether each ranker trained on each pair, shape (rankers, pairs).
    """

    seed: int
    trained_on: BoolArray
    trained: Sequence[Trained]

    def suspicion(self, data: RankingData) -> FloatArray:
        """The share of rankers not trained on each pair that rank it the other way, at the end of the training."""
        scores = np.array([ranker.scores_at(END, data.train.ids) for ranker in self.trained])
        pairs = data.train_pairs
        wrong = (scores[:, pairs.first] - scores[:, pairs.second]) * pairs.target <= 0
        wrong &= pairs.target != 0  # a tie cannot be ranked the other way
        return np.asarray((wrong & ~self.trained_on).sum(0) / (~self.trained_on).sum(0), dtype=np.float64)

    def first(self, rankers: int) -> CrossFit:
        """The first rankers, an even number, so that both halves of each division are there."""
        return CrossFit(self.seed, self.trained_on[:rankers], self.trained[:rankers])


def cross_fit(
    train: Train, data: RankingData, seed: int, *, rankers: int = RANKERS, loss: str | None = None
) -> CrossFit:
    """Train rankers, an even number, on halves of the training comparisons; ``train`` scores all items."""
    names = np.array(data.train_pairs.row_ids(data.train.ids), dtype=object)
    trained_on = _halves(comparison_rows(data), rankers, np.random.default_rng([seed, 11, 0]))
    plan = [
        Training(f"half {k + 1}", k + 1, seed + k, tuple(names[~half]), loss=loss, all_items=True)
        for k, half in enumerate(trained_on)
    ]
    return CrossFit(seed, trained_on, train(plan))


def comparison_rows(data: RankingData) -> IntArray:
    """A number for each training pair, equal for a pair, its mirror image and its repeats."""
    pairs = data.train_pairs
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    return np.asarray(np.unique(low * len(data.train) + high, return_inverse=True)[1], dtype=np.int64)


def _halves(comparisons: IntArray, rankers: int, random: np.random.Generator) -> BoolArray:
    """Whether each ranker trains on each pair, shape (rankers, pairs): complementary halves of the comparisons."""
    count = int(comparisons.max()) + 1
    halves = []
    for _ in range(rankers // 2):
        half = (random.permutation(count) < count // 2)[comparisons]
        halves += [half, ~half]
    return np.stack(halves)
