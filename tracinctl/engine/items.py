"""Items of any input type, passed to the model in blocks of equal shape, with digests of their content."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import operator
import pickle
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import IntArray, Samples
from tracinctl.engine.item_digests import content_digest, content_digests, digests, shape_of
from tracinctl.engine.item_forms import WANTED, FormError, ItemInput, Rows, of_each, rows_of
from tracinctl.errors import DataError
from tracinctl.user_code import first_line, said

_READ_TWICE = 4  # number of items of each ``Dataset`` to read twice and compare


@dataclass(frozen=True, eq=False)
class _Reader(torch.utils.data.Dataset[Any]):
    """Read some items; an error of the user's code is returned, because a worker would add its traceback."""

    rows: Rows
    numbers: Sequence[int]
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[ItemInput, bool] | DataError:
        try:
            return self.rows.read(self.numbers[place])
        except FormError as error:
            why, hint = str(error), WANTED
        except (Exception, SystemExit) as error:  # noqa: BLE001  user code may raise anything
            why, hint = said(error), "The dataset raised this; run tracinctl -vv to see where."
        return DataError(f"item {self.ids[place]} cannot be read: {why}", hint=hint)


def _unchanged(value: Any) -> Any:
    return value


def _start_method() -> str | None:
    """The start method of worker processes; None = the interpreter's default."""
    # a fork passes on any dataset; from Python 3.14 on it is no longer the default
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if sys.platform == "linux" and chosen != "spawn" else None


