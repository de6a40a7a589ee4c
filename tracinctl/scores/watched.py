"""Scores that are looked at while they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tracinctl.scores.derived import DerivedScores
from tracinctl.scores.table import FloatArray, ScoreSource


class WatchedScores(DerivedScores):
    """A score source that remembers which test pairs had a score other than zero while its blocks were read."""

    def __init__(self, source: ScoreSource, more: Mapping[str, Any]) -> None:
        super().__init__(source)
        self.provenance = {**source.provenance, **more}
        self.active = np.zeros(len(source.test_ids), dtype=bool)
        self.seen = False

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        for start, block in self._source.blocks():
            self.active |= (block != 0).any(axis=0)
            yield start, block
        self.seen = True
