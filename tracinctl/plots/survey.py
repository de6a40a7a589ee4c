"""Statistics of scores for the pictures, gathered in at most two readings in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import PlotError, UsageError
from tracinctl.plots.drawing.axis import Axis, score_axis
from tracinctl.scores.source import FloatArray, KnownScores, ScoreSource
from tracinctl.scores.votes import Threshold, VoteTable, count_votes
from tracinctl.text import as_written, clean, nearest

_SAMPLE = 200_000
"""Number of scores behind the typical size."""
_TILE = 1 << 16
"""Number of scores per tile, so that results stay in the processor's cache."""
_LARGEST = np.finfo(np.float64).max
_BINS = 1.5
"""Limit on the bins of a histogram, as a multiple of the square root of the number of scores."""


class FiniteScores(KnownScores):
    """The scores of a source, or of one test pair. Scores that are not finite become zero and are counted.

    The first reading of the blocks counts the negative and zero scores, and those that are not finite (``strange``).

    Raises:
        UsageError: there is no such test pair.
    """

    def __init__(self, source: ScoreSource, test_pair: str | None = None) -> None:
        test_ids: Sequence[str] = source.test_ids
        self._columns: slice = slice(None)
        if test_pair is not None:
            place = place_of(test_pair, source.test_ids, source.train_ids)
            test_ids, self._columns = [test_pair], slice(place, place + 1)
        self._source = source
        sample_influence = source.sample_influence
        if sample_influence is not None:
            sample_influence = np.where(np.isfinite(sample_influence), sample_influence, 0.0)
        super().__init__(replace(source.meta, test_ids=test_ids, sample_influence=sample_influence))
        self.strange = self.zeros = self.negative = 0
        self.finite = np.full(len(source.train_ids), len(self.test_ids))
        self.sizes: list[FloatArray] = []
        self.read = False

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, finite scores of shape (rows, test pairs)) from the first row to the last."""
        for start, all_columns in self._source.blocks():
            block = all_columns[:, self._columns]
            strange = 0
            if not self.read or self.strange:
                finite = np.isfinite(block)
                strange = int(block.size - np.count_nonzero(finite))
                block = np.where(finite, block, 0.0) if strange else block
            if not self.read:
                if strange:
                    self.finite[start : start + len(block)] = np.count_nonzero(finite, axis=1)
                self._note(start, block, strange)
            yield start, block
        self.read = True

    def _note(self, start: int, block: FloatArray, strange: int) -> None:
        self.strange += strange
        self.zeros += int(np.count_nonzero(block == 0)) - strange
        self.negative += int(np.count_nonzero(block < 0))
        stride = max(1, self.finite.size * block.shape[1] // _SAMPLE)
        sample = block[(-start) % stride :: stride]
        self.sizes.append(np.abs(sample[sample != 0]))


def place_of(test_pair: str, test_ids: Sequence[str], train_ids: Sequence[str] = ()) -> int:
    """The column of a test pair.

    Raises:
        UsageError: there is no such test pair; the same one turned round, or the nearest one, is named.
    """
    test_pair = as_written(test_pair, test_ids)
    if test_pair in test_ids:
        return list(test_ids).index(test_pair)
    if test_pair in train_ids:
        raise UsageError(
            f"{clean(test_pair)!r} is a training pair",
            hint=f"Give a pair of held-out items, for example {clean(test_ids[0])}." if len(test_ids) else "",
        )
    cuts = [k for k, letter in enumerate(test_pair) if letter == "_"]
    turned = {f"{test_pair[k + 1 :]}_{test_pair[:k]}" for k in cuts}
    other_way = next((name for name in test_ids if name in turned), "")
    near = nearest(test_pair, test_ids)
    hint = f"Did you mean {clean(near)}?" if near else f"For example {clean(test_ids[0])}." if len(test_ids) else ""
    if other_way:
        hint = f"The scores have it in the opposite order: {clean(other_way)}"
    raise UsageError(f"there is no test pair {clean(test_pair)!r} in these scores", hint=hint)


def middle(values: FloatArray) -> float:
    """The upper median, which is one of the values; 0 without values."""
    return float(np.partition(values, values.size // 2)[values.size // 2]) if values.size else 0.0


@dataclass(frozen=True)
class Survey:
    """Statistics from the first reading.

    Attributes:
        scores: the scores, for another reading, and their numbers by sign.
        votes: negative votes at each threshold.
        typical: median absolute non-zero score (of a sample, if there are many); 0 if all are zero.
        mean: mean of each training pair's finite scores, shape (train pairs,).
    """

    scores: FiniteScores
    votes: VoteTable
    typical: float
    mean: FloatArray

    @property
    def lowest(self) -> float:
        """The lowest finite score, at most zero."""
        return min(0.0, self.votes.lowest)

    @property
    def highest(self) -> float:
        """The highest finite score, at least zero."""
        return max(0.0, self.votes.highest)

    @property
    def total(self) -> int:
        """Number of scores."""
        return len(self.scores.train_ids) * len(self.scores.test_ids)

    @property
    def positive(self) -> int:
        """Number of positive scores."""
        return self.total - self.scores.negative - self.scores.zeros - self.scores.strange

    def counts(self) -> dict[str, Any]:
        """Numbers of pairs, and of scores by sign."""
        return {
            "train_pairs": len(self.scores.train_ids),
            "test_pairs": len(self.scores.test_ids),
            "active_test_pairs": self.votes.active_test_pairs,
            "negative": self.scores.negative,
            "positive": self.positive,
            "zero": self.scores.zeros,
            "not_finite": self.scores.strange,
        }

    def threshold_names(self) -> list[str]:
        """Labels such as ``-5``, or ``1% = -12.3`` for a quantile."""
        values = self.votes.values.tolist()
        return [threshold.named(value) for threshold, value in zip(self.votes.thresholds, values, strict=True)]

    def axis(self, low: float, high: float) -> Axis:
        """An axis from ``low`` to ``high``, linear or logarithmic as suits the scores."""
        return score_axis(low, high, self.typical, max(-self.lowest, self.highest))


def survey(source: ScoreSource, thresholds: Sequence[Threshold], test_pair: str | None = None) -> Survey:
    """Read all scores once, and a few more times per quantile threshold.

    Raises:
        UsageError: there is no such test pair.
        PlotError: there are no scores.
    """
    scores = FiniteScores(source, test_pair)
    if not len(scores.train_ids) or not len(scores.test_ids):
        raise PlotError(
            "there are no scores to draw",
            hint="Compute scores with at least one training pair and one test pair: tracinctl compute",
        )
    votes = count_votes(scores, thresholds)
    typical = middle(np.concatenate(scores.sizes))
    with np.errstate(over="ignore"):  # rounding may pass the largest float
        mean = votes.mean * (len(scores.test_ids) / np.maximum(1, scores.finite))
    return Survey(scores, votes, typical, np.clip(mean, -_LARGEST, _LARGEST))


class Histogram:
    """Counts of the non-zero scores in bins of equal width on an axis; zero is an edge.

    Attributes:
        axis: the axis, widened so that whole bins fill both sides of zero.
        edges: shape (bins + 1,).
        counts: shape (bins,), int64. A bin includes its edge nearer to zero.
        cell: width of a bin in characters.
    """

    def __init__(self, axis: Axis, columns: int, scores: int) -> None:
        # few scores in many bins would show only chance
        self.cell = min(max(1, math.ceil(columns / (_BINS * math.sqrt(max(1, scores))))), 4)
        bins = columns // self.cell
        left, right = (abs(float(end)) for end in axis.bend([axis.low, axis.high]))
        below = round(bins * left / (left + right))
        below = min(max(below, 1 if left else 0), bins - (1 if right else 0))
        above = bins - below
        self._below, self._above = below, above
        self._step = max(left / below if below else 0.0, right / above if above else 0.0)
        self._axis = axis
        with np.errstate(over="ignore"):  # the ends of a widened axis may pass the largest float
            self.edges = np.clip(axis.unbend(np.arange(-below, above + 1) * self._step), -_LARGEST, _LARGEST)
        self.edges[below] = 0.0
        self.axis = Axis(float(self.edges[0]), float(self.edges[-1]), axis.straight_to)
        self.counts = np.zeros(bins, dtype=np.int64)

    def add(self, block: FloatArray) -> None:
        """Count a block of scores."""
        flat = np.ascontiguousarray(block).reshape(-1)
        last = len(self.counts) - 1
        for start in range(0, flat.size if last >= 0 else 0, _TILE):
            tile = flat[start : start + _TILE]
            tile = tile[tile != 0]
            place = np.clip(self._axis.bend(tile) / self._step, -self._below, self._above)
            at = place.astype(np.int64) + self._below - (tile < 0)  # round towards zero on both sides
            self.counts += np.bincount(np.clip(at, 0, last), minlength=last + 1)

    def column_of(self, value: float) -> int:
        """The character column of a value, or the nearest one."""
        place = math.floor((float(self._axis.bend(value)) / self._step + self._below) * self.cell)
        return min(max(place, 0), len(self.counts) * self.cell - 1)


class VoteCurves:
    """Exact numbers of training pairs with at least k scores below a threshold, for all thresholds at once.

    A pair has k scores below t if its k-th lowest score is below t. These scores are kept, shape (train pairs,) per k.
    """

    def __init__(self, votes: Sequence[int], train_pairs: int, active: npt.NDArray[np.bool_]) -> None:
        self.votes = list(votes)
        self._active = slice(None) if active.all() else active  # other pairs cannot vote
        self._lowest = np.zeros((len(self.votes), train_pairs))

    def add(self, start: int, block: FloatArray) -> None:
        """Add the k-th lowest scores of a block."""
        ranks = [k - 1 for k in self.votes]
        if ranks:
            # up to nine times as fast as ``np.partition`` with several ranks
            ordered = np.sort(block[:, self._active], axis=1)
            self._lowest[:, start : start + len(block)] = ordered[:, ranks].T

    def finish(self) -> None:
        """Prepare for ``harmful`` after the last block."""
        self._lowest.sort(axis=1)

    def harmful(self, line: int, thresholds: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Numbers of training pairs with at least ``votes[line]`` scores below each threshold."""
        pairs: npt.NDArray[np.int64] = np.searchsorted(self._lowest[line], np.asarray(thresholds), side="left")
        return pairs
