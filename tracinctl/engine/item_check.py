"""Whether an item's score is a function of the item: the same when asked again, and alone as beside other items.

Everything else rests on it. Dropout or noise that goes on in eval() mode, and normalisation over a batch, would give
numbers that no other run repeats.
"""

from __future__ import annotations

import numpy as np
import torch

from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.items import Items
from tracinctl.engine.model_errors import asking_model
from tracinctl.errors import ModelError

_ITEMS = 3  # with two passes each and one of all together, under 1 % of a cold run
_AGAIN = 1e-6  # of the largest score: the same numbers are added, on a GPU perhaps in another order
_TOGETHER = {torch.float32: 1e-3, torch.float64: 1e-5}  # models that normalise in float32 do so in any dtype


def check_items(gradients: ItemGradients, items: Items, device: torch.device, dtype: torch.dtype) -> None:
    """Score a few items twice, and alone as well as together.

    Raises:
        ModelError: the scores of an item differ by more than rounding, or the model fails on it; the item is named.
    """
    group = max(items.groups(), key=len)
    few = np.unique(np.linspace(0, len(group) - 1, _ITEMS).astype(np.int64))
    numbers = group[few].tolist()
    alone, again = [], []
    for k in numbers:
        one = items.stack([k], device, dtype)
        with asking_model([items.ids[k]], one):
            alone.append(gradients.scores(one).item())
            again.append(gradients.scores(one).item())
    size = float(np.nanmax(np.abs(alone), initial=0.0))
    for k, first, second in zip(numbers, alone, again, strict=True):
        if abs(first - second) > _AGAIN * size:
            raise ModelError(
                f"item {items.ids[k]}: the model gives the score {first:.6g}, and {second:.6g} when it is asked again",
                hint="Turn off what is drawn at random in eval() mode: functional dropout wants "
                "training=self.training, noise `if self.training`.",
            )
    together = gradients.together(items.stack(numbers, device, dtype)) if len(numbers) > 1 else None
    if together is None:  # the score is asked of one item at a time
        return
    for k, first, other in zip(numbers, alone, together.tolist(), strict=True):
        if abs(first - other) > _TOGETHER[dtype] * size:
            raise ModelError(
                f"item {items.ids[k]}: the model gives the score {first:.6g} alone, and {other:.6g} beside other items",
                hint="Each item needs a score of its own: BatchNorm needs running statistics, and a mean or a "
                "decision over the batch has to become one over each item.",
            )
