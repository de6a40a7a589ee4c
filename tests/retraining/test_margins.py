"""Margins of rankers that saw every pair: what they fit least."""

from __future__ import annotations

import numpy as np
import pytest

from tests.retraining.test_crossfit import FLIPPED, IDS, MIRRORED, TARGET
from tests.retraining.test_trial import DATA
from tracinctl import Pairs, RankingData
from tracinctl.project.candidates import margin_candidates
from tracinctl.retraining.margins import mean_margins
from tracinctl.retraining.trainer import Trained

RANK = np.arange(len(IDS)) % 4 + np.arange(len(IDS)) / 1000


def trained_by_rank(plan):
    """Each ranker ranks by the true rank at both stops, each on another scale."""
    return [Trained({name: (r, 7.0 * r) for name, r in zip(IDS, RANK, strict=True)}, (1, 2)) for _ in plan]


def test_margins_equal_a_loop_over_rankers_stops_and_pairs():
    random = np.random.default_rng(0)
    scores = random.normal(size=(3, 2, len(IDS)))
    given = [Trained({name: tuple(own[:, k]) for k, name in enumerate(IDS)}, (1, 2)) for own in scores]
    pairs = MIRRORED.train_pairs
    expected = np.zeros(len(pairs))
    for own in scores.reshape(6, -1):
        margins = np.array([y * (own[i] - own[j]) for i, j, y in zip(*pairs_of(pairs), strict=True)])
        expected += [min(2.0, max(-2.0, margin / margins.std())) / 6 for margin in margins]
    assert mean_margins(lambda _: given, MIRRORED, 1, rankers=3) == pytest.approx(expected)


def pairs_of(pairs):
    return pairs.first, pairs.second, pairs.target


def test_what_is_turned_round_has_the_lowest_margins_and_a_mirror_image_the_same():
    margins = mean_margins(trained_by_rank, MIRRORED, 1)
    wrong = np.flatnonzero(margins < 0)
    count = len(TARGET)
    assert {row if row < count else row - count for row in wrong} == set(FLIPPED)
    assert margins[count:] == pytest.approx(margins[:10])
    suspicion = np.zeros(len(margins))
    suspicion[[FLIPPED[0], 7]] = 0.6
    not_fitted, doubted = margin_candidates(MIRRORED, margins, suspicion)
    names = MIRRORED.train_pairs.row_ids(IDS)
    assert not_fitted.ids == tuple(names[row] for row in wrong)
    assert doubted.ids == (names[FLIPPED[0]],), "rankers that trained on row 7 rank it as given"
    for candidate in (not_fitted, doubted):
        assert candidate.halves == (candidate.ids, candidate.ids)


def test_ties_are_not_listed():
    target = TARGET.copy()
    target[5:] = 0
    data = RankingData(
        DATA.train, Pairs(DATA.train_pairs.first, DATA.train_pairs.second, target), DATA.test, DATA.test_pairs
    )
    not_fitted, _ = margin_candidates(data, mean_margins(trained_by_rank, data, 1), np.ones(len(target)))
    assert not_fitted.ids == (data.train_pairs.row_ids(IDS)[FLIPPED[0]],)


def test_rankers_train_on_everything_with_seeds_of_their_own():
    plans = []

    def train(plan):
        plans.extend(plan)
        return trained_by_rank(plan)

    mean_margins(train, DATA, 5, rankers=4, loss="capped")
    assert [training.seed for training in plans] == [5, 6, 7, 8]
    assert {training.loss for training in plans} == {"capped"}
    assert all(training.exclusions == () and training.all_items for training in plans)
