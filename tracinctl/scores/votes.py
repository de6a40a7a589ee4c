"""Count votes of test pairs against training pairs, in blocks.

A score below the threshold is a negative vote; a training pair with enough votes is harmful. A test pair is active if
it has a non-zero score for at least one training pair; other test pairs have no gradient and cannot vote.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.errors import UsageError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.options import RULES, RequiredVotes, Votes
from tracinctl.scores.quantiles import nonzero_quantiles
from tracinctl.scores.source import FloatArray, ScoreSource
from tracinctl.text import number

IntArray = npt.NDArray[np.int32]

DEFAULT_OCCURRENCES = RequiredVotes.min_occurrences
DEFAULT_RULE = Votes.rule
_LANES = 8  # votes are bytes; eight are added at once as one 64-bit word
_MOST = 255  # number of additions that a byte can hold
_TILE_SCORES = 1 << 17


@dataclass(frozen=True)
class Threshold:
    """A threshold from the user: a score, or a quantile of all non-zero scores.

    Attributes:
        text: the given text.
        value: the score, or the share (0 to 1) of non-zero scores below it.
        quantile: whether ``value`` is a share.
    """

    text: str
    value: float
    quantile: bool = False

    def named(self, value: float) -> str:
        """The text, and the score that a share stands for: ``1% = -12.3``."""
        return f"{self.text} = {number(value)}" if self.quantile else self.text


BELOW_ZERO = Threshold("0", 0.0)


def parse_threshold(text: str) -> Threshold:
    """Read a threshold such as ``-5`` or ``1%``.

    Raises:
        UsageError: the text is neither a finite number up to zero nor a share between 0% and 100%.
    """
    text = text.strip()
    quantile = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (quantile and not 0 <= value <= 100):  # noqa: PLR2004  percent
        raise UsageError(
            f"threshold {text!r} is neither a score nor a share of the scores",
            hint="Write a score like -5, or the lowest hundredth of all scores as 1%.",
        )
    if value > 0 and not quantile:
        raise UsageError(
            f"threshold {text!r} is above zero, so helpful scores would count as votes against a pair",
            hint="Give a threshold of 0 or lower, such as -5, because negative scores are harmful. "
            "To count very high scores as votes too, give an upper threshold.",
        )
    return Threshold(text, value / 100 if quantile else value, quantile)


def parse_thresholds(text: str) -> list[Threshold]:
    """Read comma-separated thresholds."""
    return [parse_threshold(part) for part in text.split(",")]


def check_rule(rule: str, min_occurrences: str = DEFAULT_OCCURRENCES, upper_threshold: float | None = None) -> None:
    """Check the settings of a rule.

    Raises:
        UsageError: ``rule`` is not one of RULES, ``min_occurrences`` is not a number of votes, or settings of votes are
            given for the rule total, which has no votes.
    """
    if rule not in RULES:
        raise UsageError(f"unknown rule {rule!r}", hint=f"Choose one of {', '.join(RULES)}.")
    required_votes(min_occurrences, 0)
    if rule == "total" and (upper_threshold is not None or min_occurrences != DEFAULT_OCCURRENCES):
        parameter = "min_occurrences" if upper_threshold is None else "upper_threshold"
        raise UsageError(f"`{parameter}` sets votes, but the rule total has none", hint="Leave one of them out.")


def required_votes(rule: str, active: int) -> int:
    """Number of votes that makes a training pair harmful: ``3``, or ``60%`` of the active test pairs, rounded up.

    Raises:
        UsageError: the rule is neither a whole number from 1 up nor a share above 0% and up to 100%.
    """
    text = str(rule).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            if 0 < share <= 100:  # noqa: PLR2004  percent
                # round at the tenth decimal, so that rounding errors do not turn 60% of 5 into 4
                return max(1, math.ceil(round(share / 100 * active, 10)))
        elif int(text) >= 1:
            return int(text)
    except ValueError:
        pass
    raise UsageError(
        f"`min_occurrences` is {text!r}, which is neither a number of votes nor a share of the active test pairs",
        hint="Write three votes as 3, and six tenths of the active test pairs as 60%.",
    )


@dataclass(frozen=True)
class VoteTable:
    """Votes of test pairs against training pairs.

    Attributes:
        thresholds: the given thresholds.
        values: their scores, shape (thresholds,), float64.
        votes: negative votes, shape (thresholds, train pairs), int32.
        mean: mean score over all test pairs, shape (train pairs,), float64.
        active: whether each test pair is active, shape (test pairs,), bool.
        test_votes: number of votes of each test pair, shape (thresholds, test pairs), int64.
        lowest, highest: the lowest and the highest score.
        upper_threshold: scores above it count as votes too; None without one.
    """

    thresholds: Sequence[Threshold]
    values: FloatArray
    votes: IntArray
    mean: FloatArray
    active: npt.NDArray[np.bool_]
    test_votes: npt.NDArray[np.int64]
    lowest: float
    highest: float
    upper_threshold: float | None = None

    @property
    def active_test_pairs(self) -> int:
        """Number of test pairs that can vote."""
        return int(self.active.sum())

    @property
    def totals(self) -> FloatArray:
        """The sum of each training pair's scores over all test pairs, shape (train pairs,)."""
        with np.errstate(over="ignore"):  # sums of very large scores may be infinite
            return self.mean * len(self.active)


