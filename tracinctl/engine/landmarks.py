"""Landmarks: the items whose gradients stand for all in method ``fisher``, where not all inner products are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.memory import Budget, size_text
from tracinctl.errors import MemoryBudgetError
from tracinctl.text import count

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LANDMARKS = 2048
"""At most."""

_LEAST = 8  # landmarks, below which the method is refused
_CHECKED = 64  # training items by which the error is measured
_SQUARES = 8  # arrays of landmarks by landmarks that are there at a time
_COLUMNS = 32  # bytes of columns a training row: four numbers of one column


@dataclass(frozen=True)
class Landmarks:
    """Which rows of a kernel stand for all.

    Attributes:
        rows: the landmarks, all of which have columns, shape (landmarks,).
        checks: rows of other training items with columns, by which the error is measured.
        room: bytes for what is worked on at a time.
        held_bytes: what stays in memory for all checkpoints.
    """

    rows: IntArray
    checks: IntArray
    room: int
    held_bytes: int


def choose_landmarks(layout: KernelLayout, checkpoints: int, room: int) -> Landmarks:
    """As many landmarks as the room allows, half of them or more held-out ones."""
    most = _most(layout, checkpoints, room)
    held_out = np.unique(layout.test_rows)
    training = np.setdiff1d(np.arange(layout.columns), held_out)
    checks = evenly(training, min(_CHECKED, len(training) // 4))
    training = np.setdiff1d(training, checks)
    ours = evenly(held_out, max(most // 2, most - len(training)))
    rows = np.sort(np.concatenate([ours, evenly(training, most - len(ours))]))
    return Landmarks(rows, checks, room // 4, _held_bytes(layout, checkpoints, len(rows)))


def check_landmarks(layout: KernelLayout, checkpoints: int, budget: Budget) -> None:
    """Raise MemoryBudgetError where the memory has no room for a few landmarks."""
    needed = budget.left
    while _most(layout, checkpoints, needed // 2) < min(_LEAST, layout.columns):
        needed += needed // 8 + 1024
    if needed > budget.left:
        text = size_text(budget.with_left(needed))
        raise MemoryBudgetError(
            f"`method` fisher needs at least {text} for {len(layout):,} items, but `memory` is "
            f"{size_text(budget.given)}",
            hint=f"Give `memory` {text} or more; `method` margin needs no more than tracin does.",
        )


def evenly(rows: IntArray, most: int) -> IntArray:
    """So many of the rows, all of them where there are fewer."""
    if most >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows), most, endpoint=False).astype(np.int64)]


def landmark_note(landmarks: int, errors: Sequence[FloatArray]) -> str:
    """What a user should know of the error, from that of each checkpoint: correlation, and root mean square."""
    way = f"method fisher goes by {count(landmarks, 'landmark')} for all items"
    known = [error for error in errors if not np.isnan(error).any()]
    if not known:
        return f"{way}; the error is not known: too few training items are left to measure it by"
    correlation, off = min(e[0] for e in known), max(e[1] for e in known)
    return (
        f"{way}: on other items' pairs, at the worst checkpoint, scores correlate {correlation:.3f} with exact ones "
        f"and are off by {off:.1%} (root mean square)"
    )


def _most(layout: KernelLayout, checkpoints: int, room: int) -> int:
    """Landmarks that there is room for."""
    most = min(LANDMARKS, layout.columns)
    least = _COLUMNS * len(layout.train_rows)
    while most and (
        _held_bytes(layout, checkpoints, most) > room // 4 or 8 * _SQUARES * most**2 > room // 4 or least > room // 4
    ):
        most -= max(1, most // 64)
    return most


def _held_bytes(layout: KernelLayout, checkpoints: int, landmarks: int) -> int:
    """What weighs the landmarks at each checkpoint, and at one of them its products with all columns."""
    return 8 * landmarks * (checkpoints * landmarks + layout.columns)
