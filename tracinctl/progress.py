"""How the library tells its caller how far it is. The library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report of long work.

    Attributes:
        task: what is being done, in a word or two ("gradients", "scores", "training").
        name: the part in hand, a checkpoint's file name for instance.
        done, total, unit: whole parts finished, of how many, and what they are ("checkpoints").
        inner_done, inner_total, inner_unit: the same within the part in hand ("items"); total 0 where there is none.
        note: what is worth saying of the part that was just finished ("taken from the cache"); mostly empty.
        hands: how many parts are in hand at once; the inner numbers are then those of all of them together.
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
