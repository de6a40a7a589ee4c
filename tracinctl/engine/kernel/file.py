"""A kernel in a safetensors file, written block by block as it is made, and read row by row as it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.engine.kernel.item_kernel import HeldKernel, ItemKernel
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.kernel.tensor_file import DIGEST, TensorFile
from tracinctl.errors import CacheError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_AT_ONCE = 1 << 20  # bytes that are read at a time


class FileStore:
    """Products on their way into a file."""

    def __init__(self, path: Path, layout: KernelLayout) -> None:
        self._layout = layout
        shapes = _shapes(len(layout.item_digests), len(layout), layout.columns, len(layout.pairs))
        self._tensors = TensorFile.create(path, shapes)
        self._tensors.write("pair_rows", layout.pairs)
        self._tensors.write("item_digests", layout.item_digests)
        self._tensors.write("digests", layout.digests)

    def write(self, row: int, column: int, values: FloatArray) -> None:
        """Put a block of products at its place."""
        _, (_, columns), at = self._tensors.places["kernel"]
        # buffered: an unbuffered file may write less than it is given, and raises nothing
        with self._tensors.path.open("r+b") as file:
            if values.shape[1] == columns:
                file.seek(at + 8 * row * columns)
                file.write(np.ascontiguousarray(values).data.cast("B"))
                return
            for k, line in enumerate(np.ascontiguousarray(values)):
                file.seek(at + 8 * ((row + k) * columns + column))
                file.write(line.data.cast("B"))

    def finish(self, parts: Mapping[str, FloatArray]) -> None:
        """Put the other parts at theirs."""
        for name, values in parts.items():
            self._tensors.write(name, values)
        self._tensors.write(DIGEST, self._tensors.digest())

    def loaded(self) -> HeldKernel:
        """The finished kernel in memory."""
        return FileKernel(self._layout, self._tensors, _Found(), self).loaded()


def _shapes(items: int, rows: int, columns: int, pairs: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        "kernel": ("F64", (rows, columns)),
        "scores": ("F64", (items,)),
        "item_lengths": ("F64", (items,)),
        "lengths": ("F64", (rows,)),
        "pairs": ("F64", (pairs,)),
        "error": ("F64", (2,)),
        "pair_rows": ("I64", (pairs, 2)),
        "item_digests": ("U8", (items, 16)),
        "digests": ("U8", (rows, 16)),
        DIGEST: ("U8", (32,)),
    }


@dataclass(frozen=True)
class _Found:
    """Where in a file the rows, columns, items and pairs of a request are; None = as in the request."""

    rows: IntArray | None = None
    columns: IntArray | None = None
    items: IntArray | None = None


class FileKernel(ItemKernel):
    """A kernel that is read from its file as it is needed."""

    def __init__(self, layout: KernelLayout, tensors: TensorFile, found: _Found, keeper: object) -> None:
        self.layout = layout
        self._keeper = keeper  # a temporary folder is gone with the last one who knows of it
        self._tensors = tensors
        self._found = found

    @staticmethod
    def open(path: Path, layout: KernelLayout, *, same: bool, keeper: object) -> FileKernel | None:
        """The file's kernel in the rows and columns of a layout, or None where it does not hold all of them.

        Args:
            path: of the file.
            layout: what is asked for.
            same: whether the file is named after this very layout.
            keeper: what must live as long as the kernel.

        Raises:
            OSError, ValueError, KeyError, TypeError, AttributeError: there is no such file, or it is damaged.
        """
        tensors = TensorFile.open(path)
        _check(tensors)
        found = _Found() if same and _is_of(tensors, layout) else _find(tensors, layout)
        return None if found is None else FileKernel(layout, tensors, found, keeper)

    def part(self, name: str) -> FloatArray:
        """As ``ItemKernel.part``."""
        where = {"lengths": self._found.rows, "error": None}.get(name, self._found.items)
        values = self._read(name)
        return np.asarray(values if where is None else values[where])

    def _read(self, name: str) -> Any:
        try:
            return self._tensors.read(name)
        except OSError as error:
            raise vanished(self._tensors.path) from error

    def rows(self, rows: IntArray) -> FloatArray:
        """As ``ItemKernel.rows``."""
        rows = np.asarray(rows) if self._found.rows is None else self._found.rows[rows]
        columns = self._found.columns
        _, (_, width), at = self._tensors.places["kernel"]
        result = np.empty((len(rows), self.layout.columns))
        step = max(1, _AT_ONCE // (8 * width))
        try:
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                block = result[start : start + step] if columns is None else np.empty((len(some), width))
                begins = np.flatnonzero(np.diff(some, prepend=-2) != 1)
                for begin, end in zip(begins, [*begins[1:], len(some)], strict=True):
                    self._tensors.file.fill(block[begin:end], at + 8 * width * int(some[begin]))
                if columns is not None:
                    result[start : start + step] = block[:, columns]
        except OSError as error:
            raise vanished(self._tensors.path) from error
        return result

    def stored_pairs(self) -> FloatArray:
        """As ``ItemKernel.stored_pairs``."""
        if self._found.rows is None:
            return np.asarray(self._read("pairs"))
        at = _pair_places(self.layout, self._found.rows, self._read("pair_rows"), self._tensors)
        assert at is not None  # noqa: S101  looked at when the file was found
        return np.asarray(self._read("pairs")[at])

    def loaded(self) -> HeldKernel:
        """The kernel in memory."""
        parts = {name: self.part(name) for name in ("scores", "item_lengths", "lengths", "error")}
        return HeldKernel(self.layout, {**parts, "pairs": self.stored_pairs()}, self.rows(np.arange(len(self.layout))))


def vanished(path: Path) -> CacheError:
    """The error that a kernel's file is gone, or not what it was."""
    return CacheError(
        f"{path} was deleted or changed while it was in use", hint="Run again; what is there is used, the rest made."
    )


