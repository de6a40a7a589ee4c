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


def file_state(path: Path) -> list[int]:
    """The file system's data on a file, which change when somebody writes the file."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class Digests:
    """Digests of files.

    Args:
        memory: the file that stores the digests; an unreadable one is ignored.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._entries: dict[str, list[object]] = {}
        self._new = False
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(memory.read_text(encoding="utf-8"))
            self._entries = entries if isinstance(entries, dict) else {}

    def of_file(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        state, key = file_state(path), str(path.absolute())
        entry = self._entries.get(key)
        if isinstance(entry, list) and entry[:-1] == state:
            return str(entry[-1])
        digest = file_digest(path)
        self._entries[key] = [*state, digest]
        self._new = True
        return digest

    def of_checkpoint(self, path: Path) -> str:
        """The digest by which scores name a checkpoint."""
        return checkpoint_digest(path, self.of_file)

    def remember(self) -> None:
        """Store the new digests; if that is not allowed, the next run reads the files again."""
        if self._new:
            entries = dict(list(self._entries.items())[-_MOST_REMEMBERED:])
            with contextlib.suppress(TracinctlError):
                write_text_atomic(self._memory, json.dumps(entries) + "\n")
            self._new = False
