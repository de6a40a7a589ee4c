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

Inputs = torch.Tensor | Sequence[torch.Tensor]


class StackedModel:
    """Models of one architecture with different weights.

    Args:
        build: builds a model; its weights depend on torch's seed.
        seeds: one per model.
        device: the device to use.

    Attributes:
        weights: all parameters, shape (models, parameters).
        buffers: buffers by name, models first.
        parts: the models per call: all together, or one at a time.
    """

    def __init__(self, build: Callable[[], nn.Module], seeds: Sequence[int], device: str | torch.device) -> None:
        models = [_seeded(build, seed) for seed in seeds]
        self.device = torch.device(device)
        self.shapes = {name: value.shape for name, value in models[0].named_parameters()}
        rows = [torch.cat([value.detach().flatten() for value in model.parameters()]) for model in models]
        self.weights = torch.stack(rows).to(self.device).requires_grad_()
        self.buffers = {
            name: torch.stack([dict(model.named_buffers())[name] for model in models]).to(self.device)
            for name, _ in models[0].named_buffers()
        }
        self.parts = [slice(0, len(seeds))] if pays(models[0], self.device) else _each(len(seeds))
        self.template = models[0].to("meta")
        self.norms = _mask_batch_norms(self.template)

    def placed(self, inputs: Inputs) -> Inputs:
        """The inputs on the device, as one tensor if all items have one shape; otherwise models run one at a time."""
        if isinstance(inputs, torch.Tensor):
            return inputs.to(self.device)
        if len({x.shape for x in inputs}) == 1:
            return torch.stack(list(inputs)).to(self.device)
        self.parts = _each(len(self.weights))
        return [x.to(self.device) for x in inputs]

    def scores(self, part: slice, inputs: Inputs, items: IntArray, there: Any) -> torch.Tensor:
        """Scores of each model of a part on its own items in training mode, shape (models, items).

        Args:
            part: the models.
            inputs: inputs of all items.
            items: items of each model of the part, one row per model.
            there: whether each item exists, same shape; padding does not count in batch statistics.
        """
        self.template.train()
        if len(items) == 1:
            own = self._one(part.start, inputs, items[0][there[0]])
            return nn.functional.pad(own, (0, items.shape[1] - len(own)))[None]
        assert isinstance(inputs, torch.Tensor)  # noqa: S101 - see `placed`
        chosen = inputs[torch.from_numpy(items).to(self.device)]
        counted = torch.from_numpy(there).to(self.device)
        call = vmap(self._call, randomness="error")
        scores: torch.Tensor = call(self._parameters(part), self._buffers(part), chosen, counted)
        return scores

    @torch.no_grad()
    def scores_of_all(self, inputs: Inputs, items: IntArray) -> torch.Tensor:
        """Scores of all models on the same items in eval mode, shape (models, items)."""
        self.template.eval()
        if len(self.parts) > 1 or len(self.weights) == 1:
            return torch.stack([self._one(row, inputs, items) for row in range(len(self.weights))])
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

    def _one(self, row: int, inputs: Inputs, items: IntArray) -> torch.Tensor:
        """Scores of one model, with one batch per shape of items."""
        part = slice(row, row + 1)
        parameters = {name: _channels_last(value[0]) for name, value in self._parameters(part).items()}
        buffers = {name: value[0] for name, value in self._buffers(part).items()}
        if isinstance(inputs, torch.Tensor):
            return self._call(parameters, buffers, inputs[torch.from_numpy(items).to(self.device)], None)
        groups: dict[torch.Size, list[int]] = {}
        for place, item in enumerate(items.tolist()):
            groups.setdefault(inputs[item].shape, []).append(place)
        parts = [
            self._call(parameters, buffers, torch.stack([inputs[items[place]] for place in places]), None)
            for places in groups.values()
        ]
        order = torch.tensor([place for places in groups.values() for place in places])
        return torch.cat(parts)[torch.argsort(order)]


def pays(model: nn.Module, device: torch.device) -> bool:
    """Whether one call for all models is faster than one call per model.

    On a CPU, arithmetic and memory limit a convolution, and grouped convolutions are slower: 16 built-in rankers took
    1.8 times as long in one call as one after another.
    """
    return device.type != "cpu" or not any(isinstance(layer, _ConvNd) for layer in model.modules())


def _each(count: int) -> list[slice]:
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
    """Batch normalisation that leaves padding out of its statistics.

    It has the parameters and buffers of the layer that it replaces, under the same names.

    Attributes:
        counted: whether each item counts, shape (items,); None if all do, and in eval mode.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    num_batches_tracked: torch.Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.eps, self.momentum = norm.eps, norm.momentum
        self._parameters, self._buffers = norm._parameters, norm._buffers  # noqa: SLF001 - it replaces the layer
        self.counted: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (items, channels, ...)."""
        if self.counted is None:
            return self._ordinary(x)
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, variance = self._statistics(x, self.counted)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        return x * scale.reshape(shape) + shift.reshape(shape)

    def _ordinary(self, x: torch.Tensor) -> torch.Tensor:
        own = self.training or self.running_mean is None
        momentum = self.momentum
        if self.training and self.running_mean is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, momentum or 0.0, self.eps
        )

    def _statistics(self, x: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        axes = (0, *range(2, x.dim()))
        weight = counted.to(x).reshape(-1, *[1] * (x.dim() - 1))
        count = (weight.sum() * (x[0, 0].numel())).clamp(min=1)
        mean = (x * weight).sum(axes) / count
        centred = (x - mean.reshape(1, -1, *[1] * (x.dim() - 2))) * weight
        variance = (centred * centred).sum(axes) / count
        if self.running_mean is not None:
            active = counted.any().to(mean)
            self.num_batches_tracked += active.to(self.num_batches_tracked.dtype)
            share = 1 / self.num_batches_tracked.clamp(min=1).to(mean) if self.momentum is None else self.momentum
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            _move(self.running_mean, mean.detach(), share * active)
            _move(self.running_var, unbiased, share * active)
        return mean, variance


def _move(running: torch.Tensor | None, value: torch.Tensor, share: torch.Tensor) -> None:
    if running is not None:
        running += share * (value - running)


def _mask_batch_norms(model: nn.Module) -> list[MaskedBatchNorm]:
    """Replace the model's batch norms by masked ones."""
    masked = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                masked.append(MaskedBatchNorm(child))
                setattr(parent, name, masked[-1])
    return masked
