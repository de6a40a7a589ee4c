"""The mean margin of rankers on the pairs they trained on, from the first stop to the last.

A wrong comparison is fitted late or never, so its margin stays low during training. This is the area under the margin
of Pleiss, Zhang, Elenberg and Weinberger (2020), *Identifying mislabeled data using the area under the margin ranking*,
arXiv 2001.10528, over several rankers. It needs trainings, but no held-out pairs.

A pair is not fitted if its mean margin is below 0. Under the capped loss wrong pairs pull less, so fewer of them are
fitted, and the share that is not fitted is close to the share that is wrong (see the package's README).
"""

from __future__ import annotations

import numpy as np

from tracinctl.data.pairs import FloatArray, RankingData
from tracinctl.retraining.trainer import Train, Trained, Training

RANKERS = 6
_LIMIT = 2.0  # limit on margins in standard deviations, so that no ranker or pair dominates


def mean_margins(
    train: Train, data: RankingData, seed: int, *, rankers: int = RANKERS, loss: str | None = None
) -> FloatArray:
    """The mean margin of each training pair over rankers and stops, in standard deviations of a ranker's margins.

    The rankers train on everything, with the seeds from ``seed`` on; ``train`` scores all items at each stop.

    Returns:
        Shape (training pairs,); ties have the largest margin, because no order contradicts them.
    """
    plan = [Training(f"margins {k + 1}", k + 1, seed + k, (), loss=loss, all_items=True) for k in range(rankers)]
    return np.asarray(np.mean([margins_of(trained, data) for trained in train(plan)], axis=0))


def margins_of(trained: Trained, data: RankingData) -> FloatArray:
    """The mean margin of each training pair over a ranker's stops, see ``mean_margins``."""
    pairs, margins = data.train_pairs, []
    for stop in trained.stops:
        scores = np.array(trained.scores_at(stop, data.train.ids))
        difference = (scores[pairs.first] - scores[pairs.second]) * pairs.target
        margins.append(np.clip(difference / (difference.std() or 1.0), -_LIMIT, _LIMIT))
    return np.where(pairs.target == 0, np.inf, np.mean(margins, axis=0))
