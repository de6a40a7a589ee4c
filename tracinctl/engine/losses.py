"""Pairwise losses and their derivatives by the two scores of a pair."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from tracinctl.data.pairs import FloatArray, Pairs
from tracinctl.engine.options import LOSSES, EngineOptions, LossOptions
from tracinctl.engine.own_loss import TRIED, LossFunction, derivatives_of_own, takes_columns
from tracinctl.errors import LossError, UnknownLossError, UsageError
from tracinctl.user_code import load_function

NAMED_LOSSES = tuple(LOSSES)
OF_MARGIN = ("standard", "ghm", "capped")
_CAP = 2.0  # margins
_TINY = 1e-30  # makes the capped loss of a pair with margin 0 zero
_LINEAR = 40.0  # torch takes softplus(x) for x from here on; from its own 20 on, float64 would lose digits


def resolve_loss(loss: str | LossFunction) -> str | LossFunction:
    """Return a named loss or a function unchanged, and load the function of ``package.module:function``.

    Raises:
        LossError: the module or function does not exist.
    """
    if callable(loss) or loss in NAMED_LOSSES:
        return loss
    if not isinstance(loss, str) or ":" not in loss:
        raise UnknownLossError(
            f"unknown loss {loss!r}", hint=f"Use {', '.join(NAMED_LOSSES)}, or your own as package.module:function."
        )
    return load_function(loss, "loss", LossError)


@dataclass(frozen=True)
class LossSettings(LossOptions):
    """A pairwise loss with its settings; see ``LossOptions``.

    Attributes:
        loss: a name, or a function of (s_i, s_j, y). A function with a fourth parameter also gets the additional
            columns of the pairs by name: numbers as float64 tensors, other values as lists.

    Raises:
        UsageError: a number is out of range, or the loss does not use it.
    """

    def __post_init__(self) -> None:
        for name in ("margin", "ghm_alpha", "centring"):
            _check_number(name, getattr(self, name))
        if self.loss == "capped" and not self.margin:
            raise UsageError("`margin` is 0; it must be above 0 for the loss capped, which is at most twice the margin")
        _check_number("label_smoothing", self.label_smoothing, most=0.5)
        check_whole_numbers(self)
        if self.label_smoothing and self.loss != "logistic":
            raise UsageError(f"`label_smoothing` works with the loss logistic, not {self.name}", hint="Leave it out.")
        if self.centring and self.loss not in NAMED_LOSSES:
            raise UsageError(
                f"`centring` works with the named losses, not {self.name}", hint="Add the term to your own loss."
            )

    @property
    def knows_ties(self) -> bool:
        """Whether a tie has a gradient under this loss."""
        return self.loss not in OF_MARGIN or bool(self.centring)

    @cached_property
    def of_difference(self) -> bool:
        """Whether the loss seems to depend only on the difference of scores.

        A function is tried on a few pairs, so the slopes of the real pairs must be checked too.
        """
        if isinstance(self.loss, str):
            return not self.centring
        if takes_columns(self.loss):
            return False
        random = np.random.default_rng(0)
        s_i, s_j = random.normal(size=(2, TRIED)) * 10.0 ** random.uniform(-3, 1, TRIED)
        try:
            a_i, a_j = derivatives_of_own(self.loss, s_i, s_j, random.choice([-1.0, 1.0], TRIED), None)
        except LossError:
            return False
        return np.array_equal(a_i, -a_j)

    def slopes(self, scores: FloatArray, pairs: Pairs, *, weighted: bool) -> tuple[FloatArray, FloatArray]:
        """Derivatives of each pair's loss by its two scores, optionally with the weights of the training loss."""
        s_i, s_j = scores[pairs.first], scores[pairs.second]
        target = pairs.target.astype(np.float64)
        margin: float | FloatArray = self.margin if pairs.margin is None else pairs.margin
        if self.loss == "logistic":
            margin = 0.0 if pairs.margin is None else pairs.margin
            a_i, a_j = _logistic_slopes(s_i - s_j, target, margin, self.label_smoothing)
        else:
            a_i, a_j = pair_derivatives(self.loss, s_i, s_j, target, margin=margin, pairs=pairs)
        if self.centring:
            pull = 2 * self.centring * (s_i + s_j)
            a_i, a_j = a_i + pull, a_j + pull
        weight = self._weights(s_i, s_j, pairs, margin) if weighted else None
        return (a_i, a_j) if weight is None else (weight * a_i, weight * a_j)

    def _weights(self, s_i: FloatArray, s_j: FloatArray, pairs: Pairs, margin: float | FloatArray) -> FloatArray | None:
        if self.loss != "ghm":
            return pairs.weight
        # ties have no gradient, so they do not count in the density
        ranked = pairs.target != 0
        weight = np.ones(len(pairs))
        weight[ranked] = ghm_weights(
            s_i[ranked],
            s_j[ranked],
            pairs.target[ranked],
            margin=margin if isinstance(margin, float) else np.asarray(margin)[ranked],
            bins=self.ghm_bins,
            alpha=self.ghm_alpha,
            batch_size=self.batch_size,
        )
        return weight if pairs.weight is None else weight * pairs.weight


def _check_number(name: str, value: float, most: float = math.inf) -> None:
    if not isinstance(value, (int, float, np.number)) or not 0 <= value <= most or not math.isfinite(value):
        allowed = "a finite number from 0 up" if most == math.inf else f"a number from 0 to {most:g}"
        raise UsageError(f"`{name}` is {value!r}; it must be {allowed}")


