"""What the picture of checkpoints needs to know, from one reading of the scores of each checkpoint."""

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
"""Scores at most that quantiles are taken from, all checkpoints together."""


@dataclass(frozen=True)
class CheckpointSurvey:
    """What the scores of each checkpoint are like.

    Attributes:
        names: of the checkpoints.
        quantiles: of each checkpoint's scores other than zero, one a percent asked for; None where all are zero.
        every: quantiles are from one training pair in this many; 1 = all.
        size: mean of the scores' sizes at each checkpoint, shape (checkpoints,).
        negative_share: share below zero of each checkpoint's scores other than zero, NaN where all are zero.
        means: mean score of each training pair at each checkpoint, shape (checkpoints, train pairs).
        strange: scores that are not finite, and count as zero.
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
        PlotError: they were not kept, or there is no such test pair.
        ScoreFileError: they do not add up to the scores.
    """
    blocks = checkpoint_blocks(source)
    names = list(source.checkpoint_names)
    if blocks is None or not names or not len(source.train_ids) or not len(source.test_ids):
        raise PlotError(
            "the scores of single checkpoints were not kept, so there is nothing to say about training",
            hint="tracinctl compute --save-per-checkpoint keeps them; then plot again.",
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
    for start, whole in blocks:
        block = whole[:, columns]
        finite = np.isfinite(block)
        if not finite.all():
            strange += int(block.size - np.count_nonzero(finite))
            block = np.where(finite, block, 0.0)
        flat = block.reshape(len(block), -1)
        negative += (flat < 0).sum(axis=0).reshape(tests, count).sum(axis=0)
        nonzero += (flat != 0).sum(axis=0).reshape(tests, count).sum(axis=0)
        # divided before they are added, because sums of scores near the largest float overflow
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
