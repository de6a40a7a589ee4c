"""Train many rankers of one architecture together: their weights are stacked, and a step moves all of them.

Each ranker has its own training pairs, seed, loss, weight decay and learning rate, and up to rounding it equals the
ranker that ``train_ranker`` trains alone. ``torch.func.vmap`` turns a layer of all rankers into one batched product or
one grouped convolution. If vmap cannot run the model, or items differ in shape, rankers run one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tracinctl.data.pairs import FloatArray, IntArray, Pairs
from tracinctl.errors import TrainingError
from tracinctl.retraining.stacked_loss import StackedLoss
from tracinctl.retraining.stacked_model import Inputs, StackedModel
from tracinctl.retraining.stacked_optimizer import StackedAdam, StackedPlateau
from tracinctl.training.loss import base_margin, trained_rows
from tracinctl.training.options import TrainSettings

_ITEMS_AT_ONCE = 256  # batch size for scoring


@dataclass(frozen=True)
class Member:
    """A ranker of a stack.

    Attributes:
        steering: the held-out pairs whose loss halves its learning rate; if there are none, the training loss does.
        seed: seed of its first weights and of the order of its pairs.
        loss: the loss to train with; None = that of the settings.
    """

    pairs: Pairs
    steering: Pairs
    seed: int
    weight_decay: float
    loss: str | None = None

    def trains(self, settings: TrainSettings) -> TrainSettings:
        """The settings under its own loss."""
        return settings if self.loss is None else replace(settings, loss_type=self.loss)


def train_stack(
    build: Callable[[], nn.Module],
    train: Inputs,
    held_out: Inputs,
    members: Sequence[Member],
    settings: TrainSettings,
    stops: Sequence[int],
    *,
    device: str | torch.device = "cpu",
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> torch.Tensor:
    """Train all members, and score the held-out items after each stop.

    The weights of ``build`` depend on torch's seed. Members have their own seed, weight decay and loss; the other
    settings are the same. ``report`` receives the finished epochs and their total.

    Returns:
        Scores of shape (members, stops, held-out items), float32.

    Raises:
        TrainingError: a loss or a score is not finite.
    """
    members = [replace(member, pairs=trained_rows(member.pairs, member.trains(settings))) for member in members]
    model = StackedModel(build, [member.seed for member in members], device)
    run = _Run(model, train, held_out, members, settings)
    scores = []
    for epoch in range(1, max(stops) + 1):
        run.train_one_epoch(epoch)
        if epoch in stops:
            scores.append(run.held_out_scores)
        report(epoch, max(stops))
    return torch.stack(scores, 1).cpu()


class _Run:
    """The stack between two epochs."""

    def __init__(
        self, model: StackedModel, train: Inputs, held_out: Inputs, members: Sequence[Member], settings: TrainSettings
    ) -> None:
        self.model, self.members, self.settings = model, members, settings
        types = [member.loss or settings.loss_type for member in members]
        losses = {name: StackedLoss(replace(settings, loss_type=name)) for name in set(types)}
        self.loss_of = [losses[name] for name in types]
        self.train, self.held_out = model.placed(train), model.placed(held_out)
        decay = torch.tensor([member.weight_decay for member in members], device=model.device)
        self.optimizer = StackedAdam(model.weights, settings.learning_rate, decay)
        self.plateau = StackedPlateau(self.optimizer.rate, settings.patience)
        self.held_out_scores = torch.empty(0)

    def train_one_epoch(self, epoch: int) -> None:
        totals = np.zeros(len(self.members))
        for batch in _batches(self.members, epoch, self.settings):
            losses = self._step(batch, epoch)
            totals += losses.cpu().double().numpy() * batch.exists.sum(1)
        self.held_out_scores = self._score_held_out()
        if not torch.isfinite(self.held_out_scores).all():
            raise self._diverged(f"after epoch {epoch} some held-out scores are NaN or infinite")
        self.plateau.step(self._steering_losses(totals))

    def _step(self, batch: _Batch, epoch: int) -> torch.Tensor:
        self.model.weights.grad = None
        losses = torch.cat([self._backward(part, batch.cut(part)) for part in self.model.parts])
        if not torch.isfinite(losses).all():
            raise self._diverged(f"a loss is not finite in epoch {epoch}")
        self.optimizer.step(torch.from_numpy(batch.exists.any(1)).to(losses.device))
        return losses

    def _backward(self, part: slice, batch: _Batch) -> torch.Tensor:
        """The mean losses of a part's members; adds their gradients to the stack's."""
        if not batch.exists.any():
            return torch.zeros(len(batch.exists), device=self.model.device)
        items, places, exists = batch.items()
        scores = self.model.scores(part, self.train, items, exists)
        s_i, s_j = torch.gather(scores, 1, torch.from_numpy(places).to(scores.device)).chunk(2, 1)
        target, counted = (torch.from_numpy(x).to(scores) for x in (batch.target, batch.exists))
        columns = (None if x is None else torch.from_numpy(x).to(scores) for x in (batch.weight, batch.margin))
        losses = self._losses(part, s_i, s_j, target, counted, *columns)
        losses.sum().backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        return losses.detach()

    def _losses(self, part: slice, *columns: torch.Tensor | None) -> torch.Tensor:
        """Mean losses of a part's members, each under its own loss."""
        losses = self.loss_of[part]
        pieces, order = [], []
        for loss in dict.fromkeys(losses):
            rows = [row for row, row_loss in enumerate(losses) if row_loss is loss]
            order += rows
            pieces.append(
                loss(*columns if len(rows) == len(losses) else (x if x is None else x[rows] for x in columns))
            )
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)[np.argsort(order)]

    def _score_held_out(self) -> torch.Tensor:
        count = len(self.held_out)
        parts = [
            self.model.scores_of_all(self.held_out, np.arange(at, min(at + _ITEMS_AT_ONCE, count)))
            for at in range(0, count, _ITEMS_AT_ONCE)
        ]
        return torch.cat(parts, 1) if parts else torch.zeros(len(self.members), 0)

    def _steering_losses(self, totals: Any) -> torch.Tensor:
        losses = []
        for member, loss, scores, total in zip(self.members, self.loss_of, self.held_out_scores, totals, strict=True):
            pairs = member.steering
            if not len(pairs):
                losses.append(total / len(member.pairs))
                continue
            s_i, s_j = scores[torch.from_numpy(pairs.first)], scores[torch.from_numpy(pairs.second)]
            target = torch.from_numpy(pairs.target).to(scores)
            margin = None if pairs.margin is None else torch.from_numpy(pairs.margin).to(scores)
            losses.append(float(loss.values(s_i, s_j, target, margin).mean()))
        return torch.tensor(losses, dtype=torch.float64)

    def _diverged(self, how: str) -> TrainingError:
        return TrainingError(
            f"training diverged: {how}", hint=f"Try a smaller `learning_rate` than {self.settings.learning_rate:g}."
        )


