"""The kernel of each checkpoint: from the cache, or computed and kept there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tracinctl.checkpoint_files import checkpoint_digest
from tracinctl.engine.cache import KernelCache, kernel_key
from tracinctl.engine.checkpoints import Checkpoint, apply_checkpoint, load_checkpoint
from tracinctl.engine.gradients import ItemGradients
from tracinctl.engine.items import Items
from tracinctl.engine.kernel import ItemKernel, item_kernel
from tracinctl.engine.processes import Processes
from tracinctl.errors import CheckpointError
from tracinctl.progress import Progress, ProgressCallback

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class CheckpointKernel:
    """A checkpoint's kernel, and what it was made from.

    Attributes:
        name: the checkpoint's file name.
        digest: SHA-256 of the checkpoint's bytes.
        learning_rate: None where the checkpoint does not say.
        key: of the kernel in the cache.
        kernel: scores and inner products of all items.
        taken: whether it came from the cache.
    """

    name: str
    digest: str
    learning_rate: float | None
    key: str
    kernel: ItemKernel
    taken: bool


@dataclass(frozen=True)
class KernelWork:
    """What all checkpoints of a run have in common.

    Attributes:
        gradients: of the model, which is put into each checkpoint's state in turn.
        items: training items followed by held-out items.
        model_key: digest of what of the model is in no checkpoint.
        device: of the model.
        dtype: of the gradients, a key of ``DTYPES``.
        memory: bytes that the working set may take.
        cache: where kernels are kept; None = nowhere.
    """

    gradients: ItemGradients
    items: Items
    model_key: str
    device: torch.device
    dtype: str
    memory: int
    cache: KernelCache | None

    def key(self, checkpoint: Checkpoint) -> str:
        """The key of a checkpoint's kernel in the cache."""
        return kernel_key(checkpoint.digest, self.model_key, self.gradients.names, self.dtype)

    def kept(self, key: str) -> ItemKernel | None:
        """The kernel that the cache holds, or None."""
        return self.cache.get(key, self.items.digests) if self.cache else None

    def keep(self, key: str, kernel: ItemKernel) -> None:
        """Keep a kernel in the cache, where there is one."""
        if self.cache:
            self.cache.put(key, self.items.digests, kernel)

    def compute(
        self,
        path: Path,
        checkpoint: Checkpoint,
        report: Callable[[int], None],
        processes: Processes | None = None,
    ) -> ItemKernel:
        """Compute a checkpoint's kernel and keep it; ``report`` is told of the items that are done.

        With ``processes`` its items are divided among them, and the first one keeps it and has it whole.

        Raises:
            CheckpointError: the checkpoint does not fit the model, or its file was changed meanwhile.
            TracinctlError: see ``item_kernel``.
        """
        apply_checkpoint(self.gradients.model, checkpoint)
        with full_precision():
            kernel = item_kernel(
                self.gradients,
                self.items,
                device=self.device,
                dtype=DTYPES[self.dtype],
                memory=self.memory,
                checkpoint=checkpoint.name,
                report=report,
                processes=processes,
            )
        check_unchanged(path, checkpoint)
        if processes is None or processes.rank == 0:
            self.keep(self.key(checkpoint), kernel)
        return kernel


def full_precision() -> Any:
    """Convolutions on CUDA in float32 proper: by default they round to ten bits."""
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    )


def check_unchanged(path: Path, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where the file is no longer what was loaded."""
    if checkpoint_digest(path) != checkpoint.digest:
        raise CheckpointError(f"{path} changed while it was being worked on", hint="run again when training is over")


def checkpoint_kernels(
    work: KernelWork, checkpoints: Sequence[Path], progress: ProgressCallback
) -> list[CheckpointKernel]:
    """The kernels of all checkpoints, in order.

    Raises:
        TracinctlError: a checkpoint, the model or an item cannot be worked with.
    """
    found = []
    total = len(work.items)
    for index, path in enumerate(checkpoints):

        def report(done: int, index: int = index, path: Path = path, note: str = "") -> None:
            whole = index + bool(note)
            progress(
                Progress("gradients", whole, len(checkpoints), "checkpoints", path.name, done, total, "items", note)
            )

        report(0)
        checkpoint = load_checkpoint(path)
        key = work.key(checkpoint)
        kernel = work.kept(key)
        taken = kernel is not None
        if kernel is None:
            kernel = work.compute(path, checkpoint, report)
        found.append(CheckpointKernel(checkpoint.name, checkpoint.digest, checkpoint.learning_rate, key, kernel, taken))
        report(total, note="taken from the cache" if taken else "computed")
    return found
