"""Run trainings in worker processes, which get them one after another over pipes.

A worker is a new Python in its own session, so that a terminal's Ctrl-C reaches only the parent. The worker reads the
trainer and then one batch of trainings at a time from standard input, and writes reports and results to standard
output. When its input ends, it kills its process group: itself and every program that a training started. So nothing
outlives the parent, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, Final, NoReturn

from tracinctl.errors import ProcessLostError
from tracinctl.retraining.trainer import KEPT, Trained, Trainer, Training
from tracinctl.training.threads import one_thread

_BEGIN: Final = """
import sys, pickle
try:
    sys.path[:] = pickle.load(sys.stdin.buffer)
except (OSError, EOFError, pickle.UnpicklingError):  # the parent ended
    sys.exit()
from tracinctl.retraining.workers import work
work()
"""

Keys = tuple[str, ...]
Batch = Mapping[str, Training]

Report = Callable[[Keys, int, int], None]
"""Receives the keys of a batch of trainings, its finished epochs and their total."""


def train_in_workers(
    trainer: Trainer,
    batches: Sequence[Batch],
    workers: int,
    report: Report,
    finished: Callable[[Keys, Sequence[Trained]], None],
) -> None:
    """Run batches of trainings, by key, in several processes; ``report`` and ``finished`` are called in this thread.

    Raises:
        ProcessLostError: a process ended before its training did.
        TracinctlError: a training failed. Both errors end the other processes.
    """
    # all threads take their batches from this iterator
    waiting, messages = iter(batches), SimpleQueue[tuple[Keys, Any]]()
    start = pickle.dumps(sys.path) + pickle.dumps(trainer)
    with ExitStack() as stack:
        # at the end, the processes are killed, then their threads end, then their pipes are closed
        processes = [stack.enter_context(_start()) for _ in range(workers)]
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        for process in processes:
            stack.callback(end_group, process)
        for process in processes:
            threads.submit(_feed, process, start, waiting, messages)
        unfinished = len(batches)
        while unfinished:
            keys, content = messages.get()
            if isinstance(content, BaseException):
                raise content
            if isinstance(content, tuple):
                report(keys, *content)
            else:
                finished(keys, content)
                unfinished -= 1


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started in its own session, and everything that it started."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this Python, without a shell
        [sys.executable, "-c", _BEGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def _feed(
    process: subprocess.Popen[bytes], start: bytes, batches: Iterator[Batch], messages: SimpleQueue[tuple[Keys, Any]]
) -> None:
    """Send a worker one batch after another, and pass on its answers."""
    assert process.stdin is not None  # noqa: S101 - for mypy: _start makes both pipes
    assert process.stdout is not None  # noqa: S101
    keys: Keys = ()
    try:
        with process.stdin as requests, process.stdout as answers:
            requests.write(start)
            for batch in batches:
                keys = tuple(batch)
                requests.write(pickle.dumps(list(batch.values())))
                requests.flush()
                content: Any = ()
                while isinstance(content, tuple):
                    content = pickle.load(answers)  # noqa: S301 - from the worker started above
                    messages.put((keys, content))
    except Exception as error:  # noqa: BLE001 - the parent would wait forever for a thread that ended silently
        lost = ProcessLostError(
            "a training process was ended from outside", hint=f"Try `at_once` 1, in case memory ran out. {KEPT}"
        )
        lost.__cause__ = error
        messages.put((keys, lost))


# In the worker


def work() -> None:
    """Run the trainings from standard input until it ends."""
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # keep the user's prints out of the answers
        trainer: Trainer = _load(requests)
        batches: SimpleQueue[list[Training]] = SimpleQueue()
        threading.Thread(target=_receive, args=(requests, batches), daemon=True).start()
        while True:
            _answer(trainer, batches.get(), answers)


def _receive(requests: BinaryIO, batches: SimpleQueue[list[Training]]) -> None:
    while True:
        batches.put(_load(requests))


def _load(requests: BinaryIO) -> Any:
    """The next object from the parent; this process ends if the parent ended, even in the middle of the object."""
    try:
        return pickle.load(requests)  # noqa: S301 - from the parent that started this process
    except (OSError, EOFError, pickle.UnpicklingError):
        _end_own_group()


def _end_own_group() -> NoReturn:
    if os.name == "posix" and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _answer(trainer: Trainer, trainings: list[Training], answers: BinaryIO) -> None:
    def send(content: object) -> None:
        answers.write(pickle.dumps(content))
        answers.flush()

    try:
        with one_thread():
            trained = list(trainer.train(trainings, lambda done, total: send((done, total))))
    except BaseException as error:  # noqa: BLE001 - the parent raises any error
        send(error)
    else:
        send(trained)
