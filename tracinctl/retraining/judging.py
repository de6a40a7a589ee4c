"""Judge whether one way of training ranks better than another: the division, the difference and the verdict.

**The division.** A list is chosen by the scores of held-out pairs. On these pairs, training without the list looks
better than it is, because they chose the list. So held-out *items* are divided: some score influence, the others judge,
and a pair counts for a side only if both its items are on that side. Pairs that mix both sides are ignored.

**The difference** is one of means over training seeds and judging pairs, with every seed trained both ways. It is
uncertain because other seeds give other models, and other held-out items other pairs. Every seed meets every item, and
pairs share items. This is the design of several readers for the same cases (Gallas, Bandos, Samuelson and Wagner 2009,
*A framework for random-effects ROC analysis*), with pair accuracy in place of the area under the curve, which it equals
for two classes. The variance is

    V = V_seeds + V_items

- ``V_seeds``: the variance of the difference from seed to seed, over the number of seeds.
- ``V_items``: the jackknife over judging items of the mean difference over seeds; leaving out an item leaves out all
  its pairs (Arvesen 1969, *Jackknifing U-statistics*). In expectation it is at least the true variance (Efron and Stein
  1981).

Both include the noise of a seed and an item together, so their sum counts it twice, like the two-way bootstrap (Owen
2007, *The pigeonhole bootstrap*; Cameron, Gelbach and Miller 2011 subtract it once). This errs on the side of "no
difference". The interval is ``difference +- t * sqrt(V)`` with Welch and Satterthwaite's degrees of freedom,
``V**2 / (V_seeds**2 / (seeds - 1) + V_items**2 / (items - 1))``.

It covers other seeds and other held-out items of the same kind, for the given training data and list.

A bootstrap of seeds and items is not used: with five seeds its percentiles are too narrow, and it would make the
verdict random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, IntArray, Pairs, RankingData
from tracinctl.errors import DataError
from tracinctl.scores.student import student_t

Verdict = Literal["helped", "no difference seen", "hurt", "cannot tell", "leave nothing out"]

FEWEST_ITEMS: Final = 6
"""Least number of judging items for a verdict. Five items all change in one direction by chance in one case of sixteen,
six in one of thirty-two, which is the first chance below one in twenty."""
FEWEST_REPEATS: Final = 2

_FEWEST_GROUPS = 12
_LARGEST_GROUP = 0.25  # largest share of the items in a group


@dataclass(frozen=True)
class Division:
    """The held-out items that score influence and those that judge.

    Attributes:
        scoring, judging: item ids, in the order of the held-out items.
        seed: seed of the draw.
    """

    scoring: tuple[str, ...]
    judging: tuple[str, ...]
    seed: int

    def rows(self, data: RankingData, side: Literal["scoring", "judging"]) -> IntArray:
        """Rows of the held-out pairs with both items on this side."""
        return pairs_within(data, getattr(self, side))

    def to_json(self) -> dict[str, Any]:
        """The division for JSON."""
        return {"seed": self.seed, "scoring": list(self.scoring), "judging": list(self.judging)}


def divide_held_out(data: RankingData, seed: int) -> Division:
    """Divide the held-out items that are in a held-out pair into halves, each class as evenly as possible.

    Raises:
        DataError: no held-out pair is left that could score influence.
    """
    pairs = data.test_pairs
    paired = np.unique(np.concatenate([pairs.first, pairs.second]))
    ids = [data.test.ids[k] for k in paired]
    scoring, judging = divide_items(data, ids, seed)
    division = Division(tuple(scoring), tuple(judging), seed)
    if not len(division.rows(data, "scoring")):
        raise DataError(
            f"half of the {len(ids)} held-out items judge, and the others form no pair that could score influence",
            hint="Hold out more items, or leave `retrain` out.",
        )
    return division


def divide_items(data: RankingData, ids: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Divide held-out items into two parts, each in the order of ``ids``.

    Items that are only compared within their query or debate stay together, if there are many such groups and none
    has more than a quarter of the items, so that few pairs are lost. Otherwise see ``divide``.
    """
    place = {name: row for row, name in enumerate(data.test.ids)}
    rows = np.array([place[name] for name in ids], dtype=np.int64)
    groups = _connected(data.test_pairs.take(pairs_within(data, ids)), len(data.test))[rows]
    _, sizes = np.unique(groups, return_counts=True)
    if (sizes > 1).sum() >= _FEWEST_GROUPS and sizes.max() <= _LARGEST_GROUP * len(ids):
        return _divide_groups(ids, groups, seed)
    return divide(ids, None if data.test.labels is None else np.asarray(data.test.labels)[rows], seed)


