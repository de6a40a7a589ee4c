"""Random projections of gradients, so that those of a large model take a few numbers a layer.

The gradient of a parameter is looked at as a matrix G, outputs by all else. Its rows and its columns are thrown
together at random, with random signs: L G R^T, of which the entries count. L and R put each row or column into one of a
few buckets with a sign of its own (a count sketch, Charikar, Chen and Farach-Colton 2002), so that L^T L and R^T R are
the identity on average, and inner products of projected gradients are on average those of the gradients themselves.

A layer's G is a sum of outer products b a^T of output gradients and inputs, and L G R^T is the sum of (L b)(R a)^T: G
is never made. Where a linear map is used at one position, L b and R a themselves are kept, with more buckets for the
same memory. What is small is left as it is.

L and R follow from the seed, the parameter's name and its shape, on every device and in every process the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tracinctl.engine.parameter_uses import (
    AsOuter,
    Convolution,
    Dense,
    Embedding,
    Form,
    Found,
    Linear,
    Outer,
    Use,
    Whole,
)

_MULTIPLIED = 1 << 20  # entries up to which a projection is a matrix product
_ROWS = 1 << 20  # numbers of a gradient that are projected together
_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True)
class Projection:
    """How gradients are projected.

    Attributes:
        dim: numbers that are kept of a layer's gradient, at most.
        seed: of the random numbers.
    """

    dim: int
    seed: int = 0
    _drawn: dict[Any, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def form(self, form: Form) -> Form:
        """The form that is projected, for a gradient that could be taken in this one.

        An outer product keeps its sides, which are two numbers at the least; all else is projected whole.
        """
        return form if isinstance(form, AsOuter) and self.dim > 1 else Whole()

    def of_use(
        self,
        use: Use,
        inputs: torch.Tensor,
        slope: torch.Tensor,
        form: Form,
        shapes: Mapping[str, Sequence[int]],
    ) -> Found:
        """What ``use.gradients`` gives, projected: (items, numbers), or an outer product of projected sides.

        Args:
            use: what was seen.
            inputs: of the map, items first.
            slope: gradient of the scores at the map's output, items first.
            form: of the weight's gradient: as an outer product, or whole.
            shapes: of the parameters.
        """
        weight = self._of_weight(use, inputs, slope, form)
        if weight is not None and use.weight is not None:
            yield use.weight, weight
            use = replace(use, weight=None)
        if use.weight is not None or use.bias is not None:
            for name, part in use.gradients(inputs, slope, Whole()):
                assert isinstance(part, Dense)  # noqa: S101  no outer product was asked for
                yield name, Dense(self.whole(name, part.values, shapes[name]))

    def _of_weight(self, use: Use, inputs: torch.Tensor, slope: torch.Tensor, form: Form) -> Dense | Outer | None:
        """The weight's gradient where it is never made whole, or None: it is small, or that of a normalisation."""
        if use.weight is None:
            return None
        if isinstance(use, Linear):
            return self._linear(use.weight, use.shape, inputs, slope, apart=isinstance(form, AsOuter))
        if isinstance(use, Convolution) and not self._small(_matrix(use.shape)):
            return Dense(self._convolution(use.weight, use, inputs, slope))
        if isinstance(use, Embedding) and not self._small(use.shape):
            return Dense(self._embedding(use.weight, use, inputs, slope))
        return None

    def whole(self, name: str, gradient: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Gradients of a parameter of this shape, (items, parameters), projected."""
        shape = _matrix(shape)
        if self._small(shape):
            return gradient
        rows, columns = self._together(shape)
        step = max(1, _ROWS // max(1, shape[1] * len(gradient)))
        whole = gradient.reshape(len(gradient), *shape)
        right = torch.cat([self._columns(name, part, columns) for part in torch.split(whole, step, dim=1)], dim=1)
        both = self._rows(name, right.transpose(1, 2), rows)
        return both.transpose(1, 2).reshape(len(gradient), -1)

    def _linear(
        self, name: str, shape: Sequence[int], inputs: torch.Tensor, slope: torch.Tensor, *, apart: bool
    ) -> Dense | Outer:
        items = len(slope)
        a, b = (t.reshape(items, -1, t.shape[-1]) for t in (inputs, slope))
        if apart:
            rows, columns = self._apart(shape)
            return Outer(self._columns(name, a[:, 0], columns), self._rows(name, b[:, 0], rows))
        rows, columns = self._together(shape)
        left, right = self._rows(name, b, rows), self._columns(name, a, columns)
        return Dense(torch.bmm(left.transpose(1, 2), right).reshape(items, -1))

    def size(self, shape: Sequence[int]) -> int:
        """How many numbers are kept of a parameter's gradient, unless it is an outer product."""
        return math.prod(self._together(_matrix(shape)))

    def _small(self, shape: Sequence[int]) -> bool:
        return math.prod(shape) <= self.dim

    def _together(self, shape: Sequence[int]) -> tuple[int, int]:
        """Buckets of rows and columns whose products are kept."""
        rows, columns = shape
        if rows * columns <= self.dim:
            return rows, columns
        root = max(1, math.isqrt(self.dim))
        if rows <= root:
            return rows, min(columns, max(1, self.dim // rows))
        if columns <= root:
            return min(rows, max(1, self.dim // columns)), columns
        return root, root

    def _apart(self, shape: Sequence[int]) -> tuple[int, int]:
        """Buckets of rows and columns that are kept themselves."""
        rows, columns = shape
        if rows + columns <= self.dim:
            return rows, columns
        kept = min(rows, max(self.dim - columns, self.dim // 2, 1))
        return kept, min(columns, max(1, self.dim - kept))

    def _draw(self, name: str, count: int, buckets: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Bucket and sign of each of ``count`` rows or columns."""
        key = (name, count, buckets, str(device))
        if key not in self._drawn:
            text = f"{self.seed} {count} {buckets} {name}"
            random = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
            bucket = torch.from_numpy(random.integers(0, buckets, count))
            sign = torch.from_numpy(random.integers(0, 2, count, dtype=np.int8) * 2 - 1)
            self._drawn[key] = bucket.to(device), sign.to(device)
        return self._drawn[key]

    def _rows(self, name: str, values: torch.Tensor, buckets: int) -> torch.Tensor:
        """L times the last dimension."""
        return self._side(f"rows of {name}", values, buckets)

    def _columns(self, name: str, values: torch.Tensor, buckets: int) -> torch.Tensor:
        """R times the last dimension."""
        return self._side(f"columns of {name}", values, buckets)

    def _side(self, which: str, values: torch.Tensor, buckets: int) -> torch.Tensor:
        count = values.shape[-1]
        if buckets >= count:
            return values
        if buckets * count <= _MULTIPLIED:
            return values @ self._signs(which, count, buckets, values)
        bucket, sign = self._draw(which, count, buckets, values.device)
        result = values.new_zeros(*values.shape[:-1], buckets)
        return result.index_add_(-1, bucket, values * sign)

    def _signs(self, which: str, count: int, buckets: int, like: torch.Tensor) -> torch.Tensor:
        """What is drawn, as a matrix (count, buckets)."""
        bucket, sign = self._draw(which, count, buckets, like.device)
        matrix = like.new_zeros(count, buckets)
        matrix[torch.arange(count, device=like.device), bucket] = sign.to(like.dtype)
        return matrix

    def _convolution(self, name: str, use: Convolution, inputs: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Patches are projected by a convolution: with filters that hold the signs of a bucket's entries."""
        shape, groups = use.shape, use.groups
        items, alone = inputs.shape[:2]
        x, b = inputs.flatten(0, 1), slope.flatten(0, 1)
        patch = math.prod(shape[1:])
        rows, columns = self._together((shape[0], patch))
        signs = (
            torch.eye(patch, dtype=x.dtype, device=x.device)
            if columns >= patch
            else self._signs(f"columns of {name}", patch, columns, x)
        )
        filters = signs.T.reshape(columns, *shape[1:]).repeat(groups, *[1] * (len(shape) - 1))
        convolve: Any = _CONVOLUTIONS[len(use.stride)]
        a = convolve(x, filters, None, use.stride, use.padding, use.dilation, groups).flatten(2)
        each = shape[0] // groups
        channels = torch.zeros(len(b), shape[0], a.shape[-1], dtype=b.dtype, device=b.device) if groups > 1 else None
        b = b.flatten(2)
        total = x.new_zeros(len(b), rows, columns)
        for g in range(groups):
            some = b
            if channels is not None:
                some = channels.zero_()
                some[:, g * each : (g + 1) * each] = b[:, g * each : (g + 1) * each]
            left = self._rows(name, some.transpose(1, 2), rows)
            total += torch.bmm(left.transpose(1, 2), a[:, g * columns : (g + 1) * columns].transpose(1, 2))
        return total.reshape(items, alone, -1).sum(1)

    def _embedding(self, name: str, use: Embedding, inputs: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """The input side is the bucket of a token's row."""
        shape, padding = use.shape, use.padding
        items = len(slope)
        rows, columns = self._together(shape)
        index = inputs.reshape(items, -1)
        b = slope.reshape(items, -1, shape[1])
        if padding is not None:
            b = b * (index != padding % shape[0]).unsqueeze(-1)
        right = self._columns(name, b, columns)
        place = index
        if rows < shape[0]:
            bucket, sign = self._draw(f"rows of {name}", shape[0], rows, b.device)
            place, right = bucket[index], right * sign[index].unsqueeze(-1)
        total = right.new_zeros(items, rows, columns)
        total.scatter_add_(1, place.unsqueeze(-1).expand(-1, -1, columns), right)
        return total.reshape(items, -1)


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a parameter's gradient; a vector is a column."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (math.prod(shape), 1)
