"""What score sources that are made of another one have in common with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracinctl.scores.table import FloatArray, ScoreSource


class DerivedScores:
    """A score source that is another one until a subclass says what is different. A ``ScoreSource``."""

    def __init__(self, source: ScoreSource) -> None:
        self._source = source
        self.train_ids = source.train_ids
        self.test_ids = source.test_ids
        self.self_influence = source.self_influence
        self.sample_ids = source.sample_ids
        self.sample_influence = source.sample_influence
        self.train_items = source.train_items
        self.checkpoint_names = source.checkpoint_names
        self.provenance: Mapping[str, Any] = source.provenance

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """As ``ScoreSource.blocks``."""
        return self._source.blocks()
