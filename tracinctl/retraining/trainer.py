"""What a trainer is given and gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

KEPT: Final = "Finished trainings are kept in .tracinctl/retraining; the same command goes on from there."

END: Final = 0
"""The stop that means: when the training ends by itself."""


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        arm: what is left out, in words.
        repeat: counted from 1.
        seed: of the training; the same in all arms of a repeat.
        exclusions: ids of training pairs and items to leave out.
        weight_decay: of the optimizer; None = that of the trainer's own recipe.
        loss: to train under; None = that of the trainer's own recipe.
        added: train on the scoring pairs as well.
        all_items: score the training items too.
        stop: the last stop that is wanted; a trainer may end there.
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
    """What became of one.

    Attributes:
        scores: item id -> its score at each stop; empty where only the two numbers are known.
        stops: epochs after which items were scored, in order.
        accuracy, loss: of the judging pairs, where the training measured them itself.
        train_pairs: how many it was trained on; None where not known.
    """

    scores: Mapping[str, tuple[float, ...]]
    stops: tuple[int, ...] = (END,)
    accuracy: float | None = None
    loss: float | None = None
    train_pairs: int | None = None

    def scores_at(self, stop: int, ids: Sequence[str]) -> list[float]:
        """The scores of these items at a stop; NaN where an item has none."""
        at = -1 if stop == END else self.stops.index(stop)
        return [self.scores[name][at] if name in self.scores else math.nan for name in ids]


@dataclass(frozen=True)
class Recipe:
    """How to train, beside the list.

    Attributes:
        weight_decay: of the optimizer; None = that of the trainer's own recipe.
        stop: epochs to train; END = as long as the trainer's own recipe says.
        loss: to train under; None = that of the trainer's own recipe.
    """

    weight_decay: float | None = None
    stop: int = END
    loss: str | None = None

    @property
    def flags(self) -> str:
        """The flags of ``tracinctl train`` that follow it."""
        epochs = f" --epochs {self.stop}" if self.stop != END else ""
        decay = f" --weight-decay {self.weight_decay:g}" if self.weight_decay is not None else ""
        return epochs + decay + (f" --loss-type {self.loss}" if self.loss else "")


Epochs = Callable[[int, int], None]
"""Receives the finished epochs and their total."""


class Trainer(Protocol):
    """How to train; it is sent to other processes."""

    @property
    def together(self) -> int:
        """How many trainings one call of ``train`` does best."""

    @property
    def needs_process(self) -> bool:
        """Whether even one training at a time needs a process of its own, which ends with this one."""

    @property
    def data_digest(self) -> str:
        """A digest of items, pairs and who judges."""

    def key(self, training: Training) -> str:
        """A short text that differs where anything differs that the result depends on."""

    def train(self, trainings: Sequence[Training], report: Epochs) -> Sequence[Trained]:
        """Train; the results are in the order of the trainings."""
