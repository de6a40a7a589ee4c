"""The kernels of all checkpoints, worked out by several processes.

As many checkpoints as can be dealt out evenly are computed whole, each by one process. The items of those that are
left are divided: each process takes the gradients of its share, and shares meet by being sent around. The first process
gets all kernels. Each kernel is kept in the cache by the process that has it first, so what was finished stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tracinctl.engine.checkpoints.load import Checkpoint, load_checkpoint
from tracinctl.engine.distributed.processes import Processes
from tracinctl.engine.kernel.checkpoint_kernels import CheckpointKernel, KernelWork
from tracinctl.engine.kernel.item_kernel import ItemKernel
from tracinctl.engine.kernel.score_check import ScoresChangedError
from tracinctl.errors import CheckpointError, DataError
from tracinctl.progress import Progress, ProgressCallback

_AT_ONCE = 8 << 20  # bytes of a kernel that are sent together


@dataclass(frozen=True)
class _About:
    name: str
    digest: str
    learning_rate: float | None
    key: str


def divided_kernels(
    work: KernelWork, checkpoints: Sequence[Path], processes: Processes, progress: ProgressCallback
) -> list[CheckpointKernel] | None:
    """The kernels of all checkpoints, in order, in the first process; None in the others.

    Raises:
        TracinctlError: what failed in any of the processes.
    """
    me, size = processes.rank, processes.size
    _check_same(work, checkpoints, processes)
    abouts: list[_About] = [_About("", "", None, "")] * len(checkpoints)
    own = []
    for path in checkpoints[me::size]:
        checkpoint = load_checkpoint(path)
        own.append([checkpoint.name, checkpoint.digest, checkpoint.learning_rate, work.identity(checkpoint)])
    for rank, described in enumerate(processes.share(own)):
        abouts[rank::size] = [_About(*each) for each in described]

    kernels: dict[int, ItemKernel | None] = {}
    if me == 0:
        kernels = _kept(work, checkpoints, range(len(checkpoints)))
    todo: list[int] = processes.share([k for k in range(len(checkpoints)) if k not in kernels])[0]
    taken = [k for k in range(len(checkpoints)) if k not in todo]
    told = _Told(processes, progress, [p.name for p in checkpoints], len(work.items), taken)

    whole = todo if len(work.items) < size else todo[: len(todo) - len(todo) % size]
    for index in whole[me::size]:
        told.begin(index)
        kernels[index] = work.compute(checkpoints[index], _unchanged(checkpoints[index], abouts[index]), told.items)
        told.finish(index)
    processes.share(None, told.show)
    for index in todo[len(whole) :]:
        told.begin(index)
        kernels[index] = work.compute(
            checkpoints[index], _unchanged(checkpoints[index], abouts[index]), told.items, processes
        )
        if me == 0:
            told.finish(index)
    # processes of one machine share the cache, and then there is nothing to send
    if me == 0:
        kernels |= _kept(work, checkpoints, [k for k in whole if k not in kernels])
    there: list[int] = processes.share(list(kernels))[0]
    for place, index in enumerate(whole):
        source = place % size
        if source and index not in there and me in {0, source}:
            kernels[index] = _hand_over(work, abouts[index].key, source, kernels.get(index), processes)
    processes.share(None, told.show)
    if me:
        return None
    found = []
    for k, each in enumerate(abouts):
        kernel = kernels[k]
        assert kernel is not None  # noqa: S101  all are here now
        found.append(CheckpointKernel(each.name, each.digest, each.learning_rate, kernel, k in taken))
    return found


def _kept(work: KernelWork, checkpoints: Sequence[Path], places: Iterable[int]) -> dict[int, ItemKernel | None]:
    """The kernels of these checkpoints that the cache holds."""
    try:
        kernels = {k: work.kept(load_checkpoint(checkpoints[k])) for k in places}
    except ScoresChangedError as changed:
        work.notes.append(str(changed))
        return {}
    return {k: kernel for k, kernel in kernels.items() if kernel is not None}


def _unchanged(path: Path, about: _About) -> Checkpoint:
    """The checkpoint as it was when the work was divided.

    Raises:
        CheckpointError: it has changed since.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.digest != about.digest:
        raise CheckpointError(
            f"{path} changed while it was being worked on", hint="Run again when nobody writes to it."
        )
    return checkpoint


