"""Judge ways to train by the training pairs that a ranker did not train on.

Held-out pairs are often too few to tell two ways to train apart, but there are many training pairs. So rankers train on
one half of the comparisons, and the other half judges them. A list that a way leaves out is made by the ranker of its
half alone: no pair that judges has a part in it.

These pairs are of items that the ranker knows, some of their outcomes are wrong, and the rankers have half of the pairs
only, so that they miss what is left out more. On items that took no part, a way gains more than here. The difference is
larger where rankers contradict more of the pairs that they did not train on. Mean difference on seeds from 100 on, with
10 passes (digits: 30), points:

    set                        contradicted  capped loss  least fitted 10 %  least fitted 20 %
    people's votes                     32 %         +2.0               +1.5               +1.9
    digits, 15 % flipped               21 %         +1.5               +0.7               +0.8
    digits, 30 % flipped               38 %         +0.7               +0.4               +1.3
    diabetes                           20 %         +0.7               +1.7               +2.8
    diabetes, 15 % flipped             29 %         +0.9               +1.0               +2.5
    digits                              1 %         +0.6               +2.5               +3.2
    digits, 10 % mislabelled            3 %         +2.8               +7.3               +9.4

So 5 % of the contradicted share is added to a gain, and 3 % of it to its error. Where items are mislabelled, or where
few pairs are contradicted, this is too little, which keeps the choice with nothing and with the rules that held-out
pairs judge alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import RankingData
from tracinctl.retraining.choice import BEST_CELLS, Estimate, item_error, smoothed
from tracinctl.retraining.crossfit import CrossFit
from tracinctl.retraining.margins import margins_of
from tracinctl.retraining.trainer import Trained, Training

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

RANKERS = 8
"""Number of rankers of each way; with 16 the error is 0.32 points instead of 0.36 (diabetes, ten passes)."""
_MORE_ON_OTHERS = 0.05  # gain on other items beyond the gain here, as a share of the contradicted pairs
_ERROR_ON_OTHERS = 0.03  # its standard error, as a share of the contradicted pairs


@dataclass(frozen=True)
class Way:
    """A way to train: without a share of the pairs, those fitted least, and under a loss (None = the default)."""

    share: float = 0.0
    loss: str | None = None

    def __str__(self) -> str:
        left_out = f"without the least fitted {self.share:.0%}" if self.share else "everything"
        return f"{left_out}, {self.loss} loss" if self.loss else left_out


def unseen_gains(
    train: Callable[[Sequence[Training]], Sequence[Trained]],
    data: RankingData,
    fold: CrossFit,
    ways: Sequence[Way],
) -> list[Estimate]:
    """The gain of each way over training on everything, by the pairs of the half that was not trained on.

    Args:
        train: runs trainings that score all items at their stops.
        data: items and pairs.
        fold: rankers that trained on halves, with everything in a half.
        ways: the ways to train.
    """
    names, doubted = np.array(data.train_pairs.row_ids(data.train.ids), dtype=object), fold.suspicion(data).mean()
    fold = fold.first(RANKERS)
    plan = [
        Training(f"half {k + 1}, {way}", k + 1, fold.seed + k, tuple(names[~kept]), loss=way.loss, all_items=True)
        for way in ways
        for k, kept in enumerate(_kept(data, fold, way.share))
    ]
    trained, usual = train(plan), _right(data, fold, fold.trained)
    by_way = (trained[k * len(fold.seen) :][: len(fold.seen)] for k in range(len(ways)))
    gains = [_gain(data, _right(data, fold, rankers), usual) for rankers in by_way]
    return [
        Estimate(gain.mean + _MORE_ON_OTHERS * doubted, float(np.hypot(gain.error, _ERROR_ON_OTHERS * doubted)))
        for gain in gains
    ]


def _kept(data: RankingData, fold: CrossFit, share: float) -> BoolArray:
    """The pairs that each ranker trains on: its half without the share that its ranker of everything fits least."""
    kept = fold.seen.copy()
    for row, ranker in zip(kept, fold.trained if share else (), strict=bool(share)):
        pairs = np.flatnonzero(row)
        order = np.argsort(margins_of(ranker, data)[pairs], kind="stable")
        row[pairs[order[: round(share * len(pairs))]]] = False
    return kept


def _right(data: RankingData, fold: CrossFit, trained: Sequence[Trained]) -> FloatArray:
    """The share of the rankers not trained on it that rank each pair correctly at each stop, shape (stops, pairs)."""
    pairs, right = data.train_pairs, []
    for stop in trained[0].stops:
        scores = np.array([ranker.scores_at(stop, data.train.ids) for ranker in trained])
        correct = (scores[:, pairs.first] - scores[:, pairs.second]) * pairs.target > 0
        right.append((correct & ~fold.seen).sum(0) / (~fold.seen).sum(0))
    return np.array(right)


def _gain(data: RankingData, ours: FloatArray, usual: FloatArray) -> Estimate:
    """The difference of the means of the best stops, over pairs that are no ties."""
    rows = np.flatnonzero(data.train_pairs.target)
    best, usual_best = (
        np.argsort(-smoothed(right[:, rows].mean(1)[None])[0], kind="stable") for right in (ours, usual)
    )
    gain = (ours[best[:BEST_CELLS]].mean(0) - usual[usual_best[:BEST_CELLS]].mean(0))[rows]
    error = item_error(gain, data.train_pairs.take(rows), np.random.default_rng([len(ours), 17]))
    return Estimate(float(gain.mean()), error)
