"""How much memory the work may take, and the sizes of blocks that keep to it.

Counted is what the engine holds beside the model, a checkpoint and the items themselves: gradients, what a pass
through the model leaves behind, float64 copies, kernels, and scores in the making.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tracinctl.engine.container import container_memory
from tracinctl.errors import MemoryBudgetError

ITEMS_SHARE = 8
"""The memory divided by this is for items that are kept as they are read."""

_CHUNK = 128  # rows that meet the held ones at a time: more make products no faster
_PREFERRED_BYTES = 64 << 20  # what a pass keeps and gives; pages of larger tensors do not stay for the next (``Heap``)
_MARGIN = 1.25  # libraries take some room of their own that torch does not know of


@dataclass(frozen=True)
class Budget:
    """The memory that the work may take.

    A quarter of what is left is for what was computed before.

    Attributes:
        given: bytes.
        items: bytes of it that items take which are kept as they are read.
        keeps: whether there are such items: with more memory more are kept, up to one part in ``ITEMS_SHARE``.
    """

    given: int
    items: int = 0
    keeps: bool = False

    @property
    def left(self) -> int:
        """Bytes."""
        return self.given - self.items

    def with_left(self, needed: int) -> int:
        """Bytes to be given so that the needed ones are left."""
        return -(-needed * ITEMS_SHARE // (ITEMS_SHARE - 1)) if self.keeps else needed


@dataclass(frozen=True)
class BlockSizes:
    """What is taken at a time.

    Attributes:
        tile: rows whose gradients are held.
        chunk: rows whose gradients are taken to meet them.
        block: items of a pass through the model.
        scratch: bytes for float64 copies in inner products.
    """

    tile: int
    chunk: int
    block: int
    scratch: int


@dataclass(frozen=True)
class Measured:
    """What gradients take, in bytes.

    Attributes:
        row: a row's gradient.
        items_a_row: 1, or 2 where rows are differences.
        work: what a pass takes an item.
        kept: what a pass keeps an item.
    """

    row: int
    items_a_row: int
    work: int
    kept: int

    @property
    def taken(self) -> int:
        """Of a row of a chunk: its items' gradients, and copies as they are put together."""
        return (1 + self.items_a_row) * self.row

    @property
    def least(self) -> int:
        """To take one row at a time."""
        return self.row + 2 * self.taken + int(_MARGIN * self.work) + 4096


def block_sizes(budget: Budget, columns: int, measured: Measured) -> BlockSizes:
    """Sizes of blocks for the kernel of a checkpoint, in which ``columns`` rows meet all rows.

    Raises:
        MemoryBudgetError: not even one row at a time fits; the message says what would do.
    """
    row, items_a_row = measured.row, measured.items_a_row
    kept = measured.kept + row // items_a_row
    taken, work = measured.taken, int(_MARGIN * measured.work)
    check_room(budget, measured.least)
    spare = budget.left * 3 // 4 - measured.least
    scratch = 2048 + spare // 8
    chunk = max(2, min(_CHUNK, (2 * taken + spare // 8) // (taken + 64)))
    block = max(1, min(chunk * items_a_row, (work + spare // 4) // max(1, work), _PREFERRED_BYTES // max(1, kept)))
    if block < chunk * items_a_row <= 2 * block:  # gradients of one pass need not be put together
        chunk = max(2, block // items_a_row)
    tile = max(1, (row + spare // 2) // (row + 16 * chunk))
    return BlockSizes(int(min(tile, columns)), int(chunk), int(block), int(scratch))


def check_room(budget: Budget, least: int) -> None:
    """Raise MemoryBudgetError where ``least`` bytes are more than the memory leaves to the kernel of a checkpoint."""
    if least > budget.left * 3 // 4:
        needed = size_text(budget.with_left(-(-least * 4 // 3)))
        raise MemoryBudgetError(
            f"the model's gradients need at least {needed}, {size_text(budget.given)} are allowed",
            hint=f"Allow a `memory` of {needed} or more, take fewer `layers`, or give a `projection_dim`.",
        )


def size_text(size: int) -> str:
    """Bytes as the setting ``memory`` takes them, rounded up."""
    unit, name = (1 << 20, "MiB") if size >= 1 << 20 else (1 << 10, "KiB")
    return f"{-(-size // unit)}{name}"


def free_memory(device: torch.device, local: int | None = None) -> int:
    """Free bytes on the device: this process's part of them, where ``local`` ones of the machine use it."""
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
