"""Measure the error of a projection on a few items whose exact gradients are computed too."""

from __future__ import annotations

import numpy as np

from tracinctl.data.pairs import FloatArray
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.kernel.item_kernel import HeldStore
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.kernel.maker import KernelMaker
from tracinctl.errors import MemoryBudgetError

_ITEMS = 12  # number of items with exact gradients
_FOUR = 4  # number of items in two pairs


def projection_error(maker: KernelMaker, exact: ItemGradients, checkpoint: str) -> FloatArray:
    """Correlation of projected with exact scores, and root mean square error over their root mean square, shape (2,).

    The scores are those of every two pairs of a few items without a common item, as if all were active. NaN if the
    exact gradients do not fit into the memory, or if there are no such pairs.
    """
    count = min(_ITEMS, len(maker.items))
    some = np.unique(np.linspace(0, len(maker.items) - 1, count).astype(np.int64))
    nothing = np.zeros(0, dtype=np.int64)
    digests = maker.layout.item_digests
    layout = KernelLayout(
        some, None, len(some), nothing.reshape(0, 2), nothing, nothing, nothing, digests[some], digests
    )

    maker.release()

    def scores(gradients: ItemGradients) -> FloatArray:
        store = HeldStore(layout)
        KernelMaker(gradients, maker.items, layout, device=maker.device, dtype=maker.dtype, budget=maker.budget).make(
            store, checkpoint=checkpoint, report=lambda _: None
        )
        return _scores_of_pairs(store.products)

    try:
        true = scores(exact)
    except MemoryBudgetError:
        return np.full(2, np.nan)
    projected = scores(maker.gradients)
    if len(some) < _FOUR or not true.any() or not projected.std() or not true.std():
        return np.full(2, np.nan)
    off = np.sqrt(((projected - true) ** 2).mean() / (true**2).mean())
    return np.array([np.corrcoef(projected, true)[0, 1], off])


def _scores_of_pairs(kernel: FloatArray) -> FloatArray:
    i, j = np.triu_indices(len(kernel), 1)
    between = kernel[i] - kernel[j]
    between = between[:, i] - between[:, j]
    apart = (i[:, None] != i) & (i[:, None] != j) & (j[:, None] != i) & (j[:, None] != j)
    return np.asarray(between[apart])