def _check_same(work: KernelWork, checkpoints: Sequence[Path], processes: Processes) -> None:
    """Raise DataError where not all processes see the same items, model and checkpoints."""
    items = hashlib.sha256(",".join([*work.items.ids, *work.items.digests]).encode()).hexdigest()
    seen = processes.share({"items": items, "model": work.model_key, "checkpoints": [p.name for p in checkpoints]})
    for rank, other in enumerate(seen):
        for what, value in other.items():
            if value != seen[0][what]:
                raise DataError(
                    f"process {rank} sees other {what} than process 0",
                    hint="All processes must read the same files, and code that draws at random must fix its seed.",
                )


def _hand_over(
    work: KernelWork, key: str, source: int, kernel: ItemKernel | None, processes: Processes
) -> ItemKernel | None:
    """Send a kernel to the first process, in parts; gives it there."""
    layout = work.layout
    step = max(1, _AT_ONCE // (8 * max(1, layout.columns)))
    parts = {"scores": len(work.items), "item_lengths": len(work.items), "lengths": len(layout)}
    parts |= {"pairs": len(layout.pairs), "error": 2}
    if processes.rank == source:
        assert kernel is not None  # noqa: S101  made here
        for name in parts:
            values = kernel.stored_pairs() if name == "pairs" else kernel.part(name)
            processes.hand_over(torch.from_numpy(values), source)
        for start in range(0, len(layout), step):
            rows = np.arange(start, min(start + step, len(layout)))
            processes.hand_over(torch.from_numpy(kernel.rows(rows)), source)
        return kernel
    with work.keeping(key) as keeping:  # the caches of other machines may be folders of their own
        received = {}
        for name, count in parts.items():
            received[name] = np.empty(count)
            processes.hand_over(torch.from_numpy(received[name]), source)
        keeping.parts = received
        for start in range(0, len(layout), step):
            values = np.empty((min(step, len(layout) - start), layout.columns))
            processes.hand_over(torch.from_numpy(values), source)
            keeping.store.write(start, 0, values)
    return keeping.kernel


class _Told:
    """Progress of all processes together, reported by the first one."""

    def __init__(
        self, processes: Processes, progress: ProgressCallback, names: Sequence[str], items: int, taken: Sequence[int]
    ) -> None:
        self._processes, self._progress, self._names = processes, progress, names
        self._items, self._taken = items, len(taken)
        self._shown = -1
        self._here = 0
        self._last = ""
        if processes.rank == 0:
            for place, index in enumerate(taken, 1):
                note = "taken from the cache"
                progress(Progress("gradients", place, len(names), "checkpoints", names[index], note=note))
        self.show()

    def begin(self, index: int) -> None:
        self._here = 0
        self._last = self._last or self._names[index]
        self.items(0)

    def items(self, done: int) -> None:
        self._processes.check()
        self._processes.count("items", done - self._here)
        self._here = done
        self.show()

    def finish(self, index: int) -> None:
        place = self._processes.count("places", 1)
        self._processes.count(f"place {place}", index)
        self._processes.count("finished", 1)
        self.show()

    def show(self) -> None:
        if self._processes.rank:
            return
        total = len(self._names)
        finished = self._processes.count("finished")
        for place in range(max(self._shown, 0) + 1, finished + 1):
            self._last = self._names[self._processes.count(f"place {place}")]
            self._tell(place, place * self._items, "computed")
        self._shown = finished
        if self._taken + finished < total:
            self._tell(finished, self._processes.count("items"), "")

    def _tell(self, finished: int, items: int, note: str) -> None:
        done, total = self._taken + finished, len(self._names)
        hands = max(1, min(self._processes.size, total - done))
        within = max(0, items - finished * self._items)
        self._progress(
            Progress(
                "gradients",
                done,
                total,
                "checkpoints",
                self._last,
                min(within, hands * self._items),
                hands * self._items,
                "items",
                note,
                hands,
            )
        )
