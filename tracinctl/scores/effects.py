"""The effect of each training pair on the held-out pairs: total, votes, and the pairs it hurts and helps most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.source import FloatArray, ScoreSource

IntArray = npt.NDArray[np.int64]

NAMED = 5
"""Largest number of pairs to name per training pair."""


@dataclass(frozen=True)
class PairEffects:
    """Sums and extremes over the held-out pairs, one row per training pair.

    Attributes:
        total: total influence on all held-out pairs, shape (train pairs,).
        votes: number of held-out pairs with a negative score, shape (train pairs,).
        active: number of held-out pairs with a non-zero score for some training pair.
        hurt, hurt_by: columns and scores of the lowest scores, lowest first, shape (train pairs, named).
        helped, helped_by: columns and scores of the highest scores, highest first, same shape.
    """

    total: FloatArray
    votes: IntArray
    active: int
    hurt: IntArray
    hurt_by: FloatArray
    helped: IntArray
    helped_by: FloatArray


def pair_effects(source: ScoreSource, progress: ProgressCallback = no_progress) -> PairEffects:
    """Read the scores once."""
    rows, columns = len(source.train_ids), len(source.test_ids)
    named = min(NAMED, columns)
    total, votes = np.zeros(rows), np.zeros(rows, dtype=np.int64)
    active = np.zeros(columns, dtype=bool)
    hurt, helped = (np.zeros((rows, named), dtype=np.int64) for _ in range(2))
    hurt_by, helped_by = (np.zeros((rows, named)) for _ in range(2))
    for start, block in source.blocks():
        part = slice(start, start + len(block))
        total[part] = block.sum(axis=1)
        votes[part] = (block < 0).sum(axis=1)
        active |= (block != 0).any(axis=0)
        hurt[part], hurt_by[part] = _lowest(block, named)
        helped[part], negative = _lowest(-block, named)
        helped_by[part] = -negative
        progress(Progress("reading scores", min(part.stop, rows), rows, "pairs"))
    return PairEffects(total, votes, int(active.sum()), hurt, hurt_by, helped, helped_by)


def opposed_pairs(source: ScoreSource, row: int) -> list[tuple[str, float]]:
    """The training pairs that contradict one most: ids, and the cosine of their scores with its scores.

    Reads the scores up to twice.
    A cosine of -1 means the exact opposite effect on every held-out pair; only negative ones are returned.
    """
    scores = next(block[row - start] for start, block in source.blocks() if row < start + len(block))
    cosine = np.zeros(len(source.train_ids))
    for start, block in source.blocks():
        lengths = np.linalg.norm(block, axis=1) * np.linalg.norm(scores)
        cosine[start : start + len(block)] = block @ scores / np.where(lengths > 0, lengths, np.inf)
    order = np.argsort(cosine, kind="stable")[:NAMED].tolist()
    return [(source.train_ids[k], float(cosine[k])) for k in order if cosine[k] < 0]


def _lowest(block: FloatArray, named: int) -> tuple[IntArray, FloatArray]:
    """Columns and values of the lowest scores of each row; equal scores are in column order."""
    columns = np.sort(np.argpartition(block, named - 1, axis=1)[:, :named], axis=1)
    values = np.take_along_axis(block, columns, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
