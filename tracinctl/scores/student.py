"""Quantiles of Student's t distribution."""

from __future__ import annotations

import functools
import math

import numpy as np

_LEVEL = 0.95


@functools.lru_cache(maxsize=4096)
def student_t(degrees: float) -> float:
    """The bound that |t| stays below with probability 0.95, for any degrees of freedom above 0.

    With t = sqrt(degrees) tan(angle), the density of the angle is proportional to cos(angle) ** (degrees - 1).
    """
    if degrees > 1e6:  # noqa: PLR2004 - equals the normal distribution to six figures
        from statistics import NormalDist

        return NormalDist().inv_cdf((1 + _LEVEL) / 2)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) + math.log(2 / math.sqrt(math.pi))

    def inside(angle: float) -> float:
        density = np.exp(log_scale + (degrees - 1) * np.log(np.cos(angle * (nodes + 1) / 2)))
        return float(angle / 2 * (weights * density).sum())

    low, high = 0.0, math.pi / 2
    for _ in range(46):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < _LEVEL else (low, middle)
    return math.sqrt(degrees) * math.tan(low)
