"""The learning rate of a checkpoint that a Hugging Face trainer saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracinctl.engine.checkpoints.files import TRAINER_STATE
from tracinctl.errors import CheckpointError

_BESIDE = ("scheduler.pt", "optimizer.pt")  # the smaller one first


def trainer_learning_rate(folder: Path, rate_in: Callable[[Path], float | None]) -> float | None:
    """The learning rate at the step of the checkpoint; None where nothing in the folder says it.

    The rate that ``trainer_state.json`` logged at that step; where training logged less often, the one that the
    scheduler or the optimizer was saved with; where neither is there, the last one logged before.

    Args:
        folder: of the checkpoint.
        rate_in: reads the rate of a saved scheduler or optimizer.
    """
    step, logged = _logged(folder / TRAINER_STATE)
    if step in logged:
        return checked_rate(folder / TRAINER_STATE, logged[step])
    for name in _BESIDE:
        if (folder / name).is_file() and (rate := rate_in(folder / name)) is not None:
            return rate
    before = [at for at in logged if at <= step]
    return checked_rate(folder / TRAINER_STATE, logged[max(before)]) if before else None


def checked_rate(path: Path, rate: float) -> float:
    """The learning rate that a file says.

    Raises:
        CheckpointError: scores cannot be weighted by it.
    """
    if not 0 <= rate < math.inf:
        raise CheckpointError(
            f"{path} says that its learning rate is {rate}, and scores cannot be weighted by that",
            hint="leave the checkpoint out; training went wrong there",
        )
    return rate


def _logged(path: Path) -> tuple[int, dict[int, float]]:
    """The step of the checkpoint, and the learning rates by step."""
    try:
        state: Any = json.loads(path.read_text(encoding="utf-8"))
        step, history = int(state["global_step"]), state["log_history"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return -1, {}
    logged: dict[int, float] = {}
    for entry in history if isinstance(history, list) else []:
        rate = entry.get("learning_rate") if isinstance(entry, Mapping) else None
        if isinstance(rate, (int, float)) and isinstance(entry.get("step"), int):
            logged[entry["step"]] = float(rate)
    return step, logged
