"""The settings of the engine: each is declared once, with its type, default and help.

The API, the command line and ``tracinctl.toml`` take their defaults from here. ``--help`` and completion import this
module, so it imports only the standard library.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracinctl.scores.options import setting

METHODS = {
    "tracin": "effect on the held-out pair's loss",
    "margin": "effect on its margin",
    "fisher": "effect on the margin, discounted for what many training pairs have in common",
}
LOSSES = {
    "standard": "margin ranking loss",
    "logistic": "RankNet / Bradley-Terry",
    "ghm": "margin loss weighted by gradient density",
    "capped": "margin loss of at most twice the margin, so that wrong comparisons do less harm",
}
WEIGHTS = {"relative": "learning rate over the mean learning rate", "absolute": "the learning rate", "uniform": "1"}


@dataclass(frozen=True, eq=False, repr=False)
class LossOptions:
    """The pairwise loss of training and its settings.

    ``loss`` is a name or a function of (s_i, s_j, y). ``margin`` is that of pairs without their own margins.
    """

    loss: str | Callable[..., Any] = setting(
        "standard",
        "The loss of training: standard, logistic, ghm, capped, or your own as MODULE:FUNCTION of (s_i, s_j, y).",
        name="loss_type",
        metavar="LOSS",
        suggestions=LOSSES,
    )
    margin: float = setting(1.0, "Margin of the standard, ghm and capped losses.")
    ghm_bins: int = setting(10, "Bins of the ghm loss.", least=1)
    ghm_alpha: float = setting(0.75, "Exponent of the ghm loss.")
    batch_size: int = setting(32, "Batch size of training, for the ghm loss.", least=1)
    label_smoothing: float = setting(0.0, "Share of comparisons that the logistic loss assumes to be wrong.")
    centring: float = setting(0.0, "Weight of (s_i + s_j)**2 in the training loss of each pair.")

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

    Sums are float64, whatever the ``dtype``. ``checkpoint_weights`` may be numbers, one per checkpoint;
    ``memory`` is in bytes; ``score`` is a function of the model's output.
    """

    loss: LossOptions = field(default_factory=LossOptions)
    checkpoint_weights: str | Sequence[float] = setting(
        "relative",
        "relative: learning rate over the mean one; absolute: the learning rate; uniform: 1; "
        "or comma-separated numbers, one per checkpoint.",
        metavar="HOW",
        kind="weights",
        suggestions=WEIGHTS,
    )
    dtype: str = setting(
        "float32",
        "Precision of the gradients: float32 or float64. Sums are float64.",
        metavar="TYPE",
        choices={"float32": "", "float64": ""},
    )
    device: str = setting(
        "auto",
        "auto, cpu, cuda, cuda:1 or mps.",
        metavar="NAME",
        suggestions={"auto": "", "cpu": "", "cuda": "", "mps": ""},
    )
    layers: Sequence[str] | None = setting(
        None,
        "Compute gradients of these parameters only: comma-separated patterns such as 'classifier.*'.",
        metavar="PATTERNS",
        usual="all",
    )
    memory: int | None = setting(
        None,
        "Memory limit beyond the model, checkpoint and data, e.g. 4GiB.",
        metavar="SIZE",
        usual="a quarter of what is free",
        kind="size",
    )
    method: str = setting(
        "tracin",
        "\n\n".join(["What a score measures.", *(f"{name}: {line}." for name, line in METHODS.items())]),
        metavar="METHOD",
        choices=METHODS,
    )
    num_workers: int = setting(0, "Processes that read items if source returns a torch Dataset.", least=0)
    projection_dim: int | None = setting(
        None, "Project each layer's gradient to N numbers; the error is measured and reported.", usual="exact", least=1
    )
    score: str | Callable[..., Any] | None = setting(
        None,
        "Function of the model's output that returns one score per item, for models that return several "
        "logits, a tuple or a dict.",
        metavar="MODULE:FUNCTION",
        usual="the output is the score",
    )
    ignore_keys: Sequence[str] | None = setting(
        None,
        "Leave out these weights of checkpoints: comma-separated patterns of names such as 'ema.*'.",
        metavar="PATTERNS",
        usual="none",
    )
