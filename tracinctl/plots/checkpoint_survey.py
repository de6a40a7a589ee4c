"""Statistics of the scores of each checkpoint, gathered in one reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.errors import PlotError
from tracinctl.plots.survey import place_of
from tracinctl.scores.files.per_checkpoint import checkpoint_blocks
from tracinctl.scores.source import FloatArray, ScoreSource

_SORTED = 8 << 20
"""Largest number of scores, over all checkpoints, behind the quantiles."""


@dataclass(frozen=True)
class CheckpointSurvey:
    """Statistics of the scores of each checkpoint.

    Attributes:
        quantiles: for each checkpoint, a quantile of its non-zero scores per given percent; None if all are zero.
        every: quantiles use one training pair in this many; 1 = all.
        size: mean absolute score at each checkpoint, shape (checkpoints,).
        negative_share: share of negative among the non-zero scores at each checkpoint; NaN if all are zero.
        means: mean score of each training pair at each checkpoint, shape (checkpoints, train pairs).
        strange: number of scores that are not finite; they count as zero.
    """

    names: list[str]
    quantiles: list[list[float] | None]
    every: int
    size: FloatArray
    negative_share: FloatArray
    means: FloatArray
    strange: int


def survey_checkpoints(source: ScoreSource, percents: Sequence[float], test_pair: str | None) -> CheckpointSurvey:
    """Read the scores of each checkpoint once.

    Raises:
        PlotError: the scores of each checkpoint were not kept, or the test pair does not exist.
        ScoreFileError: the scores of the checkpoints do not add up to the scores.
    """
    blocks = checkpoint_blocks(source)
    names = list(source.checkpoint_names)
    if blocks is None or not names or not len(source.train_ids) or not len(source.test_ids):
        raise PlotError(
            "the scores of each checkpoint were not kept, so their change over training is unknown",
            hint="Run tracinctl compute --save-per-checkpoint, then plot again.",
        )
    columns = slice(None)
    if test_pair is not None:
        place = place_of(test_pair, source.test_ids, source.train_ids)
        columns = slice(place, place + 1)
    pairs, count = len(source.train_ids), len(names)
    tests = 1 if test_pair is not None else len(source.test_ids)
    every = -(-pairs * tests * count // _SORTED)
    share = np.full(tests, 1 / tests)
    size, means = np.zeros(count), np.zeros((count, pairs))
    negative, nonzero = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    sample: list[FloatArray] = []
    strange = 0
    for start, all_columns in blocks:
        block = all_columns[:, columns]
        finite = np.isfinite(block)
        if not finite.all():
            strange += int(block.size - np.count_nonzero(finite))
            block = np.where(finite, block, 0.0)
        flat = block.reshape(len(block), -1)
        negative += (flat < 0).sum(axis=0).reshape(tests, count).sum(axis=0)
        nonzero += (flat != 0).sum(axis=0).reshape(tests, count).sum(axis=0)
        # divide before adding, because sums of scores near the largest float overflow
        size += (np.matmul(share, np.abs(block)) / pairs).sum(axis=0)
        means[:, start : start + len(block)] = np.matmul(share, block).T
        sample.append(block[(-start) % every :: every].copy())
    taken = np.concatenate(sample)
    return CheckpointSurvey(
        names=names,
        quantiles=[_quantiles(taken[..., c], percents) for c in range(count)],
        every=every,
        size=size,
        negative_share=np.where(nonzero > 0, negative / np.maximum(nonzero, 1), np.nan),
        means=means,
        strange=strange,
    )


def _quantiles(scores: npt.NDArray[np.float64], percents: Sequence[float]) -> list[float] | None:
    active = scores[scores != 0]
    if not active.size:
        return None
    quantiles: list[float] = np.percentile(active, percents, method="nearest").tolist()
    return quantiles
