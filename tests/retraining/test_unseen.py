"""Gains by the training pairs that a ranker did not train on."""

from __future__ import annotations

import numpy as np
import pytest

from tests.retraining.test_crossfit import IDS, MIRRORED
from tracinctl import Pairs, RankingData
from tracinctl.retraining.choice import item_error
from tracinctl.retraining.crossfit import cross_fit
from tracinctl.retraining.trainer import Trained
from tracinctl.retraining.unseen import RANKERS, unseen_gains

STOPS = (1, 2, 4)
PAIRS = MIRRORED.train_pairs
NAMES = PAIRS.row_ids(IDS)


class Noise:
    """Scores are the true rank with noise; it is less under the capped loss, or if pairs of a half are left out."""

    def __init__(self):
        self.plan, self.given = [], []

    def __call__(self, plan):
        self.plan += plan
        trained = [self.trained(training) for training in plan]
        self.given += trained
        return trained

    def trained(self, training):
        level = 0.3 if training.loss or len(training.exclusions) > 0.55 * len(NAMES) else 1.5
        random = np.random.default_rng(training.seed)
        scores = {name: (k % 4 + level * random.normal(size=len(STOPS))).tolist() for k, name in enumerate(IDS)}
        return Trained({name: tuple(own) for name, own in scores.items()}, STOPS)


@pytest.fixture(scope="module")
def judged():
    train = Noise()
    fold = cross_fit(train, MIRRORED, 3, rankers=RANKERS, loss="capped")
    return train, fold, unseen_gains(train, MIRRORED, fold)


def right(rankers, seen, row, stop):
    """The share of the rankers not trained on a pair that rank it correctly, in a loop."""
    i, j, y = PAIRS.first[row], PAIRS.second[row], PAIRS.target[row]
    hits = [
        y * (ranker.scores[IDS[i]][stop] - ranker.scores[IDS[j]][stop]) > 0
        for ranker, half in zip(rankers, seen, strict=True)
        if not half[row]
    ]
    return sum(hits) / len(hits)


def test_gains_equal_a_loop_over_pairs_and_rankers(judged):
    train, fold, gains = judged
    capped, usual, fitted = (
        np.array(
            [
                [right(train.given[at:][:RANKERS], fold.trained_on, row, k) for row in range(len(NAMES))]
                for k in range(3)
            ]
        ).mean(0)  # with three stops, the best three are all
        for at in (0, RANKERS, 2 * RANKERS)
    )
    doubted = fold.suspicion(MIRRORED).mean()
    for own, gain, more in ((fitted, gains.fitted, 0.06), (capped, gains.of_loss, 0.04)):
        assert gain.mean == pytest.approx((own - usual).mean() + more * doubted)
        error = item_error(own - usual, PAIRS, np.random.default_rng([3, 17]))
        assert gain.error == pytest.approx(np.hypot(error, 0.03 * doubted))
    assert gains.of_loss.mean > 0.05


def test_each_half_leaves_out_what_its_own_ranker_does_not_fit(judged):
    train, fold, gains = judged
    left_out = 0
    for k, half in enumerate(fold.trained_on):
        ranker, usual, fitted = train.given[k], train.plan[RANKERS + k], train.plan[2 * RANKERS + k]
        assert train.plan[k].seed == usual.seed == fitted.seed
        assert train.plan[k].loss == "capped"
        assert usual.loss is fitted.loss is None
        assert usual.all_items
        assert fitted.all_items
        margins = np.zeros(len(NAMES))
        for stop in range(3):
            scores = np.array([ranker.scores[name][stop] for name in IDS])
            margin = (scores[PAIRS.first] - scores[PAIRS.second]) * PAIRS.target
            margins += np.clip(margin / margin.std(), -2, 2)
        others = {NAMES[row] for row in np.flatnonzero(~half)}
        assert set(usual.exclusions) == others, "the judges stay out"
        not_fitted = {NAMES[row] for row in np.flatnonzero(half & (margins < 0))}
        assert set(fitted.exclusions) == others | not_fitted
        left_out += len(not_fitted)
    assert gains.left_out == pytest.approx(left_out / fold.trained_on.sum())
    assert left_out > 0


def test_a_ranker_that_fits_none_of_its_half_leaves_nothing_out():
    def turned_round(plan):
        return [Trained({name: (float(-(k % 4) - k / 1000),) for k, name in enumerate(IDS)}, (1,)) for _ in plan]

    pairs = Pairs(PAIRS.first[:4], PAIRS.second[:4], np.abs(PAIRS.target[:4]))
    higher = np.where(turned_scores(pairs.first) > turned_scores(pairs.second), -1, 1)
    data = RankingData(MIRRORED.train, Pairs(pairs.first, pairs.second, higher), MIRRORED.test, MIRRORED.test_pairs)
    gains = unseen_gains(turned_round, data, cross_fit(turned_round, data, 3, rankers=2))
    assert gains.left_out == 0


def turned_scores(items):
    return -(items % 4) - items / 1000


def test_ties_judge_nothing():
    target = PAIRS.target.copy()
    target[::2] = 0
    data = RankingData(MIRRORED.train, Pairs(PAIRS.first, PAIRS.second, target), MIRRORED.test, MIRRORED.test_pairs)
    train = Noise()
    fold = cross_fit(train, data, 3, rankers=2, loss="capped")
    gain = unseen_gains(train, data, fold).of_loss
    rows = np.flatnonzero(target)
    capped, usual = (
        np.mean([[right(train.given[at : at + 2], fold.trained_on, row, k) for row in rows] for k in range(3)])
        for at in (0, 2)
    )
    assert gain.mean == pytest.approx(capped - usual + 0.04 * fold.suspicion(data).mean())
