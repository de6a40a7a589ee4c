"""The step, schedule and rates in a folder of Hugging Face's Trainer or of accelerate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracinctl.engine.checkpoints.files import TRAINER_STATE
from tracinctl.engine.checkpoints.rates import Rates, checked_rate, rates_of
from tracinctl.engine.checkpoints.unpickle import Inert
from tracinctl.errors import CheckpointError

_SCHEDULERS = ("scheduler.pt", "scheduler.bin")
_OPTIMIZERS = ("optimizer.pt", "optimizer.bin")
_ARGUMENTS = "training_args.bin"
_CLOSE = 1e-6  # tolerance between a computed rate and a written one

Read = Callable[[Path], Any]


@dataclass(frozen=True)
class TrainerState:
    """The step of a checkpoint, the steps of the whole training, and learning rates by step; None if unknown."""

    step: int | None = None
    planned: int | None = None
    logged: Mapping[int, float] = field(default_factory=dict)


def read_trainer_state(folder: Path) -> TrainerState:
    """The content of the folder's ``trainer_state.json``, as far as it is readable."""
    try:
        state: Any = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
        step, history = int(state["global_step"]), state["log_history"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return TrainerState()
    logged = {}
    for entry in history if isinstance(history, list) else []:
        rate = entry.get("learning_rate") if isinstance(entry, Mapping) else None
        if isinstance(rate, (int, float)) and isinstance(entry.get("step"), int) and entry["step"] <= step:
            logged[entry["step"]] = checked_rate(folder / TRAINER_STATE, rate)
    planned = state.get("max_steps")
    return TrainerState(step, planned if isinstance(planned, int) and planned > 0 else None, logged)


def folder_rates(folder: Path, state: TrainerState, read: Read) -> Rates:
    """The learning rates in the files of a checkpoint's folder; ``read`` returns the content of a file."""
    schedulers = _contents(folder, _SCHEDULERS, read)
    rates = rates_of(folder, [], schedulers)
    if not rates.groups or rates.differ:  # the optimizer's file is as large as the weights, or larger
        rates = rates_of(folder, _contents(folder, _OPTIMIZERS, read), schedulers)
    if state.step is None:
        return rates
    # use the trainer's number of steps, because a scheduler counts one per process
    now = next(iter(rates.after.values()), rates.saved)
    rates = replace(rates, step=state.step, after={} if now is None else {state.step: now}, logged=state.logged)
    if rates.taken is None and state.planned:
        [arguments] = _contents(folder, (_ARGUMENTS,), read) or [{}]
        return replace(rates, taken=_planned_rate(arguments, state, now))
    return rates


def _contents(folder: Path, names: Sequence[str], read: Read) -> list[Mapping[str, Any]]:
    """The content of the first readable file with one of these names, if there is any."""
    for name in names:
        if (folder / name).is_file():
            try:
                content = read(folder / name)
            except CheckpointError:
                continue
            if isinstance(content, Inert) and isinstance(content.state, Mapping):
                content = content.state
            if isinstance(content, Mapping):
                return [content]
    return []


def _planned_rate(arguments: Mapping[str, Any], state: TrainerState, after: float | None) -> float | None:
    """The rate of the last step by the trainer's arguments, if they agree with the written schedule."""
    assert state.step is not None and state.planned is not None  # noqa: S101, PT018  the caller checks
    if state.step < 1:
        return None
    base, kind = arguments.get("learning_rate"), arguments.get("lr_scheduler_type")
    kind = kind.arguments[0] if isinstance(kind, Inert) and kind.arguments else kind
    warm = _warmup(arguments, state.planned)
    if not isinstance(base, float) or kind not in {"linear", "cosine", "constant", "constant_with_warmup"}:
        return None
    now, before = (base * _share(str(kind), step, state.planned, warm) for step in (state.step, state.step - 1))
    written = after if after is not None else state.logged.get(state.step)
    fits = written is not None and any(
        math.isclose(rate, written, rel_tol=_CLOSE, abs_tol=1e-15) for rate in (now, before)
    )
    return before if fits else None


def _warmup(arguments: Mapping[str, Any], steps: int) -> int:
    """The steps of warm-up, given as a number or as a share of all."""
    warmup = arguments.get("warmup_steps") or 0
    if isinstance(warmup, (int, float)) and warmup >= 1:
        return int(warmup)
    share = warmup or arguments.get("warmup_ratio") or 0
    return math.ceil(share * steps) if isinstance(share, (int, float)) else 0


def _share(kind: str, step: int, steps: int, warm: int) -> float:
    """The rate after a step, as a share of the first rate."""
    if kind != "constant" and step < warm:
        return step / warm
    done = (step - warm) / max(1, steps - warm)
    if kind == "linear":
        return max(0.0, 1 - done)
    return max(0.0, (1 + math.cos(math.pi * done)) / 2) if kind == "cosine" else 1.0
