"""Trains many small rankers side by side: one stack of weights, one Adam, each its own pairs and seed.

Trained alone or in a stack a ranker is the same but for rounding, and a hundred cost little more than a few.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tracinctl import Pairs
from tracinctl.engine.losses import pair_loss_values

HIDDEN = 32


@dataclass(frozen=True)
class Recipe:
    """How the rankers are trained; the numbers are those of ``tracinctl train`` but for the batch."""

    epochs: int = 30
    interval: int = 5
    learning_rate: float = 0.003
    batch_size: int = 64
    weight_decay: float = 1e-5
    loss: str = "standard"
    layers: Sequence[int] = field(default=(HIDDEN, HIDDEN))


def build_model(inputs: int, recipe: Recipe) -> nn.Sequential:
    """One ranker of the stack as an ordinary model."""
    sizes = [inputs, *recipe.layers, 1]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Rankers:
    """A stack of rankers.

    Args:
        inputs: of the training items, shape (items, features).
        pairs: what each ranker trains on.
        seeds: of each ranker's first weights and order of pairs.
        recipe: how.
        steps: of all; None = the recipe's epochs of the longest list. A shorter list is passed over more often, so that
            leaving pairs out does not shorten the training.
    """

    def __init__(
        self,
        inputs: torch.Tensor,
        pairs: Sequence[Pairs],
        seeds: Sequence[int],
        recipe: Recipe,
        steps: int | None = None,
    ) -> None:
        self.inputs, self.pairs, self.seeds, self.recipe = inputs, pairs, seeds, recipe
        longest = max(map(len, pairs))
        self.steps_an_epoch = -(-longest // recipe.batch_size)
        self.steps = steps or recipe.epochs * self.steps_an_epoch
        stacks: list[list[torch.Tensor]] = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                stacks.append([p.detach() for p in build_model(inputs.shape[1], recipe).parameters()])
        self.parameters = [torch.stack(same).requires_grad_() for same in zip(*stacks, strict=True)]
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
        )

    def train(self, folders: Sequence[Path | None] | None = None) -> None:
        """Train all; a ranker with a folder leaves checkpoints there."""
        random = [np.random.default_rng([seed, 1]) for seed in self.seeds]
        size = self.recipe.batch_size
        queues = [np.empty(0, dtype=np.int64) for _ in self.pairs]
        first, second, target = (
            [getattr(pairs, name) for pairs in self.pairs] for name in ("first", "second", "target")
        )
        for step in range(1, self.steps + 1):
            rows = []
            for k, pairs in enumerate(self.pairs):
                while len(queues[k]) < size:
                    queues[k] = np.concatenate([queues[k], random[k].permutation(len(pairs))])
                rows.append(queues[k][:size])
                queues[k] = queues[k][size:]
            chosen = zip(first, second, target, rows, strict=True)
            i, j, y = (
                torch.from_numpy(np.stack(part))
                for part in zip(*((f[r], s[r], t[r]) for f, s, t, r in chosen), strict=True)
            )
            scores = self._forward(self.inputs[torch.cat([i, j], 1)])
            loss = pair_loss_values(self.recipe.loss, scores[:, :size], scores[:, size:], y.to(scores.dtype)).mean(1)
            self.optimizer.zero_grad()
            loss.sum().backward()
            self.optimizer.step()
            every = self.recipe.interval * self.steps_an_epoch
            if folders is not None and (step % every == 0 or step == self.steps):
                for k, folder in enumerate(folders):
                    if folder is not None:
                        self._save(k, folder / f"model_epoch_{-(-step // self.steps_an_epoch)}.pt")

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores, (rankers, items), of items (rankers, items, features)."""
        weights, biases = self.parameters[::2], self.parameters[1::2]
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
            if k < len(weights) - 1:
                x = x.relu()
        return x.squeeze(-1)

    @torch.no_grad()
    def margins(self, inputs: torch.Tensor, pairs: Pairs) -> np.ndarray:
        """y (s_i - s_j) of pairs by every ranker, shape (rankers, pairs)."""
        scores = self._forward(inputs.expand(len(self.pairs), *inputs.shape))
        return ((scores[:, pairs.first] - scores[:, pairs.second]) * torch.from_numpy(pairs.target)).numpy()

    def _save(self, k: int, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        model = build_model(self.inputs.shape[1], self.recipe)
        names = [name for name, _ in model.named_parameters()]
        state = {name: p[k].detach().clone() for name, p in zip(names, self.parameters, strict=True)}
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {
            at: {key: value[k].clone() if value.dim() else value for key, value in one.items()}
            for at, one in optimizer["state"].items()
        }
        torch.save({"model_state_dict": state, "optimizer_state_dict": optimizer}, path)
