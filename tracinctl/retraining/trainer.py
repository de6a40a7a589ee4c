"""The interface of trainers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tracinctl.errors import TrainingError

KEPT: Final = "Finished trainings are kept in .tracinctl/retraining; run the same command to continue."

END: Final = 0
"""The stop at the end of the training."""


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        arm: what is left out, in words.
        repeat: counted from 1.
        seed: seed of the training, equal in all arms of a repeat.
        exclusions: ids of training pairs and items to leave out.
        weight_decay, loss: None = the trainer's default.
        added: also train on the scoring pairs.
        all_items: also score the training items.
        stop: the last needed stop; a trainer may end there.
    """

    arm: str
    repeat: int
    seed: int
    exclusions: tuple[str, ...]
    weight_decay: float | None = None
    loss: str | None = None
    added: bool = False
    all_items: bool = False
    stop: int = END


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        scores: by item id, the score at each stop; empty if only the two numbers are known.
        stops: epochs after which items were scored, in order.
        accuracy, loss: measures on the judging pairs, if the training made them itself.
        train_pairs: number of training pairs; None if unknown.
    """

    scores: Mapping[str, tuple[float, ...]]
    stops: tuple[int, ...] = (END,)
    accuracy: float | None = None
    loss: float | None = None
    train_pairs: int | None = None

    def scores_at(self, stop: int, ids: Sequence[str]) -> list[float]:
        """The scores of these items at a stop; NaN for items without one.

        Raises:
            TrainingError: the training gave no scores at this stop.
        """
        if stop != END and stop not in self.stops:
            raise TrainingError(
                f"a training gave no scores at epoch {stop}, unlike another one",
                hint="Let the training command give scores at the same epochs each time.",
            )
        at = -1 if stop == END else self.stops.index(stop)
        return [self.scores[name][at] if name in self.scores else math.nan for name in ids]


@dataclass(frozen=True)
class Recipe:
    """How to train, besides the list.

    Attributes:
        weight_decay, loss: None = the trainer's default.
        stop: number of epochs; END = the trainer's default.
    """

    weight_decay: float | None = None
    stop: int = END
    loss: str | None = None

    @property
    def flags(self) -> str:
        """The flags of ``tracinctl train`` for the recipe."""
        epochs = f" --epochs {self.stop}" if self.stop != END else ""
        decay = f" --weight-decay {self.weight_decay:g}" if self.weight_decay is not None else ""
        return epochs + decay + (f" --loss-type {self.loss}" if self.loss else "")


Train = Callable[[Sequence[Training]], Sequence[Trained]]
"""Runs trainings; the results are in their order."""

Epochs = Callable[[int, int], None]
"""Receives the finished epochs and their total."""


class Trainer(Protocol):
    """Run trainings; a trainer is sent to other processes."""

    @property
    def together(self) -> int:
        """The best number of trainings per call of ``train``."""

    @property
    def needs_process(self) -> bool:
        """Whether even one training at a time needs its own process, which ends with this one."""

    @property
    def data_digest(self) -> str:
        """A digest of items, pairs and who judges."""

    def key(self, training: Training) -> str:
        """A short text that covers everything that the result depends on."""

    def train(self, trainings: Sequence[Training], report: Epochs) -> Sequence[Trained]:
        """Train; the results are in the order of the trainings."""
