"""The kernel of a checkpoint: scores of items and inner products of their gradients, in memory or in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.pair_rows import PairRows

WAY_LENGTH = 256
"""Bytes of the text on how gradients were computed."""


class KernelStore(Protocol):
    """A store for new products, in memory or in a file."""

    def write(self, row: int, column: int, values: FloatArray) -> None:
        """Write a block of products."""


class ItemKernel(ABC):
    """Scores and gradient inner products at one checkpoint, held in memory or read from a file.

    Rows are those of ``layout``, items or differences of two items. All numbers are float64.
    """

    layout: KernelLayout

    @abstractmethod
    def part(self, name: str) -> FloatArray:
        """A part by its name.

        ``scores``, shape (items,); ``lengths``, squared, of the rows' gradients, shape (rows,); ``pairs``, the products
        of the layout's pairs, shape (pairs,); ``error``, see ``projection_error``; or ``way``, as bytes.
        """

    @abstractmethod
    def rows(self, rows: IntArray) -> FloatArray:
        """Inner products of these rows with all columns, shape (rows, columns)."""

    @property
    def way(self) -> str:
        """How gradients were computed, and why, in words."""
        return bytes(self.part("way").astype(np.uint8)).decode(errors="ignore").rstrip()

    @property
    def scores(self) -> FloatArray:
        """Scores of the items, shape (items,)."""
        return self.part("scores")

    def squared_lengths(self, pairs: PairRows, at_once: int) -> FloatArray:
        """Squared lengths of the pairs' gradients, shape (pairs,); see ``pair_products``."""
        lengths = self.part("lengths")
        across = self.pair_products(pairs.i, pairs.j, at_once) if pairs.second.any() else 0.0
        ends = pairs.first**2 * lengths[pairs.i] + pairs.second**2 * lengths[pairs.j]
        return np.asarray(ends + 2 * pairs.first * pairs.second * across)

    def pair_products(self, first: IntArray, second: IntArray, at_once: int) -> FloatArray:
        """Inner products of pairs of rows, shape (pairs,); pairs must be in the layout if not all rows have columns.

        Pieces of ``at_once`` bytes are read at a time.
        """
        low, high = np.minimum(first, second), np.maximum(first, second)
        products = np.empty(len(low))
        inside = low < self.layout.columns
        if not inside.all():
            pairs = self.layout.pairs
            keys = pairs[:, 0] * len(self.layout) + pairs[:, 1]
            at = np.searchsorted(keys, low[~inside] * len(self.layout) + high[~inside])
            products[~inside] = self.part("pairs")[at]
        places = np.flatnonzero(inside)
        places = places[np.argsort(high[places], kind="stable")]
        step = max(1, at_once // (8 * self.layout.columns))
        distinct, begins = np.unique(high[places], return_index=True)
        for k in range(0, len(distinct), step):
            these = places[begins[k] : begins[k + step] if k + step < len(distinct) else None]
            block = self.rows(distinct[k : k + step])
            products[these] = block[np.searchsorted(distinct[k : k + step], high[these]), low[these]]
        return products


@dataclass(eq=False, repr=False)
class HeldKernel(ItemKernel):
    """A kernel in memory, with its parts by name, and its products of shape (rows, columns)."""

    layout: KernelLayout
    parts: Mapping[str, FloatArray]
    products: FloatArray

    def part(self, name: str) -> FloatArray:
        """See ``ItemKernel.part``."""
        return self.parts[name]

    def rows(self, rows: IntArray) -> FloatArray:
        """See ``ItemKernel.rows``."""
        return self.products[rows]


class HeldStore:
    """Products in memory."""

    def __init__(self, layout: KernelLayout) -> None:
        self.products = np.zeros((len(layout), layout.columns))

    def write(self, row: int, column: int, values: FloatArray) -> None:
        """Write a block of products."""
        self.products[row : row + len(values), column : column + values.shape[1]] = values
