"""Arrays in one file, written and read in pieces, so that they need not fit into memory.

The arrays follow one another in numpy's own format (``numpy.load`` can read them in turn), with the SHA-256 of all of
them at the end. The file gets its full size when it is made, so that a full disk is an error before the work.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

_BLOCK = 1 << 20  # bytes per read
_MOST_OPEN = 256  # limit on open files; a process may often open only a thousand
_DIGEST = hashlib.sha256().digest_size

Spec = tuple[type[Any], tuple[int, ...]]
"""Type and shape of an array."""


@dataclass(frozen=True)
class Place:
    """The place of an array in its file; ``offset`` is that of its first byte."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + int(np.prod(self.shape)) * self.dtype.itemsize


class ArrayWriter:
    """A file of arrays that is being written; ``seal`` completes it.

    Args:
        path: a new or existing file.
        arrays: types and shapes by name, in the order of the file.

    Raises:
        OSError: the disk has no room for it.
    """

    def __init__(self, path: Path, arrays: Mapping[str, Spec]) -> None:
        self.path = path
        with path.open("wb") as file:
            for dtype, shape in arrays.values():
                header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
                npy.write_array_header_1_0(file, header)
                file.seek(int(np.prod(shape)) * np.dtype(dtype).itemsize, os.SEEK_CUR)
            size = file.tell() + _DIGEST
            file.flush()
            _reserve(file, size)
        with path.open("rb") as file:
            self.places = _read_places(file, arrays)

    def write(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write a whole array."""
        place = self.places[name]
        assert values.shape == place.shape  # noqa: S101
        self._write([(place.offset, np.ascontiguousarray(values, dtype=place.dtype))])

    def write_block(self, name: str, row: int, column: int, values: npt.NDArray[Any]) -> None:
        """Write a block of a matrix."""
        place = self.places[name]
        values = np.ascontiguousarray(values, dtype=place.dtype)
        width = place.shape[1]
        if values.shape[1] == width:
            self._write([(place.offset + place.dtype.itemsize * row * width, values)])
            return
        starts = (place.offset + place.dtype.itemsize * ((row + k) * width + column) for k in range(len(values)))
        self._write(zip(starts, values, strict=True))

    def _write(self, parts: Iterable[tuple[int, npt.NDArray[Any]]]) -> None:
        # buffered, because an unbuffered file may silently write less
        with self.path.open("r+b") as file:
            for offset, values in parts:
                file.seek(offset)
                file.write(values.data.cast("B") if values.size else b"")

    def seal(self) -> None:
        """Write the digest of the arrays."""
        end = self.path.stat().st_size - _DIGEST
        with self.path.open("rb") as file:
            digest = _digest(file, end)
        self._write([(end, np.frombuffer(digest, dtype=np.uint8))])


class ArrayFile:
    """A complete file of arrays, read in pieces; it stays readable if another run deletes it.

    Some files stay open; the others, and all on Windows, are opened for each read. ``names`` are those of its arrays.

    Raises:
        OSError, ValueError: the file does not exist, or was changed. The digest is checked, because a flipped bit is a
            wrong number. Methods raise OSError if the file is cut short or gone.
    """

    _open_files: ClassVar[weakref.WeakSet[ArrayFile]] = weakref.WeakSet()

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self.path = path
        self._file: FileIO | None = None
        if sys.platform != "win32" and len(self._open_files) < _MOST_OPEN:
            self._file = path.open("rb", buffering=0)
            weakref.finalize(self, self._file.close)
            self._open_files.add(self)
        with self._opened() as file:
            end = file.seek(0, os.SEEK_END) - _DIGEST
            if end < 0 or _digest(file, end) != file.read():
                raise ValueError("the file was changed")
            file.seek(0)
            self.places: Mapping[str, Place] = _read_places(file, names)
        if max(place.end for place in self.places.values()) != end:
            raise ValueError("the file has another length")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[FileIO]:
        if self._file is not None:
            yield self._file
        else:
            with self.path.open("rb", buffering=0) as file:
                yield file

    def read(self, name: str) -> Any:
        """A whole array."""
        values = np.empty(self.places[name].shape, dtype=self.places[name].dtype)
        self._fill(values, self.places[name].offset)
        return values

    def read_rows(self, name: str, row: int, values: npt.NDArray[Any]) -> None:
        """Fill ``values`` with the rows of a matrix that begin at ``row``."""
        place = self.places[name]
        self._fill(values, place.offset + place.dtype.itemsize * place.shape[1] * row)

    def _fill(self, values: npt.NDArray[Any], offset: int) -> None:
        remaining = values.data.cast("B") if values.size else memoryview(b"")
        with self._opened() as file:
            file.seek(offset)
            while remaining and (count := file.readinto(remaining)):
                remaining = remaining[count:]
        if remaining:
            raise OSError("the file is cut short")


def _reserve(file: IO[bytes], size: int) -> None:
    """Make the file ``size`` bytes long, and reserve the disk space if the system can."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
        else:
            return
    file.truncate(size)


def _read_places(file: IO[bytes], names: Iterable[str]) -> dict[str, Place]:
    """The places of the arrays, from their headers."""
    places = {}
    for name in names:
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{name} has no header")
        shape, _, dtype = npy.read_array_header_1_0(file)
        places[name] = Place(dtype, shape, file.tell())
        file.seek(places[name].end)
    return places


def _digest(file: IO[bytes], end: int) -> bytes:
    """SHA-256 of the bytes before ``end``, where the file is left."""
    state = hashlib.sha256()
    file.seek(0)
    while block := file.read(min(_BLOCK, end - file.tell())):
        state.update(block)
    return state.digest()
