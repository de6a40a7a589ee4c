"""The settings of the engine: each is declared once, with its type, default and help.

The API, the command line and ``tracinctl.toml`` take their defaults from here. ``--help`` and completion import this
module, so it imports only the standard library.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

METHODS = {
    "tracin": "effect on the held-out pair's loss",
    "margin": "effect on its margin",
    "fisher": "effect on the margin, discounted for what many training pairs have in common",
}
LOSSES = {
    "standard": "margin ranking loss",
    "logistic": "RankNet / Bradley-Terry",
    "ghm": "margin loss weighted by gradient density",
    "capped": "margin loss of at most twice the margin, which wrong comparisons harm less",
}
WEIGHTS = {
    "relative": "learning rate over the mean learning rate",
    "absolute": "the learning rate",
    "uniform": "1",
}


@dataclass(frozen=True, eq=False, repr=False)
class LossOptions:
    """The pairwise loss of training and its settings.

    Attributes:
        loss: ``standard``, ``logistic``, ``ghm``, ``capped``, or a function of (s_i, s_j, y).
        margin: margin of ``standard``, ``ghm`` and ``capped``, for pairs without their own margins.
        ghm_bins, ghm_alpha, batch_size: settings of ``ghm``; batch_size is that of training.
        label_smoothing: share of comparisons that ``logistic`` assumes to be wrong.
        centring: adds ``centring * (s_i + s_j)**2`` to each pair's loss.
    """

    loss: str | Callable[..., Any] = field(
        default="standard",
        metadata={
            "name": "loss_type",
            "help": "The loss of training: standard, logistic, ghm, capped, or your own as MODULE:FUNCTION of "
            "(s_i, s_j, y).",
            "metavar": "LOSS",
            "suggestions": LOSSES,
        },
    )
    margin: float = field(default=1.0, metadata={"help": "Margin of the standard, ghm and capped losses."})
    ghm_bins: int = field(default=10, metadata={"help": "Bins of the ghm loss.", "least": 1})
    ghm_alpha: float = field(default=0.75, metadata={"help": "Exponent of the ghm loss."})
    batch_size: int = field(default=32, metadata={"help": "Batch size of training, for the ghm loss.", "least": 1})
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "Share of comparisons that the logistic loss assumes to be wrong."},
    )
    centring: float = field(
        default=0.0, metadata={"help": "Weight of (s_i + s_j)**2 in the training loss of each pair."}
    )

    @property
    def name(self) -> str:
        """The name of the loss in provenance."""
        if isinstance(self.loss, str):
            return self.loss
        module, name = getattr(self.loss, "__module__", ""), getattr(self.loss, "__qualname__", repr(self.loss))
        return f"{module}:{name}"


@dataclass(frozen=True, eq=False, repr=False)
class EngineOptions:
    """The settings of a computation.

    Attributes:
        loss: the pairwise loss of training.
        checkpoint_weights: ``relative``, ``absolute`` or ``uniform``; or numbers, one per checkpoint.
        dtype: precision of the gradients, ``float32`` or ``float64``; products and sums are always float64.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        layers: patterns of parameter names; None = all trainable parameters.
        memory: limit of the working memory in bytes; None = a share of the free memory.
        method: ``tracin``, ``margin`` or ``fisher``; see ``methods``.
        num_workers: processes that read items from a torch ``Dataset``; 0 = none.
        projection_dim: dimension that each layer's gradient is projected to at random; None = exact gradients.
        score: function of the model's output that returns one number per item; None = the output is the score.
        ignore_keys: patterns of names of weights in checkpoints to leave out; None = none.
    """

    loss: LossOptions = field(default_factory=LossOptions)
    checkpoint_weights: str | Sequence[float] = field(
        default="relative",
        metadata={
            "help": "relative: learning rate over the mean one; absolute: the learning rate; uniform: 1; "
            "or comma-separated numbers, one per checkpoint.",
            "metavar": "HOW",
            "kind": "weights",
            "suggestions": WEIGHTS,
        },
    )
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Precision of the gradients: float32 or float64. Sums are float64.",
            "metavar": "TYPE",
            "choices": {"float32": "", "float64": ""},
        },
    )
    device: str = field(
        default="auto",
        metadata={
            "help": "auto, cpu, cuda, cuda:1 or mps.",
            "metavar": "NAME",
            "suggestions": {"auto": "", "cpu": "", "cuda": "", "mps": ""},
        },
    )
    layers: Sequence[str] | None = field(
        default=None,
        metadata={
            "help": "Compute gradients of these parameters only: comma-separated patterns such as 'classifier.*'.",
            "metavar": "PATTERNS",
            "usual": "all",
            "example": "['classifier']",
        },
    )
    memory: int | None = field(
        default=None,
        metadata={
            "help": "Memory limit beyond the model, checkpoint and data, e.g. 4GiB.",
            "metavar": "SIZE",
            "usual": "a quarter of what is free",
            "kind": "size",
            "example": "'2GiB'",
        },
    )
    method: str = field(
        default="tracin",
        metadata={
            "help": "\n\n".join(["What a score measures.", *(f"{name}: {line}." for name, line in METHODS.items())]),
            "metavar": "METHOD",
            "choices": METHODS,
        },
    )
    num_workers: int = field(
        default=0, metadata={"help": "Processes that read items if source returns a torch Dataset.", "least": 0}
    )
    projection_dim: int | None = field(
        default=None,
        metadata={
            "help": "Project each layer's gradient to N numbers; the error is measured and reported.",
            "usual": "exact",
            "least": 1,
            "example": "4096",
        },
    )
    score: str | Callable[..., Any] | None = field(
        default=None,
        metadata={
            "help": "Function of the model's output that returns one score per item, for models that return several "
            "logits, a tuple or a dict.",
            "metavar": "MODULE:FUNCTION",
            "usual": "the output is the score",
            "example": "'my_project:score'",
        },
    )
    ignore_keys: Sequence[str] | None = field(
        default=None,
        metadata={
            "help": "Leave out these weights of checkpoints: comma-separated patterns of names such as 'ema.*'.",
            "metavar": "PATTERNS",
            "usual": "none",
            "example": "['ema.*']",
        },
    )
