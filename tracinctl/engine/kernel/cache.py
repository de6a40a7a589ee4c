"""Kernels kept on disk, found again by what they depend on.

A kernel's identity is the content of its checkpoint, the model, the layers, the dtype, the projection and the version
of the calculation. The folder is named after it, the file after the contents of the rows, and both stand in the file,
so that the kernel of something else in its place is not taken for it. A request is served by any file of this identity
that holds what is asked for. Files are written beside their place and renamed, so a reader, a second writer or a killed
process never leaves or sees half a file.

A new item needs the gradients of all the items that it meets, which is the work of a new kernel, so a new file is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tracinctl.engine.kernel.file import FileKernel, FileStore, vanished
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.files import atomic_path, clear_leftovers, write_text_atomic

VERSION = 5
"""Version of the calculation and of the file; kernels of another version are not used."""

_SUFFIX = ".kernel"
_OLD_SUFFIX = ".safetensors"  # of earlier versions, whose kernels are only deleted


class KernelCache:
    """A folder of kernels.

    Args:
        folder: made when the first kernel is kept; git ignores it by a file of its own. None = a temporary one.
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
            try:
                kernel = FileKernel.open(path, identity, layout, keeper=self)
            except (OSError, ValueError):
                continue  # a broken, vanished or misplaced file is as good as none: the kernel is made again
            if kernel is not None:
                self.used.add(path)
                return kernel
        return None

    @contextlib.contextmanager
    def writing(self, identity: str, layout: KernelLayout) -> Iterator[FileStore]:
        """Yield a store for a kernel that is kept when the block ends well.

        Raises:
            TracinctlError: the file cannot be written.
        """
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_text_atomic(ignore, "*\n")
        with atomic_path(self._path(identity, layout)) as temporary:
            yield FileStore(temporary, identity, layout)

    def written(self, identity: str, layout: KernelLayout) -> FileKernel:
        """The kernel that was just written.

        Raises:
            CacheError: another run took it away.
        """
        kernel = self.get(identity, layout)
        if kernel is None:
            raise vanished(self._path(identity, layout))
        return kernel

    def size(self) -> int:
        """Bytes of all kernels kept."""
        return sum(_size(path) for place in self.folder.glob("v*") for path in _kernels(place))

    def prune(self, used: Collection[Path], *, older_than: float = math.inf) -> int:
        """Delete all kernels but these files; returns the bytes freed.

        Args:
            used: files that stay.
            older_than: seconds since the epoch; what was written later belongs to another run, and stays too.
        """
        freed = 0
        for place in sorted(self.folder.glob("v*")):
            clear_leftovers(place)
            for path in [*_kernels(place), *place.glob(f"[!.]*{_OLD_SUFFIX}")]:
                # another run may prune the same file, or have it open, which keeps it on Windows
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    about = path.stat()
                    if path not in used and about.st_mtime < older_than:
                        path.unlink()
                        freed += about.st_size
            # not empty: kernels in use, or one that another run is writing
            with contextlib.suppress(OSError):
                place.rmdir()
        return freed


def _kernels(place: Path) -> list[Path]:
    """The kernels in a folder, which may be gone; what is being written is hidden and no kernel yet."""
    return sorted(path for path in place.glob(f"*{_SUFFIX}") if not path.name.startswith("."))


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def kernel_identity(
    checkpoint_digest: str, model: str, parameters: Sequence[str], dtype: str, projection: tuple[int, int] | None
) -> str:
    """What a kernel depends on besides its layout, as JSON; a projection is its dimension and seed."""
    return json.dumps(
        {
            "version": VERSION,
            "checkpoint": checkpoint_digest,
            "model": model,
            "parameters": list(parameters),
            "dtype": dtype,
            "projection": projection,
        }
    )
