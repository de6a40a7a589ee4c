"""Measure the memory of the gradients of a model's items, on one item of each shape."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tracinctl.engine.allocations import AllocationWatch
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Feature, bytes_of
from tracinctl.engine.items import bytes_of_input
from tracinctl.engine.memory import Measured

_CHECKED = 8  # number of copies of an item's exact gradient during the comparison


def bytes_of_check(gradients: ItemGradients, dtype: torch.dtype) -> int:
    """Approximate bytes for comparing an item's gradient with plain autograd."""
    size = torch.empty((), dtype=dtype).element_size()
    if gradients.projection is None:
        return _CHECKED * size * gradients.parameters
    names = gradients.names
    return 2 * size * max(p.numel() for name, p in gradients.model.named_parameters() if name in names)


def measured(gradients: ItemGradients, read: Sequence[Callable[[], Any]], items_a_row: int) -> Measured:
    """Memory of gradients of a known form.

    Args:
        gradients: ``prepare`` was called with these items.
        read: functions that return one item of each shape.
        items_a_row: 1, or 2 if rows are differences.
    """
    if (learned := gradients.learned) is not None:
        row, peak = learned
        work = peak + 2 * bytes_of_input(read[0]())
        sizes = Measured(row * items_a_row, items_a_row, work, gradients.bytes_per_item)
    else:
        sizes = _measured(gradients, lambda: gradients.bytes_per_item, read, items_a_row)
    return replace(sizes, placed=gradients.placed_bytes if items_a_row == 1 else 0)


def foreseen(gradients: ItemGradients, read: Sequence[Callable[[], Any]], items_a_row: int) -> Measured | None:
    """Memory of gradients that were never computed, estimated without using it.

    None if the model reads the numbers in its tensors, which a dry run does not have.
    """
    numberless = [partial(_without_numbers, give) for give in read]
    try:
        way = gradients.unlearned(_shapes_of(gradients.model))
        with torch.device("meta"):
            for give in numberless:
                way.learn(give())
            return _measured(way, lambda: way.bytes_per_item, numberless, items_a_row)
    except Exception:  # noqa: BLE001 - the user's model may raise anything
        return None


def _shapes_of(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of a model whose parameters and buffers have no numbers and use no memory."""
    memo: dict[int, Any] = {}
    for p in model.parameters():
        memo[id(p)] = torch.nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def _without_numbers(give: Callable[[], Any]) -> Any:
    with torch.device("cpu"):
        item = give()
    if isinstance(item, Mapping):
        return {key: torch.empty_like(value, device="meta") for key, value in item.items()}
    return torch.empty_like(item, device="meta")


def _measured(
    gradients: Callable[[Any], tuple[list[Feature], torch.Tensor]],
    bytes_per_item: Callable[[], int],
    read: Sequence[Callable[[], Any]],
    items_a_row: int,
) -> Measured:
    row = work = per_item = 0
    for give in read:
        with AllocationWatch() as watch:
            item = give()
            features, _ = gradients(item)
        # the inputs of several items are joined; a single one needs no copy
        peak = watch.peak + bytes_of_input(item)
        row, work, per_item = max(row, bytes_of(features)), max(work, peak), max(per_item, bytes_per_item())
    return Measured(row * items_a_row, items_a_row, work, per_item)
