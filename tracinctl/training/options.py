"""The training settings of the built-in ranker: each is declared once, with its type, default and help.

``--help`` and completion import this module, so it imports only the standard library.
"""

import math
from dataclasses import dataclass

from tracinctl.engine.options import LOSSES
from tracinctl.errors import UsageError
from tracinctl.scores.options import setting


@dataclass(eq=False, repr=False)
class TrainSettings:
    """The training settings.

    Attributes:
        checkpoint_interval: epochs between checkpoints; the last epoch always gets one.
        loss_type: ``standard`` (margin loss), ``logistic``, ``ghm`` (margin loss weighted by gradient density in the
            batch), ``capped`` (margin loss of at most twice the margin), or ``package.module:function`` of
            ``(s_i, s_j, y)``.
        ghm_bins, ghm_alpha: settings of the loss ``ghm``.
        patience: epochs without a fall of the held-out loss, after which the learning rate is halved.
        architecture, normalise: see ``models.build_ranker``.
    """

    epochs: int = setting(30, "Passes over the pairs.", least=1)
    checkpoint_interval: int = setting(5, "Epochs between checkpoints.", least=1)
    loss_type: str = setting("standard", "standard, logistic, ghm or capped.", metavar="LOSS", suggestions=LOSSES)
    margin: float = setting(1.0, "Margin of the standard, ghm and capped losses.")
    learning_rate: float = setting(0.003, "Adam's learning rate at the start.")
    batch_size: int = setting(32, "Pairs per training step.", least=1)
    weight_decay: float = setting(1e-5, "Adam's weight decay.")
    seed: int = setting(42, "Seed of the first weights and of the order of the pairs.")
    ghm_bins: int = 10
    ghm_alpha: float = 0.75
    patience: int = 3
    architecture: str = "small"
    normalise: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "checkpoint_interval", "batch_size", "ghm_bins"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "margin", "weight_decay", "ghm_alpha"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (name == "learning_rate" and value == 0):
                raise UsageError(
                    f"{name} is {value}; it must be {'above' if name == 'learning_rate' else 'at least'} 0"
                )
        if self.loss_type == "capped" and not self.margin:
            raise UsageError("margin is 0; it must be above 0 for the loss capped, which is at most twice the margin")
