"""Item-level influence: how badly an item's pairs fit similar items, which finds mislabelled items.

A mislabelled item pulls all its pairs one way, and a model that fits it hides the error by the end of training. Its
neighbours, items with similar score gradients, still show where it belongs.

For each item: if it had the score of another item, drawn in proportion to similarity, how likely would its own pairs
be? The more the item stands out, the less likely they are. This is a mixture over neighbours, not their mean, because
an item half way between two kinds belongs to one of them and not in between.

``tests/benchmarks/README.md`` compares it with other measures, on the data for which the constants below were chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracinctl.data.pairs import FloatArray, IntArray, Pairs

SHARPNESS = 10.0
"""How quickly a neighbour's weight falls with the cosine."""

MARGIN = 0.25
"""Required margin between the scores of a pair, in standard deviations of the scores."""

TEMPERATURE = 0.02
"""Divisor that turns the mean margin loss of an item's pairs into a negative log likelihood."""

EQUAL = 1e-9
"""Share of the largest score; a standard deviation of the scores below it is rounding."""

ALIKE = 1e-10
"""Share of the mean squared length; a gradient's squared length below it is rounding."""

_FEW = 2  # pairs of an item; up to this many, going through them is faster than sums between the scores
_CELLS = 1 << 20  # largest number of cells per array; larger arrays are no faster
_CELL_BYTES = 72  # nine such arrays are in memory at a time


