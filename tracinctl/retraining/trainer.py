"""What a trainer is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

KEPT: Final = "Finished trainings are kept in .tracinctl/retraining; the same command goes on from there."


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        arm: what is left out, in words.
        repeat: counted from 1.
        seed: of the training; the same in all arms of a repeat.
        exclusions: ids of training pairs and items to leave out.
    """

    arm: str
    repeat: int
    seed: int
    exclusions: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """What became of one.

    Attributes:
        scores: judging item id -> score; empty where only the two numbers are known.
        accuracy, loss: of the judging pairs, where the training measured them itself.
        train_pairs: how many it was trained on; None where not known.
    """

    scores: Mapping[str, float]
    accuracy: float | None = None
    loss: float | None = None
    train_pairs: int | None = None


Epochs = Callable[[int, int], None]
"""Is told of epochs done, of how many."""


class Trainer(Protocol):
    """How to train; it is sent to other processes."""

    def key(self, training: Training) -> str:
        """A short text that differs where anything differs that the result depends on."""

    def train(self, training: Training, report: Epochs) -> Trained:
        """Train."""
