"""Uses of parameters whose gradients per item have a formula.

The gradients of a linear map, a convolution, an embedding and the affine part of a normalisation are products of the
input and the gradient at the output. Each class here is one such use, with its formula. ``inputs`` are the map's inputs
and ``slope`` is the gradient of the scores at its output, both with items first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional
from torch.nn.grad import conv2d_weight


@dataclass(frozen=True)
class Dense:
    """Gradients of some parameters, shape (items, parameters)."""

    values: torch.Tensor


@dataclass(frozen=True)
class Outer:
    """Gradients of a linear map at one position, as outer products: shapes (items, inputs) and (items, outputs)."""

    inputs: torch.Tensor
    outputs: torch.Tensor


@dataclass(frozen=True)
class Touched:
    """Gradients of a table by its used rows, shape (items, positions, 1 + width).

    The number of the row comes first, then its gradient. Several positions of a row add up.
    """

    values: torch.Tensor

    def at_most(self, positions: int) -> Touched:
        """Pad or cut to this many positions, so that items of different lengths fit together."""
        return Touched(functional.pad(self.values, (0, 0, 0, positions - self.values.shape[1])))

    def times(self, scale: float) -> Touched:
        """Multiply the gradients by a number."""
        return Touched(torch.cat([self.values[..., :1], self.values[..., 1:] * scale], -1))

    def first(self, shape: Sequence[int]) -> torch.Tensor:
        """The gradient of the first item, as a whole table."""
        row = self.values[0]
        table: torch.Tensor = row.new_zeros(tuple(shape))
        return table.index_add_(0, row[:, 0].long(), row[:, 1:])


Feature = Dense | Outer | Touched


def differences(features: Iterable[Feature]) -> list[Feature]:
    """Gradients of pairs from those of their items, which alternate: first items minus second ones.

    Dense gradients are subtracted. Other forms keep both items, with the second one's gradient negated.
    """
    pairs: list[Feature] = []
    for feature in features:
        if isinstance(feature, Dense):
            pairs.append(Dense(feature.values[::2] - feature.values[1::2]))
        elif isinstance(feature, Outer):
            pairs.append(Outer(feature.inputs, _second_negated(feature.outputs)))
        else:
            values = feature.values
            pairs.append(Touched(torch.cat([values[..., :1], _second_negated(values[..., 1:])], -1)))
    return pairs


def _second_negated(values: torch.Tensor) -> torch.Tensor:
    negated = values.clone()
    negated[1::2].neg_()
    return negated


def tensors_of(feature: Feature) -> tuple[torch.Tensor, ...]:
    """The tensors of a feature, items first."""
    return (feature.inputs, feature.outputs) if isinstance(feature, Outer) else (feature.values,)


def bytes_of(features: Iterable[Feature]) -> int:
    """Bytes of the tensors of features."""
    return sum(t.element_size() * t.numel() for feature in features for t in tensors_of(feature))


@dataclass(frozen=True)
class Whole:
    """The whole gradient of a parameter, one number per entry."""


@dataclass(frozen=True)
class AsOuter:
    """The gradient of a linear weight as an outer product, which is shorter and has the same inner products."""


@dataclass(frozen=True)
class Taps:
    """The gradient of a convolution's weight at the places of its kernel that meet the input.

    The parts of a large kernel that only meet the padding of a short input have no gradient.

    Attributes:
        ranges: first place and end for each dimension of the kernel.
    """

    ranges: tuple[tuple[int, int], ...]

    def __or__(self, other: Taps) -> Taps:
        both = zip(self.ranges, other.ranges, strict=True)
        return Taps(tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in both))


@dataclass(frozen=True)
class AsRows:
    """The gradient of a table as the rows that an item uses, at most this many positions."""

    positions: int


Form = Whole | AsOuter | AsRows | Taps
Found = Iterable[tuple[str, Feature]]

_PLANE = 2  # number of dimensions of an image
_LARGE_IMAGE = 1 << 16  # size of an image's patches; for 1x1025x47, patches take three times as long
_MANY_OUTPUTS = 128  # outputs times threads from which patches are as fast, because they use all threads
_MANY_POSITIONS = 4  # positions per number of an output's weight; folding all took a ResNet's time for 64x64 times 1.7
_WORTH = 8  # an outer product or rows of a table must be this many times shorter
_SMALL_TABLE = 1 << 16  # numbers of a table; up to this many, rows that most blocks use are no faster than all rows
_SHARED = 64  # with fewer rows of a table per position, the items of a block use nearly all of them
_MANY_PRODUCTS = 1 << 22  # multiplications of an item's gradient for which looking for padding pays
_COUNTED = 1 << 24  # largest number of rows of a table that float32 can number


@dataclass(frozen=True)
class Use:
    """A use of a weight and a bias, by name; None for a part that is not a counted parameter."""

    weight: str | None
    bias: str | None

    @property
    def form(self) -> Form:
        """The shortest form of the weight's gradient, if this is its only use."""
        return Whole()

    def gradients(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Found:
        """Gradients per item, with the weight's in this form."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(Use):
    """``inputs @ weight.T + bias`` at one or more positions."""

    positions: int
    shape: tuple[int, ...]

    @property
    def form(self) -> Form:
        """An outer product if there is one position and it is short enough."""
        return _linear_form(self.positions, self.shape)

    def gradients(
        self, inputs: torch.Tensor, slope: torch.Tensor, form: Form, place: torch.Tensor | None = None
    ) -> Found:
        """Sums over positions of outer products; a whole weight's gradient is computed in ``place``, if given."""
        items = len(slope)
        a, b = inputs.reshape(items, -1, inputs.shape[-1]), slope.reshape(items, -1, slope.shape[-1])
        if self.weight is not None:
            if isinstance(form, AsOuter):
                yield self.weight, Outer(a[:, 0], b[:, 0])
            else:
                yield self.weight, Dense(_summed(a, b, place).reshape(items, -1))
        if self.bias is not None:
            yield self.bias, Dense(b.sum(1))


@dataclass(frozen=True)
class Convolution(Use):
    """A convolution in any number of dimensions; ``size`` is the input's, ``shape`` the weight's."""

    shape: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def _outs(self) -> list[int]:
        axes = zip(self.size, self.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        return [(length + 2 * pad - reach * (taps - 1) - 1) // step + 1 for length, taps, step, pad, reach in axes]

    @property
    def form(self) -> Form:
        """The places of the kernel that meet the input at some output."""
        ranges = []
        axes = zip(self.size, self.shape[2:], self.stride, self.padding, self.dilation, self._outs, strict=True)
        for length, taps, step, pad, reach, outs in axes:
            meet = [k for k in range(taps) if any(0 <= o * step - pad + k * reach < length for o in range(outs))]
            ranges.append((meet[0], meet[-1] + 1) if meet else (0, taps))
        return Taps(tuple(ranges))

    def gradients(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Found:
        """Patches times output gradients, summed over positions."""
        if self.weight is not None:
            yield self.weight, Dense(self.of_weight(inputs, slope, form))
        if self.bias is not None:
            yield self.bias, Dense(self.of_bias(slope))

    @property
    def has_many_positions(self) -> bool:
        """Whether passes over the outputs take longer than passes over the gradient of the weight."""
        return _numel(self._outs) >= _MANY_POSITIONS * _numel(self.shape[1:])

    def of_weight(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> torch.Tensor:
        """Gradients of the weight, shape (items, numbers)."""
        items, alone = slope.shape[:2]
        if self._by_image(inputs):
            weight = self._image_by_image(inputs.flatten(0, 1), slope.flatten(0, 1), form)
        elif self._by_channels_last(slope):
            weight = self._channels_last(inputs, slope.flatten(0, 1), form)
        else:
            patches = self._patches(inputs, form)
            outputs = slope.reshape(len(patches), self.shape[0] // self.groups, -1)
            weight = torch.bmm(outputs, patches.transpose(1, 2))
        weight = weight.reshape(items, alone, -1)
        return weight[:, 0] if alone == 1 else weight.sum(1)

    def of_bias(self, slope: torch.Tensor) -> torch.Tensor:
        """Gradients of the bias, shape (items, outputs)."""
        return slope.reshape(*slope.shape[:3], -1).sum((1, 3))

    def _by_image(self, inputs: torch.Tensor) -> bool:
        """Whether torch's own gradient of each image is faster than patches, as for large images."""
        numbers = _numel(self.shape[1:]) * _numel(self._outs)
        on_cpu = inputs.device.type == "cpu" and inputs.dtype == torch.float32
        few = self.shape[0] * torch.get_num_threads() < _MANY_OUTPUTS
        return on_cpu and few and len(self.stride) == _PLANE and numbers >= _LARGE_IMAGE

    def _image_by_image(self, images: torch.Tensor, slope: torch.Tensor, form: Form) -> torch.Tensor:
        """Gradients of the weight by each image: (images, outputs, inputs, *places of the kernel)."""
        if slope.is_contiguous(memory_format=torch.channels_last):
            # `contiguous` keeps images with one channel unchanged, and then torch uses a slower way
            images = torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
        more = (self.stride, self.padding, self.dilation, self.groups)
        weight = torch.stack(
            [
                conv2d_weight(image, self.shape, b, *more)  # type: ignore[no-untyped-call]  # torch's
                for image, b in zip(torch.split(images, 1), torch.split(slope, 1), strict=True)
            ]
        )
        return at_taps(weight, form)

    def _by_channels_last(self, slope: torch.Tensor) -> bool:
        """Whether images have several channels, stored last, and their patches are longer than the weight."""
        if self.groups > 1 or self.shape[1] == 1 or len(self.stride) != _PLANE or _numel(self._outs) < self.shape[0]:
            return False
        return slope.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)

    def _channels_last(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> torch.Tensor:
        """Gradients of the weight by each image: (images, outputs, inputs, places of the kernel).

        Patches with their channels last are copied in longer pieces.
        """
        x = self._windows(inputs, form)
        patches = x.permute(0, 2, 3, 4, 5, 1).reshape(len(x), _numel(self._outs), -1)
        weight = torch.bmm(slope.flatten(2), patches)
        return weight.reshape(*weight.shape[:2], -1, self.shape[1]).transpose(2, 3)

    def _patches(self, inputs: torch.Tensor, form: Form) -> torch.Tensor:
        """The patch of each output position: (items and rows and groups, numbers of a patch, positions)."""
        x, spatial = self._windows(inputs, form), len(self.stride)
        order = (0, 1, *range(2 + spatial, 2 + 2 * spatial), *range(2, 2 + spatial))
        taps = _numel(x.shape[2 + spatial :])
        return x.permute(order).reshape(len(x) * self.groups, self.shape[1] * taps, _numel(self._outs))

    def _windows(self, inputs: torch.Tensor, form: Form) -> torch.Tensor:
        """A view of what each output meets: (rows, channels, *output positions, *places of the kernel)."""
        ranges = form.ranges if isinstance(form, Taps) else tuple((0, taps) for taps in self.shape[2:])
        x, outs = inputs.flatten(0, 1), self._outs
        pads = [pad for pad in reversed(self.padding) for pad in (pad, pad)]
        x = functional.pad(x, pads) if any(pads) else x
        for d, (first, end) in enumerate(ranges):
            reach = self.dilation[d]
            x = x.unfold(2 + d, reach * (self.shape[2 + d] - 1) + 1, self.stride[d]).narrow(2 + d, 0, outs[d])
            x = x[..., reach * first : reach * (end - 1) + 1 : reach]
        return x

    def by_position(self, inputs: torch.Tensor, slope: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield, for each group, patches (items, positions, numbers) and slopes (items, positions, outputs)."""
        items, alone = slope.shape[:2]
        both = self._patches(inputs, Whole()), slope
        patches, slopes = (t.reshape(items, alone, self.groups, -1, _numel(self._outs)) for t in both)
        for g in range(self.groups):
            a, b = (t[:, :, g].transpose(2, 3) for t in (patches, slopes))
            yield a.reshape(items, -1, a.shape[-1]), b.reshape(items, -1, b.shape[-1])


@dataclass(frozen=True)
class Embedding(Use):
    """Rows of the weight, by number."""

    shape: tuple[int, ...]
    padding: int | None
    positions: int = 0

    @property
    def form(self) -> Form:
        """The used rows, if they are short enough and items of a block do not use all rows of a small table."""
        rows, width = self.shape
        short = _WORTH * self.positions * (1 + width) < rows * width
        all_used = rows * width <= _SMALL_TABLE and rows < _SHARED * self.positions
        return AsRows(self.positions) if short and not all_used and rows <= _COUNTED else Whole()

    def gradients(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Found:
        """Each position's gradient with the number of its row, or added to that row of the table."""
        assert self.weight is not None  # noqa: S101  it is the only parameter
        items, (rows, width) = len(slope), self.shape
        index, b = inputs.reshape(items, -1), slope.reshape(items, -1, width)
        if self.padding is not None:
            b = b * (index != self.padding % rows).unsqueeze(-1)
        if isinstance(form, AsRows):
            yield self.weight, Touched(torch.cat([index.unsqueeze(-1).to(b.dtype), b], -1))
            return
        total = torch.zeros(items, rows, width, dtype=b.dtype, device=b.device)
        total.scatter_add_(1, index.unsqueeze(-1).expand(-1, -1, width), b)
        yield self.weight, Dense(total.reshape(items, -1))


@dataclass(frozen=True)
class Affine(Use):
    """``inputs * weight + bias``, with weight and bias broadcast over all but the last dimensions."""

    width: int

    def gradients(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Found:  # noqa: ARG002 - see Use
        """Sums over positions."""
        a, b = inputs.reshape(len(slope), -1, self.width), slope.reshape(len(slope), -1, self.width)
        if self.weight is not None:
            yield self.weight, Dense((a * b).sum(1))
        if self.bias is not None:
            yield self.bias, Dense(b.sum(1))


@dataclass(frozen=True)
class ChannelAffine(Use):
    """``(inputs - mean) * rate * weight + bias`` by channel, which is the second dimension.

    Attributes:
        mean, rate: shape (channels,); None = 0 and 1.
    """

    mean: torch.Tensor | None = field(default=None, compare=False)
    rate: torch.Tensor | None = field(default=None, compare=False)

    def gradients(self, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Found:  # noqa: ARG002 - see Use
        """Sums over positions and over the dimensions before the channel."""
        a, b = (t.reshape(*t.shape[:3], -1) for t in (inputs, slope))  # (items, rows, channels, positions)
        if self.weight is not None:
            # subtract the mean before the product, because the difference of two large sums loses precision
            product = a * b if self.mean is None else (a - self.mean[:, None]).mul_(b)
            weight = product.sum((1, 3))
            yield self.weight, Dense(weight if self.rate is None else weight * self.rate)
        if self.bias is not None:
            yield self.bias, Dense(b.sum((1, 3)))


def at_taps(weight: torch.Tensor, form: Form) -> torch.Tensor:
    """The part of a weight, or of several, at the places of its kernel that meet the input."""
    ranges = form.ranges if isinstance(form, Taps) else ()
    for d, (first, end) in enumerate(ranges, start=weight.dim() - len(ranges)):
        weight = weight.narrow(d, first, end - first)
    return weight


def _summed(a: torch.Tensor, b: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
    """Sums over positions of outer products b a^T, shape (items, outputs, inputs), in ``place`` if given.

    Positions without a gradient, such as padding, are skipped.
    """
    shape = len(b), b.shape[2], a.shape[2]
    total = a.new_empty(shape) if place is None else place.view(shape)
    if b.device.type != "cpu" or _numel(b.shape[1:]) * a.shape[2] < _MANY_PRODUCTS:
        return torch.bmm(b.transpose(1, 2), a, out=total)
    # numpy looks for zeros eight times as fast as torch
    for a_k, b_k, live, out in zip(a, b, (b.numpy() != 0).any(2), total, strict=True):
        places = np.flatnonzero(live)
        begin, end = (places[0], places[-1] + 1) if len(places) else (0, 0)
        part = slice(begin, end) if len(places) == end - begin else torch.from_numpy(places)
        torch.mm(b_k[part].T, a_k[part], out=out)
    return total


def _linear_form(positions: int, shape: Sequence[int]) -> Form:
    return AsOuter() if positions == 1 and _WORTH * sum(shape) < _numel(shape) else Whole()


def _numel(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())
