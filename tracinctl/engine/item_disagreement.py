"""How badly an item's own pairs go with the items that are like it: the view that shows mislabelled items.

A mislabelled item pulls all of its pairs one way, and a model that fits it has hidden the error by the end of training.
Its neighbours, items whose score gradients point its way, still say where it belongs.

Compared on scikit-learn's digits (240 training items), diabetes, wine and breast cancer, with 10 % of the items
mislabelled; AUC of finding them, medians over three seeds, rankers and pairs of tests/benchmarks:

    measure                                                          digits  diabetes  cancer  wine
    this one                                                           0.88      0.70    0.99  0.98
    the same, score from kernel ridge regression instead of a mean     0.87      0.75    0.98  0.87
    the same, share of misranked pairs instead of their loss           0.87      0.69    0.97  0.87
    item's place by its pairs against its neighbours'                  0.79      0.67    0.99  0.97
    squared pull (sum of a)^2 K_ii, summed over checkpoints            0.74      0.56    0.90  0.71
    squared pull at the first checkpoint                               0.71      0.66    0.89  0.71
    steadiness |sum of pulls over checkpoints|                         0.77      0.57    0.90  0.70
    Gauss-Newton change of the item's score without its pairs          0.72      0.56    0.88  0.73
    mean loss of the item's pairs                                      0.76      0.68    0.92  0.72
    pull of the item alone on the held-out loss                        0.45      0.55    0.88  0.82
    influence of its pairs on the held-out loss, summed                0.41      0.44    0.81  0.76
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tracinctl.data.pairs import Pairs
from tracinctl.engine.losses import LossFunction, pair_loss_values

FloatArray = npt.NDArray[np.float64]

SHARPNESS = 10.0
"""How quickly a neighbour's say falls off with the cosine; 5 and 20 did a little worse in the comparison above."""

_ALIKE = 1e-10  # of the mean squared length, under which what is left of a gradient is rounding


def item_disagreement(
    scores: FloatArray, kernel: FloatArray, pairs: Pairs, *, loss: str | LossFunction, margin: float
) -> FloatArray:
    """Mean loss of each item's pairs, had the item the score that the other items give it; 0 without pairs.

    The others give it the mean of their scores, weighted by exp(10 cosine) of their score gradients with its own, the
    mean gradient taken off. High = suspicious.

    Args:
        scores: of the items at a checkpoint, shape (items,).
        kernel: inner products of their score gradients, shape (items, items).
        pairs: by index into the items; those of an item with itself do not count.
        loss: of pairs; the weights of ``ghm`` are left out.
        margin: of the loss.

    Returns:
        Shape (items,), in units of the loss.
    """
    n = len(scores)
    pairs = pairs.take(pairs.first != pairs.second)
    others = _neighbour_weights(kernel)
    expected = others @ scores
    i, j = pairs.first, pairs.second
    target = torch.from_numpy(pairs.target.astype(np.float64))

    def values(first: FloatArray, second: FloatArray) -> FloatArray:
        found = pair_loss_values(loss, torch.from_numpy(first), torch.from_numpy(second), target, margin)
        return np.asarray(found.detach().numpy(), dtype=np.float64)

    total = np.bincount(i, values(expected[i], scores[j]), n)
    total += np.bincount(j, values(scores[i], expected[j]), n)
    count = np.bincount(i, minlength=n) + np.bincount(j, minlength=n)
    return np.asarray(total / np.maximum(count, 1))


def _neighbour_weights(kernel: FloatArray) -> FloatArray:
    """Rows that sum to 1, nothing on the diagonal, shape (items, items)."""
    mean = kernel.mean(0)
    w: FloatArray = kernel - mean
    w -= mean[:, None] - mean.mean()
    length = np.sqrt(np.maximum(np.diagonal(w), 0.0))
    # items that are all alike have no direction of their own: every other one has the same say
    length[length**2 <= _ALIKE * np.diagonal(kernel).mean()] = np.inf
    w /= length
    w /= length[:, None]
    w -= 1.0
    w *= SHARPNESS
    np.exp(w, out=w)
    np.fill_diagonal(w, 0.0)
    w /= w.sum(1, keepdims=True)
    return w
