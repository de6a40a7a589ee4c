"""Method ``fisher``: kernels that discount training rows for what many training pairs have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tracinctl.engine.kernel.item_kernel import HeldKernel, ItemKernel
from tracinctl.engine.landmark_kernel import LandmarkKernel
from tracinctl.engine.landmarks import choose_landmarks
from tracinctl.engine.pair_rows import PairRows

DAMPING = 10.0
"""The number added to F's diagonal, as a multiple of F's trace per item."""


class FisherKernels:
    """The discounted kernels of all checkpoints, one of them in memory at a time.

    They are exact if all inner products are held; otherwise some items, the landmarks, represent all.

    Args:
        kernels: one per checkpoint, all with the same layout.
        pairs: returns, at a checkpoint, the training pairs with the derivatives of their losses, and the held-out
            pairs with the derivatives of minus their margins.
        items: number of training items.
        room: memory in bytes.

    Attributes:
        landmarks: number of landmarks; 0 if kernels are exact.
        errors: see ``LandmarkKernel.error``, one per checkpoint; empty if kernels are exact.
        held_bytes: bytes that stay in memory for all checkpoints.
    """

    def __init__(
        self, kernels: Sequence[ItemKernel], pairs: Callable[[int], tuple[PairRows, PairRows]], items: int, room: int
    ) -> None:
        self._kernels, self._pairs, self._items = kernels, pairs, items
        self._last: tuple[int, ItemKernel] | None = None
        self._by_landmarks: list[LandmarkKernel] = []
        self.landmarks = self.held_bytes = 0
        layout = kernels[0].layout
        if layout.columns < len(layout):
            chosen = choose_landmarks(layout, len(kernels), room)
            self.landmarks, self.held_bytes = len(chosen.rows), chosen.held_bytes
            self._by_landmarks = [
                LandmarkKernel(kernel, chosen, *pairs(c), damping=DAMPING / items) for c, kernel in enumerate(kernels)
            ]
        self.errors = [kernel.error for kernel in self._by_landmarks]

    def __getitem__(self, checkpoint: int) -> ItemKernel | LandmarkKernel:
        if self._by_landmarks:
            for kernel in self._by_landmarks[:checkpoint] + self._by_landmarks[checkpoint + 1 :]:
                kernel.release()
            return self._by_landmarks[checkpoint]
        if self._last is None or self._last[0] != checkpoint:
            self._last = (
                checkpoint,
                exact_fisher_kernel(self._kernels[checkpoint], self._pairs(checkpoint)[0], self._items),
            )
        return self._last[1]


def exact_fisher_kernel(kernel: ItemKernel, pairs: PairRows, items: int) -> HeldKernel:
    """Multiply the training rows' gradients in a kernel by the damped inverse of F.

    F = J^T M J with J the score gradients of the training rows and M = A^T A / pairs, A as in ``influence``. With
    K = J J^T and d = 10 trace(F) / items, by Woodbury: J d (d + F)^-1 = d (d + K M)^-1 J.

    Args:
        kernel: a kernel with the inner products of all rows.
        pairs: the training pairs, with the derivatives of their losses.
        items: number of training items.

    Returns:
        The kernel with these rows of the training side and unchanged others; all is unchanged if no pair has a
        gradient.
    """
    layout = kernel.layout
    train = np.unique(layout.train_rows)
    n = len(train)
    place = np.zeros(len(layout), dtype=np.int64)
    place[train] = np.arange(n)
    products = np.array(kernel.rows(np.arange(len(layout))))
    i, j = place[pairs.i], place[pairs.j]
    cells = np.concatenate([i * n + i, i * n + j, j * n + i, j * n + j])
    both = pairs.first * pairs.second
    M = np.bincount(cells, np.concatenate([pairs.first**2, both, both, pairs.second**2]), n * n).reshape(n, n)
    F = products[np.ix_(train, train)] @ (M / max(1, len(pairs)))
    damping = DAMPING * np.trace(F) / items
    if damping > 0:
        F[np.diag_indices(n)] += damping
        products[train] = np.linalg.solve(F / damping, products[train])
    lengths = np.array(kernel.part("lengths"))
    lengths[train] = products[train, train]
    parts = {name: kernel.part(name) for name in ("scores", "pairs")}
    return HeldKernel(layout, parts | {"lengths": lengths}, products)