@dataclass(frozen=True)
class _Batch:
    """The pairs of one step, in arrays of shape (members, pairs); ``exists`` is false for missing pairs."""

    first: IntArray
    second: IntArray
    target: IntArray
    exists: Any
    weight: FloatArray | None
    margin: FloatArray | None

    def cut(self, members: slice, pairs: slice = slice(None)) -> _Batch:
        """The batch of some members and pairs."""
        cut: dict[str, Any] = {name: None if x is None else x[members, pairs] for name, x in vars(self).items()}
        return _Batch(**cut)

    def items(self) -> tuple[IntArray, IntArray, Any]:
        """Each member's different items, the places of its pairs' items among them, and which items exist.

        Rows with fewer items are padded; padding does not count as existing.
        """
        both, exists = np.concatenate([self.first, self.second], 1), np.concatenate([self.exists, self.exists], 1)
        items, places = np.zeros_like(both), np.zeros_like(both)
        counts = np.zeros((len(both), 1), dtype=np.int64)
        for row, exist in enumerate(exists):
            different, places[row, exist] = np.unique(both[row, exist], return_inverse=True)
            items[row, : len(different)] = different
            counts[row] = len(different)
        most = counts.max()
        return items[:, :most], places, np.arange(most) < counts


def _batches(members: Sequence[Member], epoch: int, settings: TrainSettings) -> list[_Batch]:
    """The steps of an epoch; a member with fewer pairs skips the last ones."""
    size = settings.batch_size
    shape = len(members), -(-max(len(member.pairs) for member in members) // size) * size
    first, second, target = np.zeros((3, *shape), dtype=np.int64)
    pairs = _Batch(first, second, target, np.zeros(shape, dtype=bool), None, None)
    if any(member.pairs.weight is not None for member in members):
        pairs = replace(pairs, weight=np.ones(shape))
    if any(member.pairs.margin is not None for member in members):
        bases = [base_margin(member.trains(settings)) for member in members]
        pairs = replace(pairs, margin=np.repeat(np.array(bases)[:, None], shape[1], 1))
    for row, member in enumerate(members):
        order = np.random.default_rng([member.seed, epoch]).permutation(len(member.pairs))
        for name in ("first", "second", "target", "weight", "margin"):
            column = getattr(member.pairs, name)
            if column is not None:
                getattr(pairs, name)[row, : len(order)] = column[order]
        pairs.exists[row, : len(order)] = True
    return [pairs.cut(slice(None), slice(at, at + size)) for at in range(0, shape[1], size)]
