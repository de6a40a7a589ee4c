"""Items of any input type, given to the model in blocks of equal shape, and known by their content."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import pickle
import sys
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        return {key: _tensor(value[index]) for key, value in inputs.items()}
    value = inputs[index]
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return {k: _tensor(v) for k, v in value.items()} if isinstance(value, Mapping) else _tensor(value)


def _tensor(value: Any) -> torch.Tensor:
    # older versions of torch warn of a truth value of numpy's
    return torch.as_tensor(np.asarray(value) if isinstance(value, np.generic) else value)


def _in_memory(inputs: Any) -> bool:
    return isinstance(inputs, (torch.Tensor, np.ndarray, Mapping, list, tuple))


@dataclass(frozen=True)
class _Unread:
    """Why an item could not be read: a worker's exception would bring its whole traceback."""

    why: str


class _Rows(torch.utils.data.Dataset[Any]):
    """Some items of the user's dataset, as the model gets them."""

    def __init__(self, inputs: Any, rows: Sequence[int]) -> None:
        self.inputs = inputs
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        try:
            return item_input(self.inputs, self.rows[place])
        except Exception as error:  # noqa: BLE001  whatever the user's own code raises
            return _Unread(f"{type(error).__name__}: {error}")


def _as_it_is(value: Any) -> Any:
    return value


def _start_method() -> str | None:
    """How worker processes begin; None = as the interpreter has it."""
    # a fork hands over any dataset; from Python 3.14 on it is no longer what is done where nobody chose
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if sys.platform == "linux" and chosen != "spawn" else None


def _read_by_workers(lazy: _Rows, workers: int) -> Generator[Any, None, None]:
    loader = torch.utils.data.DataLoader(
        lazy, batch_size=None, num_workers=workers, collate_fn=_as_it_is, multiprocessing_context=_start_method()
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got pickle error", UserWarning)  # the error says more
            values = iter(loader)
    except (pickle.PicklingError, AttributeError, TypeError) as error:  # what pickling raises
        raise DataError(
            f"the dataset cannot be handed to worker processes: {error}",
            hint="name its class and functions at the top of a module and keep no open files in it, "
            "or read without workers: --num-workers 0",
        ) from error
    try:
        yield from values
    except RuntimeError as error:
        raise DataError(
            f"a worker process that reads items did not go on: {error}",
            hint="where it ran out of memory take fewer, and else none: --num-workers 0 says what is wrong",
        ) from error


def _read(inputs: Any, rows: Sequence[int], ids: Sequence[str], workers: int) -> Iterator[ItemInput]:
    """Yield the inputs of these items, in order; ``ids`` are theirs."""
    lazy = _Rows(inputs, rows)
    values: Generator[Any, None, None] = (lazy[place] for place in range(len(rows)))
    if workers and not _in_memory(inputs) and len(rows) > workers:
        values = _read_by_workers(lazy, workers)
    with contextlib.closing(values):  # workers that are left to themselves end late
        for item_id, value in zip(ids, values, strict=True):
            if isinstance(value, _Unread):
                raise DataError(
                    f"item {item_id} cannot be read: {value.why}",
                    hint="wanted: a tensor, a tuple that begins with one, or a mapping of tensors",
                )
            yield value


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

    What a ``Dataset`` gives is read once to know its content, kept as far as ``keep`` allows, and else read again
    whenever it is needed.

    Args:
        parts: the samples, in order.
        workers: processes that read a ``Dataset``.
        keep: bytes of what a ``Dataset`` gave that may be kept.

    Attributes:
        read_again: whether there is a ``Dataset``.
        kept_bytes: what is kept of it.

    Raises:
        DataError: ids and inputs are not equally many, an item cannot be read, or reads otherwise the second time.
    """

    def __init__(self, parts: Sequence[Samples], workers: int = 0, keep: int = 0) -> None:
        self._where: list[tuple[Any, int]] = []
        self._workers = workers
        self._kept: dict[int, ItemInput] = {}
        self.kept_bytes = 0
        self.read_again = not all(_in_memory(part.inputs) for part in parts)
        self.ids: list[str] = []
        self._shapes: list[tuple[Any, ...]] = []
        self.digests: list[str] = []
        for part in parts:
            count = _length(part.inputs)
            if count != len(part.ids):
                raise DataError(f"samples: {len(part.ids)} ids but {count} inputs")
            for index, value in enumerate(_read(part.inputs, range(count), part.ids, workers)):
                size = 0 if _in_memory(part.inputs) else bytes_of_input(value)
                if size and self.kept_bytes + size <= keep:
                    self._kept[len(self._where)] = value
                    self.kept_bytes += size
                self._where.append((part.inputs, index))
                self._shapes.append(_shape(value))
                self.digests.append(digest(part.ids[index], value))
            self.ids.extend(part.ids)

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
        values = self._values(rows)
        if isinstance(values[0], Mapping):
            return {k: _to(torch.stack([torch.as_tensor(v[k]) for v in values]), device, dtype) for k in values[0]}
        return _to(torch.stack(values), device, dtype)

    def _values(self, rows: Sequence[int]) -> list[ItemInput]:
        """The inputs of these items, kept or read."""
        found = {row: self._kept[row] for row in rows if row in self._kept}
        missing: dict[int, list[int]] = {}
        for row in rows:
            if row not in found:
                missing.setdefault(id(self._where[row][0]), []).append(row)
        for some in missing.values():
            inputs = self._where[some[0]][0]
            ids = [self.ids[row] for row in some]
            read = _read(inputs, [self._where[row][1] for row in some], ids, self._workers)
            for row, value in zip(some, read, strict=True):
                if not _in_memory(inputs) and digest(self.ids[row], value) != self.digests[row]:
                    raise DataError(
                        f"item {self.ids[row]} reads otherwise than the first time",
                        hint="a dataset must give the same for an index each time: switch its augmentation off",
                    )
                found[row] = value
        return [found[row] for row in rows]


def bytes_of_input(value: ItemInput) -> int:
    """What the tensors of an input take."""
    parts = value.values() if isinstance(value, Mapping) else [value]
    return sum(part.numel() * part.element_size() for part in parts)


def _to(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None)


def split_blocks(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the rows in blocks of at most ``size``."""
    for start in range(0, len(rows), size):
        yield [int(row) for row in rows[start : start + size]]
