"""The loss of a batch of pairs, for each ranker of a stack."""

from __future__ import annotations

import torch

from tracinctl.training.loss import checked_loss, ghm_weights, row_losses
from tracinctl.training.options import TrainSettings


class StackedLoss:
    """Mean losses of each ranker's pairs, under the loss and margin of the settings."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.loss = checked_loss(settings)

    def __call__(
        self,
        s_i: torch.Tensor,
        s_j: torch.Tensor,
        target: torch.Tensor,
        counted: torch.Tensor,
        weight: torch.Tensor | None = None,
        margin: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean losses of the counted pairs, shape (rankers,); all arguments have the shape (rankers, pairs).

        ``weight`` and ``margin`` are the pairs' own, or None if no pair has its own.
        """
        losses = self.values(s_i, s_j, target, margin)
        if self.loss == "ghm":
            losses = losses * self._density_weights(s_i, s_j, target, counted, margin)
        if weight is not None:
            losses = losses * weight
        # uncounted losses may be infinite, and infinity times zero is not zero
        total = torch.where(counted > 0, losses, 0.0).sum(1)
        mean: torch.Tensor = total / counted.sum(1).clamp(min=1)
        return mean

    def values(
        self, s_i: torch.Tensor, s_j: torch.Tensor, target: torch.Tensor, margin: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The unweighted loss of each pair, in the shape of the scores."""
        own_flat = None if margin is None else margin.flatten()
        flat = row_losses(self.loss, s_i.flatten(), s_j.flatten(), target.flatten(), self.settings.margin, own_flat)
        return flat.reshape(s_i.shape)

    def _density_weights(
        self,
        s_i: torch.Tensor,
        s_j: torch.Tensor,
        target: torch.Tensor,
        counted: torch.Tensor,
        margin: torch.Tensor | None,
    ) -> torch.Tensor:
        weights = torch.zeros_like(s_i)
        for row in range(len(s_i)):
            rows = counted[row] > 0
            if rows.any():
                columns = (s_i[row][rows], s_j[row][rows], target[row][rows])
                margins = None if margin is None else margin[row][rows]
                weights[row, rows] = ghm_weights(*columns, self.settings, margins)
        return weights
