"""Kernels in files, written in blocks and read in rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.kernel.array_file import ArrayFile, ArrayWriter, Spec
from tracinctl.engine.kernel.item_kernel import WAY_LENGTH, HeldKernel, ItemKernel
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.errors import CacheError

_BLOCK = 1 << 20  # bytes of products per read


class FileStore:
    """A store that writes products to a file; ``identity`` is ``KernelWork.identity``."""

    def __init__(self, path: Path, identity: str, layout: KernelLayout) -> None:
        self._identity, self._layout = identity, layout
        words = np.frombuffer(identity.encode(), dtype=np.uint8)
        sizes = len(layout.item_digests), len(layout), layout.columns, len(layout.pairs)
        self._writer = ArrayWriter(path, _arrays(len(words), *sizes))
        self._writer.write("identity", words)
        self._writer.write("pair_rows", layout.pairs)
        self._writer.write("item_digests", layout.item_digests)
        self._writer.write("digests", layout.digests)

    def write(self, row: int, column: int, values: FloatArray) -> None:
        """Write a block of products."""
        self._writer.write_block("kernel", row, column, values)

    def finish(self, parts: Mapping[str, FloatArray]) -> None:
        """Write the other parts, which completes the file."""
        for name, values in parts.items():
            self._writer.write(name, values)
        self._writer.seal()

    def loaded(self) -> HeldKernel:
        """The finished kernel in memory.

        Raises:
            CacheError: the file was changed.
        """
        try:
            return FileKernel.open(self._writer.path, self._identity, self._layout, keeper=self).loaded()
        except (OSError, ValueError) as error:
            raise vanished(self._writer.path) from error


def _arrays(identity: int, items: int, rows: int, columns: int, pairs: int) -> dict[str, Spec]:
    return {
        "identity": (np.uint8, (identity,)),
        "pair_rows": (np.int64, (pairs, 2)),
        "item_digests": (np.uint8, (items, 16)),
        "digests": (np.uint8, (rows, 16)),
        "kernel": (np.float64, (rows, columns)),
        "scores": (np.float64, (items,)),
        "lengths": (np.float64, (rows,)),
        "pairs": (np.float64, (pairs,)),
        "error": (np.float64, (2,)),
        "way": (np.uint8, (WAY_LENGTH,)),
    }


_NAMES = tuple(_arrays(0, 0, 0, 0, 0))


@dataclass(frozen=True)
class _Selection:
    """The places of a request's rows, columns, items and pairs in a file; None = as in the request."""

    rows: IntArray | None = None
    columns: IntArray | None = None
    items: IntArray | None = None


@dataclass(eq=False, repr=False)
class FileKernel(ItemKernel):
    """A kernel that is read from its file on demand."""

    layout: KernelLayout
    _arrays: ArrayFile
    _selection: _Selection
    _keeper: object  # a temporary folder is removed with the last reference to it

    @staticmethod
    def open(path: Path, identity: str, layout: KernelLayout, *, keeper: object) -> FileKernel:
        """Open a file's kernel with the rows and columns of a layout; ``keeper`` must live as long as the kernel.

        Raises:
            OSError, ValueError: the file does not exist, is damaged, has another kernel, or lacks rows or columns.
        """
        arrays = ArrayFile(path, _NAMES)
        _check(arrays, identity)
        selection = _Selection() if _is_of(arrays, layout) else _select(arrays, layout)
        return FileKernel(layout, arrays, selection, keeper)

    def part(self, name: str) -> FloatArray:
        """See ``ItemKernel.part``."""
        values, selection = self._read(name), self._selection
        if selection.rows is not None:
            if name == "pairs":
                values = values[_pair_places(self.layout, selection.rows, self._arrays)]
            elif name not in {"error", "way"}:
                values = values[selection.rows if name == "lengths" else selection.items]
        return np.asarray(values)

    def _read(self, name: str) -> Any:
        try:
            return self._arrays.read(name)
        except OSError as error:
            raise vanished(self._arrays.path) from error

    def rows(self, rows: IntArray) -> FloatArray:
        """See ``ItemKernel.rows``."""
        rows = np.asarray(rows) if self._selection.rows is None else self._selection.rows[rows]
        columns = self._selection.columns
        width = self._arrays.places["kernel"].shape[1]
        result = np.empty((len(rows), self.layout.columns))
        step = max(1, _BLOCK // (8 * width))
        try:
            for start in range(0, len(rows), step):
                wanted = rows[start : start + step]
                block = result[start : start + step] if columns is None else np.empty((len(wanted), width))
                begins = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)
                for begin, end in zip(begins, [*begins[1:], len(wanted)], strict=True):
                    self._arrays.read_rows("kernel", int(wanted[begin]), block[begin:end])
                if columns is not None:
                    result[start : start + step] = block[:, columns]
        except OSError as error:
            raise vanished(self._arrays.path) from error
        return result

    def loaded(self) -> HeldKernel:
        """The kernel in memory."""
        parts = {name: self.part(name) for name in ("scores", "lengths", "pairs", "error", "way")}
        return HeldKernel(self.layout, parts, self.rows(np.arange(len(self.layout))))


