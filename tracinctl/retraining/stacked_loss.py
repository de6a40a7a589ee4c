"""The loss of a batch of pairs, for each ranker of a stack."""

from __future__ import annotations

import numpy as np
import torch

from tracinctl.engine.losses import ghm_weights, pair_derivatives, pair_loss_values, resolve_loss
from tracinctl.training.options import TrainSettings


class StackedLoss:
    """Mean losses of each ranker's pairs.

    Args:
        settings: which loss, and its margin.
        ramp: cap a pair's loss at twice the margin.

    Raises:
        LossError: there is no such loss, or it is no differentiable function of two scores.
    """

    def __init__(self, settings: TrainSettings, *, ramp: bool) -> None:
        self.settings, self.ramp = settings, ramp
        self.loss = resolve_loss(settings.loss_type)
        two = np.array([0.5, -0.5])
        pair_derivatives(self.loss, two, -two, np.array([1.0, 1.0]), margin=settings.margin)

    def __call__(
        self, s_i: torch.Tensor, s_j: torch.Tensor, target: torch.Tensor, counted: torch.Tensor
    ) -> torch.Tensor:
        """Mean losses, shape (rankers,), of the pairs that are counted; all arguments are (rankers, pairs)."""
        losses = self.values(s_i, s_j, target)
        if self.loss == "ghm" and not self.ramp:
            losses = losses * self._density_weights(s_i, s_j, target, counted)
        # what is not counted may be infinite, and infinity times zero is not zero
        total = torch.where(counted > 0, losses, 0.0).sum(1)
        mean: torch.Tensor = total / counted.sum(1).clamp(min=1)
        return mean

    def values(self, s_i: torch.Tensor, s_j: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each pair, in the shape of the scores."""
        if self.ramp:
            margin = self.settings.margin
            return (margin - target * (s_i - s_j)).clamp(0, 2 * margin)
        flat = pair_loss_values(self.loss, s_i.flatten(), s_j.flatten(), target.flatten(), self.settings.margin)
        return flat.reshape(s_i.shape)

    def _density_weights(
        self, s_i: torch.Tensor, s_j: torch.Tensor, target: torch.Tensor, counted: torch.Tensor
    ) -> torch.Tensor:
        weights = torch.zeros_like(s_i)
        for row in range(len(s_i)):
            there = counted[row] > 0
            values = (x[row][there].detach().double().cpu().numpy() for x in (s_i, s_j, target))
            settings = self.settings
            if there.any():
                own = ghm_weights(
                    *values,
                    margin=settings.margin,
                    bins=settings.ghm_bins,
                    alpha=settings.ghm_alpha,
                    batch_size=int(there.sum()),
                )
                weights[row, there] = torch.from_numpy(own).to(weights)
        return weights
