"""Random projections of gradients, so that a large model needs only a few numbers per layer.

Each entry of a parameter's gradient, as a matrix G of outputs by the rest, is added with a random sign to one of N
buckets (a count sketch, Charikar, Chen and Farach-Colton 2002). On average, inner products of projected gradients equal
those of the gradients, with an error of 1 / sqrt(N) of the product of the lengths, as good as any projection.

The bucket of an entry is the sum of random buckets of its row and its column, and its sign is the product of their
signs (Pham and Pagh 2013). A layer's G is a sum of outer products b a^T of output gradients and inputs, and each of
these is projected as the circular convolution of the buckets of b and of a, so G is never computed. If there are many
positions and G is small, G is computed and projected some rows at a time, which gives the same result. Small gradients
are not projected.

The random numbers depend only on the seed, the parameter's name and its shape, on every device and in every process.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from tracinctl.engine.gradients.uses import (
    AsOuter,
    AsRows,
    Convolution,
    Dense,
    Embedding,
    Form,
    Found,
    Linear,
    Use,
    Whole,
)

_AT_ONCE = 1 << 18  # numbers projected at once
_SCATTERED = 100  # cost of adding a number to its bucket, in multiplications
_TRANSFORMED = 10  # cost of a step of a Fourier transform, in multiplications


@dataclass(frozen=True)
class _Draw:
    """The random buckets and signs of a gradient's rows and columns."""

    rows: torch.Tensor
    row_signs: torch.Tensor
    columns: torch.Tensor
    column_signs: torch.Tensor

    def part(self, begin: int, end: int) -> _Draw:
        return _Draw(self.rows[begin:end], self.row_signs[begin:end], self.columns, self.column_signs)


