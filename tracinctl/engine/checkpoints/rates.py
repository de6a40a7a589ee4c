"""The learning rates in checkpoints, by parameter group, and the parameters of each group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tracinctl.engine.checkpoints.schedule import rates_before
from tracinctl.errors import CheckpointError

_SCHEDULERS = ("scheduler_state_dict", "lr_scheduler_state_dict", "lr_schedulers", "lr_scheduler", "scheduler")
_OPTIMIZERS = (
    *("optimizer_state_dict", "optimizer_states", "optimizer", "optimizers", "optimizer_state", "optim", "opt"),
    *("opt_state", "optim_state_dict", "last_optimizer_state"),
)


@dataclass(frozen=True)
class Group:
    """A parameter group of an optimizer: its learning rate, and the names and shapes of its parameters if known."""

    rate: float
    names: tuple[str, ...] | None
    shapes: tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Rates:
    """The learning rates in a checkpoint.

    Attributes:
        groups: groups of its optimizers.
        taken: the rate of the step that led to it, if known; the largest of the groups.
        step: number of steps of its schedule.
        after: the schedule's rate after a number of steps, which is that of the next step.
        logged: the logged rate at a number of steps, of that step or of the next one.
    """

    groups: tuple[Group, ...] = ()
    taken: float | None = None
    step: int | None = None
    after: Mapping[int, float] = field(default_factory=dict)
    logged: Mapping[int, float] = field(default_factory=dict)

    @property
    def saved(self) -> float | None:
        """The largest rate that the optimizer was saved with."""
        return max((group.rate for group in self.groups), default=None)

    @property
    def by_group(self) -> tuple[float, ...]:
        """The rates of the groups."""
        return tuple(group.rate for group in self.groups)

    @property
    def differ(self) -> bool:
        """Whether the groups have different rates."""
        return len({group.rate for group in self.groups}) > 1


def rates_in(path: Path, content: Mapping[str, Any]) -> Rates:
    """The learning rates in the content of a checkpoint file."""
    optimizer = next((content[key] for key in _OPTIMIZERS if content.get(key)), None)
    scheduler = next((content[key] for key in _SCHEDULERS if content.get(key)), None)
    return rates_of(path, _several(optimizer), _several(scheduler))


def rates_of(path: Path, optimizers: Sequence[Mapping[str, Any]], schedulers: Sequence[Mapping[str, Any]]) -> Rates:
    """The learning rates in the states of optimizers and their schedulers."""
    groups = tuple(group for state in optimizers for group in _groups(path, state))
    last = [_last_rates(path, state) for state in schedulers]
    before = [rates_before(state) for state in schedulers]
    if before and all(before):
        exact = [rate for rates in before for rate in rates or ()]
        if len(exact) == len(groups):
            groups = tuple(replace(group, rate=rate) for group, rate in zip(groups, exact, strict=True))
        return Rates(groups, taken=max(exact))
    # the steps of a schedule with patience do not determine its rate, which depends on a measure
    if len(last) == 1 and last[0] and "patience" not in schedulers[0]:
        step = schedulers[0].get("last_epoch")
        if len(last[0]) == len(groups):
            groups = tuple(replace(group, rate=rate) for group, rate in zip(groups, last[0], strict=True))
        elif not groups:
            groups = tuple(Group(rate, None, ()) for rate in last[0])
        if isinstance(step, int) and step > 0:
            return Rates(groups, step=step, after={step: max(last[0])})
    return Rates(groups)


def checked_rate(path: Path, rate: Any) -> float:
    """Check a learning rate from a file.

    Raises:
        CheckpointError: it cannot weight scores.
    """
    try:
        value = float(rate)
    except OverflowError:
        value = math.inf
    if not 0 <= value < math.inf:
        raise CheckpointError(
            f"{path}: its learning rate is {value}, which cannot weight scores",
            hint="Leave the checkpoint out, because its training went wrong.",
        )
    return value


def _several(states: Any) -> list[Mapping[str, Any]]:
    """The states in one state, in a list of them, as Lightning writes, or in a mapping of them by name."""
    if isinstance(states, Mapping) and states and all(isinstance(state, Mapping) for state in states.values()):
        states = list(states.values())
    return [state for state in _listed(states) or [states] if isinstance(state, Mapping)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _last_rates(path: Path, scheduler: Mapping[str, Any]) -> list[float]:
    return [checked_rate(path, rate) for rate in _listed(scheduler.get("_last_lr")) if _is_number(rate)]


def _groups(path: Path, optimizer: Mapping[str, Any]) -> Iterator[Group]:
    states = optimizer.get("state")
    states = states if isinstance(states, Mapping) else {}
    for group in _listed(optimizer.get("param_groups")):
        if not isinstance(group, Mapping) or not _is_number(group.get("lr")):
            continue
        members = _listed(group.get("params"))
        names = _listed(group.get("param_names")) or (members if all(isinstance(name, str) for name in members) else [])
        yield Group(
            checked_rate(path, group["lr"]),
            tuple(map(str, names)) or None,
            tuple(_shape(states.get(member)) if isinstance(member, (int, str)) else None for member in members),
        )


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shape(state: Any) -> tuple[int, ...] | None:
    """The shape of a parameter, from the optimizer's state."""
    for key in ("exp_avg", "momentum_buffer", "exp_avg_sq", "square_avg", "sum", "acc_delta"):
        value = state.get(key) if isinstance(state, Mapping) else None
        if isinstance(value, torch.Tensor):
            return tuple(value.shape)
    return None
