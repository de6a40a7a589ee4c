"""Kernels kept on disk, and found by what they depend on.

A kernel's identity is the content of its checkpoint, the model, the layers, the dtype, the projection and the version
of the calculation. The folder is named after it, the file after the contents of the rows. Both are also in the file, so
that another kernel with its name is not mistaken for it. Any file of the identity that has all rows and columns serves
a request. Files are written beside their path and renamed, so readers, other writers and killed processes never see or
leave half a file.

A new item needs the gradients of all items that it meets, which is the work of a new kernel, so it gets a new file.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator
from pathlib import Path

from tracinctl.engine.kernel.file import FileKernel, FileStore, vanished
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.errors import TracinctlError
from tracinctl.files import atomic_path, clear_leftovers, write_text_atomic

VERSION = 8
"""Version of the calculation and the file; kernels of other versions are not used."""

_SUFFIX = ".kernel"


class KernelCache:
    """A folder of kernels.

    Args:
        folder: made with the first kernel, with a file that makes git ignore it; None = a temporary one.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="tracinctl-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder
        self.used: set[Path] = set()

    def _place(self, identity: str) -> Path:
        return self.folder / f"v{VERSION}-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"

    def _path(self, identity: str, layout: KernelLayout) -> Path:
        return self._place(identity) / f"{layout.key}{_SUFFIX}"

    def get(self, identity: str, layout: KernelLayout) -> FileKernel | None:
        """The kernel of this identity and layout, or None."""
        place = self._place(identity)
        for path in [self._path(identity, layout), *_kernels(place)]:
            # ignore a broken, vanished or misplaced file, and one of another layout; the kernel is made again
            with contextlib.suppress(OSError, ValueError):
                kernel = FileKernel.open(path, identity, layout, keeper=self)
                self.used.add(path)
                return kernel
        return None

    @contextlib.contextmanager
    def writing(self, identity: str, layout: KernelLayout) -> Iterator[FileStore]:
        """Yield a store for a kernel that is kept if the block succeeds.

        Raises:
            TracinctlError: the file cannot be written.
        """
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            try:
                write_text_atomic(ignore, "*\n")
            except TracinctlError as error:
                error.hint = f"{error.hint}\nTo keep no kernels, turn `cache` off.".lstrip()
                raise
        with atomic_path(self._path(identity, layout)) as temporary:
            yield FileStore(temporary, identity, layout)

    def written(self, identity: str, layout: KernelLayout) -> FileKernel:
        """The kernel that was just written.

        Raises:
            CacheError: another run removed it.
        """
        kernel = self.get(identity, layout)
        if kernel is None:
            raise vanished(self._path(identity, layout))
        return kernel

    def size(self) -> int:
        """Size of all kernels in bytes."""
        return sum(_size(path) for place in self.folder.glob("v*") for path in _kernels(place))

    def prune(self, used: Collection[Path], *, older_than: float = math.inf) -> int:
        """Delete all kernels except these files; return the number of freed bytes.

        Args:
            used: files to keep.
            older_than: seconds since the epoch; later files belong to another run and are kept too.
        """
        freed = 0
        for place in sorted(self.folder.glob("v*")):
            clear_leftovers(place)
            for path in _kernels(place):
                # another run may delete the same file, or have it open, which protects it on Windows
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    about = path.stat()
                    if path not in used and about.st_mtime < older_than:
                        path.unlink()
                        freed += about.st_size
            # not empty: it has kernels in use, or another run is writing one
            with contextlib.suppress(OSError):
                place.rmdir()
        return freed


def _kernels(place: Path) -> list[Path]:
    """The kernels in a folder, which may be gone; unfinished ones are hidden and do not count."""
    return sorted(path for path in place.glob(f"*{_SUFFIX}") if not path.name.startswith("."))


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
