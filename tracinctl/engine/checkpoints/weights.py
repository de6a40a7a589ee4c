"""Weights of checkpoints in the sum of influences, from learning rates or from the caller."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tracinctl.engine.checkpoints.groups import rates_by_name
from tracinctl.engine.checkpoints.rates import Rates
from tracinctl.engine.checkpoints.record import CheckpointRecord
from tracinctl.engine.checkpoints.schedule import rate_after
from tracinctl.errors import CheckpointError, UsageError
from tracinctl.text import count, first_few, number

_CLOSE = 1e-6  # tolerance between two numbers for the same rate


@dataclass(frozen=True)
class GroupScales:
    """Factors for gradients, so that each parameter group counts by its own learning rate.

    Attributes:
        by_name: by parameter, the square root of its learning rate over the checkpoint's; empty if there is one rate.
        mean: the groups' mean rate over their largest, if their parameters are unknown; else 1.
    """

    by_name: Mapping[str, float]
    mean: float = 1.0


@dataclass(frozen=True)
class WeighedCheckpoint:
    """A checkpoint's part in the sum of influences.

    Attributes:
        name: the name of the file or folder.
        moment: the moment of saving, such as ``epoch 5``; empty if unknown.
        learning_rate: rate of the step that led to it, the largest of its parameter groups; None if unknown.
        group_rates: rates of its groups, if they differ.
        weight: its weight; a group's gradients count by its share of the largest rate.
    """

    name: str
    moment: str
    learning_rate: float | None
    group_rates: tuple[float, ...]
    weight: float

    @property
    def described(self) -> str:
        """A description on one line."""
        rates = ", ".join(f"{rate:.4g}" for rate in self.group_rates)
        rate = "unknown" if self.learning_rate is None else f"{self.learning_rate:.4g}"
        parts = [self.moment, f"learning rate {rate}{f' (by group {rates})' if rates else ''}"]
        return ", ".join([*filter(None, parts), f"weight {number(self.weight)}"])


def weigh_checkpoints(
    model: torch.nn.Module, names: Sequence[str], records: Sequence[CheckpointRecord], weighting: str | Sequence[float]
) -> tuple[list[WeighedCheckpoint], list[str]]:
    """The checkpoints of a run with their weights, and notes for the user."""
    rates = learning_rates([record.rates for record in records])
    notes: list[str] = []
    if isinstance(weighting, str) and weighting != "uniform":
        scales = [group_scales(model, record.rates) for record in records]
        rates = [None if rate is None else rate * s.mean for rate, s in zip(rates, scales, strict=True)]
        notes = _on_groups(names, records, scales)
    weights, more = checkpoint_weights(rates, names, weighting)
    weighed = [
        WeighedCheckpoint(name, record.moment, rate, record.rates.by_group if record.rates.differ else (), weight)
        for name, record, rate, weight in zip(names, records, rates, weights, strict=True)
    ]
    return weighed, [*notes, *more]


def unknown_rates(weighed: Sequence[WeighedCheckpoint], weighting: str | Sequence[float]) -> list[str]:
    """The note that all weights are 1 because some checkpoints have no learning rate."""
    without = [checkpoint.name for checkpoint in weighed if checkpoint.learning_rate is None]
    if not without or weighting != "relative":
        return []
    of = f"{len(without)} of {count(len(weighed), 'checkpoint')} ({first_few(without)})"
    return [f"the learning rate of {of} is unknown, so all checkpoints have weight 1"]


def group_scales(model: torch.nn.Module, rates: Rates) -> GroupScales:
    """The factors of a model's parameters by the groups of a checkpoint's optimizer."""
    largest = rates.saved
    if not largest or not rates.differ:
        return GroupScales({})
    by_name = rates_by_name(model, rates.groups)
    if by_name is None:
        sizes = [max(1, len(group.shapes)) for group in rates.groups]
        mean = sum(group.rate * size for group, size in zip(rates.groups, sizes, strict=True)) / sum(sizes)
        return GroupScales({}, mean / largest)
    return GroupScales({name: math.sqrt(rate / largest) for name, rate in by_name.items()})


def learning_rates(rates: Sequence[Rates]) -> list[float | None]:
    """The rate of the step that led to each checkpoint of a run."""
    next_ones = _logs_next_rates(rates)
    points: dict[int, float] = {}
    for recorded in rates:
        points |= {step if next_ones else step - 1: rate for step, rate in recorded.logged.items()}
    for recorded in rates:
        points |= recorded.after
    return [_learning_rate(recorded, points) for recorded in rates]


def _learning_rate(rates: Rates, points: Mapping[int, float]) -> float | None:
    if rates.taken is not None:
        return rates.taken
    if rates.step is None or not (rates.after or rates.logged):
        return rates.saved
    return rate_after(points, rates.step - 1)


def _logs_next_rates(rates: Sequence[Rates]) -> bool:
    """Whether the rate logged at a step is that of the next step, as in older versions of ``transformers``."""
    both = [(rate.logged[s], r) for rate in rates for s, r in rate.after.items() if s in rate.logged]
    if any(not math.isclose(logged, after, rel_tol=_CLOSE) for logged, after in both):
        return False
    return bool(both) or any(
        rate.step in rate.logged and not rate.logged[rate.step] and len(rate.logged) > 1 for rate in rates if rate.step
    )


def checkpoint_weights(
    rates: Sequence[float | None], names: Sequence[str], weighting: str | Sequence[float]
) -> tuple[list[float], list[str]]:
    """Weights ``w_c`` of checkpoints in the sum of influences, and notes for the user.

    ``relative``: learning rate over the mean learning rate, or 1 if a checkpoint has none; ``absolute``: the learning
    rate (as in TracInCP, Pruthi et al. 2020); ``uniform``: 1. Or the caller's numbers.

    Raises:
        CheckpointError: ``absolute`` with a checkpoint without a learning rate.
        UsageError: numbers are not valid weights.
    """
    if not isinstance(weighting, str):
        return check_own_weights(weighting, len(names)), []
    same = [1.0] * len(names)
    if weighting == "uniform":
        return same, []
    without = [name for name, rate in zip(names, rates, strict=True) if rate is None]
    if without and weighting == "absolute":
        raise CheckpointError(
            f"checkpoint {without[0]} has no learning rate, which `checkpoint_weights` absolute needs",
            hint="Use relative or uniform, or give your own weights.",
        )
    if without:
        return same, []
    numbers = [rate for rate in rates if rate is not None]
    mean = sum(numbers) / len(numbers)
    if not mean:
        return same, ["the learning rates are all zero, so all checkpoints have weight 1"]
    values = numbers if weighting == "absolute" else [rate / mean for rate in numbers]
    zero = [name for name, value in zip(names, values, strict=True) if not value]
    return values, [f"checkpoints with learning rate 0 add nothing to the scores: {first_few(zero)}"] if zero else []


def check_own_weights(weights: Sequence[float], checkpoints: int) -> list[float]:
    """The caller's weights, one per checkpoint.

    Raises:
        UsageError: their number is wrong, one is negative, infinite or not a number, or all are zero.
    """
    if len(weights) != checkpoints:
        raise UsageError(
            f"`checkpoint_weights` has {count(len(weights), 'number')} for {count(checkpoints, 'checkpoint')}",
            hint="Give one number for each checkpoint, in their order.",
        )
    values = [float(weight) for weight in weights]
    wrong = next((value for value in values if not 0 <= value < math.inf), None)
    if wrong is not None or not any(values):
        raise UsageError(
            f"`checkpoint_weights` has {number(wrong)}" if wrong is not None else "`checkpoint_weights` are all 0",
            hint="Give numbers of at least 0, and one above 0.",
        )
    return values


def _on_groups(names: Sequence[str], records: Sequence[CheckpointRecord], scales: Sequence[GroupScales]) -> list[str]:
    mixed = [k for k, record in enumerate(records) if record.rates.differ]
    notes = []
    for by_name, effect in (
        (True, "each group's gradients count by its own rate"),
        (False, "the parameters of the groups are unknown, so their mean rate counts for all"),
    ):
        those = [k for k in mixed if bool(scales[k].by_name) == by_name]
        if those:
            rates = ", ".join(f"{rate:.4g}" for rate in records[those[0]].rates.by_group)
            of = first_few([names[k] for k in those], 1)
            notes.append(f"learning rates differ by parameter group ({rates} in {of}): {effect}")
    return notes
