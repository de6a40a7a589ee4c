"""A score axis: linear if scores are similar in size, else logarithmic on both sides of zero."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.scores.source import FloatArray
from tracinctl.text import number

_HEAVY = 15.0
"""Least ratio of the largest to the median score for a logarithmic axis."""
_DECADES = 1e-12
_TINY = 1e-290


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``, with zero between them.

    Attributes:
        straight_to: the absolute score up to which the axis is about linear; beyond that it is logarithmic. None for a
            linear axis.
    """

    low: float
    high: float
    straight_to: float | None = None

    def bend(self, values: npt.ArrayLike) -> FloatArray:
        """The values on the scale that makes the axis linear: ``sign(v) log(1 + |v| / straight_to)``."""
        plain = np.asarray(values, dtype=np.float64)
        if self.straight_to is None:
            return plain / self._unit
        # divide in two steps, so that neither a huge value nor a small scale overflows
        size = np.abs(plain) / self._unit / (self.straight_to / self._unit)
        bent: FloatArray = np.copysign(np.log1p(size), plain)
        return bent

    def unbend(self, bent: npt.ArrayLike) -> FloatArray:
        """The inverse of ``bend``."""
        plain = np.asarray(bent, dtype=np.float64)
        if self.straight_to is None:
            return plain * self._unit
        size = np.expm1(np.abs(plain)) * (self.straight_to / self._unit)
        unbent: FloatArray = np.copysign(size, plain) * self._unit
        return unbent

    @property
    def _unit(self) -> float:
        return max(abs(self.low), abs(self.high)) or 1.0

    def position(self, values: npt.ArrayLike) -> FloatArray:
        """Positions of values: 0 at ``low``, 1 at ``high``."""
        low, high = self.bend([self.low, self.high]).tolist()
        share: FloatArray = (self.bend(values) - low) / (high - low)
        return share

    def value(self, positions: npt.ArrayLike) -> FloatArray:
        """The inverse of ``position``."""
        low, high = self.bend([self.low, self.high]).tolist()
        return self.unbend(low + np.asarray(positions, dtype=np.float64) * (high - low))

    def column(self, value: float, columns: int) -> int:
        """The column of a score on a chart of ``columns`` characters; a score beyond the axis is at its end."""
        inside = min(max(value, self.low), self.high)
        return min(int(float(self.position(inside)) * columns), columns - 1)

    def remark(self) -> str:
        """A remark for the reader; empty for a linear axis."""
        return "" if self.straight_to is None else f"logarithmic beyond ±{number(self.straight_to)}"

    def ticks(self) -> list[float]:
        """Round values for the axis, the most important first: zero, the outermost, then those between."""
        if self.straight_to is None:
            step = 10.0 ** math.floor(math.log10(self._unit)) or self._unit
            if self._unit / step < 2:  # noqa: PLR2004  aim at two to five steps from zero to the end
                step /= 2
            elif self._unit / step >= 5:  # noqa: PLR2004
                step *= 2
            outwards = [k * step for k in range(1, 11)]
        else:
            first = math.floor(math.log10(self.straight_to))
            last = min(math.ceil(math.log10(self._unit)), sys.float_info.max_10_exp)
            outwards = [10.0**k for k in range(first, last + 1)]
            outwards = [size for size in outwards if size >= self.straight_to * (1 - 1e-9)]
        both = [sign * size for size in reversed(outwards) for sign in (-1, 1)]
        return [0.0, *(value for value in both if self.low <= value <= self.high)]


def score_axis(low: float, high: float, typical: float, size: float) -> Axis:
    """An axis from ``low`` to ``high`` with zero; ``typical`` and ``size``: the median and largest absolute score."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return Axis(-1.0, 1.0)
    if size > _TINY and 0 < typical < size / _HEAVY:
        # a quarter of the typical size, rounded to a power of ten, so that small thresholds stay apart
        straight = 10.0 ** round(math.log10(max(typical, size * _DECADES) / 4))
        if max(-low, high) > straight:
            return Axis(low, high, straight)
    return Axis(low, high)