def _read_by_workers(reader: _Reader, workers: int) -> Generator[Any, None, None]:
    loader = torch.utils.data.DataLoader(
        reader, batch_size=None, num_workers=workers, collate_fn=_unchanged, multiprocessing_context=_start_method()
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got pickle error", UserWarning)  # the error has more details
            values = iter(loader)
    except (pickle.PicklingError, AttributeError, TypeError) as error:  # errors of pickling
        raise DataError(
            f"the dataset cannot be passed to worker processes: {error}",
            hint="Define its class and functions at the top of a module and keep no open files in it, "
            "or read without workers: `num_workers` 0.",
        ) from error
    try:
        for value in values:
            # a worker's shared tensor keeps a file open
            yield value if isinstance(value, DataError) else (of_each(torch.clone, value[0]), value[1])
    except RuntimeError as error:
        raise DataError(
            f"a worker process that reads items stopped: {first_line(error)}",
            hint="Use fewer workers, in case memory ran out, or `num_workers` 0 to see another reason.",
        ) from error


def _read(rows: Rows, numbers: Sequence[int], ids: Sequence[str], workers: int) -> Iterator[tuple[ItemInput, bool]]:
    """Yield the inputs of these items in order, and whether a label was left out."""
    reader = _Reader(rows, numbers, ids)
    values: Generator[Any, None, None] = (reader[place] for place in range(len(numbers)))
    if workers and not rows.in_memory and len(numbers) > workers:
        values = _read_by_workers(reader, workers)
    with contextlib.closing(values):  # or workers would stay for a while
        for value in values:
            if isinstance(value, DataError):
                raise value
            yield value


class Items:
    """Training items followed by held-out items, as one sequence.

    Items of a ``Dataset`` are read once for their digests, kept up to ``keep`` bytes, and otherwise read again when
    they are needed.

    Args:
        parts: the samples, in order.
        workers: processes that read a ``Dataset``.
        keep: limit in bytes on kept items of a ``Dataset``.

    Attributes:
        read_again: whether there is a ``Dataset``.
        kept_bytes: bytes of kept items.
        positional: whether items are positional arguments of the model, by number.
        contents: digests of the items' inputs; ``digests`` include their ids.
        notes: remarks on reading for the user.

    Raises:
        DataError: the numbers of ids and inputs differ, an item has an unsupported form, or an item differs when it is
            read again.
    """

    def __init__(self, parts: Sequence[Samples], workers: int = 0, keep: int = 0) -> None:
        self._workers = workers
        self._kept: dict[int, ItemInput] = {}
        self.kept_bytes = 0
        self.ids: list[str] = []
        self._shapes: dict[tuple[Any, ...], int] = {}
        self._shape_numbers: list[int] = []
        self.contents: list[str] = []
        self.notes: list[str] = []
        self._rows = rows = [_rows(part) for part in parts]
        self._begins = np.cumsum([0, *map(len, rows)]).tolist()
        self._part_numbers = np.repeat(np.arange(len(rows)), np.diff(self._begins))
        self.read_again = not all(some.in_memory for some in rows)
        labelled = 0
        for part, some in zip(parts, rows, strict=True):
            self.ids.extend(part.ids)
            if some.together is not None and len(some):
                shape = shape_of(some.input(0))
                self._add_shape(shape, len(some))
                self.contents += content_digests(some.together, shape)
                continue
            for value, label in _read(some, range(len(some)), part.ids, workers):
                self._add(value, keep if not some.in_memory else 0)
                labelled += label
            if len(some) and not some.in_memory:
                self._check_read_again(len(some))
        self.digests = digests(self.ids, self.contents)
        if labelled:
            self.notes.append(f"{labelled:,} items are tuples (input, label); the labels are left out")

    def _add(self, value: ItemInput, keep: int) -> None:
        """Add an item, and keep it if all kept ones have up to ``keep`` bytes."""
        size = bytes_of_input(value)
        if size and self.kept_bytes + size <= keep:
            self._kept[len(self)] = value
            self.kept_bytes += size
        self._add_shape(shape_of(value), 1)
        self.contents.append(content_digest(value))

    def _add_shape(self, shape: tuple[Any, ...], count: int) -> None:
        """Add the number of this shape for the next items."""
        if shape not in self._shapes:
            self._check_arguments(shape)
            self._shapes[shape] = len(self._shapes)
        self._shape_numbers += [self._shapes[shape]] * count

    @property
    def positional(self) -> bool:
        """Whether items are positional arguments of the model, by number."""
        return any(0 in _arguments(shape) for shape in self._shapes)

    def _check_arguments(self, shape: tuple[Any, ...]) -> None:
        """Raise DataError if the next item, of this shape, has other arguments than the first one."""
        names, first = _arguments(shape), _arguments(next(iter(self._shapes), shape))
        if names != first:
            raise DataError(
                f"item {self.ids[len(self)]} holds {_words(names)}, and item {self.ids[0]} holds {_words(first)}",
                hint="Give all items, including held-out ones, in the same form.",
            )

    def _check_read_again(self, count: int) -> None:
        """Check that a few of the last ``count`` items do not differ when read again."""
        places = np.unique(np.linspace(len(self) - count, len(self) - 1, _READ_TWICE).astype(np.int64))
        self._read_again(places.tolist(), workers=0)

    def __len__(self) -> int:
        return len(self._shape_numbers)

    @cached_property
    def shapes(self) -> IntArray:
        """The number of each item's input shape, shape (items,)."""
        return np.asarray(self._shape_numbers, dtype=np.int64)

    def groups(self) -> list[IntArray]:
        """Indices of the items with each input shape."""
        return [np.flatnonzero(self.shapes == number) for number in range(len(self._shapes))]

    def stack(self, rows: Sequence[int] | IntArray, device: torch.device, dtype: torch.dtype) -> ItemInput:
        """Inputs of these items, items first, on the device, with floating-point tensors in ``dtype``."""
        numbers = np.asarray(rows, dtype=np.int64)
        return of_each(functools.partial(_to, device=device, dtype=dtype), self._stacked(numbers))

    def _stacked(self, numbers: IntArray) -> ItemInput:
        parts = self._part_numbers[numbers]
        sources = [(part, self._rows[part].together) for part in np.unique(parts).tolist()]
        if any(columns is None for _, columns in sources):
            return _joined(self._values(numbers.tolist()), torch.stack)
        places = [numbers[parts == part] - self._begins[part] for part, _ in sources]
        taken = [_taken(columns, where) for (_, columns), where in zip(sources, places, strict=True)]
        if len(taken) == 1:
            return taken[0]
        order = torch.from_numpy(np.argsort(np.argsort(parts, kind="stable")))
        return of_each(operator.itemgetter(order), _joined(taken, torch.cat))

    def _values(self, rows: Sequence[int]) -> list[ItemInput]:
        """The inputs of these items, kept or read again."""
        values = {row: self._kept[row] for row in rows if row in self._kept}
        missing: dict[int, list[int]] = {}
        for row in rows:
            if row not in values:
                missing.setdefault(int(self._part_numbers[row]), []).append(row)
        for some in missing.values():
            values.update(zip(some, self._read_again(some, self._workers), strict=True))
        return [values[row] for row in rows]

    def _read_again(self, numbers: Sequence[int], workers: int) -> list[ItemInput]:
        """Read the inputs of these items, all from one ``Samples``.

        Raises:
            DataError: an item differs from the first reading.
        """
        part, ids, inputs = int(self._part_numbers[numbers[0]]), [self.ids[k] for k in numbers], []
        rows, places = self._rows[part], [k - self._begins[part] for k in numbers]
        for k, (value, _) in zip(numbers, _read(rows, places, ids, workers), strict=True):
            if not rows.in_memory and content_digest(value) != self.contents[k]:
                raise DataError(
                    f"item {self.ids[k]} differs when it is read again",
                    hint="Make the dataset return the same item for an index each time: turn its augmentation off.",
                )
            inputs.append(value)
        return inputs


def _rows(samples: Samples) -> Rows:
    try:
        rows = rows_of(samples.inputs)
    except FormError as error:
        raise DataError(f"samples: `inputs` cannot be read: {error}", hint=WANTED) from error
    if len(rows) != len(samples.ids):
        raise DataError(f"samples: {len(samples.ids):,} ids but {len(rows):,} inputs", hint="Give one input per id.")
    return rows


def _arguments(shape: tuple[Any, ...]) -> tuple[str | int, ...]:
    """The names of the arguments of an item with this shape; empty for a tensor."""
    return tuple(part[0] for part in shape if isinstance(part, tuple))


def _words(arguments: tuple[str | int, ...]) -> str:
    if not arguments:
        return "one tensor"
    if 0 in arguments:
        return f"{len(arguments)} positional arguments"
    return ", ".join(f"`{name}`" for name in arguments)


def bytes_of_input(value: ItemInput) -> int:
    """Bytes of an input's tensors."""
    parts = value.values() if isinstance(value, dict) else [value]
    return sum(part.numel() * part.element_size() for part in parts)


def _joined(inputs: Sequence[ItemInput], join: Callable[..., torch.Tensor]) -> ItemInput:
    """Inputs joined by a function such as ``torch.stack``."""
    if isinstance(inputs[0], Mapping):
        return {name: join([value[name] for value in inputs]) for name in inputs[0]}
    return join(inputs)


def _taken(columns: ItemInput, places: IntArray) -> ItemInput:
    """These rows of tensors, without a copy if they follow each other."""
    if (np.diff(places) == 1).all():
        return of_each(lambda column: column[int(places[0]) : int(places[0]) + len(places)], columns)
    return of_each(lambda column: column[torch.from_numpy(places).to(column.device)], columns)


def _to(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if value.is_complex():
        return value.to(device=device, dtype=dtype.to_complex())
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
