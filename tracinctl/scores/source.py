"""Sources of influence scores, training pairs by test pairs: their metadata, and the scores in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import NonFiniteError, ScoreFileError

FloatArray = npt.NDArray[np.float64]
Blocks = Iterator[tuple[int, FloatArray]]

BLOCK_BYTES = 64 << 20
"""Approximate size of the blocks of rows in which scores are read, written and counted."""


def rows_per_block(test_pairs: int) -> int:
    """Number of training pairs in a block of about BLOCK_BYTES of float64 scores."""
    return max(1, BLOCK_BYTES // (8 * max(1, test_pairs)))


@dataclass(frozen=True)
class ScoreMeta:
    """The metadata of scores.

    Attributes:
        train_ids: ids of the training pairs, in row order.
        test_ids: ids of the test pairs, in column order.
        self_influence: influence of each training pair on itself, shape (train pairs,); None if unknown.
        sample_ids: ids of the training items; empty if unknown.
        sample_influence: item-level influence, shape (train items,); None if unknown.
        train_items: ids of the two items of each training pair; empty if unknown.
        checkpoint_names: file names of the checkpoints, in order; empty if unknown.
        provenance: what the scores were made from; empty if unknown.
        groups: additional columns of the training pairs by name (an annotator, a session), one text per pair.
    """

    train_ids: Sequence[str]
    test_ids: Sequence[str]
    self_influence: FloatArray | None = None
    sample_ids: Sequence[str] = ()
    sample_influence: FloatArray | None = None
    train_items: Sequence[tuple[str, str]] = ()
    checkpoint_names: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


class ScoreSource(ABC):
    """Influence scores that can be read in blocks, such as a table, a file or a running computation.

    Positive scores are helpful (proponents), negative ones harmful (opponents). See ``ScoreMeta`` for the attributes.
    """

    train_ids: Sequence[str]
    test_ids: Sequence[str]
    self_influence: FloatArray | None
    sample_ids: Sequence[str]
    sample_influence: FloatArray | None
    train_items: Sequence[tuple[str, str]]
    checkpoint_names: Sequence[str]
    provenance: Mapping[str, Any]
    groups: Mapping[str, Sequence[str]]

    @property
    def meta(self) -> ScoreMeta:
        """The metadata of the scores."""
        return ScoreMeta(**{part.name: getattr(self, part.name) for part in fields(ScoreMeta)})

    @abstractmethod
    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""


class KnownScores(ScoreSource):
    """A score source with given metadata; a subclass adds the blocks."""

    def __init__(self, meta: ScoreMeta) -> None:
        for name, value in vars(meta).items():
            setattr(self, name, value)


class SomeColumns(KnownScores):
    """The scores on some of the test pairs."""

    def __init__(self, source: ScoreSource, test_ids: Collection[str]) -> None:
        wanted = set(test_ids)
        self._source = source
        self._columns = np.flatnonzero([name in wanted for name in source.test_ids])
        super().__init__(replace(source.meta, test_ids=[source.test_ids[k] for k in self._columns.tolist()]))

    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        for start, block in self._source.blocks():
            yield start, block[:, self._columns]


class WatchedScores(KnownScores):
    """A score source with more provenance that records the active test pairs while its blocks are read."""

    def __init__(self, source: ScoreSource, more: Mapping[str, Any]) -> None:
        super().__init__(replace(source.meta, provenance={**source.provenance, **more}))
        self._source = source
        self.active = np.zeros(len(source.test_ids), dtype=bool)
        self.complete = False

    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        for start, block in self._source.blocks():
            self.active |= (block != 0).any(axis=0)
            yield start, block
        self.complete = True


def checked_blocks(source: ScoreSource) -> Blocks:
    """The blocks of a source, checked to be finite.

    Raises:
        ScoreFileError: there are no scores.
        NonFiniteError: a score is NaN or infinite; the message names the pairs.
    """
    if not len(source.train_ids) or not len(source.test_ids):
        raise ScoreFileError(
            f"no scores to write: {len(source.train_ids):,} training pairs on {len(source.test_ids):,} test pairs",
            hint="Give training pairs and test pairs.",
        )
    for start, block in source.blocks():
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0].tolist()
            raise NonFiniteError(
                f"the score of {source.train_ids[start + row]!r} on {source.test_ids[column]!r} is "
                f"{block[row, column]}, so nothing was written",
                hint="Check the checkpoints and recordings for such numbers.",
            )
        yield start, block


def finite_numbers(values: Any) -> FloatArray:
    """The values as float64; ValueError if they are not finite numbers."""
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        raise ValueError("self-influence or item-level influence is not finite")
    return numbers.astype(np.float64)


class MemoryScores(KnownScores):
    """Scores in memory."""

    def __init__(self, meta: ScoreMeta, scores: FloatArray) -> None:
        super().__init__(meta)
        self.scores = scores

    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        return in_blocks(self.scores)


def in_blocks(scores: FloatArray) -> Blocks:
    """Yield (first row, rows) of scores in memory."""
    step = rows_per_block(scores.shape[1])
    for start in range(0, len(scores), step):
        yield start, scores[start : start + step]
