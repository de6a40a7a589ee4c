"""The user's pairwise loss functions: their arguments, checks of their results, and their derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, Pairs
from tracinctl.errors import LossError, TracinctlError
from tracinctl.user_code import said

LossFunction = Callable[..., torch.Tensor]

TRIED = 64
"""Number of pairs for trying a function."""

_FINITE = "Return a finite value and slope for all scores: guard logarithms, roots and divisions."
_BY_SCORES = "Compute it from s_i and s_j with torch's functions, without detach()."
_SCORES_AND_TARGET = 3  # number of arguments of every loss


def takes_columns(loss: LossFunction) -> bool:
    """Whether a function takes the additional columns of the pairs, as a fourth parameter."""
    try:
        parameters = list(inspect.signature(loss).parameters.values())
    except (TypeError, ValueError):  # a builtin has no signature
        return False
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(by_place) > _SCORES_AND_TARGET and by_place[_SCORES_AND_TARGET].default is inspect.Parameter.empty


def columns_of(pairs: Pairs) -> dict[str, torch.Tensor | list[Any]]:
    """The additional columns of the pairs: numbers as float64 tensors, other values as lists."""
    columns = {"weight": pairs.weight, "margin": pairs.margin, **pairs.groups}
    return {
        name: torch.tensor(values.astype(np.float64)) if values.dtype.kind in "iufb" else values.tolist()
        for name, values in columns.items()
        if values is not None
    }


def derivatives_of_own(
    loss: LossFunction, s_i: FloatArray, s_j: FloatArray, target: FloatArray, pairs: Pairs | None
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of each pair's loss by its two scores, by autograd, shape (pairs,) each.

    Raises:
        LossError: the function fails, returns a wrong shape or a non-finite value, mixes pairs, or has no gradient.
    """
    name = getattr(loss, "__qualname__", repr(loss))
    scores = [torch.tensor(s, requires_grad=True) for s in (s_i, s_j)]
    with torch.enable_grad():
        value = _own_values(loss, name, scores, target, pairs)
        if not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).nonzero()[0])
            raise LossError(
                f"loss {name} is {value[bad].item()} for scores {s_i[bad]:g} and {s_j[bad]:g}", hint=_FINITE
            )
        slopes = torch.autograd.grad(value.sum(), scores, allow_unused=True) if value.requires_grad else (None, None)
    _check_rows(loss, name, value.detach(), scores, target, pairs)
    if all(slope is None for slope in slopes):
        raise LossError(f"loss {name} has no gradient with respect to the scores", hint=_BY_SCORES)
    a_i, a_j = (np.zeros_like(s_i) if slope is None else slope.numpy() for slope in slopes)
    bad_rows = np.flatnonzero(~(np.isfinite(a_i) & np.isfinite(a_j)))
    if bad_rows.size:
        k = bad_rows[0]
        raise LossError(f"loss {name} has a non-finite gradient for scores {s_i[k]:g} and {s_j[k]:g}", hint=_FINITE)
    return a_i, a_j


def _own_values(
    loss: LossFunction, name: str, scores: Sequence[torch.Tensor], target: FloatArray, pairs: Pairs | None
) -> torch.Tensor:
    columns = [columns_of(pairs)] if pairs is not None and takes_columns(loss) else []
    try:
        value = loss(*scores, torch.tensor(target), *columns)
    except TracinctlError:
        raise
    except (Exception, SystemExit) as error:
        raise LossError(
            f"loss {name} failed: {said(error)}", hint="Expect tensors of shape (pairs,): s_i, s_j and the target."
        ) from error
    if not isinstance(value, torch.Tensor):
        raise LossError(
            f"loss {name} returned a {type(value).__name__}, not a tensor with one value per pair",
            hint="Return the tensor itself, without item(), numpy() or list.",
        )
    if value.shape != scores[0].shape:
        raise LossError(
            f"loss {name} returned shape {tuple(value.shape)}, not {tuple(scores[0].shape)} with one value per pair",
            hint="Take no mean or sum over pairs, and add no dimension.",
        )
    return value


def _check_rows(
    loss: LossFunction,
    name: str,
    values: torch.Tensor,
    scores: Sequence[torch.Tensor],
    target: FloatArray,
    pairs: Pairs | None,
) -> None:
    """Raise LossError if the loss of the first pairs changes without the pairs after them."""
    some = min(TRIED, len(target) // 2)
    if not some:
        return
    part = None if pairs is None else pairs.take(np.arange(some))
    alone = _own_values(loss, name, [s.detach()[:some] for s in scores], target[:some], part)
    if not torch.allclose(alone.detach(), values[:some], rtol=1e-6, atol=1e-9):
        raise LossError(
            f"loss {name} of a pair changes with other pairs in the batch, or between calls",
            hint="Make a pair's loss depend only on its own two scores, target and columns.",
        )
