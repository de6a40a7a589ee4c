"""Items of any input type, given to the model in blocks of equal shape, and known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import Samples
from tracinctl.errors import DataError

ItemInput = Any  # a tensor, or a mapping of tensors


def _length(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        lengths = {len(value) for value in inputs.values()}
        if len(lengths) != 1:
            raise DataError(
                f"inputs: the tensors of the mapping have {sorted(lengths)} items; they must be equally many"
            )
        return lengths.pop()
    return len(inputs)


def item_input(inputs: Any, index: int) -> ItemInput:
    """The input of one item, without the items' dimension."""
    if isinstance(inputs, Mapping):
        return {key: value[index] for key, value in inputs.items()}
    value = inputs[index]
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value if isinstance(value, Mapping) else torch.as_tensor(value)


def _shape(value: ItemInput) -> tuple[Any, ...]:
    if isinstance(value, Mapping):
        return tuple((k, *_shape(value[k])) for k in sorted(value))
    return (str(value.dtype), *value.shape)


def digest(item_id: str, value: ItemInput) -> str:
    """SHA-256 of an item's id, shape, type and content."""
    state = hashlib.sha256(f"{item_id}\0{_shape(value)}\0".encode())
    parts = [value[k] for k in sorted(value)] if isinstance(value, Mapping) else [value]
    for part in parts:
        state.update(part.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


class Items:
    """Training items followed by held-out items, as one sequence.

    Args:
        parts: the samples, in order.

    Raises:
        DataError: ids and inputs are not equally many, or one id stands for two different inputs.
    """

    def __init__(self, parts: Sequence[Samples]) -> None:
        self._where: list[tuple[Any, int]] = []
        self.ids: list[str] = []
        for part in parts:
            count = _length(part.inputs)
            if count != len(part.ids):
                raise DataError(f"samples: {len(part.ids)} ids but {count} inputs")
            self._where.extend((part.inputs, index) for index in range(count))
            self.ids.extend(part.ids)
        self._shapes: list[tuple[Any, ...]] = []
        self.digests: list[str] = []
        for item_id, (inputs, index) in zip(self.ids, self._where, strict=True):
            value = item_input(inputs, index)
            self._shapes.append(_shape(value))
            self.digests.append(digest(item_id, value))

    def __len__(self) -> int:
        return len(self.ids)

    def groups(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Indices of the items of each input shape."""
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        for index, shape in enumerate(self._shapes):
            by_shape.setdefault(shape, []).append(index)
        return [np.asarray(rows, dtype=np.int64) for rows in by_shape.values()]

    def stack(self, rows: Sequence[int], device: torch.device, dtype: torch.dtype) -> ItemInput:
        """Inputs of these items, items first, on the device; floating point ones in ``dtype``."""
        inputs, start = self._where[rows[0]]
        if isinstance(inputs, torch.Tensor) and all(self._where[row][0] is inputs for row in rows):
            places = [self._where[row][1] for row in rows]
            contiguous = places == list(range(start, start + len(rows)))
            return _to(inputs[start : start + len(rows)] if contiguous else inputs[places], device, dtype)
        values = [item_input(*self._where[row]) for row in rows]
        if isinstance(values[0], Mapping):
            return {k: _to(torch.stack([torch.as_tensor(v[k]) for v in values]), device, dtype) for k in values[0]}
        return _to(torch.stack(values), device, dtype)


def _to(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None)


def split_blocks(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the rows in blocks of at most ``size``."""
    for start in range(0, len(rows), size):
        yield [int(row) for row in rows[start : start + size]]
