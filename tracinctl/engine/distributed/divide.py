"""Make the kernels of all checkpoints in several processes.

As many checkpoints as divide evenly are each computed by one process. The items of the remaining ones are divided.
Each kernel is put into the cache as soon as it is made, and the first process reads them all from there. So finished
kernels are kept, and all processes must share the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tracinctl.engine.checkpoints.files import CheckpointSource
from tracinctl.engine.checkpoints.load import Checkpoint, load_checkpoint
from tracinctl.engine.distributed.processes import ALONE, Processes
from tracinctl.engine.kernel.cache import KernelCache
from tracinctl.engine.kernel.checkpoint_kernels import CheckpointKernel, KernelWork
from tracinctl.engine.kernel.score_check import ScoresChangedError
from tracinctl.errors import CacheError, CheckpointError, DataError
from tracinctl.progress import Progress, ProgressCallback, no_progress


@dataclass(frozen=True)
class _State:
    """A checkpoint without its weights when the work was divided, and its kernel in the cache.

    Attributes:
        checkpoint: the checkpoint.
        cached: whether the cache has the kernel.
        changed: why kept kernels are of no use; mostly empty.
    """

    checkpoint: Checkpoint
    cached: bool
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
    display = _Display(no_progress if rank else progress, [path.name for path in checkpoints], len(work.maker.items))
    missing = [k for k, state in enumerate(states) if not state.cached]
    for index, state in enumerate(states):
        if state.cached:
            display.finish(index, "taken from the cache")

    def make(index: int, report: Callable[[int], None], together: Processes) -> None:
        checkpoint = load_unchanged(checkpoints[index], states[index].checkpoint.digest)
        work.compute(checkpoints[index], checkpoint, report, together)

    shared = len(missing) - len(missing) % size
    for start in range(0, shared, size):
        now = missing[start : start + size]
        report = display.begin(now[0], size)
        processes.gather(lambda: make(now[rank], report, ALONE))  # noqa: B023 - called at once
        for index in now:
            display.finish(index, "computed")
    for index in missing[shared:]:
        make(index, display.begin(index, 1, size), processes)
        processes.wait()
        display.finish(index, "computed")
    return processes.first(lambda: [_kernel(work, state) for state in states])


def shared_cache(folder: Path | None, processes: Processes) -> KernelCache:
    """The cache in this folder, or in a temporary folder of the first process, which is removed with it."""
    if folder is not None:
        return KernelCache(folder)
    cache = KernelCache(None) if processes.rank == 0 else None
    [place, *_] = processes.gather(lambda: str(cache.folder) if cache else "")
    return cache or KernelCache(Path(place))


def _kernel(work: KernelWork, state: _State) -> CheckpointKernel:
    checkpoint = state.checkpoint
    kernel = work.opened(work.identity(checkpoint))
    if kernel is None:
        assert work.cache is not None  # noqa: S101  processes exchange kernels through it
        raise CacheError(
            f"the first process does not find the kernel of {checkpoint.name} in {work.cache.folder}",
            hint="Use a cache folder that all processes on all machines share.",
        )
    return CheckpointKernel(checkpoint, kernel, state.cached)


def _states(work: KernelWork, checkpoints: Sequence[CheckpointSource], processes: Processes) -> list[_State]:
    """The state of each checkpoint, and whether its kernel is in the cache; each process checks its share."""
    rank, size = processes.rank, processes.size
    shares = processes.gather(lambda: [_state(work, path) for path in checkpoints[rank::size]])
    states = [shares[k % size][k // size] for k in range(len(checkpoints))]
    changed = next((state.changed for state in states if state.changed), "")
    if not changed:
        return states
    work.notes.append(changed)
    return [replace(state, cached=False) for state in states]


def _state(work: KernelWork, path: CheckpointSource) -> _State:
    checkpoint = load_checkpoint(path)
    cached, changed = False, ""
    try:
        cached = work.cached(checkpoint) is not None
    except ScoresChangedError as error:
        changed = str(error)
    return _State(replace(checkpoint, state={}), cached, changed)


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
    items = hashlib.sha256(",".join([*work.maker.items.ids, *work.maker.items.digests]).encode()).hexdigest()
    names = [path.name for path in checkpoints]
    views = processes.gather(lambda: {"items": items, "model": work.model_key, "checkpoints": names})
    for rank, view in enumerate(views):
        for part, value in view.items():
            if value != views[0][part]:
                raise DataError(
                    f"process {rank} does not have the {part} of process 0",
                    hint="Let all processes read the same files, and fix the seed of random code.",
                )


class _Display:
    """Progress of all processes, estimated from the first one."""

    def __init__(self, progress: ProgressCallback, names: Sequence[str], items: int) -> None:
        self._progress, self._names, self._items = progress, names, items
        self._done = 0

    def begin(self, index: int, hands: int, sharers: int = 1) -> Callable[[int], None]:
        """Begin ``hands`` checkpoints, each shared by ``sharers`` processes; return the callback."""

        def report(done: int) -> None:
            self._show(index, done * hands * sharers, hands=hands)

        report(0)
        return report

    def finish(self, index: int, note: str) -> None:
        self._done += 1
        self._show(index, self._items, note)

    def _show(self, index: int, done: int, note: str = "", hands: int = 1) -> None:
        items, count, name = hands * self._items, len(self._names), self._names[index]
        done = min(items, done)
        self._progress(Progress("gradients", self._done, count, "checkpoints", name, done, items, "items", note, hands))
