"""Progress reports to the caller. The library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A progress report.

    Attributes:
        task: the task in a word or two ("gradients", "scores", "training").
        name: the current part, such as a checkpoint's file name.
        done, total, unit: number of finished parts and of all parts, and their unit ("checkpoints").
        inner_done, inner_total, inner_unit: the same within the current part ("items"); total 0 means no inner parts.
        note: a note on the part that was just finished ("taken from the cache"); mostly empty.
        hands: number of parts in parallel; the inner numbers are sums over them.
    """

    task: str
    done: int
    total: int
    unit: str
    name: str = ""
    inner_done: int = 0
    inner_total: int = 0
    inner_unit: str = ""
    note: str = ""
    hands: int = 1


ProgressCallback = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Ignore the report."""
