"""Models that branch on their data: find the branch of each item of a block as if it were alone.

Under ``torch.vmap``, a tensor represents the tensors of all items, and ``if mask.all():`` has no single answer. If all
items give the same answer, it is used; otherwise the block is split into items with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

_ANSWERS = {
    torch.Tensor.__bool__: bool,
    torch.Tensor.__int__: int,
    torch.Tensor.__index__: int,
    torch.Tensor.__float__: float,
    torch.Tensor.item: None,
}


class PartingError(Exception):
    """The items of a block take different branches.

    Attributes:
        ways: for each branch, the rows of the block that take it.
    """

    def __init__(self, ways: Sequence[Sequence[int]]) -> None:
        super().__init__("the items take different branches")
        self.ways = ways


def is_question(func: Any) -> bool:
    """Whether a torch function asks a tensor for a plain value."""
    return func in _ANSWERS


def answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of ``func`` for each item alone.

    Raises:
        PartingError: the results differ between items.
    """
    batch = _Batch()
    _Reveal.apply(args[0].detach(), batch)  # type: ignore[no-untyped-call]  # torch's
    values = batch.values
    if values is None:  # the same tensor for all items
        return func(*args, **kwargs)
    if values[0].numel() != 1:
        return func(values[0], *args[1:], **kwargs)  # raises torch's own error for a user's mistake
    kind = _ANSWERS[func]
    answers = [kind(value) if kind else value for value in values.reshape(-1).tolist()]
    ways: dict[Any, list[int]] = {}
    for row, given in enumerate(answers):
        ways.setdefault(given, []).append(row)
    if len(ways) > 1:
        raise PartingError(list(ways.values()))
    return answers[0]


class _Batch:
    values: torch.Tensor | None = None


class _Reveal(torch.autograd.Function):
    """Return the input unchanged, and reveal its values for all items, items first."""

    @staticmethod
    def forward(values: torch.Tensor, _sight: _Batch) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(_ctx: Any, *_slopes: Any) -> Any:
        return None, None

    @staticmethod
    def vmap(_info: Any, in_dims: Sequence[int | None], values: torch.Tensor, batch: _Batch) -> Any:
        place = in_dims[0] or 0  # torch calls this only if it is a number
        batch.values = values.movedim(place, 0)
        return values.clone(), place
