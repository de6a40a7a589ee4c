"""Votes of test pairs against training pairs, counted in blocks.

A score below the threshold is a negative vote; a training pair with enough of them is harmful. A test pair is active
where it has a non-zero score for at least one training pair: the others have no gradient and cannot vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.errors import UsageError
from tracinctl.scores.table import FloatArray, ScoreSource

IntArray = npt.NDArray[np.int32]

DEFAULT_OCCURRENCES = "60%"
_BITS = 16


@dataclass(frozen=True)
class Threshold:
    """A threshold as a person gave it: a score, or a quantile of all non-zero scores.

    Attributes:
        text: what was given.
        value: the score, or the share (0 to 1) of non-zero scores that lie below.
        quantile: whether ``value`` is a share.
    """

    text: str
    value: float
    quantile: bool = False


def parse_threshold(text: str) -> Threshold:
    """A threshold from ``-5`` or ``1%``.

    Raises:
        UsageError: it is neither a finite number nor a share between 0% and 100%.
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
            hint="a score is written -5, the lowest hundredth of all scores 1%",
        )
    return Threshold(text, value / 100 if quantile else value, quantile)


def parse_thresholds(text: str) -> list[Threshold]:
    """Thresholds from a comma list.

    Raises:
        UsageError: an entry is empty or is no threshold.
    """
    return [parse_threshold(each) for each in text.split(",")]


def required_votes(rule: str, active: int) -> int:
    """Votes that make a training pair harmful: ``3``, or ``60%`` of the active test pairs rounded up, at least 1.

    Raises:
        UsageError: the rule is neither a whole number from 1 up nor a share above 0% and up to 100%.
    """
    text = str(rule).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            if 0 < share <= 100:  # noqa: PLR2004  percent
                # the tenth decimal is beyond what a person writes, and keeps 60% of 5 from becoming 4 by rounding
                return max(1, math.ceil(round(share / 100 * active, 10)))
        elif int(text) >= 1:
            return int(text)
    except ValueError:
        pass
    raise UsageError(
        f"min-occurrences {text!r} is neither a number of votes nor a share of the active test pairs",
        hint="three votes are written 3, six tenths of the active test pairs 60%",
    )


@dataclass(frozen=True)
class VoteTable:
    """Votes of test pairs against training pairs.

    Attributes:
        thresholds: as given.
        values: the scores they stand for, shape (thresholds,), float64.
        votes: negative votes, shape (thresholds, train pairs), int32.
        mean: mean score over all test pairs, shape (train pairs,), float64.
        active: whether each test pair is active, shape (test pairs,), bool.
        test_votes: votes that each test pair gave, shape (thresholds, test pairs), int64.
        lowest: the lowest score there is.
        highest: the highest.
    """

    thresholds: Sequence[Threshold]
    values: FloatArray
    votes: IntArray
    mean: FloatArray
    active: npt.NDArray[np.bool_]
    test_votes: npt.NDArray[np.int64]
    lowest: float
    highest: float

    @property
    def active_test_pairs(self) -> int:
        """How many test pairs can vote at all."""
        return int(self.active.sum())


def count_votes(
    source: ScoreSource, thresholds: Sequence[Threshold], upper_threshold: float | None = None
) -> VoteTable:
    """Count negative votes; with ``upper_threshold`` a score above it counts as a vote too."""
    values = np.array([_value(source, each) for each in thresholds])
    rows, columns = len(source.train_ids), len(source.test_ids)
    votes = np.zeros((len(values), rows), dtype=np.int32)
    mean = np.zeros(rows)
    active = np.zeros(columns, dtype=bool)
    test_votes = np.zeros((len(values), columns), dtype=np.int64)
    lowest, highest = math.inf, -math.inf
    for start, block in source.blocks():
        stop = start + len(block)
        mean[start:stop] = block.mean(axis=1) if columns else 0.0
        active |= (block != 0).any(axis=0)
        lowest, highest = (
            min(lowest, float(block.min(initial=math.inf))),
            max(highest, float(block.max(initial=-math.inf))),
        )
        over = block > upper_threshold if upper_threshold is not None else None
        for k, value in enumerate(values):
            below = block < value
            if over is not None:
                below |= over
            votes[k, start:stop] = np.count_nonzero(below, axis=1)
            test_votes[k] += np.count_nonzero(below, axis=0)
    return VoteTable(thresholds, values, votes, mean, active, test_votes, lowest, highest)


def _value(source: ScoreSource, threshold: Threshold) -> float:
    return nonzero_quantile(source, threshold.value) if threshold.quantile else threshold.value


def nonzero_quantile(source: ScoreSource, share: float) -> float:
    """The score under which this share of all non-zero scores lie, exact, in bounded memory; 0 where all are zero.

    The bit patterns of float64 sort like the numbers once the sign is dealt with, so four passes of 16 bits each find
    the score of a given rank.
    """
    total = sum(int(np.count_nonzero(block)) for _, block in source.blocks())
    if not total:
        return 0.0
    rank = min(total - 1, int(share * total))
    prefix = 0
    for step in range(64 // _BITS):
        shift = 64 - _BITS * (step + 1)
        count = np.zeros(1 << _BITS, dtype=np.int64)
        for _, block in source.blocks():
            keys = _sortable(block[block != 0])
            if step:
                keys = keys[keys >> np.uint64(shift + _BITS) == np.uint64(prefix)]
            part = (keys >> np.uint64(shift)) & np.uint64((1 << _BITS) - 1)
            count += np.bincount(part.astype(np.int64), minlength=1 << _BITS)
        ends = np.cumsum(count)
        place = int(np.searchsorted(ends, rank, side="right"))
        rank -= int(ends[place - 1]) if place else 0
        prefix = (prefix << _BITS) | place
    sign = 1 << 63
    bits = prefix ^ sign if prefix & sign else prefix ^ ((1 << 64) - 1)
    return float(np.array([bits], dtype=np.uint64).view(np.float64)[0])


def _sortable(values: FloatArray) -> npt.NDArray[np.uint64]:
    bits = np.ascontiguousarray(values).view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)