def count_votes(
    source: ScoreSource, thresholds: Sequence[Threshold], upper_threshold: float | None = None
) -> VoteTable:
    """Count negative votes; scores above ``upper_threshold`` count as votes too.

    This reads the scores once, and two to five times more if thresholds are shares.

    Raises:
        UsageError: the upper threshold is not above the others.
    """
    values = resolve_thresholds(source, thresholds)
    _check_upper(upper_threshold, thresholds)
    count = _Count(len(thresholds), len(source.train_ids), len(source.test_ids))
    for start, block in source.blocks():
        rows = max(1, min(_MOST, _TILE_SCORES // max(1, block.shape[1])))
        for first in range(0, len(block), rows):
            count.add(start + first, block[first : first + rows], values, upper_threshold)
    count.silence(values, upper_threshold)
    indistinct = set(source.provenance.get("indistinct_pairs", ()))
    if indistinct:  # pairs of two equal items are not comparisons, so no vote counts against them
        count.votes[:, [name in indistinct for name in source.train_ids]] = 0
    return VoteTable(
        thresholds=tuple(thresholds),
        values=values,
        votes=count.votes,
        mean=count.mean,
        active=count.active,
        test_votes=count.test_votes,
        lowest=count.lowest,
        highest=count.highest,
        upper_threshold=upper_threshold,
    )


def resolve_thresholds(source: ScoreSource, thresholds: Sequence[Threshold]) -> FloatArray:
    """The scores of thresholds, shape (thresholds,); the source is read only if a threshold is a share."""
    values = np.array([threshold.value for threshold in thresholds], dtype=np.float64)
    shares = [k for k, threshold in enumerate(thresholds) if threshold.quantile]
    values[shares] = nonzero_quantiles(source, [thresholds[k].value for k in shares])
    return values


def voters_against(
    source: ScoreSource, counted: VoteTable, train_ids: Collection[str], progress: ProgressCallback = no_progress
) -> dict[str, list[str]]:
    """The test pairs that voted against each of these training pairs at the first threshold."""
    chosen = set(train_ids)
    rows = np.array([row for row, name in enumerate(source.train_ids) if name in chosen], dtype=np.int64)
    names = np.array(source.test_ids, dtype=object)
    voters: dict[str, list[str]] = {}
    for start, block in source.blocks() if rows.size else ():
        begin, end = np.searchsorted(rows, (start, start + len(block))).tolist()
        for row in rows[begin:end].tolist():
            scores = block[row - start]
            vote = scores < counted.values[0]
            if counted.upper_threshold is not None:
                vote |= scores > counted.upper_threshold
            voters[source.train_ids[row]] = names[vote & counted.active].tolist()
        progress(Progress("voters", start + len(block), len(source.train_ids), "pairs"))
    return voters


def total_below(totals: FloatArray, threshold: Threshold) -> float:
    """The total below which a pair is harmful: a given score, or the total below which the lowest share of pairs is.

    The result is at most 0, so that a share never includes helpful pairs.
    """
    if not threshold.quantile:
        return threshold.value
    few = int(round(threshold.value * len(totals), 10))
    if few >= len(totals):
        return 0.0
    return min(0.0, float(np.partition(totals, few)[few]))


def _check_upper(upper: float | None, thresholds: Sequence[Threshold]) -> None:
    if upper is None:
        return
    if not math.isfinite(upper):
        raise UsageError(f"upper threshold {upper} is no score", hint="Give a number, 20 for instance.")
    highest = max((limit.value for limit in thresholds if not limit.quantile), default=-math.inf)
    if highest >= upper:
        raise UsageError(
            f"upper threshold {number(upper)} is not above the threshold {number(highest)}, "
            "so all scores would be votes",
            hint="Give a positive upper threshold, such as 20; scores above it are votes against a pair.",
        )


class _Count:
    """Running counts of votes; tiles of scores stay in the processor's cache for all thresholds."""

    def __init__(self, thresholds: int, rows: int, columns: int) -> None:
        self.votes = np.zeros((thresholds, rows), dtype=np.int32)
        self.mean = np.zeros(rows)
        self.active = np.zeros(columns, dtype=bool)
        self.test_votes = np.zeros((thresholds, columns), dtype=np.int64)
        self.lowest, self.highest = math.inf, -math.inf
        self._words = -(-columns // _LANES)
        self._columns = columns
        self._below = np.zeros((0, self._words * _LANES), dtype=bool)

    def add(self, start: int, tile: FloatArray, values: FloatArray, upper: float | None) -> None:
        if not tile.size:
            return
        rows = slice(start, start + len(tile))
        self.mean[rows] = _row_means(tile)
        silent = np.flatnonzero(~self.active)
        if silent.size:
            self.active[silent] = (tile[:, silent] != 0).any(axis=0)
        lowest, highest = float(tile.min()), float(tile.max())
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        if len(self._below) < len(tile):
            self._below = np.zeros((len(tile), self._words * _LANES), dtype=bool)
        below = self._below[: len(tile), : self._columns]
        words = self._below[: len(tile)].view(np.uint64)
        over = tile > upper if upper is not None and highest > upper else None
        for k, value in enumerate(values):
            if value > lowest:
                np.less(tile, value, out=below)
                if over is not None:
                    below |= over
            elif over is not None:
                below[:] = over
            else:
                continue
            self.votes[k, rows] = _added(words)
            self.test_votes[k] += words.sum(axis=0).view(np.uint8)[: self._columns]

    def silence(self, values: FloatArray, upper: float | None) -> None:
        """Remove the votes of inactive test pairs, whose zeros are below positive thresholds."""
        silent = int((~self.active).sum())
        for k, value in enumerate(values):
            if silent and (value > 0 or (upper is not None and upper < 0)):
                self.votes[k] -= silent
                self.test_votes[k, ~self.active] = 0


def _added(words: npt.NDArray[np.uint64]) -> IntArray:
    """The sums of the bytes (0 or 1) in each row's words."""
    parts = [words[:, start : start + _MOST].sum(axis=1) for start in range(0, words.shape[1], _MOST)]
    lanes = np.stack(parts, axis=1).view(np.uint8)
    total: IntArray = lanes.sum(axis=1, dtype=np.int32)
    return total


def _row_means(tile: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        means: FloatArray = tile.mean(axis=1)
    if not np.isfinite(means).all():
        means = (tile / tile.shape[1]).sum(axis=1)  # the sum of very large scores overflows
    return means
