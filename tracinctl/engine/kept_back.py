"""What the C library keeps of freed memory: enough to be used again, given back before it goes beyond a bound.

Every pass through a model asks for the same large arrays. The system hands out memory page by page and cleared, which
takes a quarter of a pass where the library gives it back each time.

Freed room between pieces in use stays with the process. Where gradients of many sizes come and go that can be as much
again as what is in use, so a bound on what is in use alone would not be one on the process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers of glibc's settings
_MOST_KEPT = 256 << 20
_MOST_BY_HEAP = 32 << 20  # glibc takes no more


class KeptBack:
    """Watches how far the process has grown beyond what it was when this was made.

    Does nothing where the system does not tell (no Linux) or the C library cannot (no glibc).

    Args:
        memory: bytes by which the process may grow.
    """

    def __init__(self, memory: int) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim: Any = getattr(library, "malloc_trim", None)
        self._room = memory // 2  # what comes before the next look is up to three eighths
        self._begun = self._resident()
        self._next = self._begun + self._room
        self._step = memory // 16
        if library is not None and self._trim is not None:
            # for the process: the library has no settings for a part of it
            library.mallopt(_MMAP_THRESHOLD, max(1 << 17, min(_MOST_BY_HEAP, memory // 16)))
            library.mallopt(_TRIM_THRESHOLD, max(1 << 17, min(_MOST_KEPT, memory // 8)))

    def look(self) -> None:
        """Have freed memory given back where the process has grown much since."""
        if self._trim is not None and self._resident() > self._next:
            self._trim(0)
            self._next = max(self._begun + self._room, self._resident() + self._step)

    def _resident(self) -> int:
        if self._trim is None:
            return 0
        try:
            return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0
