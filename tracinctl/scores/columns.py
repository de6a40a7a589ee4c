"""Scores of some of the test pairs, as if only these had been used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tracinctl.scores.table import FloatArray, ScoreSource


class SomeColumns:
    """A score source with the test pairs named in ``test_ids`` alone; a score does not depend on other test pairs."""

    def __init__(self, source: ScoreSource, test_ids: Collection[str]) -> None:
        wanted = set(test_ids)
        self._source = source
        self._columns = np.flatnonzero([name in wanted for name in source.test_ids])
        self.test_ids: Sequence[str] = [source.test_ids[k] for k in self._columns.tolist()]
        self.train_ids = source.train_ids
        self.self_influence = source.self_influence
        self.sample_ids = source.sample_ids
        self.sample_influence = source.sample_influence
        self.train_items = source.train_items
        self.checkpoint_names = source.checkpoint_names
        self.provenance: Mapping[str, Any] = source.provenance

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        for start, block in self._source.blocks():
            yield start, block[:, self._columns]
