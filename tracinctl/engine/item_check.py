"""Check that an item's score depends only on the item, not on chance or on other items in the batch.

The engine relies on this. Dropout or noise in eval() mode, or normalisation over a batch, would give numbers that no
other run repeats.
"""

from __future__ import annotations

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.items import Items
from tracinctl.engine.model_errors import asking_model
from tracinctl.errors import ModelError

_ITEMS = 3  # these passes take about 1 % of a cold run
_AGAIN = 1e-6  # share of the largest score; a GPU may add the same numbers in another order
_TOGETHER = {torch.float32: 1e-3, torch.float64: 1e-5}  # some models normalise in float32 in any dtype


def check_items(gradients: ItemGradients, items: Items, device: torch.device, dtype: torch.dtype) -> None:
    """Score a few items alone, together, and alone again if rounding does not explain a difference.

    Raises:
        ModelError: an item's scores differ by more than rounding, or the model fails on it; the message names it.
    """
    group = max(items.groups(), key=len)
    few = np.unique(np.linspace(0, len(group) - 1, _ITEMS).astype(np.int64))
    numbers = group[few].tolist()
    alone = _scored_alone(gradients, items, numbers, device, dtype)
    together = gradients.together(items.stack(numbers, device, dtype)) if len(numbers) > 1 else None
    in_batch = alone if together is None else np.array(together.tolist())
    size = float(np.nanmax(np.abs(alone), initial=0.0))
    if together is not None and (np.abs(alone - in_batch) <= _AGAIN * size).all():
        return  # chance would have changed these scores, too
    again = _scored_alone(gradients, items, numbers, device, dtype)
    for k, score, second in zip(numbers, alone, again, strict=True):
        if abs(score - second) > _AGAIN * size:
            raise ModelError(
                f"item {items.ids[k]}: the model gives the score {score:.6g}, and then {second:.6g}",
                hint="Turn off randomness in eval() mode: give functional dropout training=self.training, "
                "and add noise only `if self.training`.",
            )
    for k, score, other in zip(numbers, alone, in_batch, strict=True):
        if abs(score - other) > _TOGETHER[dtype] * size:
            raise ModelError(
                f"item {items.ids[k]}: the model gives the score {score:.6g} alone, and {other:.6g} in a batch",
                hint="Make each score depend on one item only: use running statistics in BatchNorm, and replace means "
                "and decisions over the batch by ones over each item.",
            )


def _scored_alone(
    gradients: ItemGradients, items: Items, numbers: list[int], device: torch.device, dtype: torch.dtype
) -> FloatArray:
    """The score of each of these items in a pass of its own."""
    scores = []
    for k in numbers:
        item = items.stack([k], device, dtype)
        with asking_model([items.ids[k]], item):
            scores.append(gradients.scores(item).item())
    return np.array(scores)
