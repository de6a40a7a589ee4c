"""Gradients of pairs as sums of two rows of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracinctl.data.pairs import FloatArray, IntArray, Pairs
from tracinctl.engine.kernel.layout import KernelLayout


class NotOfDifferenceError(Exception):
    """Rows of kernels are pairs, but the loss does not depend only on the difference of scores."""


@dataclass(frozen=True)
class PairRows:
    """The gradients of pairs: ``first`` times row ``i`` plus ``second`` times row ``j`` of a kernel.

    If rows are pairs, ``second`` is 0. All arrays have the shape (pairs,).
    """

    i: IntArray
    j: IntArray
    first: FloatArray
    second: FloatArray

    @staticmethod
    def of(layout: KernelLayout, rows: IntArray, pairs: Pairs, first: FloatArray, second: FloatArray) -> PairRows:
        """Make them from derivatives by both scores; ``rows`` are the rows of the items, or of the pairs.

        Raises:
            NotOfDifferenceError: rows are pairs, and the derivatives do not cancel.
        """
        if layout.second is None:
            return PairRows(rows[pairs.first], rows[pairs.second], first, second)
        if not np.array_equal(first, -second):
            raise NotOfDifferenceError
        return PairRows(rows, rows, first, np.zeros(len(rows)))

    def __len__(self) -> int:
        return len(self.i)

    def __getitem__(self, some: slice | IntArray) -> PairRows:
        return PairRows(self.i[some], self.j[some], self.first[some], self.second[some])

    @property
    def has_gradient(self) -> bool:
        """Whether some pair has a gradient."""
        return bool(self.first.any() or self.second.any())

    def times(self, block: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Products of the rows of ``block``, whose columns are the kernel's, with the pairs' gradients."""
        # ``np.take`` keeps the order of the numbers in memory, and is five times as fast as ``block[:, rows]``
        all_in_order = np.array_equal(self.i, np.arange(block.shape[1]))
        products = np.multiply(block if all_in_order else np.take(block, self.i, axis=1), self.first, out=out)
        if self.second.any():
            second = np.take(block, self.j, axis=1)
            second *= self.second
            products += second
        return products
