"""Kernels kept on disk, found again by what they depend on.

A file's folder is named after checkpoint content, model, layers, dtype and the version of the calculation; the file
after the rows' contents. A request is served by any file that holds what is asked for. Files are written beside their
place and renamed, so a reader, a second writer or a killed process never leaves or sees half a file.

An item that is added is no reason to keep the others' products: its own take the gradients of all the items that it
meets, which is the work of a new file, so a new file is made.
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
"""Version of the calculation; kernels of another version are not used."""


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

    def _place(self, key: str) -> Path:
        return self.folder / f"v{VERSION}-{key[:40]}"

    def get(self, key: str, layout: KernelLayout) -> FileKernel | None:
        """The kernel of this layout, or None."""
        place = self._place(key)
        exact = place / f"{layout.key}.safetensors"
        for path in [exact, *_kernels(place)]:
            try:
                kernel = FileKernel.open(path, layout, same=path == exact, keeper=self)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                continue  # a broken or vanished file is as good as none: the kernel is computed and written again
            if kernel is not None:
                self.used.add(path)
                return kernel
        return None

    @contextlib.contextmanager
    def writing(self, key: str, layout: KernelLayout) -> Iterator[FileStore]:
        """Yield a store for a kernel that is kept when the block ends well.

        Raises:
            TracinctlError: the file cannot be written.
        """
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_text_atomic(ignore, "*\n")
        with atomic_path(self._place(key) / f"{layout.key}.safetensors") as temporary:
            yield FileStore(temporary, layout)

    def written(self, key: str, layout: KernelLayout) -> FileKernel:
        """The kernel that was just written.

        Raises:
            CacheError: another run took it away.
        """
        kernel = self.get(key, layout)
        if kernel is None:
            raise vanished(self._place(key) / f"{layout.key}.safetensors")
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
            for path in _kernels(place):
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
    return sorted(path for path in place.glob("*.safetensors") if not path.name.startswith("."))


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def kernel_key(
    checkpoint_digest: str, model: str, parameters: Sequence[str], dtype: str, projection: tuple[int, int] | None
) -> str:
    """What a kernel depends on besides its layout, as a SHA-256; a projection is its dimension and seed."""
    text = json.dumps([VERSION, checkpoint_digest, model, list(parameters), dtype, projection])
    return hashlib.sha256(text.encode()).hexdigest()
