"""Item-level influence of items that each occur in little more than one pair, such as preference data.

An item with one pair cannot be told from its partner, so this is a measure of pairs: the negative log likelihood of the
pair's label, given the scores of its own items, plus that given the scores of similar pairs. A model that fits a wrong
label hides it in the pair's own scores; similar pairs, whose gradients have a large cosine, still contradict it. A pair
and its reverse have opposite gradients and opposite margins, so every pair counts in both directions.

The sum is squared, which keeps the order of pairs at a checkpoint, so that the worst stand out from the others and get
on the list of ``scores.exclusion.suspicious_items``.

``tests/benchmarks/README.md`` compares it with other measures, on the data for which the constants were chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.item_view import ALIKE, MARGIN, SHARPNESS, TEMPERATURE

OWN = 2.0
"""Factor of a pair's own margin in the logarithm of its odds."""

_CELLS = 1 << 20  # largest number of cells per array; larger arrays are no faster
_CELL_BYTES = 48  # six such arrays are in memory at a time


@dataclass(frozen=True)
class Neighbours:
    """The pairs with which others are compared.

    Attributes:
        rows: their rows in a kernel, which have columns; ascending, may be empty.
        products: function of rows: their inner products with all columns, shape (rows, columns).
        lengths: squared lengths of the gradients of all rows, shape (rows,).
    """

    rows: IntArray
    products: Callable[[IntArray], FloatArray]
    lengths: FloatArray

    def cosines(self, rows: IntArray) -> FloatArray:
        """Cosines of these rows' gradients with the neighbours', shape (rows, neighbours); 0 without a gradient."""
        cosines = np.take(self.products(rows), self.rows, axis=1)
        least = ALIKE * self.lengths[self.rows].mean()
        for lengths, axis in ((self.lengths[rows], 1), (self.lengths[self.rows], 0)):
            cosines /= np.expand_dims(np.sqrt(np.where(lengths > least, lengths, np.inf)), axis)
        return cosines


def pair_disagreement(
    margins: FloatArray, target: IntArray, own: IntArray, neighbours: Neighbours, memory: int
) -> FloatArray:
    """Squared negative log likelihood of the pairs' labels under their own scores and under those of similar pairs.

    With m the margins and L_ik = max(0, 0.25 - y_i m_k) the margin loss that pair i would have with the margin of
    pair k, this is the square of

        log(1 + exp(-2 y_i m_i)) - log sum_k w_ik exp(-L_ik / 0.02)

    k are the neighbours and their reverses, without the pair itself; w_ik is proportional to exp(10 cosine) of the
    gradients. Without neighbours, only the first term remains. High = suspicious.

    Args:
        margins: differences of the two items' scores over the standard deviation of the scores, for each row of a
            kernel, shape (rows,).
        target: labels y of the pairs, 1 or -1, shape (pairs,).
        own: rows of the pairs, shape (pairs,).
        neighbours: pairs to compare with.
        memory: limit in bytes on arrays of pairs by neighbours, which have at least one row.

    Returns:
        Shape (pairs,), never below zero.
    """
    values = np.logaddexp(0.0, -OWN * target * margins[own])
    if not len(neighbours.rows):
        return np.square(values)
    step = max(1, min(_CELLS, memory // _CELL_BYTES) // len(neighbours.rows))
    for start in range(0, len(own), step):
        part = slice(start, start + step)
        values[part] -= _log_likelihood(margins[neighbours.rows], target[part], own[part], neighbours)
    return np.square(np.maximum(values, 0.0))


def _log_likelihood(margins: FloatArray, target: IntArray, own: IntArray, neighbours: Neighbours) -> FloatArray:
    """The second term without its sign, shape (pairs,), from the neighbours' margins."""
    cosines = neighbours.cosines(own)
    itself = neighbours.rows == own[:, None]
    heard, likelihood = np.zeros(len(own)), np.zeros(len(own))
    for direction in (1, -1):
        weights = np.exp(SHARPNESS * (direction * cosines - 1.0))
        weights[itself] = 0.0
        heard += weights.sum(1)
        # a loss depends only on the label and the neighbour, and there are two labels
        for label in (1, -1):
            fits = np.exp(-np.maximum(0.0, MARGIN - label * direction * margins) / TEMPERATURE)
            likelihood[target == label] += weights[target == label] @ fits
    # a pair may be its own only neighbour
    likelihood = np.divide(likelihood, heard, out=np.ones(len(own)), where=heard > 0)
    return np.asarray(np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)))
