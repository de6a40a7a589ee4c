"""The kernels of checkpoints, from the cache or computed and kept there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray
from tracinctl.engine.checkpoints.files import CheckpointSource, checkpoint_digest
from tracinctl.engine.checkpoints.load import Checkpoint, apply_checkpoint, load_checkpoint
from tracinctl.engine.checkpoints.weights import group_scales
from tracinctl.engine.distributed.processes import ALONE, Processes
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.kernel.cache import VERSION, KernelCache
from tracinctl.engine.kernel.item_kernel import WAY_LENGTH, HeldKernel, HeldStore, ItemKernel, KernelStore
from tracinctl.engine.kernel.maker import KernelMaker
from tracinctl.engine.kernel.projection_error import projection_error
from tracinctl.engine.kernel.score_check import ScoresChangedError, check_scores
from tracinctl.errors import CacheError, CheckpointError
from tracinctl.progress import Progress, ProgressCallback

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class CheckpointKernel:
    """A kernel and its origin.

    Attributes:
        checkpoint: its checkpoint, without weights.
        kernel: scores of all items and inner products of their gradients.
        taken: whether it came from the cache.
    """

    checkpoint: Checkpoint
    kernel: ItemKernel
    taken: bool


@dataclass(frozen=True)
class KernelWork:
    """The work that all checkpoints of a run share.

    Attributes:
        maker: maker of kernels; its model gets each checkpoint's state in turn.
        model_key: digest of everything in the model that is not in checkpoints.
        exact: exact gradients that measure the projection's error; None without projection.
        cache: the cache of kernels; None = none.
        in_memory: whether the kernels of all checkpoints are held in memory.
        by_rates: whether parameter groups count by their own learning rates.
        removed: names of wrappers that were removed from the model.
        notes: notes for the user, added during the work.
    """

    maker: KernelMaker
    model_key: str
    exact: ItemGradients | None
    cache: KernelCache | None
    in_memory: bool
    by_rates: bool = False
    removed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def identity(self, checkpoint: Checkpoint) -> str:
        """What a checkpoint's kernel depends on besides its layout, as JSON."""
        projection, scales = self.maker.gradients.projection, self.scales(checkpoint)
        names = self.maker.gradients.names
        return json.dumps(
            {
                "version": VERSION,
                "checkpoint": checkpoint.record.weights,
                "model": self.model_key,
                "parameters": [f"{name} x {scales[name]!r}" if name in scales else name for name in names],
                "dtype": str(self.maker.dtype).removeprefix("torch."),
                "projection": (projection.dim, projection.seed) if projection else None,
            }
        )

    def scales(self, checkpoint: Checkpoint) -> Mapping[str, float]:
        """Factors for the parameters' gradients at a checkpoint; empty if all are 1."""
        return group_scales(self.maker.gradients.model, checkpoint.record.rates).by_name if self.by_rates else {}

    def apply(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint's state into the model and the gradients' scales.

        Raises:
            CheckpointError: the checkpoint does not fit the model.
        """
        notes = apply_checkpoint(self.maker.gradients.model, checkpoint)
        self.notes.extend(note for note in notes if note not in self.notes)
        for gradients in (self.maker.gradients, self.exact):
            if gradients is not None:
                gradients.scales.clear()
                gradients.scales.update(self.scales(checkpoint))

    def cached(self, checkpoint: Checkpoint) -> ItemKernel | None:
        """The checkpoint's kernel in the cache, or None.

        Raises:
            CheckpointError: the checkpoint does not fit the model.
            ScoresChangedError: the kernel is from a model with other scores.
        """
        kernel = self.opened(self.identity(checkpoint))
        if kernel is not None:
            self.apply(checkpoint)
            with full_precision():
                check_scores(self.maker, kernel, checkpoint.name, int(checkpoint.digest[:8], 16))
        return kernel

    def opened(self, identity: str) -> ItemKernel | None:
        """The cached kernel of this identity, in memory if all kernels are; None if the cache has none."""
        kernel = self.cache.get(identity, self.maker.layout) if self.cache else None
        try:
            return kernel.loaded() if kernel is not None and self.in_memory else kernel
        except CacheError:  # another run removed it
            return None

    def compute(
        self,
        path: CheckpointSource,
        checkpoint: Checkpoint,
        report: Callable[[int], None],
        processes: Processes = ALONE,
    ) -> ItemKernel | None:
        """Compute a checkpoint's kernel and keep it; ``report`` is called with the number of finished items.

        Several ``processes`` share its items; the first one keeps the kernel, the others return None.

        Raises:
            CheckpointError: the checkpoint does not fit the model, or its file changed meanwhile.
            TracinctlError: the cache cannot be written; or see ``KernelMaker.make``.
        """
        self.apply(checkpoint)
        layout = self.maker.layout

        def parts(store: KernelStore | None) -> dict[str, FloatArray]:
            new_parts = self._parts(store, checkpoint.name, report, processes)
            check_unchanged(path, checkpoint)
            return new_parts

        if processes.rank:
            parts(None)
            return None
        if self.cache is None:
            held_store = HeldStore(layout)
            return HeldKernel(layout, parts(held_store), held_store.products)
        identity = self.identity(checkpoint)
        with self.cache.writing(identity, layout) as store:
            store.finish(parts(store))
            # before other runs can see and remove it
            loaded = store.loaded() if self.in_memory else None
        return loaded or self.cache.written(identity, layout)

    def _parts(
        self, store: KernelStore | None, checkpoint: str, report: Callable[[int], None], processes: Processes
    ) -> dict[str, FloatArray]:
        """Put the products of a checkpoint into ``store``, and return the kernel's other parts."""
        with full_precision():
            parts = self.maker.make(store, checkpoint=checkpoint, report=report, processes=processes)
            parts["error"] = np.full(2, np.nan)
            if self.exact is not None and not processes.rank:
                parts["error"] = projection_error(self.maker, self.exact, checkpoint)
        words = self.maker.gradients.way.encode()[:WAY_LENGTH].ljust(WAY_LENGTH)
        return {**parts, "way": np.frombuffer(words, dtype=np.uint8)}


def full_precision() -> Any:
    """Use full float32 in convolutions on CUDA, which round to ten bits by default."""
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    )


