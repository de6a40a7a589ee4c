"""How often lists are judged by training: each setting once, with its type, default and help.

Only the standard library is imported: ``--help`` and completion read this class.
"""

from dataclasses import dataclass, field

from tracinctl.errors import UsageError


@dataclass(eq=False, repr=False)
class RetrainSettings:
    """How often, and how.

    Attributes:
        repeats: trainings of each arm, each with a seed of its own.
        seed: repeats have the seeds after this one.
        at_once: trainings in parallel; 0 leaves the number to the caller.
        loss_type, margin: the loss that is reported.
    """

    repeats: int = field(default=5, metadata={"help": "Trainings of each kind, each with another seed.", "least": 1})
    seed: int = 42
    at_once: int = field(
        default=0,
        metadata={"help": "Trainings to run in parallel.", "least": 0, "usual": "one a processor", "example": "2"},
    )
    loss_type: str = "standard"
    margin: float = 1.0

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UsageError(f"repeats is {self.repeats}; it must be at least 1")

    @property
    def parallel(self) -> int:
        """Trainings in parallel, one where the caller chose no number."""
        return self.at_once or 1

    @property
    def seeds(self) -> list[int]:
        """The seed of each repeat."""
        return [self.seed + 1 + k for k in range(self.repeats)]
