"""The tree of errors that tracinctl raises.

A message says what is wrong and where; ``hint`` says what to do next. A reader raises the error of its kind of file
(``DataError``, ``CheckpointError``, ``ScoreFileError``, ``ExclusionListError``) if the file is missing, broken or
something else. A writer raises ``TracinctlError`` if it cannot write, and ``NonFiniteError`` instead of writing scores
that are not finite. This module imports nothing from the package.
"""

from __future__ import annotations


class TracinctlError(Exception):
    """An error that the user can fix.

    Args:
        message: what is wrong, naming the file, id or value.
        hint: what to do next, as a sentence or a command; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TracinctlError):
    """A flag's value is wrong, or contradicts another flag."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file or environment variable has an unknown key or a wrong value."""


class DataError(TracinctlError):
    """Items, pairs or recordings are missing, broken or contradict each other."""


class CheckpointError(TracinctlError):
    """A checkpoint is missing, cannot be read safely, or does not fit the model."""


class ModelError(TracinctlError):
    """A model cannot be built, or does not return one score per item."""


class LossError(TracinctlError):
    """A loss function does not return one finite, differentiable value per pair."""


class UnknownLossError(LossError):
    """The name of a loss is unknown."""

    exit_code = 2


class NonFiniteError(TracinctlError):
    """A gradient, score or weight is NaN or infinite."""


class MemoryBudgetError(TracinctlError):
    """The work does not fit into the memory limit."""


class CacheError(TracinctlError):
    """The kernel cache cannot be written."""


class ProcessLostError(TracinctlError):
    """A process of a shared run is gone or does not answer."""


class ScoreFileError(TracinctlError):
    """A score file is missing, broken or incomplete."""


class ExclusionListError(TracinctlError):
    """An exclusion list cannot be read or written."""


class TrainingError(TracinctlError):
    """Training cannot start or has diverged."""


class ReviewError(TracinctlError):
    """Decisions of a review cannot be read or applied."""


class PlotError(TracinctlError):
    """A plot does not fit on the screen, or the scores lack what it shows."""


class DataWarning(UserWarning):
    """Items or pairs are unusual: held-out items that also train, or pairs of two equal items."""


class CheckpointWarning(UserWarning):
    """Checkpoints have unexpected weights because of their learning rates, copies or training."""


class DiskWarning(UserWarning):
    """A disk does not support locks, permissions or flushing, so files are written without it."""
