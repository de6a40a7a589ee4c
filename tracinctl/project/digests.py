"""SHA-256 of files, remembered with their file-system data, so that an unchanged file is read only once.

A remembered digest is valid while the file's inode, size and both times are exactly the same. They are compared for
equality, so neither a clock that was set back nor a copied date hides a change.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tracinctl.engine.checkpoints.files import checkpoint_digest
from tracinctl.errors import TracinctlError
from tracinctl.files import file_digest, write_text_atomic

_MOST_REMEMBERED = 100_000


class Digests:
    """Digests of files.

    Args:
        memory: the file that stores the digests; an unreadable one is ignored.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[object]] = {}
        self._new = False
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(memory.read_text(encoding="utf-8"))
            self._known = known if isinstance(known, dict) else {}

    def of_file(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        about = path.stat()
        state = [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
        key = str(path.absolute())
        remembered = self._known.get(key)
        if isinstance(remembered, list) and remembered[:-1] == state:
            return str(remembered[-1])
        digest = file_digest(path)
        self._known[key] = [*state, digest]
        self._new = True
        return digest

    def of_checkpoint(self, path: Path) -> str:
        """The digest by which scores name a checkpoint."""
        return checkpoint_digest(path, self.of_file)

    def remember(self) -> None:
        """Store the new digests; if that is not allowed, the next run reads the files again."""
        if self._new:
            kept = dict(list(self._known.items())[-_MOST_REMEMBERED:])
            with contextlib.suppress(TracinctlError):
                write_text_atomic(self._memory, json.dumps(kept) + "\n")
            self._new = False
