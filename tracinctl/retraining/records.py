"""Records of finished trainings, which are complete or absent and name their training, data and list."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from tracinctl.files import write_text_atomic
from tracinctl.retraining.trainer import Trained, Training


def write_record(path: Path, training: Training, data: str, trained: Trained) -> None:
    """Write the record of a training on the data with this digest; the file's name is the training's key."""
    content = {**_subject(path, training, data), "arm": training.arm, "repeat": training.repeat}
    content |= {
        "left_out": len(training.exclusions),
        "train_pairs": trained.train_pairs,
        "accuracy": trained.accuracy,
        "loss": trained.loss,
        "stops": list(trained.stops),
        "scores": {name: list(values) for name, values in trained.scores.items()},
    }
    write_text_atomic(path, json.dumps({"digest": _digest(content), **content}, indent=1) + "\n")


def read_record(path: Path, training: Training, data: str) -> Trained | None:
    """Read a record; None unless it is complete and of this training on these data."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("digest") != _digest(content):
            return None
        if any(content[name] != value for name, value in _subject(path, training, data).items()):
            return None
        scores = {str(name): tuple(map(float, values)) for name, values in content["scores"].items()}
        stops = tuple(map(int, content["stops"]))
        trained = Trained(scores, stops, content["accuracy"], content["loss"], content["train_pairs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return trained if _is_sound(trained) else None


def _subject(path: Path, training: Training, data: str) -> dict[str, Any]:
    """The values that a record of this training must have."""
    names = hashlib.sha256(json.dumps(sorted(training.exclusions)).encode()).hexdigest()
    return {"key": path.stem, "seed": training.seed, "data": data, "list": names}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_sound(trained: Trained) -> bool:
    """Whether the numbers are plausible results of a training."""
    if trained.scores:
        rows = trained.scores.values()
        return all(len(row) == len(trained.stops) and all(map(math.isfinite, row)) for row in rows)
    if not isinstance(trained.accuracy, float | int) or not isinstance(trained.loss, float | int):
        return False
    return 0 <= trained.accuracy <= 1 and math.isfinite(trained.loss)
