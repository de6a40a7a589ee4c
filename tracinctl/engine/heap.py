"""Return freed memory from the C library to the system, so that the process keeps its memory limit.

Memory that is freed between pieces in use stays with the process. With gradients of many sizes, this can be as much as
the memory in use, so a limit on the memory in use would not limit the process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

_STATM = Path("/proc/self/statm")
_LARGE = (32 << 20) - (1 << 16)  # largest block that raises glibc's thresholds when it is freed
_ROOM = 16 * _LARGE  # least memory limit; glibc then keeps up to 64 MiB of freed pages


class Heap:
    """The growth of this process's memory since this object was made.

    Does nothing if the system does not report memory (not Linux) or the C library cannot return it (not glibc).

    Args:
        memory: allowed growth of the process in bytes.
    """

    def __init__(self, memory: int) -> None:
        self._trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        self._room = memory // 2  # up to three eighths more may be used before the next check
        self._begin = self._resident()
        self._next = self._begin + self._room
        self._step = memory // 16
        if self._trim is not None and memory >= _ROOM:
            # After a block of this size is freed, glibc reuses the pages of one pass for the next.
            # With fresh pages for each pass, a convolution of images takes up to six times as long.
            np.empty(_LARGE, dtype=np.uint8)

    def trim(self) -> None:
        """Return freed memory if the process has grown much since the last time."""
        if self._trim is not None and self._resident() > self._next:
            self._trim(0)
            self._next = max(self._begin + self._room, self._resident() + self._step)

    def _resident(self) -> int:
        if self._trim is None:
            return 0
        try:
            return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0
