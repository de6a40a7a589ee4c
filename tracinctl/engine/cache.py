"""Kernels kept on disk, found again by what they depend on.

A file's folder is named after checkpoint content, model, layers, dtype and the version of the calculation; the file
after the items' ids and contents. A request is served by any file that holds all of its items. Files are written beside
their place and renamed, so a reader, a second writer or a killed process never leaves or sees half a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracinctl.engine.kernel import ItemKernel
from tracinctl.files import write_bytes_atomic, write_text_atomic

VERSION = 1
"""Version of the calculation; kernels of another version are not used."""


class KernelCache:
    """A folder of kernels.

    Args:
        folder: made when the first kernel is kept; git ignores it by a file of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _place(self, key: str) -> Path:
        return self.folder / f"v{VERSION}-{key[:40]}"

    def get(self, key: str, digests: Sequence[str]) -> ItemKernel | None:
        """The kernel of these items in this order, or None."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        place = self._place(key)
        exact = place / f"{_items_key(digests)}.safetensors"
        for path in [exact, *sorted(place.glob("*.safetensors"))] if place.is_dir() else []:
            try:
                raw = path.read_bytes()
                size = int.from_bytes(raw[:8], "little")
                held = json.loads(raw[8 : 8 + size])["__metadata__"]["items"].split(",")
                where = {digest: k for k, digest in enumerate(held)}
                if not all(digest in where for digest in digests):
                    continue
                rows = np.asarray([where[digest] for digest in digests])
                tensors = load(raw)
                scores, kernel = tensors["scores"], tensors["kernel"]
                if scores.shape != (len(held),) or kernel.shape != (len(held), len(held)):
                    continue
            except (OSError, SafetensorError, ValueError, KeyError, TypeError):
                continue  # a broken or vanished file is as good as none: the kernel is computed and written again
            return ItemKernel(scores[rows], kernel[np.ix_(rows, rows)])
        return None

    def put(self, key: str, digests: Sequence[str], kernel: ItemKernel) -> None:
        """Keep a kernel.

        Raises:
            TracinctlError: the file cannot be written.
        """
        from safetensors.numpy import save

        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_text_atomic(ignore, "*\n")
        tensors = {"scores": kernel.scores, "kernel": np.ascontiguousarray(kernel.kernel)}
        data = save(tensors, metadata={"items": ",".join(digests)})
        write_bytes_atomic(self._place(key) / f"{_items_key(digests)}.safetensors", data)

    def size(self) -> int:
        """Bytes of all kernels kept."""
        return sum(path.stat().st_size for path in self.folder.glob("v*/*.safetensors"))

    def prune(self, keys: Sequence[str]) -> int:
        """Delete the kernels of all other keys; returns the bytes freed."""
        kept = {self._place(key).name for key in keys}
        freed = 0
        for path in sorted(self.folder.glob("v*/*.safetensors")):
            if path.parent.name not in kept:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
        return freed


def kernel_key(checkpoint_digest: str, model: str, parameters: Sequence[str], dtype: str) -> str:
    """What a kernel depends on besides the items, as a SHA-256."""
    text = json.dumps([VERSION, checkpoint_digest, model, list(parameters), dtype])
    return hashlib.sha256(text.encode()).hexdigest()


def _items_key(digests: Sequence[str]) -> str:
    return hashlib.sha256(",".join(digests).encode()).hexdigest()[:40]
