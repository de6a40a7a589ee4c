"""The memory limit, and block sizes that keep it.

The limit covers everything besides the model, a checkpoint and the items: gradients, tensors that a pass through the
model keeps, copies for products, kernels, and unfinished scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tracinctl.engine.container import container_memory
from tracinctl.engine.heap import KEEPS
from tracinctl.engine.kernel.middle import LEAST_ROWS
from tracinctl.errors import MemoryBudgetError

ITEMS_SHARE = 8
"""Divisor of the memory that gives the part for kept items."""

SCRATCH = 64 << 20
"""Bytes of copies for products at a time; more do not make products faster on any device."""

_INSIDE = 512  # held rows that meet the held ones at a time; symmetric products of more are no faster
_CHUNK = 128  # rows that meet the held ones at a time; more do not make products of long rows faster
_CHUNK_BYTES = 4 << 20  # more of short rows, whose products take less time than calls do
_PASS_BYTES = 128 << 20  # memory that a pass keeps; with more, its tensors do not fit into the processor's cache
_SMALL_PASS_BYTES = 44 << 20  # the same if the process does not keep freed pages (``Heap``)
_UNCOUNTED = 128 << 20  # for libraries, and for freed memory between pieces in use, if this is not a quarter or more
_MARGIN = 1.25  # libraries use some memory that torch does not count


@dataclass(frozen=True)
class Budget:
    """The memory for a computation.

    Attributes:
        limit: the limit in bytes.
        items: bytes of kept items.
        keeps: whether items are kept; then more memory keeps more of them, up to one part in ``ITEMS_SHARE``.
        kernels: bytes of the kernels of all checkpoints, which are held if a quarter of the memory is enough for them.
    """

    limit: int
    items: int = 0
    keeps: bool = False
    kernels: int = 0

    @property
    def remaining(self) -> int:
        """Bytes."""
        return self.limit - self.items

    @property
    def gradients(self) -> int:
        """Bytes for making a kernel. The rest is for earlier kernels, and for what nobody counts."""
        uncounted = max(min(self.remaining // 4, _UNCOUNTED), self.remaining // 8)
        return self.remaining - max(uncounted, min(self.remaining // 4, self.kernels))

    @property
    def gradients_once(self) -> int:
        """Bytes for making a kernel if each gradient is computed once, which leaves little freed memory in pieces."""
        uncounted = max(min(self.remaining // 4, _UNCOUNTED), self.remaining // 20)
        return self.remaining - max(uncounted, min(self.remaining // 4, self.kernels))

    def with_gradients(self, needed: int) -> int:
        """The limit that leaves the needed bytes for making a kernel."""
        beside = max(self.kernels, _UNCOUNTED, -(-needed // 7) + 1)
        return self.with_left(min(-(-needed * 4 // 3), needed + beside))

    def with_left(self, needed: int) -> int:
        """The limit that leaves the needed bytes."""
        return -(-needed * ITEMS_SHARE // (ITEMS_SHARE - 1)) if self.keeps else needed


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of the pieces of work.

    Attributes:
        tile: number of rows whose gradients are held.
        chunk: number of rows whose gradients meet them at a time.
        block: number of items in a pass through the model.
        first: number of held rows in a pass whose gradients have no place yet.
        scratch: bytes for copies in inner products.
        inside: number of held rows that meet the other held rows at a time.
        work: bytes that a pass uses.
    """

    tile: int
    chunk: int
    block: int
    first: int
    scratch: int
    inside: int
    work: int


@dataclass(frozen=True)
class Measured:
    """Memory of gradients in bytes.

    Attributes:
        row: bytes of a row's gradient.
        items_a_row: 1, or 2 if rows are differences.
        work: bytes that a pass uses per item.
        per_item: bytes that a pass keeps per item.
        placed: bytes of an item's gradient that later passes compute where it is held.
    """

    row: int
    items_a_row: int
    work: int
    per_item: int
    placed: int = 0

    @property
    def taken(self) -> int:
        """Bytes of a row of a chunk: its items' gradients, and copies for joining them."""
        return (1 + self.items_a_row) * self.row

    @property
    def least(self) -> int:
        """Bytes for one row at a time."""
        return self.row + 2 * self.taken + int(_MARGIN * self.work) + 4096


def block_sizes(
    budget: Budget, rows: int, columns: int, measured: Measured, scratch: int = SCRATCH, *, in_place: bool = False
) -> BlockSizes:
    """Block sizes for the kernel of a checkpoint, in which ``columns`` rows meet all ``rows``.

    If ``in_place``, all passes but the first one compute what they can where it is held.

    Raises:
        MemoryBudgetError: not even one row at a time fits; the message says how much memory is needed.
    """
    check_room(budget, measured.least)
    held = _all_held(budget, rows, measured, scratch, in_place=in_place) if rows == columns else None
    return held or _in_tiles(budget, columns, measured, scratch)


