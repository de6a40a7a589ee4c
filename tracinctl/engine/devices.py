"""The device that computes gradients."""

from __future__ import annotations

import torch

from tracinctl.errors import UsageError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device with this name; ``auto`` prefers CUDA, then MPS, then the CPU.

    Several processes on a machine use its GPUs in turn, by ``local_rank``.

    Raises:
        UsageError: the device does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", hint="Use auto, cpu, cuda, cuda:1 or mps.") from error
    if device.type == "cpu":
        return device
    cuda = device.type == "cuda" and torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if not cuda and not (device.type == "mps" and torch.backends.mps.is_available()):
        raise UsageError(f"there is no device {name!r} here", hint="Use `device` auto for the best one.")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return device