def _connected(pairs: Pairs, items: int) -> IntArray:
    """The lowest row that each item is linked to by pairs, directly or through others."""
    group = np.arange(items)
    before = None
    while before is None or (before != group).any():
        before = group.copy()
        np.minimum.at(group, pairs.first, group[pairs.second])
        np.minimum.at(group, pairs.second, group[pairs.first])
        group = group[group]
    return group


def _divide_groups(ids: Sequence[str], groups: IntArray, seed: int) -> tuple[list[str], list[str]]:
    """Assign whole groups in random order, each to the part with fewer items so far."""
    random = np.random.default_rng([seed, 5])
    parts: tuple[list[int], list[int]] = ([], [])
    for group in random.permutation(np.unique(groups)):
        min(parts, key=len).extend(np.flatnonzero(groups == group).tolist())
    first, second = ([ids[row] for row in sorted(part)] for part in parts)
    return first, second


def divide(ids: Sequence[str], labels: npt.NDArray[Any] | None, seed: int) -> tuple[list[str], list[str]]:
    """Divide items into two parts that differ by at most one item, each in the order of ``ids``.

    Items are ordered by class, at random within a class, and of each two neighbours a coin sends one to each part. So
    no class and no range of ranks can be on one side only.
    """
    random = np.random.default_rng([seed, 5])  # a different stream from other draws with this seed
    within = random.permutation(len(ids))
    order = within if labels is None else within[np.argsort(np.asarray(labels)[within], kind="stable")]
    first = np.zeros(len(ids), dtype=bool)
    for at in range(0, len(ids), 2):
        couple = order[at : at + 2]
        first[couple[random.integers(2)] if len(couple) > 1 else couple] = True
    one, other = ([ids[row] for row in np.flatnonzero(part).tolist()] for part in (first, ~first))
    return one, other


def pairs_within(data: RankingData, items: Sequence[str]) -> IntArray:
    """Rows of the held-out pairs with both items among these."""
    wanted = set(items)
    inside = np.array([k in wanted for k in data.test.ids], dtype=bool)
    pairs = data.test_pairs
    if not len(pairs):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(inside[pairs.first] & inside[pairs.second])


def pair_correct(scores: FloatArray, pairs: Pairs) -> FloatArray:
    """1 for correctly ranked pairs, else 0 (also for ties): scores (repeats, items) -> (repeats, pairs)."""
    difference = scores[:, pairs.first] - scores[:, pairs.second]
    return np.asarray(difference * pairs.target > 0, dtype=np.float64)