@dataclass(frozen=True)
class Projection:
    """A random projection of gradients.

    Attributes:
        dim: largest number of entries kept per parameter's gradient.
        seed: seed of the random numbers.
    """

    dim: int
    seed: int = 0
    _drawn: dict[Any, _Draw] = field(default_factory=dict, repr=False, compare=False)

    def form(self, form: Form, shape: Sequence[int]) -> Form:
        """The kept form of a gradient with this form; short gradients stay exact."""
        if isinstance(form, AsRows):
            return form if form.positions * (1 + shape[1]) <= self.dim else Whole()
        return form if isinstance(form, AsOuter) and sum(_matrix(shape)) <= self.dim else Whole()

    def size(self, shape: Sequence[int]) -> int:
        """Number of entries kept of a parameter's gradient, unless it is an outer product."""
        return min(math.prod(shape), self.dim)

    def of_use(
        self, use: Use, inputs: torch.Tensor, slope: torch.Tensor, form: Form, shapes: Mapping[str, Sequence[int]]
    ) -> Found:
        """The projected result of ``use.gradients``, shape (items, numbers), or a short outer product unchanged.

        ``shapes`` are those of the parameters.
        """
        if use.weight is not None and not isinstance(form, AsOuter | AsRows):
            weight = self._of_weight(use.weight, use, inputs, slope)
            if weight is not None:
                yield use.weight, Dense(weight)
                use = replace(use, weight=None)
        if use.weight is not None or use.bias is not None:
            for name, part in use.gradients(inputs, slope, form):
                yield name, Dense(self.project(name, part.values, shapes[name])) if isinstance(part, Dense) else part

    def project(self, name: str, gradient: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Project gradients of a parameter with this shape, (items, parameters)."""
        shape = _matrix(shape)
        if math.prod(shape) <= self.dim:
            return gradient
        total = gradient.new_zeros(len(gradient), self.dim)
        matrix = gradient.reshape(len(gradient), *shape)
        draw = self._draw(name, shape, gradient.device)
        for begin, end in _steps(shape[0], shape[1] * len(gradient)):
            self._put(total, matrix[:, begin:end], draw.part(begin, end))
        return total

    def _of_weight(self, name: str, use: Use, inputs: torch.Tensor, slope: torch.Tensor) -> torch.Tensor | None:
        """The weight's projected gradient without computing it whole; None for small ones and normalisations."""
        if not isinstance(use, Linear | Convolution | Embedding) or math.prod(use.shape) <= self.dim:
            return None
        items, (rows, columns) = len(slope), _matrix(use.shape)
        draw = self._draw(name, (rows, columns), slope.device)
        total = slope.new_zeros(items, self.dim)
        if isinstance(use, Embedding):
            self._embedding(total, use, inputs, slope, draw)
        elif isinstance(use, Linear):
            self._outer_products(total, inputs.reshape(items, -1, columns), slope.reshape(items, -1, rows), draw)
        else:
            for g, (a, b) in enumerate(use.by_position(inputs, slope)):
                self._outer_products(total, a, b, draw.part(g * b.shape[2], (g + 1) * b.shape[2]))
        return total

    def _outer_products(self, total: torch.Tensor, a: torch.Tensor, b: torch.Tensor, draw: _Draw) -> None:
        """Add the sum over positions of b a^T, from shapes (items, positions, columns) and (items, positions, rows)."""
        items, positions, columns = a.shape
        rows = b.shape[2]
        by_rows = rows * columns * (positions + _SCATTERED)
        by_positions = positions * (_TRANSFORMED * self.dim * math.log2(2 * self.dim) + _SCATTERED * (rows + columns))
        if by_rows < by_positions:
            for begin, end in _steps(rows, columns * items):
                self._put(total, torch.bmm(b[:, :, begin:end].transpose(1, 2), a), draw.part(begin, end))
            return
        frequencies: torch.Tensor | None = None
        for begin, end in _steps(positions, 4 * max(self.dim, rows, columns) * items):
            of_slopes = self._buckets(b[:, begin:end], draw.rows, draw.row_signs)
            of_inputs = self._buckets(a[:, begin:end], draw.columns, draw.column_signs)
            part = (torch.fft.rfft(of_slopes) * torch.fft.rfft(of_inputs)).sum(1)
            frequencies = part if frequencies is None else frequencies + part
        if frequencies is not None:
            total += torch.fft.irfft(frequencies, n=self.dim)

    def _put(self, total: torch.Tensor, gradient: torch.Tensor, draw: _Draw) -> None:
        """Add some rows of gradients, (items, rows, columns), to their buckets."""
        bucket = (draw.rows[:, None] + draw.columns) % self.dim
        signed = gradient * (draw.row_signs[:, None] * draw.column_signs).to(gradient.dtype)
        total.scatter_add_(1, bucket.reshape(1, -1).expand(len(total), -1), signed.reshape(len(total), -1))

    def _buckets(self, values: torch.Tensor, bucket: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        """Add the last dimension to buckets."""
        result = values.new_zeros(*values.shape[:-1], self.dim)
        return result.scatter_add_(-1, bucket.expand(values.shape), values * sign.to(values.dtype))

    def _embedding(
        self, total: torch.Tensor, use: Embedding, inputs: torch.Tensor, slope: torch.Tensor, draw: _Draw
    ) -> None:
        """Add each position's gradient to the buckets of its row of the table."""
        items = len(slope)
        index = inputs.reshape(items, -1)
        b = slope.reshape(items, -1, use.shape[1])
        sign = draw.row_signs[index].to(b.dtype)
        if use.padding is not None:
            sign = sign * (index != use.padding % use.shape[0])
        for begin, end in _steps(index.shape[1], use.shape[1] * items):
            at = index[:, begin:end]
            bucket = (draw.rows[at].unsqueeze(-1) + draw.columns) % self.dim
            signed = b[:, begin:end] * sign[:, begin:end].unsqueeze(-1) * draw.column_signs.to(b.dtype)
            total.scatter_add_(1, bucket.reshape(items, -1), signed.reshape(items, -1))

    def _draw(self, name: str, shape: tuple[int, int], device: torch.device) -> _Draw:
        key = (name, shape, str(device))
        if key not in self._drawn:
            text = f"{self.seed} {self.dim} {shape} {name}"
            random = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
            drawn = []
            for count in shape:
                drawn.append(torch.from_numpy(random.integers(0, self.dim, count)).to(device))
                drawn.append(torch.from_numpy(random.integers(0, 2, count, dtype=np.int8) * 2 - 1).to(device))
            self._drawn[key] = _Draw(*drawn)
        return self._drawn[key]


def _steps(count: int, numbers: int) -> list[tuple[int, int]]:
    """Beginnings and ends of pieces of ``count`` things with this many numbers each."""
    step = max(1, _AT_ONCE // max(1, numbers))
    return [(begin, min(begin + step, count)) for begin in range(0, count, step)]


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a parameter's gradient; a vector is a column."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (math.prod(shape), 1)