def check_unchanged(path: CheckpointSource, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if the file has changed since it was loaded."""
    if checkpoint_digest(path) != checkpoint.digest:
        raise CheckpointError(f"{path} changed during the run", hint="Run the command again when training is over.")


def checkpoint_kernels(
    work: KernelWork, checkpoints: Sequence[CheckpointSource], progress: ProgressCallback
) -> list[CheckpointKernel]:
    """The kernels of all checkpoints, in order.

    Raises:
        TracinctlError: a checkpoint, the model or an item does not work.
    """
    try:
        return _kernels(work, checkpoints, progress, reuse=True)
    except ScoresChangedError as changed:  # all kernels of this model are invalid
        work.notes.append(str(changed))
        return _kernels(work, checkpoints, progress, reuse=False)


def _kernels(
    work: KernelWork, checkpoints: Sequence[CheckpointSource], progress: ProgressCallback, *, reuse: bool
) -> list[CheckpointKernel]:
    kernels: list[CheckpointKernel] = []
    by_identity: dict[str, ItemKernel] = {}
    items, count = len(work.maker.items), len(checkpoints)
    for index, path in enumerate(checkpoints):

        def report(done: int, index: int = index, path: CheckpointSource = path, note: str = "") -> None:
            finished = index + bool(note)
            progress(Progress("gradients", finished, count, "checkpoints", path.name, done, items, "items", note))

        report(0)
        checkpoint = load_checkpoint(path)
        identity = work.identity(checkpoint)
        kernel = by_identity.get(identity) or (work.cached(checkpoint) if reuse else None)
        taken = kernel is not None
        if kernel is None:
            kernel = work.compute(path, checkpoint, report)
            assert kernel is not None  # noqa: S101  there is no other process
        by_identity[identity] = kernel
        kernels.append(CheckpointKernel(replace(checkpoint, state={}), kernel, taken))
        report(items, note="taken from the cache" if taken else "computed")
    return kernels
