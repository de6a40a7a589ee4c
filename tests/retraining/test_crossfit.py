"""Out-of-fold rankers: who judges a pair, and what its suspicion is."""

from __future__ import annotations

import numpy as np

from tests.retraining.test_trial import DATA
from tracinctl import Pairs, RankingData
from tracinctl.retraining.crossfit import comparison_rows, cross_fit
from tracinctl.retraining.trainer import Trained

IDS = DATA.train.ids
# every pair, two of them turned round, and the mirror images of the first ten
FLIPPED = [3, 40]
TARGET = DATA.train_pairs.target.copy()
TARGET[FLIPPED] *= -1
FIRST, SECOND = DATA.train_pairs.first, DATA.train_pairs.second
MIRRORED = RankingData(
    DATA.train,
    Pairs(
        np.concatenate([FIRST, SECOND[:10]]),
        np.concatenate([SECOND, FIRST[:10]]),
        np.concatenate([TARGET, -TARGET[:10]]),
    ),
    DATA.test,
    DATA.test_pairs,
)


class Recorded:
    """Ranks by the true rank, and keeps the plans."""

    def __init__(self):
        self.plans = []

    def __call__(self, plan):
        self.plans.append(plan)
        return [Trained({name: (0.0, k % 4 + k / 1000) for k, name in enumerate(IDS)}, (1, 2)) for _ in plan]


def test_halves_complement_each_other_and_part_no_comparison_from_its_mirror_image():
    train = Recorded()
    cross_fit(train, MIRRORED, 5, rankers=4)
    rows = comparison_rows(MIRRORED)
    assert rows[:10].tolist() == rows[-10:].tolist()
    names = MIRRORED.train_pairs.row_ids(IDS)
    (plan,) = train.plans
    for one, other in (plan[:2], plan[2:]):
        assert set(one.exclusions) | set(other.exclusions) == set(names)
        assert not set(one.exclusions) & set(other.exclusions)
    left = [name in plan[0].exclusions for name in names]
    assert left[:10] == left[-10:]
    assert 0.4 < np.mean(left) < 0.6
    assert len({training.seed for training in plan}) == 4
    assert all(training.all_items for training in plan)
    assert set(plan[0].exclusions) != set(plan[2].exclusions)


def test_only_rankers_that_did_not_see_a_pair_judge_it():
    class Loyal(Recorded):
        """Each ranker gets the pairs that it saw right, and every other one wrong."""

        def __call__(self, plan):
            self.plans.append(plan)
            return [Trained(dict.fromkeys(IDS, (0.0,))) for _ in plan]

    loyal = cross_fit(Loyal(), MIRRORED, 5, rankers=4)
    assert loyal.suspicion(MIRRORED).min() == 1.0, "no difference ranks nothing rightly"
    suspicion = cross_fit(Recorded(), MIRRORED, 5, rankers=8).suspicion(MIRRORED)
    assert np.flatnonzero(suspicion == 1.0).tolist() == [*FLIPPED, len(FIRST) + 3]
    assert set(suspicion) == {0.0, 1.0}


def test_a_tie_is_not_suspicious():
    target = DATA.train_pairs.target.copy()
    target[:5] = 0
    data = RankingData(DATA.train, Pairs(FIRST, SECOND, target), DATA.test, DATA.test_pairs)
    assert not cross_fit(Recorded(), data, 1, rankers=2).suspicion(data)[:5].any()
