"""The settings of retraining: each is declared once, with its type, default and help.

``--help`` and completion import this module, so it imports only the standard library.
"""

from dataclasses import dataclass

from tracinctl.errors import UsageError
from tracinctl.scores.options import setting


@dataclass(eq=False, repr=False)
class RetrainSettings:
    """The settings of retraining.

    Attributes:
        seed: repeats use the seeds after this one.
        at_once: trainings in parallel; 0 leaves the number to the caller.
        loss_type, margin: the reported loss.
    """

    repeats: int = setting(5, "Number of trainings of each kind, each with another seed.", least=1)
    seed: int = 42
    at_once: int = setting(0, "Trainings to run in parallel.", least=0, usual="one per processor")
    loss_type: str = "standard"
    margin: float = 1.0

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UsageError(f"repeats is {self.repeats}; it must be at least 1")

    @property
    def parallel(self) -> int:
        """Number of trainings in parallel, one by default."""
        return self.at_once or 1

    @property
    def seeds(self) -> list[int]:
        """The seed of each repeat."""
        return [self.seed + 1 + k for k in range(self.repeats)]