def _all_held(budget: Budget, rows: int, measured: Measured, scratch: int, *, in_place: bool) -> BlockSizes | None:
    """Sizes with which the gradients of all rows are held at a time; None if they do not fit."""
    row, items_a_row = measured.row, measured.items_a_row
    # products of short rows take more memory than their gradients, but one row at a time is slow
    inside = min(rows, max(2 * _CHUNK, min(_INSIDE, row // 64)))
    scratch = 2048 + min(scratch, budget.gradients_once // 8)
    for_passes = budget.gradients_once - 4096 - scratch - rows * (row + 16 * inside) - _of_middle(rows, row)
    # processes that share the work also hold a block of another one
    first_pass = int(_MARGIN * measured.work) + row
    # neither a pass nor its row holds gradients that are computed in their place
    a_pass = max(1, first_pass - 2 * measured.placed) if in_place else first_pass
    per_item = measured.per_item + row // items_a_row - measured.placed
    most = min(rows, max(_CHUNK, _CHUNK_BYTES // measured.taken)) * items_a_row
    block = min(most, for_passes // a_pass, max(1, _pass_bytes(budget) // max(1, per_item)))
    first = min(block, for_passes // first_pass)
    if first <= 0:
        return None
    chunk, first = (max(1, items // items_a_row) for items in (block, first))
    return BlockSizes(rows, chunk, block, first, scratch, inside, block * a_pass)


def _in_tiles(budget: Budget, columns: int, measured: Measured, scratch: int) -> BlockSizes:
    """Sizes with which the gradients of some rows are held at a time."""
    row, items_a_row = measured.row, measured.items_a_row
    per_item = measured.per_item + row // items_a_row
    taken, work = measured.taken, int(_MARGIN * measured.work)
    spare = budget.gradients - measured.least
    scratch = 2048 + min(scratch, spare // 8)
    most = max(_CHUNK, _CHUNK_BYTES // taken)
    chunk = max(2, min(most, (2 * taken + spare // 8) // (taken + 64)))
    most_kept = _pass_bytes(budget)
    block = max(1, min(chunk * items_a_row, (work + spare // 4) // max(1, work), most_kept // max(1, per_item)))
    if block < chunk * items_a_row <= 2 * block:  # gradients of a single pass need no joining
        chunk = max(2, block // items_a_row)
    for_tile = spare - scratch - (chunk - 2) * (taken + 64) - (block - 1) * work - _UNCOUNTED // 2
    # products of held rows take a quarter of their gradients' bytes at most
    inside = max(chunk, min(_CHUNK, row // 64))
    # with half of a small limit, freed memory between pieces in use made a process of 96 MiB grow by up to 105 MB
    tile = max(1, (row + max(for_tile, spare * 7 // 16)) // (row + 16 * inside))
    tile = max(1, tile - _of_middle(tile, row) // row)
    return BlockSizes(*map(int, (min(tile, columns), chunk, block, chunk, scratch, inside, block * work)))


def _of_middle(rows: int, row: int) -> int:
    """Bytes of a vector in the middle of so many rows."""
    return row if rows >= LEAST_ROWS else 0


def _pass_bytes(budget: Budget) -> int:
    """Bytes that a pass may keep without a loss of speed."""
    return _PASS_BYTES if budget.remaining >= KEEPS else _SMALL_PASS_BYTES


def check_room(budget: Budget, least: int) -> None:
    """Raise MemoryBudgetError if the memory has no ``least`` bytes for the kernel of a checkpoint."""
    if least > budget.gradients:
        needed = size_text(budget.with_gradients(least))
        raise MemoryBudgetError(
            f"the model's gradients need at least {needed}, but `memory` is {size_text(budget.limit)}",
            hint=f"Give `memory` {needed} or more, choose fewer `layers`, or give a `projection_dim`.",
        )


def size_text(size: int) -> str:
    """Bytes in the form of the setting ``memory``, rounded up."""
    unit, name = (1 << 20, "MiB") if size >= 1 << 20 else (1 << 10, "KiB")
    return f"{-(-size // unit)}{name}"


def free_memory(device: torch.device, local: int | None = None) -> int:
    """This process's part of the device's free bytes, if ``local`` processes of the machine share it."""
    local = local or 1
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // -(-local // torch.cuda.device_count())
    limits = (_machine_memory(), container_memory())
    return min(limit for limit in limits if limit is not None) // local


def _machine_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 8 << 30
