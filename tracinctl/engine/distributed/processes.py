"""The processes that share a run exchange values, tensors and errors by torch.distributed.

All processes call the same methods in the same order. An error in one is raised in all, so that none waits for a failed
process. A process that dies breaks its connections, which raises an error in the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed

from tracinctl import errors
from tracinctl.errors import ProcessLostError, TracinctlError

T = TypeVar("T")

distributed: Any = torch.distributed  # its functions have no types
_PATIENCE = timedelta(days=7)  # a process may have much more to do; a dead one is noticed without this


@dataclass
class Processes:
    """This process among those that share a run, by default alone. ``join_processes`` joins the others.

    Methods that run ``work`` or wait raise the error of any process as a TracinctlError.

    Attributes:
        rank: this process's number; 0 writes results and shows progress.
        size: number of processes.
        local_rank, local_size: rank and size among the processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _raised: TracinctlError | None = field(default=None, repr=False)

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part of the run that succeeds in all processes, or fails in all with the same error."""
        try:
            yield
        except ProcessLostError:
            raise
        except Exception as error:
            if error is not self._raised:
                self._agree(None, error)
            raise
        self.wait()

    def wait(self) -> None:
        """Wait for the others."""
        self.gather(lambda: None)

    def gather(self, work: Callable[[], T]) -> list[T]:
        """The results of ``work`` in all processes, by rank; they are sent around, so they must be small."""
        if self.size == 1:
            return [work()]
        try:
            value = work()
        except ProcessLostError:
            raise
        except Exception as error:  # noqa: BLE001 - after any error, the others must not wait for this process
            return self._agree(None, error)
        return self._agree(value, None)

    def first(self, work: Callable[[], T]) -> T | None:
        """Run ``work`` in the first process and return its result there; None in the others."""
        results: list[T] = []
        self.gather(lambda: None if self.rank else results.append(work()))
        return results[0] if results else None

    def _agree(self, value: Any, error: Exception | None) -> list[Any]:
        """The values of all processes; raises the first error among them."""
        answers: list[Any] = [None] * self.size
        with _exchange():
            distributed.all_gather_object(answers, (value, _in_words(self.rank, error) if error else None))
        words = next((words for _, words in answers if words), None)
        if words:
            kind, message, hint = words
            self._raised = getattr(errors, kind)(message, hint=hint)
            raise self._raised from error
        return [value for value, _ in answers]

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        """Copy ``tensor`` from the process ``source`` to all."""
        if self.size > 1:
            with _exchange():
                distributed.broadcast(tensor, source)

    def add_up(self, tensor: torch.Tensor) -> None:
        """Sum ``tensor`` over all processes into the first one."""
        if self.size > 1:
            with _exchange():
                distributed.reduce(tensor, 0)

    def least(self, tensor: torch.Tensor) -> torch.Tensor:
        """The element-wise minimum of ``tensor`` over all processes."""
        least = tensor.clone()
        if self.size > 1:
            with _exchange():
                distributed.all_reduce(least, distributed.ReduceOp.MIN)
        return least

    def hand_over(self, tensor: torch.Tensor, source: int) -> None:
        """Send ``tensor`` from the process ``source`` to the first; only these two call this."""
        with _exchange():
            if self.rank == source:
                distributed.send(tensor, 0)
            else:
                distributed.recv(tensor, source)


ALONE = Processes()
"""A process that shares its run with no other."""


def _in_words(rank: int, error: Exception) -> tuple[str, str, str]:
    if isinstance(error, TracinctlError):
        return type(error).__name__, error.message, error.hint
    return (
        "TracinctlError",
        f"internal error in process {rank}: {type(error).__name__}: {error}",
        "Run a single process with -vv to see where.",
    )


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch raises this when the other end is gone
        raise ProcessLostError(
            "another process of this run was lost",
            hint="Finished checkpoints are kept in the cache; run the same command to continue.",
        ) from error


@contextmanager
def join_processes(meeting_point: str = "env://") -> Iterator[Processes]:
    """Join the other processes of the run in the environment, and leave them at the end.

    Args:
        meeting_point: an ``init_method`` of torch.distributed.

    Raises:
        ProcessLostError: the processes cannot connect.
    """
    environment = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", **os.environ}
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    local_rank, local_size = int(environment["LOCAL_RANK"]), int(environment["LOCAL_WORLD_SIZE"])
    # NCCL needs one GPU per process
    by_nccl = distributed.is_nccl_available() and torch.cuda.is_available() and local_size <= torch.cuda.device_count()
    with _exchange():
        distributed.init_process_group(
            backend="cpu:gloo,cuda:nccl" if by_nccl else "gloo",
            init_method=meeting_point,
            rank=rank,
            world_size=size,
            timeout=_PATIENCE,
        )
    try:
        yield Processes(rank, size, local_rank, local_size)
    finally:
        distributed.destroy_process_group()
