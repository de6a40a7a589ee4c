"""The memory that holds the gradients of a tile."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tracinctl.engine.heap import Heap
from tracinctl.engine.kernel.feature_blocks import Places
from tracinctl.engine.kernel.products import Rows


class TileMemory:
    """Memory for the gradients of a tile, used for all tiles and checkpoints, as the system is slow to give new pages.

    Args:
        rows: number of rows of all tiles.
        device, dtype: device and precision of the gradients.
        heap: counts the memory if one tile on a CPU has all rows, because that is most of the limit.
    """

    def __init__(self, rows: int, device: torch.device, dtype: torch.dtype, heap: Heap) -> None:
        self.rows, self.device, self.dtype, self.heap = rows, device, dtype, heap
        self._held: Rows | None = None
        self._filled = 0  # number of held rows that were in use

    def take(self, shapes: Sequence[Sequence[Sequence[int]]], rows: int) -> Rows:
        """The memory for this many rows with parts of these shapes."""
        if self._held is None or len(self._held) < rows or self._held[:rows].shapes != Rows.shapes_of(shapes, rows):
            self._held = None
            self._held = Rows.room(shapes, rows, self.device, self.dtype)
            self._filled = 0
            if self._counts:
                self.heap.fill(self._held.size)
        return self._held[:rows]

    def holds(self, rows: int) -> bool:
        """Whether there is memory of an earlier tile for this many rows."""
        return self._held is not None and len(self._held) >= rows

    def places(self, start: int, end: int) -> Places:
        """Places for the gradients of these rows, with pages of the system."""
        assert self._held is not None  # noqa: S101  see ``holds``
        places = self._held.places(slice(start, end))
        if self._counts and end > self._filled:
            self.heap.populate(place for place in places if place is not None)
        return places

    def put(self, start: int, rows: Rows) -> None:
        """Put rows into the memory, from ``start`` on."""
        assert self._held is not None  # noqa: S101  see ``take``
        self._held.put(start, rows)
        if self._counts and (new := start + len(rows) - self._filled) > 0:
            self.heap.filled(self._held.size * new // len(self._held))
            self._filled += new

    @property
    def _counts(self) -> bool:
        return self.device.type == "cpu" and self._held is not None and len(self._held) == self.rows

    def release(self) -> None:
        """Release the memory."""
        self._held = None
