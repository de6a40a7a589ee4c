"""Who judges, the difference with its interval, and the verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tracinctl import Pairs, RankingData, Samples
from tracinctl.errors import DataError
from tracinctl.retraining.judging import (
    FEWEST_ITEMS,
    Difference,
    combined,
    difference_of,
    difference_of_means,
    divide,
    divide_held_out,
    divide_items,
    judge,
    pair_correct,
)


def every_pair(labels):
    first, second = np.triu_indices(len(labels), 1)
    differ = labels[first] != labels[second]
    first, second = first[differ], second[differ]
    return Pairs(first, second, np.sign(labels[first] - labels[second]).astype(int))


def held_out(labels):
    labels = np.asarray(labels, dtype=float)
    ids = [f"h{k}" for k in range(len(labels))]
    none = Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))
    test = Samples(ids, torch.zeros(len(labels), 1), labels)
    return RankingData(Samples(["t"], torch.zeros(1, 1)), none, test, every_pair(labels))


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 2**31))
def test_items_are_divided_in_two_halves_that_hold_each_class_alike(labels, seed):
    ids = [f"i{k}" for k in range(len(labels))]
    one, two = divide(ids, np.array(labels), seed)
    assert sorted(one + two) == sorted(ids)
    assert 0 <= len(one) - len(two) <= 1
    assert [k for k in ids if k in set(one)] == one, "in the order of the items"
    for each in set(labels):
        there = [sum(labels[int(k[1:])] == each for k in part) for part in (one, two)]
        assert abs(there[0] - there[1]) <= 2, "a class is cut by a couple at either end at most"
    assert divide(ids, np.array(labels), seed) == (one, two)


def test_another_seed_divides_otherwise_and_items_without_a_class_are_divided_too():
    ids = [f"i{k}" for k in range(30)]
    assert len({tuple(divide(ids, None, seed)[0]) for seed in range(5)}) == 5
    assert len(divide(ids, None, 0)[0]) == 15


def test_items_of_one_query_stay_together_where_there_are_many_queries():
    ids = [f"h{k}" for k in range(60)]
    query = np.random.default_rng(0).permutation(np.repeat(np.arange(15), 4))
    first, second = np.triu_indices(60, 1)
    own = query[first] == query[second]
    pairs = Pairs(first[own], second[own], np.ones(own.sum(), int))
    data = held_out(np.zeros(60))
    data = RankingData(data.train, data.train_pairs, data.test, pairs)
    for seed in range(5):
        one, two = divide_items(data, ids, seed)
        assert sorted(one + two) == sorted(ids)
        assert abs(len(one) - len(two)) <= 4
        assert not {query[ids.index(name)] for name in one} & {query[ids.index(name)] for name in two}
    assert divide_items(data, ids, 0) != divide_items(data, ids, 1)


@pytest.mark.parametrize("groups", [2, 11])
def test_few_queries_are_divided_item_by_item(groups):
    query = np.arange(60) % groups
    first, second = np.triu_indices(60, 1)
    own = query[first] == query[second]
    data = held_out(np.zeros(60))
    pairs = Pairs(first[own], second[own], np.ones(own.sum(), int))
    data = RankingData(data.train, data.train_pairs, data.test, pairs)
    one, two = divide_items(data, data.test.ids, 0)
    assert len(one) == len(two) == 30
    assert {query[data.test.ids.index(name)] for name in one} & {query[data.test.ids.index(name)] for name in two}


def test_a_pair_counts_for_a_side_only_with_both_of_its_items():
    data = held_out(np.arange(20) % 4)
    division = divide_held_out(data, 3)
    scoring, judging = (division.rows(data, side) for side in ("scoring", "judging"))
    for rows, items in ((scoring, division.scoring), (judging, division.judging)):
        pairs = data.test_pairs.take(rows)
        touched = {data.test.ids[k] for k in (*pairs.first, *pairs.second)}
        assert touched <= set(items)
    between = set(range(len(data.test_pairs))) - set(scoring) - set(judging)
    first, second = data.test_pairs.first, data.test_pairs.second
    assert between
    assert all((data.test.ids[first[k]] in division.scoring) != (data.test.ids[second[k]] in division.scoring)
               for k in between)  # fmt: skip


def test_items_that_no_held_out_pair_names_take_no_part():
    data = held_out([0, 1, 2, 0, 1, 2, 0, 1])
    few = RankingData(data.train, data.train_pairs, data.test, data.test_pairs.take(data.test_pairs.second < 6))
    division = divide_held_out(few, 0)
    assert {"h6", "h7"}.isdisjoint((*division.scoring, *division.judging))


def test_too_few_held_out_items_to_score_anything_are_an_error():
    with pytest.raises(DataError, match="half of the 2 held-out items judge"):
        divide_held_out(held_out([0, 1]), 0)


def test_a_tie_is_not_ranked_rightly():
    pairs = Pairs(np.array([0, 0]), np.array([1, 2]), np.array([1, -1]))
    assert pair_correct(np.array([[1.0, 1.0, 2.0]]), pairs).tolist() == [[0.0, 1.0]]


def slow_difference(values, pairs):
    """The docstring's formula, an item and a seed at a time."""
    repeats = len(values)
    by_seed = [float(np.mean(row)) for row in values]
    seeds = sum((x - np.mean(by_seed)) ** 2 for x in by_seed) / (repeats - 1) / repeats
    items = sorted({*pairs.first.tolist(), *pairs.second.tolist()})
    without = []
    for item in items:
        rest = [k for k in range(len(pairs)) if item not in (pairs.first[k], pairs.second[k])]
        without.append(np.mean(values[:, rest]))
    by_item = (len(items) - 1) / len(items) * sum((x - np.mean(without)) ** 2 for x in without)
    variance = seeds + by_item
    degrees = variance**2 / (seeds**2 / (repeats - 1) + by_item**2 / (len(items) - 1))
    reach = stats.t.ppf(0.975, degrees) * math.sqrt(variance)
    return np.mean(values), np.mean(values) - reach, np.mean(values) + reach


