"""Landmarks: items whose gradients represent all in method ``fisher``, if not all inner products are held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracinctl.data.pairs import IntArray
from tracinctl.engine.kernel.layout import KernelLayout

LANDMARKS = 2048
"""Largest number of landmarks."""

_LEAST = 8  # least number of landmarks; with fewer, the method is refused
_CHECKED = 64  # number of training items that measure the error
_SQUARES = 8  # number of arrays of landmarks by landmarks in memory at a time
_COLUMNS = 32  # bytes of columns per training row: four numbers of one column


@dataclass(frozen=True)
class Landmarks:
    """The rows of a kernel that represent all.

    Attributes:
        rows: the landmarks, which all have columns, shape (landmarks,).
        checks: rows of other training items with columns, which measure the error.
        room: bytes for the work at a time.
        held_bytes: bytes that stay in memory for all checkpoints.
    """

    rows: IntArray
    checks: IntArray
    room: int
    held_bytes: int


def choose_landmarks(layout: KernelLayout, checkpoints: int, room: int) -> Landmarks:
    """Choose as many landmarks as fit into memory, at least half of them held-out items."""
    most = _most(layout, checkpoints, room)
    held_out = np.unique(layout.test_rows)
    training = np.setdiff1d(np.arange(layout.columns), held_out)
    checks = evenly(training, min(_CHECKED, len(training) // 4))
    training = np.setdiff1d(training, checks)
    ours = evenly(held_out, max(most // 2, most - len(training)))
    rows = np.sort(np.concatenate([ours, evenly(training, most - len(ours))]))
    return Landmarks(rows, checks, room // 4, _held_bytes(layout, checkpoints, len(rows)))


def memory_for_landmarks(layout: KernelLayout, checkpoints: int, memory: int) -> int:
    """The memory in bytes, at least ``memory``, in which a few landmarks fit."""
    while _most(layout, checkpoints, memory // 2) < min(_LEAST, layout.columns):
        memory += memory // 8 + 1024
    return memory


def evenly(rows: IntArray, most: int) -> IntArray:
    """At most ``most`` of the rows, evenly spaced."""
    if most >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows), most, endpoint=False).astype(np.int64)]


def _most(layout: KernelLayout, checkpoints: int, room: int) -> int:
    """Number of landmarks that fit into memory."""
    most = min(LANDMARKS, layout.columns)
    for_columns = _COLUMNS * len(layout.train_rows)
    while most and max(_held_bytes(layout, checkpoints, most), 8 * _SQUARES * most**2, for_columns) > room // 4:
        most -= max(1, most // 64)
    return most


def _held_bytes(layout: KernelLayout, checkpoints: int, landmarks: int) -> int:
    """Bytes of the landmarks' weights at each checkpoint, and of one checkpoint's products with all columns."""
    return 8 * landmarks * (checkpoints * landmarks + layout.columns)
