"""Estimate the number of errors among the next suspects from the decisions so far.

The share of errors among decided suspects falls along the order of suspicion. It is modelled as a logistic function of
the suspicion, with weak normal priors on slope and intercept (as Gelman et al. 2008, A weakly informative default prior
distribution for logistic and other regression models), fitted by Newton's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST = 20
"""Least number of decisions for an expectation."""

# wide enough for a steep fall after the decided suspects; with 2.5 the expectation is up to 20 % too high
_SLOPE_SPREAD = 5.0
_INTERCEPT_SPREAD = 5.0
_STEPS = 50


@dataclass(frozen=True)
class Expectation:
    """The expected number of errors among the next suspects.

    Attributes:
        decided: number of suspects with a sure decision.
        next: number of suspects in the expectation.
    """

    errors: int
    decided: int
    next: int
    expected: float

    def sentence(self) -> str:
        """The expectation on one line."""
        text = f"{self.errors} of {self.decided} were errors"
        if not self.next:
            return f"{text}; none is left"
        return f"{text}; {round(self.expected)} are expected among the next {self.next}"


def expect_errors(suspicion: npt.ArrayLike, errors: Sequence[bool | None]) -> Expectation | None:
    """Expected errors among the next undecided suspects, as many as were decided; None before FEWEST decisions.

    Args:
        suspicion: one number per suspect, in order of review, shape (suspects,); higher is more suspect.
        errors: whether each suspect was an error; None without a decision.
    """
    x = np.asarray(suspicion, dtype=np.float64)
    decided = np.array([error is not None for error in errors], dtype=bool)
    is_error = np.array([bool(error) for error in errors], dtype=np.float64)
    count = int(decided.sum())
    if count < FEWEST:
        return None
    spread = x.std()
    x = (x - x.mean()) / (2 * spread) if spread > 0 else np.zeros_like(x)
    weights = _fitted(x[decided], is_error[decided])
    following = np.flatnonzero(~decided)[:count]
    return Expectation(int(is_error.sum()), count, len(following), float(_chance(weights, x[following]).sum()))


def _chance(weights: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The probability of an error as a logistic function of the suspicion."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * (weights[0] + weights[1] * x))))


def _fitted(x: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    design = np.stack([np.ones_like(x), x], axis=1)
    precision = np.diag([1 / _INTERCEPT_SPREAD**2, 1 / _SLOPE_SPREAD**2])
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = _chance(weights, x)
        gradient = design.T @ (error - p) - precision @ weights
        curvature = (design.T * (p * (1 - p))) @ design + precision
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004 - far below the precision of a count
            break
    return weights
