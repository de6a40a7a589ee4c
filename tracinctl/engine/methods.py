"""Three methods that estimate the effect of a training pair on a held-out pair, on the same kernels.

``tracin``: the effect on the held-out pair's loss, to first order (Pruthi et al. 2020, arXiv 2002.08484). With a margin
loss, pairs whose margin is met at every checkpoint do not count, and near the end of training most are such pairs.

``margin``: the effect on the held-out pair's margin y (s_i - s_j), the output that datamodels (Ilyas et al. 2022, arXiv
2202.00622) and TRAK (Park et al. 2023, arXiv 2303.14186) predict. Every pair counts, and pairs that are far from
right count no more than others.

``fisher``: ``margin`` with the training pair's gradient multiplied by the damped inverse of the empirical Fisher matrix
F, the mean outer product of the training pairs' gradients, so that what many other pairs teach too counts less. This is
influence with F as the Hessian (Koh and Liang 2017, arXiv 1703.04730), times the damping, so that scores keep their
scale. In item space it takes one solve of the size of the training items per checkpoint; if these are many, landmarks
represent them (``landmark_kernel``).

``tests/benchmarks/README.md`` has measurements of these and of alternatives.
"""

from __future__ import annotations

import numpy as np

from tracinctl.data.pairs import FloatArray, Pairs
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.landmarks import memory_for_landmarks
from tracinctl.engine.memory import Budget, size_text
from tracinctl.errors import MemoryBudgetError

_SQUARES = 8  # number of arrays of items by items in memory while an inverse is applied


def margin_slopes(pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    """Derivatives of minus the margin, -y (s_i - s_j), by the two scores; each of shape (pairs,)."""
    target = pairs.target.astype(np.float64)
    return -target, target


def check_method(method: str, layout: KernelLayout, checkpoints: int, budget: Budget) -> None:
    """Raise MemoryBudgetError if the memory is too small for the method.

    Half of the memory is for results computed from kernels.
    """
    if method != "fisher":
        return
    if layout.columns < len(layout):
        least = memory_for_landmarks(layout, checkpoints, budget.remaining)
    else:
        least = 2 * _SQUARES * 8 * len(layout) ** 2
    if least > budget.remaining:
        needed = size_text(budget.with_left(least))
        raise MemoryBudgetError(
            f"`method` fisher needs at least {needed} for {len(layout):,} items, but `memory` is "
            f"{size_text(budget.limit)}",
            hint=f"Give `memory` {needed} or more, or use `method` margin, which needs as little as tracin.",
        )
