"""Run many trainings in parallel and keep finished ones, so that the same call continues after an interruption.

A finished training is a small file, ``<key>.json``, complete or absent. Its key covers everything that it depends on,
so another list, seed or setting gives another file, and equal trainings share one. The result does not depend on the
number of processes, and on the number of rankers per call only by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tracinctl.files import write_text_atomic
from tracinctl.progress import Progress, ProgressCallback
from tracinctl.retraining.records import read_record, write_record
from tracinctl.retraining.run_folder import clear_left_over
from tracinctl.retraining.trainer import Trained, Trainer, Training
from tracinctl.retraining.workers import Keys, train_in_workers
from tracinctl.training.threads import one_thread


def run_trainings(
    trainer: Trainer, plan: Sequence[Training], folder: Path, *, at_once: int, progress: ProgressCallback
) -> list[Trained]:
    """Run the trainings of a plan that ``folder`` does not have yet; the results are in the plan's order.

    Raises:
        TracinctlError: a training fails, or a process is lost. Finished trainings are kept.
    """
    keys = [trainer.key(training) for training in plan]
    by_key = dict(zip(keys, plan, strict=True))
    paths = {key: folder / f"{key}.json" for key in keys}
    kept = {key: read_record(paths[key], training, trainer.data_digest) for key, training in by_key.items()}
    done = {key: trained for key, trained in kept.items() if trained is not None}
    waiting = {key: training for key, training in by_key.items() if key not in done}
    refused = sum(paths[key].exists() for key in waiting)
    batches = _batches(waiting, trainer.together, at_once)
    display = _Display(progress, len(by_key), len(done), refused)
    if not (folder.parent / ".gitignore").is_file():
        write_text_atomic(folder.parent / ".gitignore", "*\n")

    def finished(ready: Keys, trained: Sequence[Trained]) -> None:
        for key, result in zip(ready, trained, strict=True):
            write_record(paths[key], waiting[key], trainer.data_digest, result)
            done[key] = result
        display.finished(ready, [waiting[key] for key in ready])

    clear_left_over(folder)
    workers = min(at_once, len(batches))
    if workers > 1 or (workers and trainer.needs_process):
        train_in_workers(trainer, batches, workers, display.epochs, finished)
    else:
        for batch in batches:
            with one_thread():
                trained = trainer.train(list(batch.values()), partial(display.epochs, tuple(batch)))
            finished(tuple(batch), trained)
    return [done[key] for key in keys]


def _batches(waiting: Mapping[str, Training], together: int, at_once: int) -> list[dict[str, Training]]:
    """Batches of equal size with at most ``together`` trainings, at least one per process."""
    if not waiting:
        return []
    size = min(together, -(-len(waiting) // at_once))
    parts = -(-len(waiting) // size)
    return [dict(list(waiting.items())[k::parts]) for k in range(parts)]


class _Display:
    """The progress of all trainings together."""

    def __init__(self, progress: ProgressCallback, total: int, done: int, refused: int) -> None:
        self.progress, self.total, self.done = progress, total, done
        self._at: dict[Keys, tuple[int, int]] = {}
        notes = [f"{done} finished earlier"] if done else []
        notes += [f"{refused} kept files are damaged or belong to other data, and are made again"] if refused else []
        if notes:
            progress(Progress("retraining", done, total, "trainings", note="; ".join(notes)))

    def epochs(self, keys: Keys, done: int, total: int) -> None:
        self._at[keys] = (done, total)
        inner = [sum(part) for part in zip(*self._at.values(), strict=True)]
        at_work = sum(map(len, self._at))
        self.progress(
            Progress(
                "retraining", self.done, self.total, "trainings", f"{at_work} running",
                inner[0], inner[1], "epochs", hands=at_work,
            )
        )  # fmt: skip

    def finished(self, keys: Keys, trainings: Sequence[Training]) -> None:
        self._at.pop(keys, None)
        self.done += len(keys)
        last = trainings[-1]
        name = f"repeat {last.repeat}: {last.arm}"
        self.progress(Progress("retraining", self.done, self.total, "trainings", name))
