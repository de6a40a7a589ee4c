"""A vector in the middle of the gradients of items, so that products of what is left can be in float32.

Most of the product of two gradients is often what all items have in common, and it cancels when items are subtracted.
With c = g - m, an inner product is <g, h> = <g - m, h - m> + <g, m> + <h, m> - <m, m>. The last three terms are in
float64 and cancel too. So the rounding of the first one, a product in float32, is small beside differences of items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tracinctl.engine.kernel.precision import exact_numbers, rounds_float32

LEAST_ROWS = 128
"""Least number of rows; products of fewer take no less time in float32."""

_LEAST = 1 << 13  # numbers of a part; products of shorter ones take little time, and float32 rounds them more
_ROWS = 8  # rows whose mean is the middle; the mean of more is hardly nearer to all
_OUTLIER = 2  # times the median length; other rows would be far from a mean with longer ones
_COMMON = 0.5  # share of the squared lengths that the mean's has at least, if it is subtracted
_SIZES = 1e-12, 1e12  # of a part's numbers, root mean square; float32 does not hold products of much other ones
_AT_ONCE = 1 << 18  # numbers of a row that are converted at a time
_TOGETHER = 64  # rows that are converted at a time on another device than a CPU, which has no cache to fit into
_MATRIX = 2  # number of dimensions of a dense part


@dataclass(frozen=True)
class Middle:
    """A vector near the gradients of all items, in their long dense float32 parts.

    Attributes:
        short: whether products of each part of the gradients are computed in float32.
        parts: the vector's part for each part of the gradients, shape (numbers,); None where it is zero.
        squared_length: its squared length.
    """

    short: tuple[bool, ...]
    parts: tuple[torch.Tensor | None, ...]
    squared_length: float

    @staticmethod
    def of(parts: Sequence[Sequence[torch.Tensor]]) -> Middle | None:
        """The mean of some rows, from their parts; None if products of no part are to be computed in float32."""
        if rounds_float32():
            return None
        some = [_Some.of(part[0]) if _is_long(part) else None for part in parts]
        short = tuple(few is not None and few.usual for few in some)
        means = tuple(few.mean() if few is not None and few.usual else None for few in some)
        squares = [float(_products(m.unsqueeze(0), m)) for m in means if m is not None]
        return Middle(short, means, sum(squares)) if any(short) else None

    def products(self, parts: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
        """Inner products of rows with this vector, in float64, shape (rows,)."""
        total = exact_numbers(parts[0][0].new_zeros(parts[0][0].shape[-2]))
        for part, m in zip(parts, self.parts, strict=True):
            if m is not None:
                total += _products(part[0], m)
        return total


@dataclass(frozen=True)
class _Some:
    """Some rows of a part, evenly spaced, without outliers, and the root mean squares of their numbers."""

    rows: Sequence[torch.Tensor]
    sizes: npt.NDArray[np.float64]

    @staticmethod
    def of(rows: torch.Tensor) -> _Some:
        count = min(_ROWS, len(rows))
        some = [rows[k * len(rows) // count] for k in range(count)]
        sizes = np.array([float(torch.linalg.vector_norm(row)) for row in some]) / math.sqrt(rows.shape[1])
        near = np.flatnonzero(sizes <= _OUTLIER * np.median(sizes))
        return _Some([some[k] for k in near], sizes[near])

    @property
    def usual(self) -> bool:
        """Whether float32 holds products of the numbers."""
        return _SIZES[0] < float(self.sizes.max(initial=0.0)) < _SIZES[1]

    def mean(self) -> torch.Tensor | None:
        """The mean of the rows; None if it is short beside them, so that products with it gain little."""
        total = torch.zeros_like(self.rows[0])
        for row in self.rows:
            total += row
        mean = total.div_(len(self.rows))
        size = float(torch.linalg.vector_norm(mean)) / math.sqrt(len(mean))
        return mean if size**2 > _COMMON * float(np.mean(self.sizes**2)) else None


def _is_long(part: Sequence[torch.Tensor]) -> bool:
    rows, *more = part
    if more or rows.dim() != _MATRIX or rows.dtype == torch.float64:
        return False
    return len(rows) >= LEAST_ROWS and rows.shape[1] >= _LEAST


def _products(rows: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Inner products of rows with a vector, in float64."""
    total = exact_numbers(rows.new_zeros(len(rows)))
    together = 1 if rows.device.type == "cpu" else _TOGETHER
    for begin in range(0, len(vector), _AT_ONCE):
        part = exact_numbers(vector[begin : begin + _AT_ONCE])
        for k in range(0, len(rows), together):
            total[k : k + together] += exact_numbers(rows[k : k + together, begin : begin + _AT_ONCE]) @ part
    return total
