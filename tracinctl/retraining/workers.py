"""Trainings in processes of their own, fed one after another over pipes.

A worker is a fresh Python in a session of its own, so that a terminal's Ctrl-C reaches the parent alone. Its standard
input brings the trainer, then one training at a time; its standard output takes reports and results back. A worker ends
as soon as its input does, so it never outlives its parent.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tracinctl.errors import ProcessLostError
from tracinctl.retraining.trainer import KEPT
from tracinctl.training.threads import one_thread

if TYPE_CHECKING:
    from tracinctl.retraining.trainer import Trained, Trainer, Training

_BEGIN: Final = """
import sys, pickle
sys.path[:] = pickle.load(sys.stdin.buffer)
from tracinctl.retraining.workers import work
work()
"""

Report = Callable[[str, int, int], None]
"""Receives a training's key, its finished epochs and their total."""


def train_in_workers(
    trainer: Trainer,
    waiting: Mapping[str, Training],
    workers: int,
    report: Report,
    finished: Callable[[str, Trained], None],
) -> None:
    """Do the trainings by so many processes; ``report`` and ``finished`` are called in this thread.

    Raises:
        ProcessLostError: a process ended before its training did.
        TracinctlError: a training failed. Both end the other processes.
    """
    queue, messages = deque(waiting.items()), SimpleQueue[tuple[str, Any]]()
    start = pickle.dumps(sys.path) + pickle.dumps(trainer)
    processes = [_start() for _ in range(workers)]
    threads = [threading.Thread(target=_feed, args=(one, start, queue, messages), daemon=True) for one in processes]
    try:
        for thread in threads:
            thread.start()
        left = len(waiting)
        while left:
            key, content = messages.get()
            if isinstance(content, BaseException):
                raise content
            if isinstance(content, tuple):
                report(key, *content)
            else:
                finished(key, content)
                left -= 1
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this Python, and no shell
        [sys.executable, "-c", _BEGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def _feed(
    process: subprocess.Popen[bytes],
    start: bytes,
    queue: deque[tuple[str, Training]],
    messages: SimpleQueue[tuple[str, Any]],
) -> None:
    """Give a worker one training after another, and pass on what it answers."""
    assert process.stdin is not None  # noqa: S101 - for mypy: _start makes both pipes
    assert process.stdout is not None  # noqa: S101
    key = ""
    try:
        with process.stdin as requests, process.stdout as answers:
            requests.write(start)
            for key, training in _taken(queue):
                requests.write(pickle.dumps(training))
                requests.flush()
                content: Any = ()
                while isinstance(content, tuple):
                    content = pickle.load(answers)  # noqa: S301 - from the worker started above
                    messages.put((key, content))
    except Exception as error:  # noqa: BLE001 - a thread that ends in silence would be waited for without end
        messages.put((key, _lost(error)))


def _taken(queue: deque[tuple[str, Training]]) -> Iterator[tuple[str, Training]]:
    """What other threads leave of the queue, one at a time."""
    while True:
        try:
            yield queue.popleft()
        except IndexError:
            return


def _lost(cause: BaseException) -> ProcessLostError:
    lost = ProcessLostError(
        "a process that trained was ended from outside", hint=f"Perhaps memory ran out: try --at-once 1. {KEPT}"
    )
    lost.__cause__ = cause
    return lost


# In the worker


def work() -> None:
    """Train what standard input brings, until it ends."""
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a user's code prints must not fall among the answers
        trainer: Trainer = pickle.load(requests)  # noqa: S301 - from the parent that started this process
        trainings: SimpleQueue[Training] = SimpleQueue()
        threading.Thread(target=_receive, args=(requests, trainings), daemon=True).start()
        while True:
            _answer(trainer, trainings.get(), answers)


def _receive(requests: BinaryIO, trainings: SimpleQueue[Training]) -> None:
    while True:
        try:
            trainings.put(pickle.load(requests))  # noqa: S301 - from the parent that started this process
        except (OSError, EOFError):
            os._exit(0)


def _answer(trainer: Trainer, training: Training, answers: BinaryIO) -> None:
    def send(content: object) -> None:
        answers.write(pickle.dumps(content))
        answers.flush()

    try:
        with one_thread():
            trained = trainer.train(training, lambda done, total: send((done, total)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it
        send(error)
    else:
        send(trained)
