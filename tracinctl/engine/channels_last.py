"""The order in memory in which a processor convolves fastest."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module, wanted: bool) -> bool:
    """Put the weights of two-dimensional convolutions into this order, or back; their outputs follow.

    Values do not change, but what a model makes of an output's order in memory may: ``view`` refuses it.

    Args:
        model: changed in place; its parameters stay the objects that they are.
        wanted: channels last, or as weights commonly are.

    Returns:
        Whether there was anything to put; float32 on the processor alone gains by it.
    """
    order = torch.channels_last if wanted else torch.contiguous_format
    found = False
    for layer in model.modules():
        weight = dict(layer.named_parameters(recurse=False)).get("weight") if isinstance(layer, nn.Conv2d) else None
        if weight is not None and weight.device.type == "cpu" and weight.dtype == torch.float32:
            weight.data = weight.data.contiguous(memory_format=order)
            found = True
    return found
