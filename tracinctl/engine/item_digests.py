"""Digests of items' inputs, one by one or for all rows of tensors at once."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from tracinctl.engine.item_forms import ItemInput, of_each

_AT_ONCE = 16 << 20  # bytes of rows that are copied at a time, if rows must be copied


def shape_of(value: ItemInput) -> tuple[Any, ...]:
    """The shape and type of an item's input; equal for items that can pass the model together."""
    if isinstance(value, dict):
        return tuple((k, *shape_of(value[k])) for k in sorted(value))
    return (str(value.dtype), *value.shape)


def digests(ids: Iterable[str], contents: Iterable[str]) -> list[str]:
    """SHA-256 of each item's id and the digest of its content."""
    return [hashlib.sha256(f"{i}\0{content}".encode()).hexdigest() for i, content in zip(ids, contents, strict=True)]


def content_digest(value: ItemInput) -> str:
    """SHA-256 of an item's shape, type and content."""
    return content_digests(of_each(lambda part: part.unsqueeze(0), value), shape_of(value))[0]


def content_digests(columns: ItemInput, shape: tuple[Any, ...]) -> list[str]:
    """The digest of each item, from tensors with items first; ``shape`` is that of a single item."""
    tensors = [columns[k] for k in sorted(columns)] if isinstance(columns, Mapping) else [columns]
    begin = f"{shape}\0".encode()
    rows = [_row_bytes(t) for t in tensors if t[:1].numel()]  # an empty row has no bytes
    if not rows:
        return [hashlib.sha256(begin).hexdigest()] * len(tensors[0])
    if len(rows) == 1:
        return [hashlib.sha256(begin + row).hexdigest() for (row,) in rows[0]]
    return [hashlib.sha256(begin + b"".join(row for (row,) in parts)).hexdigest() for parts in zip(*rows, strict=True)]


def _row_bytes(tensor: torch.Tensor) -> Iterator[tuple[bytes]]:
    size = tensor[:1].numel() * tensor.element_size()
    for rows in torch.split(tensor.detach(), max(1, _AT_ONCE // size)):
        values = rows.contiguous().cpu().view(-1).view(torch.uint8).numpy()
        yield from struct.iter_unpack(f"{size}s", values.data)