def test_the_interval_is_the_formulas():
    random = np.random.default_rng(1)
    pairs = every_pair(np.arange(11) % 3)
    values = random.normal(size=(4, len(pairs))) + random.normal(size=(4, 1))
    found = difference_of(values, pairs)
    assert (found.mean, found.low, found.high) == pytest.approx(slow_difference(values, pairs))


def test_turning_the_difference_round_turns_the_interval_round():
    pairs = every_pair(np.arange(9) % 3)
    values = np.random.default_rng(2).normal(size=(5, len(pairs)))
    one, two = difference_of(values, pairs), difference_of(-values, pairs)
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low))


def null_scores(random, labels, repeats, *, by_item, by_seed, by_both):
    """Scores of one arm: true rank, what training data of this kind do to an item, luck of the seed, luck of both."""
    items = len(labels)
    steep = np.exp(by_seed * random.normal(size=(repeats, 1)))
    return labels * 1.5 * steep + by_item * random.normal(size=items) + by_both * random.normal(size=(repeats, items))


@pytest.mark.parametrize(("by_item", "by_seed", "by_both"), [(1.0, 0.05, 0.3), (0.2, 0.6, 0.3), (0.7, 0.4, 0.7)])
@pytest.mark.parametrize(("items", "repeats"), [(12, 5), (24, 3)])
def test_without_a_difference_at_most_one_verdict_in_twenty_names_one(items, repeats, by_item, by_seed, by_both):
    """Both arms come from one distribution, so each verdict that names a difference is wrong."""
    random = np.random.default_rng([items, repeats, round(100 * by_item)])
    labels = (np.arange(items) % 6).astype(float)
    pairs = every_pair(labels)
    wrong, times = 0, 200
    for _ in range(times):
        hard = 0.6 * random.normal(size=items)  # equally hard for both arms
        arms = [
            pair_correct(
                null_scores(random, labels, repeats, by_item=by_item, by_seed=by_seed, by_both=by_both) + hard, pairs
            )
            for _ in range(2)
        ]
        found = difference_of(arms[1] - arms[0], pairs)
        verdict = judge(found, errors=1 - arms[0].mean(), items=items, repeats=repeats).verdict
        wrong += verdict in {"helped", "hurt"}
    # a rate of exactly 5 % gives more than 18 of 200 in one of a hundred
    assert wrong <= 18


