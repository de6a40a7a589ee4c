"""Adam and the halving of the learning rate for a stack of rankers with their own weight decays and rates."""

from __future__ import annotations

import torch

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class StackedAdam:
    """``torch.optim.Adam`` on the rows of one matrix, each with its weight decay; a row may skip a step.

    ``weights`` has the shape (rankers, weights).
    """

    def __init__(self, weights: torch.Tensor, learning_rate: float, weight_decay: torch.Tensor) -> None:
        self.weights = weights
        self.decay = weight_decay.to(weights)[:, None]
        self.rate = torch.full((len(weights), 1), learning_rate, dtype=torch.float64, device=weights.device)
        self.steps = torch.zeros_like(self.rate)
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)

    @torch.no_grad()
    def step(self, active: torch.Tensor) -> None:
        """Move the active rows."""
        assert self.weights.grad is not None  # noqa: S101 - for mypy
        gradient = self.weights.grad + self.decay * self.weights
        rows = active[:, None]
        everyone = bool(active.all())  # the choice between old and new numbers costs as much as the rest
        self.steps += rows
        mean = self.mean.lerp(gradient, 1 - _BETAS[0])
        square = (self.square * _BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        self.mean = mean if everyone else torch.where(rows, mean, self.mean)
        self.square = square if everyone else torch.where(rows, square, self.square)
        steps = self.steps.clamp(min=1)
        size = (self.rate / (1 - _BETAS[0] ** steps)).to(self.weights)
        root = (1 - _BETAS[1] ** steps).sqrt().to(self.weights)
        step = size * self.mean / (self.square.sqrt() / root + _EPSILON)
        self.weights -= step if everyone else torch.where(rows, step, 0.0)


class StackedPlateau:
    """``ReduceLROnPlateau`` for each row: halve its rate if its loss has not fallen for ``patience`` epochs.

    ``rate`` has the shape (rankers, 1) and is changed in place.
    """

    def __init__(self, rate: torch.Tensor, patience: int) -> None:
        self.rate, self.patience = rate, patience
        self.best = torch.full((len(rate),), torch.inf, dtype=torch.float64)
        self.waited = torch.zeros(len(rate))

    def step(self, losses: torch.Tensor) -> None:
        """Record the losses after an epoch."""
        better = losses < self.best * (1 - 1e-4)
        self.best = torch.where(better, losses, self.best)
        self.waited = torch.where(better, 0, self.waited + 1)
        due = self.waited > self.patience
        self.waited[due] = 0
        self.rate[due.to(self.rate.device)] *= 0.5
