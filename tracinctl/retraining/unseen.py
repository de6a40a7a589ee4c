"""Judge ways to train by the training pairs that a ranker did not train on.

Held-out pairs are often too few to tell two ways to train apart, but there are many training pairs. So rankers train on
one half of the comparisons, and the other half judges them. A list that a way leaves out is made by the ranker of its
half alone: no pair that judges has a part in it.

These pairs are of items that the ranker knows, some of their outcomes are wrong, and the rankers have half of the pairs
only, so that they miss what is left out more. On items that took no part, a way gains more than here. The difference is
larger where rankers contradict more of the pairs that they did not train on. Mean difference on n seeds from 100 on,
with 10 passes (digits: 30), points:

    set                      n  contradicted  capped loss  without what is not fitted
    people's votes           8          32 %         +1.2                        +1.7
    digits, 15 % flipped     8          19 %         +0.5                        +0.9
    digits, 30 % flipped     8          37 %         +1.4                        +2.0
    web search, 20 % flipped 3          35 %         +1.2                        +1.9
    diabetes                 4          20 %         +2.0                        +3.9
    diabetes, 15 % flipped   4          30 %         +1.0                        +2.8
    digits                   8           1 %         +0.5                        +0.4

So 6 % of the contradicted share is added to the gain of a list, 4 % to that of the loss, and 3 % to their errors. Where
the features say little (diabetes), this is too little, which keeps the choice with nothing and with the rules that
held-out pairs judge alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import RankingData
from tracinctl.retraining.choice import BEST_CELLS, Estimate, item_error, smoothed
from tracinctl.retraining.crossfit import CrossFit
from tracinctl.retraining.margins import margins_of
from tracinctl.retraining.trainer import Train, Trained, Training

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

RANKERS = 8
"""Number of rankers of each way; with 16 the error is 0.32 points instead of 0.36 (diabetes, ten passes)."""
_MORE_BY_LIST = 0.06  # gain of a list on other items beyond the gain here, as a share of the contradicted pairs
_MORE_BY_LOSS = 0.04  # the same of the loss
_ERROR_ON_OTHERS = 0.03  # their standard error, as a share of the contradicted pairs


@dataclass(frozen=True)
class UnseenGains:
    """Gains over training on everything under the default loss.

    Attributes:
        fitted: gain of leaving out what rankers do not fit.
        left_out: the share of the pairs that this leaves out.
        of_loss: gain of training on everything under the loss of the rankers that tell what is fitted.
    """

    fitted: Estimate
    left_out: float
    of_loss: Estimate


def unseen_gains(train: Train, data: RankingData, fold: CrossFit) -> UnseenGains:
    """The gains by the pairs of the half that was not trained on.

    Args:
        train: runs trainings that score all items at their stops.
        data: items and pairs.
        fold: rankers that trained on halves, under the loss that tells what is fitted.
    """
    doubted, fold = fold.suspicion(data).mean(), fold.first(RANKERS)
    fitted = _fitted(data, fold)
    names = np.array(data.train_pairs.row_ids(data.train.ids), dtype=object)
    plan = [
        Training(f"half {k + 1}{without}", k + 1, fold.seed + k, tuple(names[~half]), all_items=True)
        for without, halves in (("", fold.trained_on), (" without what is not fitted", fitted))
        for k, half in enumerate(halves)
    ]
    trained, count = train(plan), len(fold.trained)
    usual, ours, under_loss = (
        _right(data, fold, rankers) for rankers in (trained[:count], trained[count:], fold.trained)
    )

    def gain(right: FloatArray, more: float) -> Estimate:
        here = _gain(data, right, usual)
        return Estimate(here.mean + more * doubted, float(np.hypot(here.error, _ERROR_ON_OTHERS * doubted)))

    left_out = 1 - float(fitted.sum() / fold.trained_on.sum())
    return UnseenGains(gain(ours, _MORE_BY_LIST), left_out, gain(under_loss, _MORE_BY_LOSS))


def _fitted(data: RankingData, fold: CrossFit) -> BoolArray:
    """The pairs of each half that its own ranker fits, or the whole half if it fits none."""
    fitted = fold.trained_on & (np.array([margins_of(ranker, data) for ranker in fold.trained]) >= 0)
    return np.where(fitted.any(1, keepdims=True), fitted, fold.trained_on)


def _right(data: RankingData, fold: CrossFit, trained: Sequence[Trained]) -> FloatArray:
    """The share of the rankers not trained on it that rank each pair correctly at each stop, shape (stops, pairs)."""
    pairs, right = data.train_pairs, []
    for stop in trained[0].stops:
        scores = np.array([ranker.scores_at(stop, data.train.ids) for ranker in trained])
        correct = (scores[:, pairs.first] - scores[:, pairs.second]) * pairs.target > 0
        right.append((correct & ~fold.trained_on).sum(0) / (~fold.trained_on).sum(0))
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