def vanished(path: Path) -> CacheError:
    """The error that a kernel's file is gone or changed."""
    return CacheError(
        f"{path} was deleted or changed while it was in use",
        hint="Run the command again; it uses the other kernels and makes this one.",
    )


def _check(arrays: ArrayFile, identity: str) -> None:
    """Raise ValueError if a file does not have this kernel."""
    specs = {name: (place.dtype.type, place.shape) for name, place in arrays.places.items()}
    (words,), (items,), (pairs,) = (specs[name][1] for name in ("identity", "scores", "pairs"))
    rows, columns = specs["kernel"][1]
    if specs != _arrays(words, items, rows, columns, pairs) or columns > rows:
        raise ValueError("the file has other arrays than a kernel")
    if arrays.read("identity").tobytes() != identity.encode():
        raise ValueError("the kernel is for another checkpoint, model or calculation")


def _is_of(arrays: ArrayFile, layout: KernelLayout) -> bool:
    return (
        arrays.places["kernel"].shape == (len(layout), layout.columns)
        and np.array_equal(arrays.read("digests"), layout.digests)
        and np.array_equal(arrays.read("item_digests"), layout.item_digests)
        and np.array_equal(arrays.read("pair_rows"), layout.pairs)
    )


# The next functions find what a layout requests in a file, and raise ValueError if something is missing


def _select(arrays: ArrayFile, layout: KernelLayout) -> _Selection:
    rows = _digest_places(arrays.read("digests"), layout.digests)
    items = _digest_places(arrays.read("item_digests"), layout.item_digests)
    columns = rows[: layout.columns]
    if (columns >= arrays.places["kernel"].shape[1]).any():
        raise ValueError("the kernel lacks columns")
    if len(layout.pairs):
        _pair_places(layout, rows, arrays)
    return _Selection(rows, columns, items)


def _pair_places(layout: KernelLayout, rows: IntArray, arrays: ArrayFile) -> IntArray:
    stored = arrays.read("pair_rows")
    wanted = np.sort(rows[layout.pairs], axis=1)
    count = arrays.places["kernel"].shape[0]
    keys, wanted_keys = (pairs[:, 0] * count + pairs[:, 1] for pairs in (stored, wanted))
    if not np.isin(wanted_keys, keys).all():
        raise ValueError("the kernel lacks pairs")
    return np.searchsorted(keys, wanted_keys)


def _digest_places(stored: npt.NDArray[np.uint8], wanted: npt.NDArray[np.uint8]) -> IntArray:
    by_digest = {digest.tobytes(): k for k, digest in enumerate(stored)}
    places = [by_digest.get(digest.tobytes(), -1) for digest in wanted]
    if -1 in places:
        raise ValueError("the kernel lacks rows")
    return np.asarray(places, dtype=np.int64)
