"""Fold a batch normalisation in eval mode into the convolution before it.

In eval mode, a normalisation multiplies each channel by a number and adds another, so one convolution with other
weights computes both layers. The gradients of both layers follow from those of this convolution, without another pass
over the outputs.

The layers compute z = W x + b and y = s (z - mean) + beta, with s = gamma rate and rate = 1 / sqrt(variance + eps).
With G and g the gradients of the score for the weight and the bias of the convolution that computes y, the score's
gradients are s G for W, s g for b, g for beta, and rate (<W, G> + (b - mean) g) for gamma.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch

from tracinctl.engine.gradients.uses import Convolution, Dense, Form, Found, at_taps

_FAR = 8.0  # deviations; if b - mean is farther from 0, the two parts of gamma's gradient cancel
# With gamma 1, the error of these parts in float32 is below that of the weight's gradient. With gamma 0.1 it can make
# the error of scores ten times as large, 1e-5 of the largest one.
_SMALL = 0.25


@dataclass(frozen=True)
class Normalisation:
    """A batch normalisation in eval mode.

    Attributes:
        weight, bias: names of its parameters.
        mean, variance: its statistics, shape (channels,).
        eps: the number added to the variance.
    """

    weight: str
    bias: str
    mean: torch.Tensor
    variance: torch.Tensor
    eps: float

    def is_same(self, other: Normalisation) -> bool:
        """Whether both have the same parameters and the same tensors of statistics."""
        named = (self.weight, self.bias, self.eps) == (other.weight, other.bias, other.eps)
        return named and self.mean is other.mean and self.variance is other.variance

    @property
    def rate(self) -> torch.Tensor:
        """One over the deviation, shape (channels,)."""
        return torch.rsqrt(self.variance + self.eps)

    def shift(self, bias: torch.Tensor | None) -> torch.Tensor:
        """The convolution's bias minus the mean, shape (channels,)."""
        return -self.mean if bias is None else bias - self.mean

    def is_precise(self, bias: torch.Tensor | None, parameters: Mapping[str, torch.Tensor]) -> bool:
        """Whether gradients are precise after folding into a convolution with this bias."""
        near = (self.shift(bias) * self.rate).abs() <= _FAR
        return bool(near.all() and parameters[self.weight].square().mean() >= _SMALL**2)

    def folded(
        self, use: Convolution, weight: torch.Tensor, bias: torch.Tensor | None, parameters: Mapping[str, torch.Tensor]
    ) -> tuple[NormalisedConvolution, torch.Tensor, torch.Tensor]:
        """The use of both layers, and the weight and the bias of the convolution that computes both."""
        scale, shift = parameters[self.weight] * self.rate, self.shift(bias)
        both = NormalisedConvolution(
            *(getattr(use, part.name) for part in fields(use)),
            normalisation=self,
            values=weight,
            scale=scale,
            shift=shift,
        )
        by_channel = scale.reshape(-1, *[1] * (weight.dim() - 1))
        return both, weight * by_channel, torch.addcmul(parameters[self.bias], scale, shift)


@dataclass(frozen=True)
class NormalisedConvolution(Convolution):
    """A convolution and the normalisation after it.

    Attributes:
        normalisation: the normalisation.
        values: the convolution's weight.
        scale: the factor of each channel, shape (channels,).
        shift: the convolution's bias minus the mean, shape (channels,).
    """

    normalisation: Normalisation = field(kw_only=True, compare=False)
    values: torch.Tensor = field(kw_only=True, compare=False)
    scale: torch.Tensor = field(kw_only=True, compare=False)
    shift: torch.Tensor = field(kw_only=True, compare=False)

    def gradients(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Found:
        """Gradients of both layers from those of one convolution."""
        weight, bias = self.of_weight(inputs, slope, form), self.of_bias(slope)
        assert self.weight is not None  # noqa: S101  only such convolutions are folded
        by_channel = weight.reshape(len(weight), len(self.values), -1)
        gain = torch.linalg.vecdot(by_channel, at_taps(self.values, form).flatten(1)) + self.shift * bias
        yield self.normalisation.weight, Dense(gain * self.normalisation.rate)
        yield self.normalisation.bias, Dense(bias)
        if self.bias is not None:
            yield self.bias, Dense(bias * self.scale)
        yield self.weight, Dense(by_channel.mul_(self.scale[:, None]).flatten(1))