def check_whole_numbers(settings: EngineOptions | LossOptions) -> None:
    """Raise UsageError unless settings that have a least value are whole numbers from there up."""
    for setting in fields(settings):
        least, value = setting.metadata.get("least"), getattr(settings, setting.name)
        if least is None or value is setting.default:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise UsageError(f"`{setting.name}` is {value!r}; it must be a whole number from {least} up")


def pair_loss_values(
    loss: str | LossFunction,
    s_i: torch.Tensor,
    s_j: torch.Tensor,
    target: torch.Tensor,
    margin: float = LossOptions.margin,
) -> torch.Tensor:
    """Loss of each pair, shape (pairs,), differentiable in the scores. ``ghm`` is the margin loss without weights.

    ``standard`` is max(0, margin - y (s_i - s_j)), and 0 for a tie. ``logistic`` is log(1 + exp(-y (s_i - s_j))), the
    loss of Bradley-Terry and RankNet, and the mean of both outcomes for a tie. ``capped`` is 2 m tanh(x / 2 m) with x
    the standard loss and m the margin: a pair far on the wrong side has almost no gradient, so wrong comparisons
    do less harm.
    """
    if loss in ("standard", "ghm"):
        values = functional.margin_ranking_loss(s_i, s_j, target, margin=margin, reduction="none")
        return values * target.abs()
    if loss == "capped":
        return capped_losses(s_i, s_j, target, torch.full_like(s_i, margin))
    if loss == "logistic":
        values = functional.softplus(-target * (s_i - s_j), threshold=_LINEAR)
        return torch.where(target == 0, functional.softplus(s_i - s_j, threshold=_LINEAR) - (s_i - s_j) / 2, values)
    return loss(s_i, s_j, target)  # type: ignore[operator]  # names are handled above


def capped_losses(s_i: torch.Tensor, s_j: torch.Tensor, target: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """The loss ``capped`` of each pair; ``margin`` is that of all pairs or of each."""
    most = (_CAP * margin).clamp(min=_TINY)
    return most * torch.tanh((margin - target * (s_i - s_j)).clamp(min=0) / most) * target.abs()


def ghm_weights(
    s_i: FloatArray,
    s_j: FloatArray,
    target: FloatArray,
    *,
    margin: float | FloatArray,
    bins: int,
    alpha: float,
    batch_size: int,
) -> FloatArray:
    """Gradient-density weights of training pairs, shape (pairs,).

    The gradient norm of a pair is g = sigmoid(margin - y (s_i - s_j)); with N_bin of the N pairs in its bin (``bins``
    equal bins over [0, 1]) and B the training batch size, its weight is max(1, N_bin B / N) ** -alpha. After the
    gradient harmonizing mechanism of Li, Liu and Wang (2019, arXiv 1811.05181).
    """
    norm = torch.sigmoid(torch.from_numpy(margin - target * (s_i - s_j))).numpy()
    place = np.minimum((norm * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    density = np.maximum(1.0, count * batch_size / max(1, len(place)))
    return np.asarray(density**-alpha)[place]


def pair_derivatives(
    loss: str | LossFunction,
    s_i: FloatArray,
    s_j: FloatArray,
    target: FloatArray,
    *,
    margin: float | FloatArray,
    pairs: Pairs | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of each pair's loss by its two scores, float64, shape (pairs,) each.

    At the kink of the margin loss, the derivative is torch's; see ``counts_at_the_kink``. ``logistic`` has no margin.
    ``pairs`` are for a function that uses their columns.

    Raises:
        LossError: a function returns a wrong shape, a non-finite value, or a value independent of the scores.
    """
    if loss in OF_MARGIN:
        missing = margin - target * (s_i - s_j)
        active = missing >= 0 if counts_at_the_kink() else missing > 0
        slope = np.where(active, -target, 0.0)
        if loss == "capped":
            slope *= 1 - np.tanh(missing / np.maximum(_CAP * np.asarray(margin), _TINY)) ** 2
        return slope, -slope
    if loss == "logistic":
        return _logistic_slopes(s_i - s_j, target, 0.0, 0.0)
    assert not isinstance(loss, str)  # noqa: S101  names are handled above
    return derivatives_of_own(loss, s_i, s_j, target, pairs)


def _logistic_slopes(
    difference: FloatArray, target: FloatArray, margin: float | FloatArray, smoothing: float
) -> tuple[FloatArray, FloatArray]:
    """Slopes of -(1 - e) log sigmoid(z) - e log sigmoid(-z), z = y (s_i - s_j) - margin and e the smoothing.

    A tie is half a win for each item: e = 1/2 at z = s_i - s_j.
    """
    tie = target == 0
    y, e = np.where(tie, 1.0, target), np.where(tie, 0.5, smoothing)
    z = torch.from_numpy(np.asarray(y * difference - np.where(tie, 0.0, margin)))
    slope = -y * ((1 - e) * torch.sigmoid(-z).numpy() - e * torch.sigmoid(z).numpy())
    return slope, -slope


@functools.cache
def counts_at_the_kink() -> bool:
    """Whether torch's margin loss has a slope if the margin is met to the last bit; 2.13 has one, 2.15 has none."""
    with torch.enable_grad():
        score = torch.zeros(1, requires_grad=True)
        value = functional.margin_ranking_loss(score, torch.zeros(1), torch.ones(1), margin=0.0)
        return bool(torch.autograd.grad(value, score)[0])
