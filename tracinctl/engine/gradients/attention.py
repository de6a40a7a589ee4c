"""Attention of a block of items by torch's fused kernel, for which ``torch.vmap`` has no rule on a CPU.

The plain products that ``torch.vmap`` batches instead keep all weights in memory and take longer if these are many.
Without a mask, attention with few weights needs no search for rows in which everything is masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_TENSORS = 4  # the first names are those of tensors
_LONG = 1 << 12  # weights of a head from which the fused kernel is faster: 24 x 24 take 4 % longer, 128 x 128 less
_ITEM = 3  # heads, positions and numbers are the last dimensions


def attention(args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """``scaled_dot_product_attention`` of each item, or None for cases that are left to ``torch.vmap``."""
    options = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    query, key, value, mask = (options.pop(name, None) for name in _NAMES[:_TENSORS])
    if query.dim() < _ITEM or query.shape[-2] * key.shape[-2] < _LONG:
        if mask is not None or any(options.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
            return None
        scale = query.shape[-1] ** -0.5 if options.get("scale") is None else options["scale"]
        plain: torch.Tensor = ((query * scale) @ key.transpose(-2, -1)).softmax(-1) @ value
        return plain
    alike = query.shape[:-_ITEM] == key.shape[:-_ITEM] == value.shape[:-_ITEM]
    # fused kernels of a GPU add in an order that changes from run to run
    if options.get("dropout_p") or query.device.type != "cpu" or not alike:
        return None
    output: torch.Tensor = _Attention.apply(query, key, value, mask, options)  # type: ignore[no-untyped-call]  # torch's
    return output


class _Attention(torch.autograd.Function):
    """Attention that ``torch.vmap`` computes for all items in one call."""

    @staticmethod
    def forward(query: Any, key: Any, value: Any, mask: Any, options: Mapping[str, Any]) -> Any:
        return functional.scaled_dot_product_attention(query, key, value, mask, **options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: what needs a gradient depends on the item, and autograd follows ``vmap``."""

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *inputs: Any) -> Any:
        *tensors, options = inputs
        query, key, value, *masks = (
            _items_first(t, dim, info.batch_size) for t, dim in zip(tensors, in_dims, strict=False) if t is not None
        )
        lead = query.shape[:-_ITEM]
        mask = masks[0] if masks else None
        if mask is not None:
            missing = query.dim() - mask.dim()
            mask = mask.reshape(len(mask), *[1] * missing, *mask.shape[1:])
            mask = mask.expand(*lead, *mask.shape[-_ITEM:]).flatten(0, len(lead) - 1)
        query, key, value = (t.flatten(0, len(lead) - 1) for t in (query, key, value))
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            output = functional.scaled_dot_product_attention(query, key, value, mask, **options)
        return output.reshape(*lead, *output.shape[-_ITEM:]), 0


def _items_first(tensor: torch.Tensor, dim: int | None, items: int) -> torch.Tensor:
    return tensor.expand(items, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
