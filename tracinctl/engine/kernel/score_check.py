"""Check that a kept kernel still fits the model.

The fingerprint of a model cannot cover everything: a constant or a helper that ``forward`` uses may have changed. A
kernel has the scores of its items, so some items are scored again, which needs no gradient, and compared.
"""

from __future__ import annotations

import numpy as np
import torch

from tracinctl.engine.kernel.item_kernel import ItemKernel
from tracinctl.engine.kernel.maker import KernelMaker

_LEAST, _MOST = 2, 32
_PART = 32  # one item in 32 is scored, in about 1 % of the time of a cold run
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # share of the largest score; rounding depends on block size


class ScoresChangedError(Exception):
    """The model gives an item another score than when the kernel was made; the message names both scores."""


def check_scores(maker: KernelMaker, kernel: ItemKernel, checkpoint: str, draw: int) -> None:
    """Compare a sample of a kernel's scores with those of the maker's model, which is in the checkpoint's state.

    ``draw`` is the number of the sample; each checkpoint has its own, so that together they check more items.

    Raises:
        ScoresChangedError: a score differs by more than rounding.
    """
    items, scores = maker.items, kernel.scores
    count = min(len(items), max(_LEAST, min(_MOST, len(items) // _PART)))
    sample = np.unique((draw + np.arange(count) * len(items) // count) % len(items))
    tolerance = _TOLERANCE[maker.dtype] * np.abs(scores).max()
    for k in sample.tolist():
        [now] = maker.gradients.scores(items.stack([k], maker.device, maker.dtype)).tolist()
        if not abs(now - scores[k]) <= tolerance:
            raise ScoresChangedError(
                f"the kernels in the cache are made again: at {checkpoint} the model gives item {items.ids[k]} the "
                f"score {now:.6g}, but gave it {scores[k]:.6g} when they were made; code or a constant that it uses "
                "has changed"
            )
