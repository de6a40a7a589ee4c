"""The options of a computation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tracinctl.engine.asking import OutputScore
from tracinctl.engine.kernel.checkpoint_kernels import DTYPES
from tracinctl.engine.losses import LossSettings, check_whole_numbers
from tracinctl.engine.options import METHODS, WEIGHTS, EngineOptions
from tracinctl.errors import UsageError


@dataclass(frozen=True)
class ComputeOptions(EngineOptions):
    """The options of a computation.

    Attributes:
        loss: the pairwise loss of training.
        cache: the folder of kept kernels; None = keep none.
        projection_seed: seed of the random projection.
        score: see ``EngineOptions.score``; a name is resolved.
        own_model: whether nobody else uses the model, so that no copy is needed.

    Raises:
        UsageError: a value is unknown or out of range; the message names the parameter.
    """

    loss: LossSettings = field(default_factory=LossSettings)
    cache: Path | None = None
    projection_seed: int = 0
    score: OutputScore | None = None
    own_model: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("dtype", DTYPES), ("method", METHODS), ("checkpoint_weights", WEIGHTS)):
            value = getattr(self, name)
            own_weights = name == "checkpoint_weights" and not isinstance(value, str) and value is not None
            if not own_weights and (not isinstance(value, str) or value not in choices):
                raise UsageError(f"unknown `{name}` {value!r}", hint=f"Choose one of {', '.join(choices)}.")
        check_whole_numbers(self)
