"""Decide when the C library returns freed memory to the system.

Memory that is freed between pieces in use stays with the process. With gradients of many sizes, this can be as much as
the memory in use, so a limit on the memory in use would not limit the process. Memory that is freed at the end of the
heap goes back at once, and the next pass through a model waits for new pages.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

_STATM = Path("/proc/self/statm")
_LARGE = (32 << 20) - (1 << 16)  # largest block that raises glibc's thresholds when it is freed
_POPULATE_WRITE = 23  # advice of Linux 5.14; older ones refuse it, and then pages come one by one
KEEPS = 16 * _LARGE
"""Least memory limit in bytes with which freed pages stay for the next pass."""


class Heap:
    """The growth of this process's memory since this object was made.

    Does nothing if the system does not report memory (not Linux) or the C library cannot return it (not glibc).

    Args:
        memory: allowed growth of the process in bytes.
    """

    def __init__(self, memory: int) -> None:
        self._trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        self._advise: Any = getattr(ctypes.CDLL(None), "madvise", None) if self._trim is not None else None
        self._memory = memory
        self._begin = self._resident()
        # up to three eighths more may be used before the next check
        self._least = self._next = self._begin + memory // 2
        self._step = memory // 16
        self._keeps = self._trim is not None and memory >= KEEPS
        self._end: Any = None
        if self._keeps:
            # After a block of this size is freed, glibc reuses the pages of one pass for the next, up to 64 MiB.
            # With fresh pages for each pass, a convolution of images takes up to six times as long.
            torch.empty(_LARGE, dtype=torch.uint8)

    def keep(self, size: int) -> None:
        """Let the process keep up to ``size`` bytes of freed memory until ``release``, if the limit allows it."""
        if self._keeps:
            self._end = None
            pieces = [torch.empty(_LARGE, dtype=torch.uint8) for _ in range(2 + size // _LARGE)]
            # glibc only returns what is free at the end of the heap, and the last piece lies behind the others;
            # pieces of numpy would get huge pages, which are slow to come if the system's memory is in pieces
            self._end = pieces.pop()

    def release(self) -> None:
        """Stop keeping freed memory, and stop counting what was filled."""
        self._end = None
        self._least = self._next = self._begin + self._memory // 2

    def fill(self, size: int) -> None:
        """Expect the process to grow by ``size`` bytes that stay in use, which ``filled`` counts.

        Half of what the limit leaves beside them may be freed memory.
        """
        now = self._resident()
        self._least = self._next = now + max(0, self._begin + self._memory - now - size) // 2

    def filled(self, size: int) -> None:
        """Count bytes that stay in use from now on."""
        self._least += size
        self._next += size

    def populate(self, tensors: Iterable[torch.Tensor]) -> None:
        """Take the pages of contiguous tensors from the system together, which saves a fourth of the time.

        With several threads it is faster if each takes its own pages, one by one.
        """
        if self._trim is None or torch.get_num_threads() > 1:
            return
        page = os.sysconf("SC_PAGE_SIZE")
        for tensor in tensors:
            begin = -(-tensor.data_ptr() // page) * page
            size = (tensor.data_ptr() + tensor.nbytes) // page * page - begin
            if size > 0:
                self._advise(ctypes.c_void_p(begin), ctypes.c_size_t(size), _POPULATE_WRITE)

    def trim(self) -> None:
        """Return freed memory if the process has grown much since the last time."""
        if self._trim is not None and self._resident() > self._next:
            self._trim(0)
            self._next = max(self._least, self._resident() + self._step)

    def _resident(self) -> int:
        if self._trim is None:
            return 0
        try:
            return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0
