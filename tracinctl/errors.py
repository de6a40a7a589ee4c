"""Every error that tracinctl raises, in one tree.

A message says what is wrong and where; ``hint`` says what to do next. Nothing here imports anything of the package.
"""

from __future__ import annotations


class TracinctlError(Exception):
    """Something that the user can mend.

    Args:
        message: what is wrong, naming the file, id or value.
        hint: what to do next, a sentence or a command; empty where nothing helps.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TracinctlError):
    """A flag has a value that makes no sense, alone or beside another flag."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file or environment variable has an unknown key or a wrong value."""


class DataError(TracinctlError):
    """Items, pairs or recordings are missing, broken or contradict each other."""


class CheckpointError(TracinctlError):
    """A checkpoint is missing, cannot be read safely, or does not fit the model."""


class ModelError(TracinctlError):
    """A model cannot be built, or does not give one score an item."""


class LossError(TracinctlError):
    """A loss function does not give one finite, differentiable value a pair."""


class UnknownLossError(LossError):
    """There is no loss of this name."""

    exit_code = 2


class NonFiniteError(TracinctlError):
    """A gradient, score or weight is NaN or infinite."""


class MemoryBudgetError(TracinctlError):
    """The work does not fit into the memory it may use."""


class CacheError(TracinctlError):
    """The kernel cache cannot be written."""


class ProcessLostError(TracinctlError):
    """One of the processes that share a run is gone, or does not answer."""


class ScoreFileError(TracinctlError):
    """A file of influence scores is missing, broken, or does not say what it must."""


class ExclusionListError(TracinctlError):
    """An exclusion list cannot be read or written."""


class TrainingError(TracinctlError):
    """Training cannot start or has diverged."""


class ReviewError(TracinctlError):
    """Decisions of a review cannot be read, or cannot be applied."""


class PlotError(TracinctlError):
    """A plot cannot be drawn in the room there is, or from the scores there are."""


class DataWarning(UserWarning):
    """Items or pairs say less than one may expect: held-out items that also train, pairs of two equal items."""


class CheckpointWarning(UserWarning):
    """Checkpoints count otherwise than one may expect: by learning rates, as copies, or by how they were trained."""


class DiskWarning(UserWarning):
    """A disk does not know locks, permissions or flushing, so files are written without."""
