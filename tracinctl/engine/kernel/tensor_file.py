"""A safetensors file that is written and read by place, so that what it holds never has to be in memory at once."""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

_TYPES = {"F64": np.float64, "I64": np.int64, "U8": np.uint8}
_AT_ONCE = 1 << 20  # bytes that are read at a time
_LARGEST_HEADER = 1 << 20
_HELD_OPEN = 256  # of the thousand files that a process may have open
DIGEST = "sha256"
"""The tensor that holds the digest of all before it."""


class _OpenFile:
    """A file that is read by place, and stays readable where another run deletes it.

    Only so many are held open; the others, and all of a system without ``preadv``, are opened for each reading.
    """

    _held: ClassVar[weakref.WeakSet[_OpenFile]] = weakref.WeakSet()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        if hasattr(os, "preadv") and len(self._held) < _HELD_OPEN:
            self._file = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
            self._held.add(self)

    def size(self) -> int:
        """Bytes of the file."""
        return (self._path.stat() if self._file is None else os.fstat(self._file)).st_size

    def read(self, at: int, count: int) -> bytes:
        """As ``fill``."""
        values = np.empty(count, dtype=np.uint8)
        self.fill(values, at)
        return values.tobytes()

    def fill(self, values: npt.NDArray[Any], at: int) -> None:
        """Read as many bytes as the array takes, from byte ``at`` on.

        Raises:
            OSError: there are fewer, or the file is gone.
        """
        if not values.size:
            return
        left = values.data.cast("B")
        if self._file is None:
            with self._path.open("rb", buffering=0) as file:
                file.seek(at)
                while left and (count := file.readinto(left)):
                    left = left[count:]
        else:
            while left and (count := os.preadv(self._file, [left], at)):
                left, at = left[count:], at + count
        if left:
            raise OSError("the file is cut short")


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors, and where the tensors of a safetensors file lie: type, shape and first byte of each."""

    path: Path
    places: Mapping[str, tuple[str, tuple[int, ...], int]]
    file: _OpenFile

    @staticmethod
    def open(path: Path) -> TensorFile:
        """Read the header.

        Raises:
            OSError, ValueError, KeyError, TypeError: there is no such file, or it is damaged.
        """
        file = _OpenFile(path)
        size = int.from_bytes(file.read(0, 8), "little")
        if not size <= _LARGEST_HEADER:
            raise ValueError("no such header")
        header = json.loads(file.read(8, size))
        places, end = {}, 0
        for name, each in header.items():
            begin, stop = each["data_offsets"]
            shape = tuple(each["shape"])
            if begin != end or stop - begin != int(np.prod(shape)) * np.dtype(_TYPES[each["dtype"]]).itemsize:
                raise ValueError(f"{name} has another size or place")
            places[name] = (each["dtype"], shape, 8 + size + begin)
            end = stop
        if file.size() != 8 + size + end:
            raise ValueError("the file is cut short")
        return TensorFile(path, places, file)

    @staticmethod
    def create(path: Path, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> TensorFile:
        """Write the header, and zeros for the rest."""
        header: dict[str, Any] = {}
        at = 0
        for name, (kind, shape) in shapes.items():
            size = int(np.prod(shape)) * np.dtype(_TYPES[kind]).itemsize
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + at)
        return TensorFile.open(path)

    def digest(self) -> npt.NDArray[np.uint8]:
        """SHA-256 of all that stands before its own place."""
        state = hashlib.sha256()
        end = self.places[DIGEST][2]
        for start in range(0, end, _AT_ONCE):
            state.update(self.file.read(start, min(_AT_ONCE, end - start)))
        return np.frombuffer(state.digest(), dtype=np.uint8)

    def read(self, name: str) -> Any:
        """A whole tensor.

        Raises:
            OSError: the file is cut short, or gone.
        """
        kind, shape, at = self.places[name]
        values = np.empty(shape, dtype=_TYPES[kind])
        self.file.fill(values, at)
        return values

    def write(self, name: str, values: npt.NDArray[Any]) -> None:
        """Put a whole tensor at its place."""
        kind, shape, at = self.places[name]
        assert values.shape == shape  # noqa: S101
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(np.ascontiguousarray(values, dtype=_TYPES[kind]).data.cast("B") if values.size else b"")
