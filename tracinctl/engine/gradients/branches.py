"""Models that branch on their data, or make tensors whose shape depends on it, as if each item were alone.

Under ``torch.vmap``, a tensor represents the tensors of all items, and ``if mask.all():`` has no single answer. If all
items give the same answer, it is used; otherwise the block is split into items with the same answer. The same holds for
the shape of ``x[mask]``: the block is split into items with the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from tracinctl.engine.gradients.uses import Dense, Feature

_ANSWERS = {
    torch.Tensor.__bool__: bool,
    torch.Tensor.__int__: int,
    torch.Tensor.__index__: int,
    torch.Tensor.__float__: float,
    torch.Tensor.item: None,
}
_SHAPED_BY_DATA = {
    torch.nonzero,
    torch.Tensor.nonzero,
    torch.argwhere,
    torch.Tensor.argwhere,
    torch.unique,
    torch.Tensor.unique,
    torch.unique_consecutive,
    torch.Tensor.unique_consecutive,
}
_INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
_SIZED = dict.fromkeys((torch.arange, torch.zeros, torch.ones, torch.empty), 0) | dict.fromkeys(
    (
        torch.Tensor.new_zeros,
        torch.Tensor.new_ones,
        torch.Tensor.new_empty,
        torch.Tensor.view,
        torch.Tensor.reshape,
        torch.Tensor.expand,
        torch.Tensor.narrow,
    ),
    1,
)  # functions of sizes, and the place of the first size among their arguments


class PartingError(Exception):
    """The items of a block take different branches.

    Attributes:
        ways: for each branch, the rows of the block that take it.
    """

    def __init__(self, ways: Sequence[Sequence[int]]) -> None:
        super().__init__("the items take different branches")
        self.ways = ways


def together(
    parts: Sequence[tuple[list[Feature], torch.Tensor]],
    ways: Sequence[Sequence[int]],
    places: Sequence[torch.Tensor | None],
) -> tuple[list[Feature], torch.Tensor]:
    """Gradients and scores of a block, joined from those of each branch; none of them are outer products.

    Gradients that were computed in the rows of ``places`` for each branch, in order, stay there.
    """
    back = torch.argsort(torch.tensor([row for way in ways for row in way]))
    features: list[Feature] = []
    for k, same in enumerate(zip(*(features for features, _ in parts), strict=True)):
        values = [feature.values for feature in same if isinstance(feature, Dense)]
        place = places[k] if k < len(places) else None
        if place is not None and _lie_in(place, values):
            features.append(Dense(place.copy_(place[back])))
        else:
            features.append(Dense(torch.cat(values)[back]))
    return features, torch.cat([scores for _, scores in parts])[back]


def _lie_in(place: torch.Tensor, values: Sequence[torch.Tensor]) -> bool:
    """Whether these rows are the rows of ``place``, in order."""
    rows = torch.split(place, [len(v) for v in values])
    return all(v.data_ptr() == row.data_ptr() for v, row in zip(values, rows, strict=True))


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
    _check_alike(answers)
    return answers[0]


def shaped_by_data(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[], Any] | None:
    """The call with the shape that each item alone gives its result; None if no data decides the shape.

    The call raises ``PartingError`` if shapes differ between items.
    """
    if func in _SHAPED_BY_DATA:
        return lambda: _by_item(func, args, kwargs)
    if func in _SIZED:
        leading, sizes = args[: _SIZED[func]], args[_SIZED[func] :]
        if any(_is_number(size) for part in sizes for size in (part if isinstance(part, (tuple, list)) else (part,))):
            return lambda: func(*leading, *map(_number, sizes), **kwargs)
    if func in _INDEXING:
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        if any(map(_by_data, index)):
            return lambda: func(args[0], tuple(_places_of(index)), *args[2:])
    return None


def _check_alike(results: Sequence[Any]) -> None:
    """Raise ``PartingError`` if these results of the items differ."""
    ways: dict[Any, list[int]] = {}
    for row, result in enumerate(results):
        ways.setdefault(result, []).append(row)
    if len(ways) > 1:
        raise PartingError(list(ways.values()))


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype == torch.bool and index.dim() > 0


def _by_data(index: Any) -> bool:
    bounds = (index.start, index.stop, index.step) if isinstance(index, slice) else ()
    return _is_mask(index) or any(map(_is_number, bounds))


def _is_number(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == 0 and not value.is_floating_point()


def _number(value: Any) -> Any:
    """A whole number instead of a tensor that holds one, also in a tuple."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_number, value))
    return answer(torch.Tensor.__int__, (value,), {}) if _is_number(value) else value


def _places_of(index: Sequence[Any]) -> Iterator[Any]:
    """An index with places that are true instead of masks, and with whole numbers as bounds of slices."""
    for part in index:
        if _is_mask(part):
            yield from _by_item(torch.nonzero, (part,), {}).unbind(1)
        elif isinstance(part, slice):
            yield slice(*map(_number, (part.start, part.stop, part.step)))
        else:
            yield part


def _by_item(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if kwargs.get("as_tuple"):
        return _by_item(func, args, {}).unbind(1)
    return _ByItem.apply(args[0].detach(), lambda value: func(value, *args[1:], **kwargs))  # type: ignore[no-untyped-call]  # torch's


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
    def vmap(_info: Any, in_dims: Sequence[int | None], values: torch.Tensor, batch: _Batch) -> Any:
        place = in_dims[0] or 0  # torch calls this only if it is a number
        batch.values = values.movedim(place, 0)
        return values.clone(), place


class _ByItem(torch.autograd.Function):
    """Apply a function without gradient to the tensor of each item."""

    @staticmethod
    def forward(values: torch.Tensor, function: Callable[[torch.Tensor], Any]) -> Any:
        return function(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(_info: Any, in_dims: Sequence[int | None], values: torch.Tensor, function: Any) -> Any:
        results = [function(value) for value in values.movedim(in_dims[0] or 0, 0)]
        if not isinstance(results[0], tuple):
            _check_alike([result.shape for result in results])
            return torch.stack(results), 0
        _check_alike([tuple(part.shape for part in result) for result in results])
        parts = tuple(torch.stack(part) for part in zip(*results, strict=True))
        return parts, (0,) * len(parts)
