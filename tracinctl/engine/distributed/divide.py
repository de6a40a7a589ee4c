"""Make the kernels of all checkpoints in several processes.

As many checkpoints as divide evenly are each computed by one process. The items of the remaining ones are divided.
Each kernel is put into the cache as soon as it is made, and the first process reads them all from there. So finished
kernels are kept, and all processes must share the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracinctl.engine.checkpoints.files import CheckpointSource
from tracinctl.engine.checkpoints.load import Checkpoint, load_checkpoint
from tracinctl.engine.checkpoints.record import CheckpointRecord
from tracinctl.engine.distributed.processes import Processes
from tracinctl.engine.kernel.cache import KernelCache
from tracinctl.engine.kernel.checkpoint_kernels import CheckpointKernel, KernelWork
from tracinctl.engine.kernel.score_check import ScoresChangedError
from tracinctl.errors import CacheError, CheckpointError, DataError
from tracinctl.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class _State:
    """The state of a checkpoint when the work was divided."""

    name: str
    digest: str
    record: CheckpointRecord
    identity: str
    kept: bool
    changed: str = ""


def divided_kernels(
    work: KernelWork, checkpoints: Sequence[CheckpointSource], processes: Processes, progress: ProgressCallback
) -> list[CheckpointKernel] | None:
    """The kernels of all checkpoints, in order, in the first process; None in the others.

    Raises:
        TracinctlError: the error of any process.
    """
    rank, size = processes.rank, processes.size
    _check_same(work, checkpoints, processes)
    states = _states(work, checkpoints, processes)
    missing = [k for k, state in enumerate(states) if not state.kept]
    display = _Display(progress, [path.name for path in checkpoints], len(work.items), missing)

    def checkpoint(index: int) -> Checkpoint:
        return load_unchanged(checkpoints[index], states[index].digest)

    shared = len(missing) - len(missing) % size
    for start in range(0, shared, size):
        now = missing[start : start + size]
        index = now[rank]
        report = _silent if rank else display.begin(now[0], size)
        processes.each(lambda: _make(work, checkpoints[index], checkpoint(index), report))  # noqa: B023 - called at once
        if not rank:
            display.finish(now)
    for index in missing[shared:]:
        report = _silent if rank else display.begin(index, 1, size)
        work.compute(checkpoints[index], checkpoint(index), report, processes)
        processes.each(_nothing)
        if not rank:
            display.finish([index])
    return processes.first(lambda: [_kernel(work, state, state.kept) for state in states])


def shared_cache(folder: Path | None, processes: Processes | None) -> KernelCache:
    """The cache in this folder, or in a temporary folder of the first process, which is removed with it."""
    if folder is not None or processes is None:
        return KernelCache(folder)
    cache = KernelCache(None) if processes.rank == 0 else None
    [place, *_] = processes.each(lambda: str(cache.folder) if cache else "")
    return cache or KernelCache(Path(place))


def _make(work: KernelWork, path: CheckpointSource, checkpoint: Checkpoint, report: Callable[[int], None]) -> None:
    """Put the kernel into the cache."""
    work.compute(path, checkpoint, report)


def _kernel(work: KernelWork, state: _State, taken: bool) -> CheckpointKernel:
    kernel = work.opened(state.identity)
    if kernel is None:
        assert work.cache is not None  # noqa: S101  processes exchange kernels through it
        raise CacheError(
            f"the first process does not find the kernel of {state.name} in {work.cache.folder}",
            hint="Use a cache folder that all processes on all machines share.",
        )
    return CheckpointKernel(state.name, state.digest, state.record, kernel, taken)


def _states(work: KernelWork, checkpoints: Sequence[CheckpointSource], processes: Processes) -> list[_State]:
    """The state of each checkpoint, and whether its kernel is in the cache; each process checks its share."""
    states: list[_State] = [_State("", "", CheckpointRecord(), "", kept=False)] * len(checkpoints)
    shares = processes.each(lambda: [_state(work, path) for path in checkpoints[processes.rank :: processes.size]])
    for rank, share in enumerate(shares):
        states[rank :: processes.size] = share
    changed = next((state.changed for state in states if state.changed), "")
    if not changed:
        return states
    work.notes.append(changed)
    return [_State(state.name, state.digest, state.record, state.identity, kept=False) for state in states]


def _state(work: KernelWork, path: CheckpointSource) -> _State:
    checkpoint = load_checkpoint(path)
    kept, changed = False, ""
    try:
        kept = work.kept(checkpoint) is not None
    except ScoresChangedError as error:
        changed = str(error)
    return _State(checkpoint.name, checkpoint.digest, checkpoint.record, work.identity(checkpoint), kept, changed)


def load_unchanged(path: CheckpointSource, digest: str) -> Checkpoint:
    """Load a checkpoint, and check that it is the same as when the work was divided.

    Raises:
        CheckpointError: the checkpoint has changed.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.digest != digest:
        raise CheckpointError(
            f"{path} changed during the run", hint="Run the command again when nothing writes to this file."
        )
    return checkpoint


def _check_same(work: KernelWork, checkpoints: Sequence[CheckpointSource], processes: Processes) -> None:
    """Raise DataError unless all processes have the same items, model and checkpoints."""
    items = hashlib.sha256(",".join([*work.items.ids, *work.items.digests]).encode()).hexdigest()
    names = [path.name for path in checkpoints]
    views = processes.each(lambda: {"items": items, "model": work.model_key, "checkpoints": names})
    for rank, view in enumerate(views):
        for part, value in view.items():
            if value != views[0][part]:
                raise DataError(
                    f"process {rank} has other {part} than process 0",
                    hint="Let all processes read the same files, and fix the seed of random code.",
                )


class _Display:
    """Progress of all processes, estimated from the first one."""

    def __init__(self, progress: ProgressCallback, names: Sequence[str], items: int, missing: Sequence[int]) -> None:
        self._progress, self._names, self._items = progress, names, items
        self._done = 0
        for index in range(len(names)):
            if index not in missing:
                self._finish(index, "taken from the cache")

    def begin(self, index: int, hands: int, sharers: int = 1) -> Callable[[int], None]:
        """Begin ``hands`` checkpoints, each shared by ``sharers`` processes; return the callback."""

        def report(done: int) -> None:
            items = hands * self._items
            done = min(items, done * hands * sharers)
            name = self._names[index]
            self._progress(
                Progress(
                    "gradients", self._done, len(self._names), "checkpoints", name, done, items, "items", "", hands
                )
            )

        report(0)
        return report

    def finish(self, indices: Sequence[int]) -> None:
        """Mark these checkpoints as done."""
        for index in indices:
            self._finish(index, "computed")

    def _finish(self, index: int, note: str) -> None:
        self._done += 1
        self._progress(
            Progress(
                "gradients",
                self._done,
                len(self._names),
                "checkpoints",
                self._names[index],
                self._items,
                self._items,
                "items",
                note,
            )
        )


def _silent(done: int) -> None:
    """Report nothing, because the first process shows the progress."""


def _nothing() -> None:
    """Do nothing, to wait for the others."""
