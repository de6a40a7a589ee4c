"""Probability that a comparison is wrong: known scores, mirror images, and both solvers."""

from __future__ import annotations

import numpy as np
import pytest

from tracinctl.data import bradley_terry
from tracinctl.data.bradley_terry import contradiction
from tracinctl.data.pairs import Pairs
from tracinctl.errors import DataError


def comparisons(items=30, rows=600, wrong=0.1, seed=0):
    """Pairs of items whose true score is their number; some are flipped."""
    random = np.random.default_rng(seed)
    i = random.integers(items, size=rows)
    j = (i + random.integers(1, items, size=rows)) % items
    y = np.where(i > j, 1, -1)
    bad = random.random(rows) < wrong
    return Pairs(i, j, np.where(bad, -y, y)), bad


def share_in_order(probability, bad):
    """The share of (bad, good) couples in which the bad one has the higher probability: the AUC."""
    return np.mean(probability[bad][:, None] > probability[~bad])


@pytest.mark.parametrize("dense", [True, False])
def test_flipped_comparisons_are_found(dense, monkeypatch):
    monkeypatch.setattr(bradley_terry, "DENSE_ITEMS", 2048 if dense else 0)
    pairs, bad = comparisons()
    probability = contradiction(pairs, 30)
    assert share_in_order(probability, bad) > 0.93
    assert probability[bad].mean() > 0.6
    assert probability[~bad].mean() < 0.3


def test_both_solvers_find_the_most_probable_scores():
    pairs, _ = comparisons()
    i, j, y = pairs.first, pairs.second, pairs.target
    dense, _ = bradley_terry._fit_dense(i, j, y, np.eye(30))
    sparse = bradley_terry._fit_sparse(i, j, y, 30)
    assert sparse == pytest.approx(dense, abs=1e-6)
    # at the best scores the pull of the comparisons equals that of the prior
    wrong = 1 / (1 + np.exp(y * (dense[i] - dense[j])))
    pull = np.zeros(30)
    for a, b, target, p in zip(i, j, y, wrong, strict=True):
        pull[a] += target * p
        pull[b] -= target * p
    assert pull == pytest.approx(dense, abs=1e-6)


def test_two_items_are_judged_only_by_comparisons_with_others():
    """Two items that are compared with nobody else: a hundred repeats and mirror images do not judge each other."""
    count = 100
    pairs = Pairs(np.tile([0, 1], count // 2), np.tile([1, 0], count // 2), np.tile([1, -1], count // 2))
    assert contradiction(pairs, 2) == pytest.approx(np.full(count, 0.5))


def test_direction_and_order_of_a_row_do_not_matter():
    pairs, _ = comparisons()
    turned = Pairs(pairs.second, pairs.first, -np.asarray(pairs.target))
    assert contradiction(turned, 30) == pytest.approx(contradiction(pairs, 30), abs=1e-9)


def test_features_help_where_comparisons_are_few():
    random = np.random.default_rng(1)
    pairs, bad = comparisons(items=100, rows=150, wrong=0.15, seed=3)
    features = np.arange(100)[:, None] + random.normal(size=(100, 1))
    alone = share_in_order(contradiction(pairs, 100), bad)
    helped = share_in_order(contradiction(pairs, 100, features), bad)
    assert helped > alone + 0.1
    assert helped > 0.9


@pytest.mark.parametrize("features", [np.full((30, 2), np.nan), np.zeros((29, 2))], ids=["NaN", "too few"])
def test_features_that_do_not_fit_are_refused(features):
    pairs, _ = comparisons()
    with pytest.raises(DataError, match="`features` must be finite"):
        contradiction(pairs, 30, features)
