"""Freed memory that the C library keeps, given back to the system before the process goes beyond its bound.

Pieces that were freed between pieces in use stay with the process. Where gradients of many sizes come and go that can
be as much again as what is in use, so a bound on what is in use alone would be no bound on the process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")
_LARGE = (32 << 20) - (1 << 16)  # bytes of the largest piece by which glibc adapts itself
_ROOM = 16 * _LARGE  # memory in which the twofold of it may stay with the process


class Heap:
    """The memory of this process, and how far it has grown since this was made.

    Does nothing where the system does not say (no Linux) or the C library cannot (no glibc).

    Args:
        memory: bytes by which the process may grow.
    """

    def __init__(self, memory: int) -> None:
        self._trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        self._room = memory // 2  # what comes before the next look is up to three eighths
        self._begin = self._resident()
        self._next = self._begin + self._room
        self._step = memory // 16
        if self._trim is not None and memory >= _ROOM:
            # once a piece of this size was freed, glibc keeps pieces up to it for the next pass, as any program does
            # that frees one; with fresh pages for each pass a convolution of images takes up to six times as long
            bytearray(_LARGE)

    def trim(self) -> None:
        """Give freed memory back where the process has grown much since the last time."""
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
