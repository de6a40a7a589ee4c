"""Pairwise losses and their derivatives by the two scores of a pair."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tracinctl.errors import LossError
from tracinctl.user_code import load_function

FloatArray = npt.NDArray[np.float64]
LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
NAMED_LOSSES = ("standard", "logistic", "ghm")


def resolve_loss(loss: str | LossFunction) -> str | LossFunction:
    """A named loss as it is, and ``package.module:function`` as the function it names.

    Raises:
        LossError: there is no such module or function.
    """
    if callable(loss) or loss in NAMED_LOSSES:
        return loss
    if ":" not in loss:
        raise LossError(
            f"unknown loss {loss!r}", hint=f"One of {', '.join(NAMED_LOSSES)}, or your own as package.module:function."
        )
    return load_function(loss, "loss", LossError)


def pair_loss_values(
    loss: str | LossFunction,
    first: torch.Tensor,
    second: torch.Tensor,
    target: torch.Tensor,
    margin: float = 1.0,
) -> torch.Tensor:
    """Loss of each pair, shape (pairs,), differentiable in the scores. ``ghm`` gives the margin loss without weights.

    ``standard`` is max(0, margin - y (s_i - s_j)); ``logistic`` is log(1 + exp(-y (s_i - s_j))), the loss of
    Bradley-Terry and RankNet.
    """
    if loss in ("standard", "ghm"):
        return functional.margin_ranking_loss(first, second, target, margin=margin, reduction="none")
    if loss == "logistic":
        return functional.softplus(-target * (first - second))
    return loss(first, second, target)  # type: ignore[operator]  # names were dealt with above


def ghm_weights(
    first: FloatArray,
    second: FloatArray,
    target: FloatArray,
    *,
    margin: float,
    bins: int,
    alpha: float,
    batch_size: int,
) -> FloatArray:
    """Gradient-density weights of training pairs, shape (pairs,).

    The gradient norm of a pair is g = sigmoid(margin - y (s_i - s_j)); with N_bin of the N pairs in its bin (``bins``
    equal bins over [0, 1]) and B the training batch size, its weight is max(1, N_bin B / N) ** -alpha. After the
    gradient harmonizing mechanism of Li, Liu and Wang (2019, arXiv 1811.05181).
    """
    norm = torch.sigmoid(torch.from_numpy(margin - target * (first - second))).numpy()
    place = np.minimum((norm * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    density = np.maximum(1.0, count * batch_size / max(1, len(place)))
    return np.asarray(density**-alpha)[place]


def pair_derivatives(
    loss: str | LossFunction, first: FloatArray, second: FloatArray, target: FloatArray, *, margin: float
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of each pair's loss by its first and by its second score, float64, shape (pairs,) each.

    At the kink of the margin loss the derivative is torch's, see ``counts_at_the_kink``.

    Raises:
        LossError: a function gives a wrong shape, a non-finite value, or a value that does not depend on the scores.
    """
    if loss in ("standard", "ghm"):
        missing = margin - target * (first - second)
        active = missing >= 0 if counts_at_the_kink() else missing > 0
        slope = np.where(active, -target, 0.0)
        return slope, -slope
    if loss == "logistic":
        slope = -target * torch.sigmoid(torch.from_numpy(-target * (first - second))).numpy()
        return slope, -slope
    return _by_autograd(loss, first, second, target)


@functools.cache
def counts_at_the_kink() -> bool:
    """Whether torch's margin loss has a slope where the margin is met to the last bit: 2.13 has, 2.15 has none."""
    with torch.enable_grad():
        score = torch.zeros(1, requires_grad=True)
        value = functional.margin_ranking_loss(score, torch.zeros(1), torch.ones(1), margin=0.0)
        return bool(torch.autograd.grad(value, score)[0])


def _by_autograd(loss: Any, first: FloatArray, second: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    name = getattr(loss, "__qualname__", repr(loss))
    s_i = torch.tensor(first, requires_grad=True)
    s_j = torch.tensor(second, requires_grad=True)
    with torch.enable_grad():
        value = loss(s_i, s_j, torch.tensor(target))
        if not isinstance(value, torch.Tensor):
            raise LossError(f"loss {name} gave a {type(value).__name__}, wanted a tensor with one value a pair")
        if value.shape != s_i.shape:
            raise LossError(
                f"loss {name} gave shape {tuple(value.shape)}, wanted {tuple(s_i.shape)}: one value a pair",
                hint="do not take the mean or the sum over pairs",
            )
        if not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).nonzero()[0])
            raise LossError(f"loss {name} is {value[bad].item()} for scores {first[bad]:g} and {second[bad]:g}")
        if not value.requires_grad:
            raise LossError(f"loss {name} has no gradient: its value does not depend on the scores through torch")
        slopes = torch.autograd.grad(value.sum(), (s_i, s_j), allow_unused=True)
    if all(slope is None for slope in slopes):
        raise LossError(f"loss {name} has no gradient by the scores")
    a, b = (np.zeros_like(first) if slope is None else slope.numpy() for slope in slopes)
    bad_rows = np.flatnonzero(~(np.isfinite(a) & np.isfinite(b)))
    if bad_rows.size:
        k = bad_rows[0]
        raise LossError(f"loss {name} has a non-finite gradient for scores {first[k]:g} and {second[k]:g}")
    return a, b