def test_the_interval_of_seeds_alone_would_cry_wolf():
    """What the items add is needed: without it, luck of the judging items passes for an effect."""
    random = np.random.default_rng(0)
    labels = (np.arange(18) % 6).astype(float)
    pairs = every_pair(labels)
    wolf, ours, times = 0, 0, 60
    for _ in range(times):
        arms = [
            pair_correct(null_scores(random, labels, 5, by_item=1.0, by_seed=0.05, by_both=0.2), pairs)
            for _ in range(2)
        ]
        gain = arms[1] - arms[0]
        for found, is_ours in ((difference_of_means(gain.mean(axis=1)), False), (difference_of(gain, pairs), True)):
            wrong = found.low > 0 or found.high < 0
            ours += wrong and is_ours
            wolf += wrong and not is_ours
    assert wolf > 0.4 * times
    assert ours <= 0.05 * times


def test_a_large_effect_is_seen():
    random = np.random.default_rng(3)
    labels = (np.arange(18) % 6).astype(float)
    pairs = every_pair(labels)
    seen = 0
    for _ in range(20):
        noisy, clean = (
            pair_correct(null_scores(random, labels, 5, by_item=n, by_seed=0.1, by_both=0.4), pairs) for n in (4.0, 0.3)
        )
        found = difference_of(clean - noisy, pairs)
        seen += judge(found, errors=1 - noisy.mean(), items=18, repeats=5).verdict == "helped"
    assert seen >= 18


def difference(low, high):
    return Difference((low + high) / 2, low, high, 0.01, 0.01, 10)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.05, "helped"),
        (-0.05, -0.01, "hurt"),
        (-0.01, 0.05, "no difference seen"),
        (0.0, 0.05, "no difference seen"),
        (-0.1, 0.12, "cannot tell"),
        (-0.1, 0.05, "no difference seen"),
        (-math.inf, math.inf, "cannot tell"),
    ],
)
def test_the_verdict_is_that_of_the_interval(low, high, verdict):
    assert judge(difference(low, high), errors=0.1, items=20, repeats=5).verdict == verdict


def test_with_too_few_items_or_repeats_or_no_errors_it_cannot_tell():
    good = difference(0.01, 0.05)
    assert judge(good, errors=0.1, items=FEWEST_ITEMS - 1, repeats=5).verdict == "cannot tell"
    assert judge(good, errors=0.1, items=FEWEST_ITEMS, repeats=5).verdict == "helped"
    assert judge(good, errors=0.1, items=20, repeats=1).verdict == "cannot tell"
    assert judge(difference(0, 0), errors=0.0, items=20, repeats=5).verdict == "cannot tell"


def test_the_fewest_items_are_those_of_whom_all_agree_by_luck_less_than_once_in_twenty():
    assert 2 * 0.5**FEWEST_ITEMS < 0.05 <= 2 * 0.5 ** (FEWEST_ITEMS - 1)


def test_several_independent_differences_are_averaged():
    one = difference_of_means(np.array([1.0, 2.0, 3.0]))
    both = combined([one, one])
    assert both.mean == one.mean
    assert both.seed_standard_error == pytest.approx(one.seed_standard_error / math.sqrt(2))
    assert both.degrees_of_freedom == pytest.approx(2 * one.degrees_of_freedom)
    assert combined([one]).low == pytest.approx(one.low)


def test_one_repeat_or_pairs_that_share_one_item_have_no_interval():
    pairs = every_pair(np.arange(4))
    assert math.isinf(difference_of(np.ones((1, len(pairs))), pairs).high)
    star = Pairs(np.zeros(3, int), np.arange(1, 4), np.ones(3, int))
    assert math.isinf(difference_of(np.random.default_rng(0).normal(size=(5, 3)), star).high)
