"""Many trainings, several at once, each finished one kept: the same call goes on after an interruption.

A finished training is a small file, ``<key>.json``, complete or absent, whose key says all that it depends on: another
list, seed or setting is another file. Trainings that depend on the same things are one. The result does not depend on
how many run at once: each has one thread.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tracinctl.errors import ProcessLostError
from tracinctl.files import write_text_atomic
from tracinctl.progress import Progress, ProgressCallback
from tracinctl.training.threads import one_thread

KEPT = "Finished trainings are kept in .tracinctl/retraining; the same command goes on from there."


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        arm: what is left out, in words.
        repeat: counted from 1.
        seed: of the training; the same in all arms of a repeat.
        exclusions: ids of training pairs and items to leave out.
    """

    arm: str
    repeat: int
    seed: int
    exclusions: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """What became of one.

    Attributes:
        scores: judging item id -> score; empty where only the two numbers are known.
        accuracy, loss: of the judging pairs, where the training measured them itself.
        train_pairs: how many it was trained on; None where not known.
    """

    scores: Mapping[str, float]
    accuracy: float | None = None
    loss: float | None = None
    train_pairs: int | None = None


Epochs = Callable[[int, int], None]
"""Is told of epochs done, of how many."""


class Trainer(Protocol):
    """How to train; it is sent to other processes."""

    def key(self, training: Training) -> str:
        """A short text that differs where anything differs that the result depends on."""

    def train(self, training: Training, report: Epochs) -> Trained:
        """Train."""


def run_trainings(
    trainer: Trainer, plan: Sequence[Training], folder: Path, *, at_once: int, progress: ProgressCallback
) -> list[Trained]:
    """Do the trainings of a plan that are not kept in ``folder`` yet; the results are in the plan's order.

    Raises:
        TracinctlError: one fails, or a process is lost. Those that were finished are kept.
    """
    keys = [trainer.key(each) for each in plan]
    found = {key: kept for key in dict.fromkeys(keys) if (kept := _read(folder / f"{key}.json")) is not None}
    waiting = {key: each for key, each in zip(keys, plan, strict=True) if key not in found}
    shown = _Shown(progress, len(set(keys)), len(found), min(at_once, max(1, len(waiting))))
    _ignore(folder)

    def finished(key: str, trained: Trained) -> None:
        found[key] = trained
        _write(folder / f"{key}.json", waiting[key], trained)
        shown.finished(key, waiting[key])

    if shown.hands > 1:
        _in_processes(trainer, waiting, shown, finished)
    else:
        for key, training in waiting.items():
            with one_thread():
                trained = trainer.train(training, lambda done, of, key=key: shown.epochs(key, done, of))  # type: ignore[misc]  # a default is no parameter of Epochs
            finished(key, trained)
    return [found[key] for key in keys]


class _Shown:
    """What of the work is to be seen."""

    def __init__(self, progress: ProgressCallback, total: int, done: int, hands: int) -> None:
        self.progress, self.total, self.done, self.hands = progress, total, done, hands
        self._at: dict[str, tuple[int, int]] = {}
        if done:
            progress(Progress("retraining", done, total, "trainings", note=f"{done} kept from before"))

    def epochs(self, key: str, done: int, of: int) -> None:
        self._at[key] = (done, of)
        inner = [sum(part) for part in zip(*self._at.values(), strict=True)]
        self.progress(
            Progress(
                "retraining", self.done, self.total, "trainings", f"{len(self._at)} at work",
                inner[0], inner[1], "epochs", hands=len(self._at),
            )
        )  # fmt: skip

    def finished(self, key: str, training: Training) -> None:
        self._at.pop(key, None)
        self.done += 1
        name = f"repeat {training.repeat}: {training.arm}"
        self.progress(Progress("retraining", self.done, self.total, "trainings", name))


# Several at once

_worker: dict[str, Any] = {}


def _begin(pickled: str, reports: Any) -> None:
    """In a process of its own: end with the parent, however that ends, and by Ctrl-C without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with Path(pickled).open("rb") as file:
        _worker.update(trainer=pickle.load(file), reports=reports)  # noqa: S301 - this program wrote it just now


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _train(key: str, training: Training) -> Trained:
    reports = _worker["reports"]
    with one_thread():
        trained: Trained = _worker["trainer"].train(training, lambda done, of: reports.put((key, done, of)))
    return trained


def _in_processes(
    trainer: Trainer, waiting: Mapping[str, Training], shown: _Shown, finished: Callable[[str, Trained], None]
) -> None:
    sent = pickle.dumps(trainer)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    reports: Any = context.Queue()
    before = set(multiprocessing.active_children())
    # by a file and not by a pipe: who writes to a process that dies at its start waits for ever
    private = tempfile.TemporaryDirectory(prefix="tracinctl-")
    pickled = Path(private.name) / "trainer"
    pickled.write_bytes(sent)
    pool = ProcessPoolExecutor(shown.hands, context, _begin, (str(pickled), reports))
    try:
        with _no_ctrl_c():
            futures: dict[Future[Trained], str] = {pool.submit(_train, key, one): key for key, one in waiting.items()}
        left = set(futures)
        while left:
            done, left = wait(left, timeout=0.1, return_when=FIRST_COMPLETED)
            ready = {futures[future] for future in done}
            for key, epoch, of in _drain(reports):
                if key not in ready and any(futures[future] == key for future in left):
                    shown.epochs(key, epoch, of)
            for future in done:
                finished(futures[future], future.result())
    except BrokenProcessPool as error:
        raise ProcessLostError(
            "a process that trained was ended from outside",
            hint=f"Perhaps memory ran out: try --at-once 1. {KEPT}",
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        reports.close()
        private.cleanup()


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Processes that start in here do not hear of Ctrl-C, which ends Python with a traceback while it is starting.

    This one hears of it afterwards, and ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _drain(reports: Any) -> Iterator[tuple[str, int, int]]:
    while True:
        try:
            yield reports.get_nowait()
        except queue.Empty:
            return


# What is kept


def _ignore(folder: Path) -> None:
    if not (folder.parent / ".gitignore").is_file():
        write_text_atomic(folder.parent / ".gitignore", "*\n")


def _write(path: Path, training: Training, trained: Trained) -> None:
    content = {
        "arm": training.arm,
        "repeat": training.repeat,
        "seed": training.seed,
        "left_out": len(training.exclusions),
        "train_pairs": trained.train_pairs,
        "accuracy": trained.accuracy,
        "loss": trained.loss,
        "scores": dict(trained.scores),
    }
    write_text_atomic(path, json.dumps(content, indent=1) + "\n")


def _read(path: Path) -> Trained | None:
    """A kept result; None where there is none, or none that can be read: it is made again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(name): float(value) for name, value in content["scores"].items()}
        trained = Trained(scores, content["accuracy"], content["loss"], content["train_pairs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return trained if all(map(math.isfinite, scores.values())) else None