@dataclass(frozen=True)
class Difference:
    """A difference of means and its 95 % interval.

    Attributes:
        low, high: the interval; infinite if unknown.
        seed_standard_error, item_standard_error: from seeds and from judging items.
    """

    mean: float
    low: float
    high: float
    seed_standard_error: float
    item_standard_error: float
    degrees_of_freedom: float

    def to_json(self) -> dict[str, float | None]:
        """The difference for JSON; None for infinite values."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


def difference_of(values: FloatArray, pairs: Pairs) -> Difference:
    """The mean of paired differences, shape (repeats, pairs), with its interval (see above)."""
    repeats = len(values)
    items, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    if not repeats or not len(items):
        return Difference(math.nan, -math.inf, math.inf, math.inf, math.inf, 0.0)
    mean = float(values.mean())
    seeds = float(values.mean(axis=1).var(ddof=1)) / repeats if repeats >= FEWEST_REPEATS else math.inf
    of_pair = values.mean(axis=0)
    touched = np.bincount(places, minlength=len(items))
    total = np.bincount(places, weights=np.concatenate([of_pair, of_pair]), minlength=len(items))
    remaining = len(of_pair) - touched
    if (remaining == 0).any():
        by_item = math.inf  # an item is in every pair
    else:
        without = (of_pair.sum() - total) / remaining
        by_item = float((len(items) - 1) / len(items) * ((without - without.mean()) ** 2).sum())
    return _interval(mean, seeds, by_item, [(seeds, repeats - 1), (by_item, len(items) - 1)])


def difference_of_means(values: FloatArray) -> Difference:
    """The mean of one number per repeat, shape (repeats,), with an interval that covers seeds, but not other pairs."""
    seeds = float(values.var(ddof=1)) / len(values) if len(values) >= FEWEST_REPEATS else math.inf
    mean = float(values.mean()) if len(values) else math.nan
    return _interval(mean, seeds, 0.0, [(seeds, len(values) - 1), (0.0, 1)])


def combined(differences: Sequence[Difference]) -> Difference:
    """The mean of independent differences from different recordings, with its interval."""
    many = len(differences)
    seeds = [gain.seed_standard_error**2 / many**2 for gain in differences]
    items = [gain.item_standard_error**2 / many**2 for gain in differences]
    degrees = [gain.degrees_of_freedom for gain in differences]
    parts = list(zip(map(sum, zip(seeds, items, strict=True)), degrees, strict=True))
    return _interval(sum(gain.mean for gain in differences) / many, sum(seeds), sum(items), parts)


def _interval(mean: float, seeds: float, items: float, parts: Sequence[tuple[float, float]]) -> Difference:
    """The interval of a mean, from the variance and the degrees of freedom of each independent part."""
    variance = seeds + items
    fewest = min(degrees for _, degrees in parts)
    if not math.isfinite(variance) or fewest < 1:
        return Difference(mean, -math.inf, math.inf, math.sqrt(seeds), math.sqrt(items), 0.0)
    below = sum(part**2 / degrees for part, degrees in parts)
    degrees = variance**2 / below if below else float(fewest)
    reach = student_t(degrees) * math.sqrt(variance)
    return Difference(mean, mean - reach, mean + reach, math.sqrt(seeds), math.sqrt(items), degrees)


@dataclass(frozen=True)
class Judgement:
    """A verdict and a sentence with its reason."""

    verdict: Verdict
    why: str


def cannot_tell(why: str) -> Judgement:
    """The verdict that there is none, with its reason."""
    return Judgement("cannot tell", why)


def judge(difference: Difference, *, errors: float, items: int | None, repeats: int) -> Judgement:
    """The verdict on a difference in pair accuracy.

    It is "helped" or "hurt" if the interval does not contain zero, "cannot tell" if there are too few judging items or
    repeats or if the interval is wider than the error rate in both directions, and otherwise "no difference seen".

    Args:
        difference: difference of accuracies, as shares.
        errors: the share of the judging pairs that training on everything ranks wrongly.
        items: number of judging items; None if unknown.
        repeats: number of repeats of the training.
    """
    if repeats < FEWEST_REPEATS:
        return cannot_tell(f"one repeat does not show the effect of chance; use at least {FEWEST_REPEATS}.")
    if items is not None and items < FEWEST_ITEMS:
        return cannot_tell(
            f"{items} judging items are too few; at least {FEWEST_ITEMS} are needed. With fewer, chance "
            "alone gives all of them the same outcome more than once in twenty."
        )
    if not math.isfinite(difference.low):
        return cannot_tell("the judging pairs all share one item, so the effect of other items is unknown.")
    if difference.low > 0:
        return Judgement("helped", "the interval is above zero.")
    if difference.high < 0:
        return Judgement("hurt", "the interval is below zero.")
    if not errors:
        return cannot_tell("training on everything ranks every judging pair correctly.")
    if difference.high >= errors and difference.low <= -errors:
        return cannot_tell(
            "the interval is wider than the error rate in both directions. More held-out items or more repeats would "
            "narrow it."
        )
    return Judgement("no difference seen", "the interval contains zero.")
