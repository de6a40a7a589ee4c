"""Train small rankers on a task with the library's stack, tune them, and judge lists and other ways to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from planted_tasks import Task
from torch import nn

from tracinctl import Pairs
from tracinctl.retraining.builtin_trainer import stops_until
from tracinctl.retraining.choice import smoothed
from tracinctl.retraining.judging import pair_correct
from tracinctl.retraining.stack import Member, train_stack
from tracinctl.retraining.trainer import Recipe, Trained, Training
from tracinctl.training.options import TrainSettings

NO_PAIRS = Pairs(*np.zeros((3, 0), dtype=np.int64))
JUDGED = 3  # trainings per row that are judged
TUNED = (1, 2, 3)  # the seeds whose trainings choose
DECAYS = (None, 0.01, 0.1)
CHECKPOINTS = 6
SMOOTHED = 0.1


def ramp(s_i: torch.Tensor, s_j: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The margin loss, constant above two margins."""
    return (1 - y * (s_i - s_j)).clamp(min=0, max=2)


def smoothed_logistic(s_i: torch.Tensor, s_j: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The logistic loss with a tenth of each label given to the other outcome."""
    margin = y * (s_i - s_j)
    right, wrong = nn.functional.softplus(-margin), nn.functional.softplus(margin)
    return (1 - SMOOTHED) * right + SMOOTHED * wrong


@dataclass(frozen=True)
class Variant:
    """A way to train: the kept pairs, the reversed ones, the loss (None = the default), and the number of epochs."""

    name: str
    kept: np.ndarray
    turned: np.ndarray
    recipe: Recipe | None = None
    loss: str | None = None

    def pairs(self, pairs: Pairs) -> Pairs:
        """The training pairs."""
        target = np.where(self.turned, -pairs.target, pairs.target)
        return Pairs(pairs.first, pairs.second, target).take(np.flatnonzero(self.kept))


@dataclass(frozen=True)
class Bench:
    """A task, and how its rankers are trained."""

    task: Task
    settings: TrainSettings

    def build(self) -> nn.Module:
        """A perceptron with two hidden layers of 32."""
        width = self.task.data.train.inputs.shape[1]
        layers = [nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)]
        return nn.Sequential(*layers)

    def train(self, plan: Sequence[Training]) -> list[Trained]:
        """Train the rankers of a plan as one stack; return the scores of held-out and training items at each stop."""
        names = self.names
        runs = [
            (
                Variant("", ~np.isin(names, training.exclusions), self.none, loss=training.loss),
                training.weight_decay,
                training.seed,
            )
            for training in plan
        ]
        ids = (*self.task.data.test.ids, *self.task.data.train.ids)
        stops = stops_until(self.settings.epochs)
        scores = self.scores(runs, torch.cat([self.task.data.test.inputs, self.task.data.train.inputs]))
        return [Trained(dict(zip(ids, map(tuple, ranker.T.tolist()), strict=True)), stops) for ranker in scores]

    @cached_property
    def names(self) -> np.ndarray:
        """The ids of the training pairs."""
        return np.array(self.task.data.train_pairs.row_ids(self.task.data.train.ids), dtype=object)

    @property
    def none(self) -> np.ndarray:
        """A mask without any training pair."""
        return np.zeros(len(self.task.data.train_pairs), dtype=bool)

    def scores(self, runs: Sequence[tuple[Variant, float | None, int]], inputs: torch.Tensor) -> np.ndarray:
        """Scores of items, shape (runs, stops, items); all runs are trained as one stack."""
        data, usual = self.task.data, self.settings.weight_decay
        stops = stops_until(self.settings.epochs)
        members = [
            Member(variant.pairs(data.train_pairs), NO_PAIRS, seed, usual if decay is None else decay, variant.loss)
            for variant, decay, seed in runs
        ]
        trained = train_stack(self.build, data.train.inputs, inputs, members, self.settings, stops)
        return trained.double().numpy()

    def tuned(self, variants: Sequence[Variant]) -> list[Variant]:
        """The variants with the stop and weight decay that rank the scoring pairs best."""
        stops, data = stops_until(self.settings.epochs), self.task.data
        runs = [(variant, decay, seed) for variant in variants for decay in DECAYS for seed in TUNED]
        scores = self.scores(runs, data.test.inputs)
        right = np.array([pair_correct(ranker, data.test_pairs).mean(1) for ranker in scores])
        cells = right.reshape(len(variants), len(DECAYS), len(TUNED), len(stops)).mean(2)
        tuned = []
        for variant, accuracy in zip(variants, cells, strict=True):
            decay, stop = np.unravel_index(smoothed(accuracy).argmax(), accuracy.shape)
            tuned.append(replace(variant, recipe=Recipe(DECAYS[decay], stops[stop])))
        return tuned

    def accuracies(self, variants: Sequence[Variant]) -> list[float]:
        """The share of the judging pairs that each variant ranks correctly with its stop and weight decay."""
        stops = stops_until(self.settings.epochs)
        runs = [(variant, variant.recipe.weight_decay, 500 + k) for variant in variants for k in range(JUDGED)]
        scores = self.scores(runs, self.task.judge.inputs)
        at = [stops.index(variant.recipe.stop) for variant, _, _ in runs]
        right = pair_correct(scores[np.arange(len(runs)), at], self.task.judge_pairs).mean(1)
        return right.reshape(len(variants), JUDGED).mean(1).tolist()

    def checkpoints(self, folder: Path, seed: int) -> list[Path]:
        """Checkpoints of one training on everything."""
        torch.manual_seed(seed)
        model, settings, pairs = self.build(), self.settings, self.task.data.train_pairs
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        wanted = {max(1, round(settings.epochs * k / CHECKPOINTS)) for k in range(1, CHECKPOINTS + 1)}
        paths = []
        for epoch in range(1, settings.epochs + 1):
            order = np.random.default_rng([seed, epoch]).permutation(len(pairs))
            for at in range(0, len(order), settings.batch_size):
                batch = pairs.take(order[at : at + settings.batch_size])
                s = model(self.task.data.train.inputs[np.concatenate([batch.first, batch.second])]).view(2, -1)
                loss = (settings.margin - torch.from_numpy(batch.target) * (s[0] - s[1])).clamp(min=0).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch in wanted:
                paths.append(folder / f"model_epoch_{epoch}.pt")
                torch.save({"model_state_dict": model.state_dict()}, paths[-1])
        return paths
