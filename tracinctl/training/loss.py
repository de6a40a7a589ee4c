"""The training loss of ranking pairs, with weights, margins and ties."""

from __future__ import annotations

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, Pairs
from tracinctl.engine.losses import LossSettings, capped_losses, pair_derivatives, pair_loss_values, resolve_loss
from tracinctl.engine.losses import ghm_weights as density_weights
from tracinctl.engine.own_loss import LossFunction
from tracinctl.training.options import TrainSettings


def checked_loss(settings: TrainSettings) -> str | LossFunction:
    """The loss of the settings.

    Raises:
        LossError: the loss is unknown, or is not a differentiable function of two scores.
    """
    loss = resolve_loss(settings.loss_type)
    two = np.array([0.5, -0.5])
    pair_derivatives(loss, two, -two, np.array([1.0, 1.0]), margin=settings.margin)
    return loss


def row_losses(
    loss: str | LossFunction,
    s_i: torch.Tensor,
    s_j: torch.Tensor,
    target: torch.Tensor,
    margin: float,
    row_margin: torch.Tensor | None = None,
) -> torch.Tensor:
    """The unweighted loss of each row, in the shape of the scores.

    A row's own margin replaces ``margin``. The logistic loss uses only rows' margins; a user's own loss uses none.
    """
    if row_margin is not None and loss == "capped":
        return capped_losses(s_i, s_j, target, row_margin)
    if row_margin is not None and isinstance(loss, str):
        # requiring a difference above the margin equals subtracting the margin from the difference
        s_i, margin = s_i - row_margin * target, 0.0
    return pair_loss_values(loss, s_i, s_j, target, margin)


def ghm_weights(
    s_i: torch.Tensor,
    s_j: torch.Tensor,
    target: torch.Tensor,
    settings: TrainSettings,
    row_margin: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weights by the gradient density of a batch, without ties, which have no gradient."""
    ranked = target != 0
    margin = settings.margin if row_margin is None else row_margin[ranked].double().cpu().numpy()
    values = (x.detach()[ranked].double().cpu().numpy() for x in (s_i, s_j, target))
    weights = torch.ones_like(s_i)
    densities = density_weights(
        *values, margin=margin, bins=settings.ghm_bins, alpha=settings.ghm_alpha, batch_size=int(ranked.sum())
    )
    weights[ranked] = torch.from_numpy(densities).to(weights)
    return weights


def base_margin(settings: TrainSettings) -> float:
    """The margin of rows without their own margin."""
    return 0.0 if settings.loss_type == "logistic" else settings.margin


def trained_rows(pairs: Pairs, settings: TrainSettings) -> Pairs:
    """The pairs without ties, if the loss has no gradient for ties."""
    loss = LossSettings(resolve_loss(settings.loss_type))
    ties = pairs.target == 0
    return pairs if loss.knows_ties or not ties.any() else pairs.take(~ties)


def joined(pairs: Pairs, more: Pairs, offset: int, settings: TrainSettings) -> Pairs:
    """Join pairs of two sets of items, the second behind the first, with their weights and margins."""

    def column(name: str, value: float) -> FloatArray | None:
        if getattr(pairs, name) is None and getattr(more, name) is None:
            return None
        columns = ((part, getattr(part, name)) for part in (pairs, more))
        return np.concatenate([np.full(len(part), value) if own is None else own for part, own in columns])

    return Pairs(
        np.concatenate([pairs.first, more.first + offset]),
        np.concatenate([pairs.second, more.second + offset]),
        np.concatenate([pairs.target, more.target]),
        weight=column("weight", 1.0),
        margin=column("margin", base_margin(settings)),
        ties=True,
    )
