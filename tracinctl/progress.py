"""How the library tells its caller how far it is. The library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report of long work.

    Attributes:
        task: what is being done, in a word or two ("gradients", "scores", "training").
        name: the current part, a checkpoint's file name for instance.
        done, total, unit: whole parts finished, of how many, and what they are ("checkpoints").
        inner_done, inner_total, inner_unit: the same within the current part ("items"); total 0 without parts.
        note: what is worth saying of the part that was just finished ("taken from the cache"); mostly empty.
        hands: how many parts are worked on at once; the inner numbers are then sums over all of them.
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
    """Report to nobody."""
