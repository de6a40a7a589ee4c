"""Gains by the training pairs that a ranker did not train on."""

from __future__ import annotations

import numpy as np
import pytest

from tests.retraining.test_crossfit import IDS, MIRRORED
from tracinctl import Pairs, RankingData
from tracinctl.retraining.choice import item_error
from tracinctl.retraining.crossfit import cross_fit
from tracinctl.retraining.trainer import Trained
from tracinctl.retraining.unseen import RANKERS, Way, unseen_gains

STOPS = (1, 2, 4)
PAIRS = MIRRORED.train_pairs
NAMES = PAIRS.row_ids(IDS)


class Noise:
    """Scores are the true rank with noise; it is less if pairs of a half are left out, or under the capped loss."""

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
    fold = cross_fit(train, MIRRORED, 3, rankers=RANKERS)
    return train, fold, unseen_gains(train, MIRRORED, fold, [Way(0.2), Way(loss="capped"), Way()])


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
    accuracy = [
        np.array(
            [[right(train.given[at:][:RANKERS], fold.seen, row, k) for row in range(len(NAMES))] for k in range(3)]
        )
        for at in (0, RANKERS, 2 * RANKERS)
    ]
    usual, *ways = (own.mean(0) for own in accuracy)  # with three stops, the best three are all
    doubted = fold.suspicion(MIRRORED).mean()
    for own, gain in zip(ways, gains, strict=False):
        assert gain.mean == pytest.approx((own - usual).mean() + 0.05 * doubted)
        error = item_error(own - usual, PAIRS, np.random.default_rng([3, 17]))
        assert gain.error == pytest.approx(np.hypot(error, 0.03 * doubted))
    assert gains[0].mean > 0.05
    assert gains[2].mean == pytest.approx(0.05 * doubted), "the same training gains nothing"


def test_each_half_leaves_out_what_its_own_ranker_fits_least(judged):
    train, fold, _ = judged
    for k, half in enumerate(fold.seen):
        ranker, training = train.given[k], train.plan[RANKERS + k]
        assert training.seed == train.plan[k].seed
        assert training.all_items
        own = np.flatnonzero(half)
        left_out = {row for row in own if NAMES[row] in training.exclusions}
        assert len(left_out) == round(0.2 * len(own))
        margins = np.zeros(len(NAMES))
        for stop in range(3):
            scores = np.array([ranker.scores[name][stop] for name in IDS])
            margin = (scores[PAIRS.first] - scores[PAIRS.second]) * PAIRS.target
            margins += np.clip(margin / margin.std(), -2, 2)
        kept = sorted(set(own) - left_out)
        assert margins[sorted(left_out)].max() <= margins[kept].min() + 1e-12
        assert {NAMES[row] for row in np.flatnonzero(~half)} <= set(training.exclusions), "the judges stay out"
    capped = train.plan[2 * RANKERS : 3 * RANKERS]
    assert {training.loss for training in capped} == {"capped"}
    assert [training.exclusions for training in capped] == [training.exclusions for training in train.plan[:RANKERS]]


def test_ties_judge_nothing():
    target = PAIRS.target.copy()
    target[::2] = 0
    data = RankingData(MIRRORED.train, Pairs(PAIRS.first, PAIRS.second, target), MIRRORED.test, MIRRORED.test_pairs)
    train = Noise()
    fold = cross_fit(train, data, 3, rankers=2)
    (gain,) = unseen_gains(train, data, fold, [Way(loss="capped")])
    rows = np.flatnonzero(target)
    usual, capped = (
        np.mean([[right(train.given[at : at + 2], fold.seen, row, k) for row in rows] for k in range(3)])
        for at in (0, 2)
    )
    assert gain.mean == pytest.approx(capped - usual + 0.05 * fold.suspicion(data).mean())
