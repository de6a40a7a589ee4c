"""Several processes that share one run: who there is, what each has to say, and how all stop when one fails.

Processes meet by the environment variables that ``torchrun`` sets. They talk through its key-value store, and exchange
tensors by torch.distributed: Gloo on the CPU, NCCL between GPUs. Waiting is done here and not in a collective, so that
a process that fails or dies is noticed: every process counts its seconds in the store, and an error in one is written
there for all.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

from tracinctl import errors
from tracinctl.errors import ProcessLostError, TracinctlError

distributed: Any = torch.distributed  # which exports its stores, and says so to no type checker
_SILENCE = 60.0  # seconds without a sign of life after which a process counts as lost
_BEAT = 1.0  # seconds between signs of life
_COLLECTIVE = timedelta(minutes=10)  # tensors are exchanged when all are there, so this is time to send them in
_AGAIN = "Checkpoints that were finished are kept in the cache; the same command goes on from there."


def _gpu_each(environment: Mapping[str, str]) -> bool:
    """Whether NCCL serves: it wants a GPU of its own for each process."""
    if not (distributed.is_nccl_available() and torch.cuda.is_available()):
        return False
    return int(environment.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count()


class _Stopped(Exception):  # noqa: N818 - no error of its own: another process has one, which is raised in its place
    """Another process failed."""


class Processes:
    """This process among those that share a run. Made by ``join_processes``.

    Attributes:
        rank: this process's number; 0 writes results and shows progress.
        size: how many there are.
        local_rank, local_size: the same among those of this machine.
    """

    def __init__(self, store: Any, environment: Mapping[str, str]) -> None:
        self.rank, self.size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.local_rank = int(environment.get("LOCAL_RANK", "0"))
        self.local_size = int(environment.get("LOCAL_WORLD_SIZE", "1"))
        self._store = store
        self._part = 0
        self._shared = 0
        self._seen: dict[int, tuple[int, float]] = {}

    def _key(self, name: str) -> str:
        return f"{self._part}/{name}"

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part of the run: an error in one process ends it in all, with the error of the one that failed first.

        Raises:
            TracinctlError: what failed, here or elsewhere.
        """
        self._part += 1
        self._shared = 0
        try:
            yield
        except (_Stopped, ProcessLostError):
            raise self._first_error() or ProcessLostError("another process of this run was lost", hint=_AGAIN) from None
        except Exception as error:
            told = error if isinstance(error, TracinctlError) else _unexpected(self.rank, error)
            text = json.dumps([type(told).__name__, told.message, told.hint])
            with _store_errors():
                self._store.compare_set(self._key("failed"), "", text)
            raise (self._first_error() or told) from error

    def _first_error(self) -> TracinctlError | None:
        try:
            if not self._store.check([self._key("failed")]):
                return None
            kind, message, hint = json.loads(self._store.get(self._key("failed")))
        except (RuntimeError, ValueError):
            return None
        found: TracinctlError = getattr(errors, kind, TracinctlError)(message, hint=hint)
        return found

    def check(self) -> None:
        """Stop here where another process has failed; to be called now and then during long work."""
        with _store_errors():
            if self._store.check([self._key("failed")]):
                raise _Stopped

    def count(self, name: str, more: int = 0) -> int:
        """Add to a number that all processes of this part share; returns the sum."""
        with _store_errors():
            return int(self._store.add(self._key(f"count/{name}"), more))

    def share(self, value: Any, idle: Callable[[], None] = lambda: None) -> list[Any]:
        """The values of all processes, by rank; each must be plain enough for JSON. ``idle`` is called while waiting.

        Raises:
            ProcessLostError: a process is gone.
        """
        self._shared += 1
        with _store_errors():
            self._store.set(self._key(f"{self._shared}/{self.rank}"), json.dumps(value))
        found = []
        pause = 0.002
        for rank in range(self.size):
            key = self._key(f"{self._shared}/{rank}")
            while True:
                self.check()
                with _store_errors():
                    if self._store.check([key]):
                        found.append(json.loads(self._store.get(key)))
                        break
                self._listen(rank)
                idle()
                time.sleep(pause)
                pause = min(0.1, 1.5 * pause)
        return found

    def _listen(self, rank: int) -> None:
        now = time.monotonic()
        with _store_errors():
            beats = int(self._store.add(f"beats/{rank}", 0))
        if self._seen.get(rank, (-1, 0.0))[0] != beats:
            self._seen[rank] = (beats, now)
        elif now - self._seen[rank][1] > _SILENCE:
            raise ProcessLostError(
                f"process {rank} of {self.size} (counted from 0) has not been heard of for {_SILENCE:.0f} s",
                hint=_AGAIN,
            )

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Give signs of life while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_BEAT):
                try:
                    self._store.add(f"beats/{self.rank}", 1)
                except RuntimeError:
                    return  # the store is gone, which the main thread notices by itself

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    # Tensors

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        """Fill ``tensor`` everywhere with what it holds in the process ``source``."""
        with _exchange():
            distributed.broadcast(tensor, source)

    def add_up(self, tensor: torch.Tensor) -> None:
        """Add up ``tensor`` over all processes, in the first one."""
        with _exchange():
            distributed.reduce(tensor, 0)

    def hand_over(self, tensor: torch.Tensor, source: int) -> None:
        """Send ``tensor`` from the process ``source`` to the first; called by these two."""
        with _exchange():
            if self.rank == source:
                distributed.send(tensor, 0)
            else:
                distributed.recv(tensor, source)


def _unexpected(rank: int, error: Exception) -> TracinctlError:
    return TracinctlError(
        f"process {rank} met something that it did not expect: {type(error).__name__}: {error}",
        hint="One process alone, with -vv, shows where.",
    )


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch's stores raise when the other end is gone
        raise ProcessLostError("the processes of this run can no longer reach each other", hint=_AGAIN) from error


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError("another process of this run was lost", hint=_AGAIN) from error


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Meet the other processes of the run that the environment describes, and leave them at the end.

    Raises:
        ProcessLostError: they do not come together.
    """
    with _exchange():
        store, rank, size = next(iter(distributed.rendezvous("env://", timeout=timedelta(minutes=5))))
        distributed.init_process_group(
            backend="cpu:gloo,cuda:nccl" if _gpu_each(os.environ) else "gloo",
            store=distributed.PrefixStore("exchange", store),
            rank=rank,
            world_size=size,
            timeout=_COLLECTIVE,
        )
    processes = Processes(distributed.PrefixStore("tracinctl", store), os.environ)
    try:
        with processes.beating():
            yield processes
    finally:
        distributed.destroy_process_group()
