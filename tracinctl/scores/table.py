"""The table of influence scores: training pairs by test pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

BLOCK_BYTES = 64 << 20
"""Scores are read, written and counted in blocks of rows of about this size."""


def rows_per_block(test_pairs: int) -> int:
    """How many training pairs make a block of about BLOCK_BYTES of float64 scores."""
    return max(1, BLOCK_BYTES // (8 * max(1, test_pairs)))


class ScoreSource(Protocol):
    """Where influence scores can be read in blocks: a table in memory, a file of any size, a calculation in hand.

    Positive scores are helpful (proponents), negative ones harmful (opponents). What InfluenceTable says of its
    attributes holds for these.
    """

    @property
    def train_ids(self) -> Sequence[str]:
        """Ids of the training pairs, in row order."""

    @property
    def test_ids(self) -> Sequence[str]:
        """Ids of the test pairs, in column order."""

    @property
    def self_influence(self) -> FloatArray | None:
        """Influence of each training pair on itself, shape (train pairs,); None where not known."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Ids of the training items; empty where not known."""

    @property
    def sample_influence(self) -> FloatArray | None:
        """The item-level view, shape (train items,); None where not known."""

    @property
    def train_items(self) -> Sequence[tuple[str, str]]:
        """Ids of the two items of each training pair; empty where not known."""

    @property
    def checkpoint_names(self) -> Sequence[str]:
        """File names of the checkpoints, in order; empty where not known."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the scores were made from; empty where it is not known."""

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""


@dataclass(frozen=True)
class InfluenceTable:
    """Influence of every training pair on every test pair.

    Attributes:
        train_ids: ids of the training pairs, one a row; unique.
        test_ids: ids of the test pairs, one a column; unique.
        scores: shape (train pairs, test pairs), float64. Positive = helpful, negative = harmful.
        self_influence: influence of each training pair on itself, shape (train pairs,); None where not computed.
        sample_ids: ids of the training items.
        sample_influence: the item-level view, shape (train items,); None where not computed.
        train_items: ids of the two items of each training pair; empty where not known.
        per_checkpoint: scores a checkpoint, shape (checkpoints, train pairs, test pairs); None unless asked for.
        checkpoint_names: file names of the checkpoints, in order.
        provenance: what the scores were made from.
    """

    train_ids: Sequence[str]
    test_ids: Sequence[str]
    scores: FloatArray
    self_influence: FloatArray | None = None
    sample_ids: Sequence[str] = ()
    sample_influence: FloatArray | None = None
    train_items: Sequence[tuple[str, str]] = ()
    per_checkpoint: FloatArray | None = None
    checkpoint_names: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.train_ids), len(self.test_ids)):
            raise ValueError(
                f"scores of shape {self.scores.shape} do not fit "
                f"{len(self.train_ids)} training pairs x {len(self.test_ids)} test pairs"
            )

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        step = rows_per_block(len(self.test_ids))
        for start in range(0, len(self.train_ids), step):
            yield start, self.scores[start : start + step]
