"""The precision of products, and the size of pieces that are converted to it at a time."""

from __future__ import annotations

import torch

LEAST_COLUMNS = 16
"""Least number of a row's numbers that are converted at a time."""

_CACHED = 4 << 20  # bytes of a processor's cache; float64 copies that fit are several times as fast


def exact_numbers(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float64, or in float32 on a device without float64."""
    return tensor.to(torch.float64 if tensor.device.type != "mps" else torch.float32)


def in_cache(tensor: torch.Tensor, scratch: int) -> int:
    """The part of these bytes that a processor's cache holds."""
    return min(scratch, _CACHED) if tensor.device.type == "cpu" else scratch


def rounds_float32() -> bool:
    """Whether torch may round the numbers of float32 matrices in products, a setting that a model's code can change."""
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # the setting differs between devices
        return True
