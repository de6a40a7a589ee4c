"""The probability that each comparison is wrong, judged by the other comparisons.

Items get scores with a Gaussian prior, and the outcome of a comparison follows the logistic function of the difference
of two scores (Bradley and Terry 1952). If items have features, similar items have similar scores: the prior's
covariance is a radial basis kernel over the features (Chu and Ghahramani 2005, Preference learning with Gaussian
processes). A comparison is judged by scores that were fitted without it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, IntArray, Pairs
from tracinctl.errors import DataError

DENSE_ITEMS = 2048
"""Largest number of items for which the covariance of the scores is kept; for more items, features are not used."""

_FOLDS = 10  # each is judged by scores that were fitted to the others
_OWN_VARIANCE = 0.5
_SHARED_VARIANCE = 2.0
_NEWTON_STEPS = 50
_SOLVER_STEPS = 200
_TOLERANCE = 1e-8


def contradiction(pairs: Pairs, items: int, features: npt.ArrayLike | None = None) -> FloatArray:
    """The probability that a further comparison of the same two items has the other outcome.

    All comparisons of the same two items are in one fold, so that a repeat or mirror image of a comparison does not
    help to judge it.

    ``features`` has one row per item, or is None. The result has shape (pairs,); it is 0.5 for ties, and if the other
    comparisons say nothing.

    Raises:
        DataError: the features are not finite, or are not one row per item.
    """
    i, j, y = (np.asarray(side) for side in (pairs.first, pairs.second, pairs.target))
    fold = _folds(i, j, items)
    dense = items <= DENSE_ITEMS
    covariance = _covariance(items, features) if dense else None
    result = np.full(len(y), 0.5)
    for k in range(_FOLDS):
        # a tie does not show which item is better
        fitted, judged = (fold != k) & (y != 0), (fold == k) & (y != 0)
        if not judged.any() or not fitted.any():
            continue
        if covariance is not None:
            scores, spread = _fit_dense(i[fitted], j[fitted], y[fitted], covariance)
            a, b = i[judged], j[judged]
            variance = spread[a, a] + spread[b, b] - 2 * spread[a, b]
        else:
            scores = _fit_sparse(i[fitted], j[fitted], y[fitted], items)
            variance = np.zeros(int(judged.sum()))
        margin = y[judged] * (scores[i[judged]] - scores[j[judged]])
        # the logistic function averaged over a normal margin (MacKay 1992)
        result[judged] = _logistic(-margin / np.sqrt(1 + np.pi * np.maximum(variance, 0) / 8))
    return result


def _folds(i: IntArray, j: IntArray, items: int) -> IntArray:
    same = np.minimum(i, j) * np.int64(items) + np.maximum(i, j)
    _, which = np.unique(same, return_inverse=True)
    drawn = np.random.default_rng(0).permutation(int(which.max(initial=-1)) + 1) % _FOLDS
    return np.asarray(drawn[which])


def _covariance(items: int, features: npt.ArrayLike | None) -> FloatArray:
    independent = _OWN_VARIANCE * np.eye(items)
    if features is None:
        return 2 * independent
    x = np.asarray(features, dtype=np.float64).reshape(len(np.asarray(features)), -1)
    if len(x) != items or not np.isfinite(x).all():
        raise DataError("`features` must be finite numbers, one row per item", hint="Leave `features` out to use none.")
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    squares = (x**2).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0)
    scale = np.median(distance[distance > 0]) if (distance > 0).any() else 1.0
    return np.asarray(independent + _SHARED_VARIANCE * np.exp(-distance / (2 * scale)))


def _fit_dense(i: IntArray, j: IntArray, y: IntArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Most probable scores and their covariance (Laplace's approximation), by Newton's method."""
    items = len(covariance)
    scores: FloatArray = np.zeros(items)
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = _slopes(scores, i, j, y)
        weights = np.zeros((items, items))
        np.add.at(weights, (np.r_[i, j], np.r_[i, j]), np.r_[curvature, curvature])
        np.add.at(weights, (np.r_[i, j], np.r_[j, i]), -np.r_[curvature, curvature])
        system = np.eye(items) + covariance @ weights
        new: FloatArray = np.asarray(np.linalg.solve(system, covariance @ (weights @ scores + gradient)), np.float64)
        moved = np.abs(new - scores).max()
        scores = new
        if moved < _TOLERANCE:
            break
    return scores, np.asarray(np.linalg.solve(system, covariance), np.float64)


def _fit_sparse(i: IntArray, j: IntArray, y: IntArray, items: int) -> FloatArray:
    """Most probable scores of independent items, by Newton's method with conjugate gradients."""
    precision = 1 / (2 * _OWN_VARIANCE)
    scores = np.zeros(items)
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = _slopes(scores, i, j, y)

        def product(vector: FloatArray, curvature: FloatArray = curvature) -> FloatArray:
            flow = curvature * (vector[i] - vector[j])
            return precision * vector + np.bincount(i, flow, items) - np.bincount(j, flow, items)

        step = _conjugate_gradients(product, gradient - precision * scores)
        scores = scores + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return scores


def _slopes(scores: FloatArray, i: IntArray, j: IntArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Gradient of the log-likelihood by each score, and the curvature of each comparison."""
    wrong = _logistic(-y * (scores[i] - scores[j]))
    pull = y * wrong
    gradient: FloatArray = np.asarray(np.bincount(i, pull, len(scores)) - np.bincount(j, pull, len(scores)), np.float64)
    return gradient, wrong * (1 - wrong)


def _conjugate_gradients(product: Callable[[FloatArray], FloatArray], right: FloatArray) -> FloatArray:
    solution = np.zeros_like(right)
    residual, direction = right.copy(), right.copy()
    squared = float(residual @ residual)
    for _ in range(_SOLVER_STEPS):
        if squared < _TOLERANCE**2:
            break
        image = product(direction)
        length = squared / float(direction @ image)
        solution += length * direction
        residual -= length * image
        squared, before = float(residual @ residual), squared
        direction = residual + squared / before * direction
    return solution


def _logistic(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
