"""Scores of some of the test pairs, as if only these had been used."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from tracinctl.scores.derived import DerivedScores
from tracinctl.scores.table import FloatArray, ScoreSource


class SomeColumns(DerivedScores):
    """A score source with the test pairs named in ``test_ids`` alone; a score does not depend on other test pairs."""

    def __init__(self, source: ScoreSource, test_ids: Collection[str]) -> None:
        super().__init__(source)
        wanted = set(test_ids)
        self._columns = np.flatnonzero([name in wanted for name in source.test_ids])
        self.test_ids = [source.test_ids[k] for k in self._columns.tolist()]

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        for start, block in self._source.blocks():
            yield start, block[:, self._columns]
