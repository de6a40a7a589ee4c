"""A stack of models, with one matrix of weights and one call for all scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from tracinctl.data.pairs import IntArray
from tracinctl.training.ranker import score_rows

Inputs = torch.Tensor | Sequence[torch.Tensor]


class StackedModel:
    """Models of one architecture with different weights, which depend on torch's seed, one of ``seeds`` per model.

    Attributes:
        weights: all parameters, shape (models, parameters).
        buffers: buffers by name, models first.
        parts: the models per call: all together, or one at a time.
    """

    def __init__(self, build: Callable[[], nn.Module], seeds: Sequence[int], device: str | torch.device) -> None:
        models = [_mask_batch_norms(_seeded(build, seed)) for seed in seeds]
        self.device = torch.device(device)
        self.shapes = {name: value.shape for name, value in models[0].named_parameters()}
        rows = [torch.cat([value.detach().flatten() for value in model.parameters()]) for model in models]
        self.weights = torch.stack(rows).to(self.device).requires_grad_()
        self.buffers = {
            name: torch.stack([dict(model.named_buffers())[name] for model in models]).to(self.device)
            for name, _ in models[0].named_buffers()
        }
        self.parts = [slice(0, len(seeds))] if pays(models[0], self.device) else _single_runs(len(seeds))
        self.template = models[0].to("meta")
        self.norms = [layer for layer in self.template.modules() if isinstance(layer, MaskedBatchNorm)]

    def placed(self, inputs: Inputs) -> Inputs:
        """The inputs on the device, as one tensor if all items have one shape; otherwise models run one at a time."""
        if isinstance(inputs, torch.Tensor):
            return inputs.to(self.device)
        if len({x.shape for x in inputs}) == 1:
            return torch.stack(list(inputs)).to(self.device)
        self.parts = _single_runs(len(self.weights))
        return [x.to(self.device) for x in inputs]

    def scores(self, part: slice, inputs: Inputs, items: IntArray, exists: Any) -> torch.Tensor:
        """Scores of each model of a part on its own items in training mode, shape (models, items).

        ``items`` has one row per model. Those that do not exist are padding, which batch statistics ignore.
        """
        self.template.train()
        if len(items) == 1:
            scores = self._run_scores(part.start, inputs, items[0][exists[0]])
            return nn.functional.pad(scores, (0, items.shape[1] - len(scores)))[None]
        assert isinstance(inputs, torch.Tensor)  # noqa: S101 - see `placed`
        chosen = inputs[torch.from_numpy(items).to(self.device)]
        counted = torch.from_numpy(exists).to(self.device)
        call = vmap(self._call, randomness="error")
        stacked: torch.Tensor = call(self._parameters(part), self._buffers(part), chosen, counted)
        return stacked

    @torch.no_grad()
    def scores_of_all(self, inputs: Inputs, items: IntArray) -> torch.Tensor:
        """Scores of all models on the same items in eval mode, shape (models, items)."""
        self.template.eval()
        if len(self.parts) > 1 or len(self.weights) == 1:
            return torch.stack([self._run_scores(row, inputs, items) for row in range(len(self.weights))])
        assert isinstance(inputs, torch.Tensor)  # noqa: S101 - see `placed`
        call = vmap(self._call, in_dims=(0, 0, None, None), randomness="error")
        chosen = inputs[torch.from_numpy(items).to(self.device)]
        scores: torch.Tensor = call(self._parameters(self.parts[0]), self.buffers, chosen, None)
        return scores

    def _parameters(self, part: slice) -> dict[str, torch.Tensor]:
        pieces = torch.split(self.weights[part], [shape.numel() for shape in self.shapes.values()], 1)
        named = zip(self.shapes.items(), pieces, strict=True)
        return {name: piece.reshape(-1, *shape) for (name, shape), piece in named}

    def _buffers(self, part: slice) -> dict[str, torch.Tensor]:
        return {name: value[part] for name, value in self.buffers.items()}

    def _call(
        self,
        parameters: dict[str, torch.Tensor],
        buffers: dict[str, torch.Tensor],
        inputs: torch.Tensor,
        counted: torch.Tensor | None,
    ) -> torch.Tensor:
        for norm in self.norms:
            norm.counted = counted
        scores: torch.Tensor = functional_call(self.template, (parameters, buffers), (inputs,))
        return scores.reshape(len(inputs))

    def _run_scores(self, row: int, inputs: Inputs, items: IntArray) -> torch.Tensor:
        """Scores of one model, with one batch per shape of items."""
        part = slice(row, row + 1)
        parameters = {name: _channels_last(value[0]) for name, value in self._parameters(part).items()}
        buffers = {name: value[0] for name, value in self._buffers(part).items()}
        return score_rows(lambda batch: self._call(parameters, buffers, batch, None), inputs, items)


def pays(model: nn.Module, device: torch.device) -> bool:
    """Whether one call for all models is faster than one call per model.

    On a CPU, arithmetic and memory limit a convolution, and grouped convolutions are slower: 16 built-in rankers took
    1.8 times as long in one call as one after another.
    """
    return device.type != "cpu" or not any(isinstance(layer, _ConvNd) for layer in model.modules())


def _single_runs(count: int) -> list[slice]:
    return [slice(row, row + 1) for row in range(count)]


def _channels_last(weight: torch.Tensor) -> torch.Tensor:
    """A convolution's weights with channels last, with which convolutions and pooling on a CPU are twice as fast."""
    images = 4
    return weight.contiguous(memory_format=torch.channels_last) if weight.dim() == images else weight


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class MaskedBatchNorm(nn.Module):
    """A batch normalisation that leaves padding out of its statistics.

    Attributes:
        counted: whether each item counts, shape (items,); None if all do, and in eval mode.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.norm = norm
        self.counted: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (items, channels, ...)."""
        norm = self.norm
        if self.counted is None:
            ordinary: torch.Tensor = norm(x)
            return ordinary
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, variance = self._statistics(x, self.counted)
        scale = torch.rsqrt(variance + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -mean * scale if norm.bias is None else norm.bias - mean * scale
        return x * scale.reshape(shape) + shift.reshape(shape)

    def _statistics(self, x: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        norm, axes = self.norm, (0, *range(2, x.dim()))
        weight = counted.to(x).reshape(-1, *[1] * (x.dim() - 1))
        count = (weight.sum() * (x[0, 0].numel())).clamp(min=1)
        mean = (x * weight).sum(axes) / count
        centred = (x - mean.reshape(1, -1, *[1] * (x.dim() - 2))) * weight
        variance = (centred * centred).sum(axes) / count
        if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
            active = counted.any().to(mean)
            norm.num_batches_tracked += active.to(norm.num_batches_tracked.dtype)
            share = 1 / norm.num_batches_tracked.clamp(min=1).to(mean) if norm.momentum is None else norm.momentum
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            norm.running_mean += share * active * (mean.detach() - norm.running_mean)
            norm.running_var += share * active * (unbiased - norm.running_var)
        return mean, variance


def _mask_batch_norms(model: nn.Module) -> nn.Module:
    """Replace the model's batch norms by masked ones; return the model."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, MaskedBatchNorm(child))
    return model
