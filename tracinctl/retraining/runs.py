"""Many trainings, several at once, each finished one kept: the same call goes on after an interruption.

A finished training is a small file, ``<key>.json``, complete or absent, whose key says all that it depends on: another
list, seed or setting is another file. Trainings that depend on the same things are one. The result does not depend on
how many run at once: each has one thread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from tracinctl.files import write_text_atomic
from tracinctl.progress import Progress, ProgressCallback
from tracinctl.retraining.trainer import Trained, Trainer, Training
from tracinctl.retraining.workers import train_in_workers
from tracinctl.training.threads import one_thread


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
        train_in_workers(trainer, waiting, shown.hands, shown.epochs, finished)
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