def _pair_places(layout: KernelLayout, rows: IntArray, held: IntArray, tensors: TensorFile) -> IntArray | None:
    """Where the layout's pairs stand among those of a file, or None where one is missing."""
    wanted = np.sort(rows[layout.pairs], axis=1)
    count = tensors.places["kernel"][1][0]
    keys, sought = held[:, 0] * count + held[:, 1], wanted[:, 0] * count + wanted[:, 1]
    at = np.searchsorted(keys, sought)
    there = np.isin(sought, keys)
    return at if there.all() else None


def _check(tensors: TensorFile) -> None:
    """Raise ValueError where a file is not, to the bit, what was written: a flipped bit would be a wrong number."""
    kinds = {name: (kind, shape) for name, (kind, shape, _) in tensors.places.items()}
    (rows, columns), (items,), (pairs,) = (kinds[name][1] for name in ("kernel", "scores", "pairs"))
    if kinds != _shapes(items, rows, columns, pairs) or columns > rows:
        raise ValueError("the file holds other tensors than a kernel's")
    if not np.array_equal(tensors.read(DIGEST), tensors.digest()):
        raise ValueError("the file is not as it was written")


def _is_of(tensors: TensorFile, layout: KernelLayout) -> bool:
    return (
        tensors.places["kernel"][1] == (len(layout), layout.columns)
        and np.array_equal(tensors.read("digests"), layout.digests)
        and np.array_equal(tensors.read("item_digests"), layout.item_digests)
        and np.array_equal(tensors.read("pair_rows"), layout.pairs)
    )


def _find(tensors: TensorFile, layout: KernelLayout) -> _Found | None:
    """Where a file holds what a layout asks for, or None where it does not."""
    rows = _digest_places(tensors.read("digests"), layout.digests)
    items = _digest_places(tensors.read("item_digests"), layout.item_digests)
    if rows is None or items is None:
        return None
    columns = rows[: layout.columns]
    if (columns >= tensors.places["kernel"][1][1]).any():
        return None
    if len(layout.pairs) and _pair_places(layout, rows, tensors.read("pair_rows"), tensors) is None:
        return None
    return _Found(rows, columns, items)


def _digest_places(held: npt.NDArray[np.uint8], wanted: npt.NDArray[np.uint8]) -> IntArray | None:
    places = {digest.tobytes(): k for k, digest in enumerate(held)}
    found = [places.get(digest.tobytes(), -1) for digest in wanted]
    return None if -1 in found else np.asarray(found, dtype=np.int64)
