"""Kernels kept on disk, found again by what they depend on.

A file's folder is named after checkpoint content, model, layers, dtype and the version of the calculation; the file
after the rows' contents. A request is served by any file that holds what is asked for. Files are written beside their
place and renamed, so a reader, a second writer or a killed process never leaves or sees half a file.

An item that is added is no reason to keep the others' products: its own take the gradients of all the items that it
meets, which is the work of a new file, so a new file is made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tracinctl.engine.kernel_file import FileKernel, FileStore
from tracinctl.engine.layout import KernelLayout
from tracinctl.files import atomic_path, write_text_atomic

VERSION = 2
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
        for path in [exact, *sorted(place.glob("*.safetensors"))] if place.is_dir() else []:
            try:
                kernel = FileKernel.open(path, layout, same=path == exact, keeper=self)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                continue  # a broken or vanished file is as good as none: the kernel is computed and written again
            if kernel is not None:
                self.used.add(path)
                return kernel
        return None

    @contextmanager
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

    def size(self) -> int:
        """Bytes of all kernels kept."""
        return sum(path.stat().st_size for path in self.folder.glob("v*/*.safetensors"))

    def prune(self, used: Collection[Path]) -> int:
        """Delete all kernels but these files; returns the bytes freed."""
        freed = 0
        for path in sorted(self.folder.glob("v*/*.safetensors")):
            if path not in used:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
        return freed


def kernel_key(checkpoint_digest: str, model: str, parameters: Sequence[str], dtype: str) -> str:
    """What a kernel depends on besides its layout, as a SHA-256."""
    text = json.dumps([VERSION, checkpoint_digest, model, list(parameters), dtype])
    return hashlib.sha256(text.encode()).hexdigest()