def item_disagreement(
    scores: FloatArray,
    kernel: Callable[[int, int], FloatArray],
    lengths: FloatArray,
    neighbours: IntArray,
    pairs: Pairs,
    memory: int = _CELLS * _CELL_BYTES,
) -> FloatArray:
    """Negative log likelihood of each item's pairs if it had the score of a similar item; 0 without pairs.

    With u the scores over their standard deviation, and L_ik the mean over item i's pairs of the margin loss
    max(0, 0.25 - y (u_k - u_other)) that they would have with the score of item k, this is

        - log sum_k w_ik exp(-(L_ik - min_m L_im) / 0.02)

    w_ik is proportional to exp(10 cosine) of the score gradients of i and k minus the neighbours' mean gradient, and
    w_ii = 0. High = suspicious.

    Args:
        scores: scores of the items at a checkpoint, shape (items,).
        kernel: function of (start, stop): inner products of these items' score gradients with the neighbours',
            shape (stop - start, neighbours).
        lengths: squared lengths of the score gradients, shape (items,).
        neighbours: the items k, ascending; all or some.
        pairs: pairs as indices into the items; ties and pairs of an item with itself do not count.
        memory: limit in bytes on arrays of items by items, which have at least a few rows.

    Returns:
        Shape (items,), a negative log likelihood, never below zero.
    """
    n = len(scores)
    disagreement = np.zeros(n)
    spread = float(scores.std())
    if spread <= EQUAL * float(np.abs(scores).max()):
        return disagreement  # items with equal scores cannot disagree
    scores = scores / spread
    cells = min(_CELLS, memory // _CELL_BYTES)
    weights = _NeighbourWeights(kernel, lengths, neighbours, cells)
    counted = pairs.take((pairs.first != pairs.second) & (pairs.target != 0))
    most = int(np.bincount(np.concatenate([counted.first, counted.second])).max(initial=0))
    shortfall = (_ShortfallOfFew if most <= _FEW else _Shortfall)(scores, scores[neighbours], counted)
    step = max(1, cells // (len(neighbours) + 1))
    for start in range(0, n, step):
        stop = min(start + step, n)
        loss = shortfall.rows(start, stop)
        loss -= loss.min(1, keepdims=True)
        loss /= -TEMPERATURE
        np.exp(loss, out=loss)
        say = weights.rows(start, stop)
        heard = say.sum(1)
        likelihood = (say * loss).sum(1)[heard > 0] / heard[heard > 0]  # an item may be its own only neighbour
        disagreement[start:stop][heard > 0] = -np.log(np.maximum(likelihood, np.finfo(np.float64).tiny))
    return np.maximum(disagreement, 0.0)


class _ShortfallOfFew:
    """The same as ``_Shortfall`` if no item has more than a few pairs, such as preference data: pair by pair."""

    def __init__(self, scores: FloatArray, tried: FloatArray, pairs: Pairs) -> None:
        self.tried = tried
        items = np.concatenate([pairs.first, pairs.second])
        order = np.argsort(items, kind="stable")
        self.items = items[order]
        self.others = scores[np.concatenate([pairs.second, pairs.first])[order]]
        self.wins = np.concatenate([pairs.target, -pairs.target])[order].astype(np.float64)
        self.count = np.bincount(items, minlength=len(scores)).astype(np.float64)
        self.nth = np.arange(len(items)) - np.searchsorted(self.items, self.items)

    def rows(self, start: int, stop: int) -> FloatArray:
        """The losses of items start..stop, shape (stop - start, scores)."""
        total = np.zeros((stop - start, len(self.tried)))
        of_these = (self.items >= start) & (self.items < stop)
        for nth in range(int(self.count.max())):
            chosen = of_these & (self.nth == nth)
            wins = self.wins[chosen, None]
            losses = MARGIN - wins * (self.tried - self.others[chosen, None])
            total[self.items[chosen] - start] += np.maximum(losses, 0.0, out=losses)
        return total / np.maximum(self.count[start:stop, None], 1.0)


class _Shortfall:
    """Mean margin loss of the items' pairs for each of several scores.

    A pair's loss is linear in the item's score up to the other's score minus or plus the margin, so sums over the
    partners in the order of their scores give it for every score at once. They are taken between the scores that are
    tried, so that the work grows with the items times these.
    """

    def __init__(self, scores: FloatArray, tried: FloatArray, pairs: Pairs) -> None:
        self.tried = tried
        order = np.argsort(scores, kind="stable")
        rank = np.argsort(order)
        self.sorted = scores[order]
        wins = pairs.target > 0
        over, under = np.where(wins, pairs.first, pairs.second), np.where(wins, pairs.second, pairs.first)
        self.place = np.argsort(np.argsort(tried, kind="stable"))
        # the first partner that an item with each score fails to beat, and the last that fails to beat it
        begin = np.searchsorted(self.sorted, np.sort(tried) - MARGIN, side="right")
        end = np.searchsorted(self.sorted, np.sort(tried) + MARGIN, side="left")
        self.beaten = self._by_item(over, rank[under], begin)
        self.beating = self._by_item(under, rank[over], end)

    @staticmethod
    def _by_item(items: IntArray, ranks: IntArray, bounds: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Items, the ranks of their partners, and the bounds around these."""
        order = np.argsort(items, kind="stable")
        return items[order], ranks[order], np.searchsorted(bounds, ranks[order], side="right")

    def rows(self, start: int, stop: int) -> FloatArray:
        """The losses of items start..stop, shape (stop - start, scores)."""
        beaten, beating = self._counts(self.beaten, start, stop), self._counts(self.beating, start, stop)
        pairs = np.maximum(beaten[:, -1] + beating[:, -1], 1.0)[:, None]
        total = (MARGIN - self.tried) * (beaten[:, -1:] - self._tried(beaten))
        total += (MARGIN + self.tried) * self._tried(beating)
        beaten = self._counts(self.beaten, start, stop, sums=True)
        total += beaten[:, -1:] - self._tried(beaten)
        total -= self._tried(self._counts(self.beating, start, stop, sums=True))
        total /= pairs
        return np.asarray(total)

    def _tried(self, counts: FloatArray) -> FloatArray:
        """The columns of the scores that are tried, in their order."""
        # ``np.take`` keeps the order of the numbers in memory, other than ``counts[:, place]``
        return np.take(counts, self.place, axis=1)

    def _counts(
        self, by_item: tuple[IntArray, IntArray, IntArray], start: int, stop: int, *, sums: bool = False
    ) -> FloatArray:
        """Number of each item's partners below each bound and in all, or the sum of their scores.

        Shape (stop - start, scores + 1).
        """
        width = len(self.tried) + 1
        items, ranks, bounds = by_item
        part = slice(np.searchsorted(items, start), np.searchsorted(items, stop))
        cell = (items[part] - start) * width + bounds[part]
        weight = self.sorted[ranks[part]] if sums else None
        counted = np.bincount(cell, weight, minlength=(stop - start) * width).astype(np.float64, copy=False)
        return np.asarray(counted.reshape(stop - start, width).cumsum(1))


class _NeighbourWeights:
    """The weights of the neighbours; an item's own weight is zero."""

    def __init__(
        self, kernel: Callable[[int, int], FloatArray], lengths: FloatArray, neighbours: IntArray, cells: int
    ) -> None:
        self.kernel, self.neighbours = kernel, neighbours
        n = len(lengths)
        step = max(1, cells // len(neighbours))
        # inner products with the neighbours' mean gradient, and its own squared length
        self.mean = np.concatenate([kernel(k, min(k + step, n)).mean(1) for k in range(0, n, step)])
        self.middle = self.mean[neighbours].mean()
        self.length = np.sqrt(np.maximum(lengths - 2 * self.mean + self.middle, 0.0))
        # equal items have no direction of their own, so all others have the same weight
        self.length[self.length**2 <= ALIKE * lengths[neighbours].mean()] = np.inf

    def rows(self, start: int, stop: int) -> FloatArray:
        """The weights for items start..stop, shape (stop - start, neighbours)."""
        w: FloatArray = self.kernel(start, stop) - self.mean[self.neighbours]
        w -= self.mean[start:stop, None] - self.middle
        w /= self.length[self.neighbours]
        w /= self.length[start:stop, None]
        w -= 1.0
        w *= SHARPNESS
        np.exp(w, out=w)
        w[self.neighbours == np.arange(start, stop)[:, None]] = 0.0
        return w
