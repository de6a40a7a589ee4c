"""The learning rate of the step that led to a checkpoint.

A scheduler that was saved after its step has the rate of the *next* step, which is zero at the end of a decay to zero.
For torch's schedules with a closed form, the rate of the previous step is computed. For others it is interpolated
linearly between the known steps of all checkpoints of the run.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any


def rates_before(scheduler: Mapping[str, Any]) -> list[float] | None:
    """The rates of the last step, by parameter group, from the state of one of torch's schedulers.

    None without a closed form.
    """
    base, step = scheduler.get("base_lrs"), scheduler.get("last_epoch")
    if not isinstance(base, Sequence) or not base or not isinstance(step, int) or step < 1:
        return None
    factor = _factor(scheduler, step - 1)
    if factor is not None:
        return [float(rate) * factor for rate in base]
    period, least = scheduler.get("T_max"), scheduler.get("eta_min")
    if isinstance(period, (int, float)) and period > 0 and isinstance(least, (int, float)):
        share = (1 + math.cos(math.pi * (step - 1) / period)) / 2
        return [least + (float(rate) - least) * share for rate in base]
    return None


def _factor(scheduler: Mapping[str, Any], step: int) -> float | None:
    """The factor on the first rates after some steps, for schedules with a ``gamma``."""
    gamma, every, milestones = (scheduler.get(name) for name in ("gamma", "step_size", "milestones"))
    if not isinstance(gamma, (int, float)) or "scale_fn" in scheduler or "base_momentums" in scheduler:
        return None
    if isinstance(every, int) and every > 0:
        return float(gamma ** (step // every))
    if isinstance(milestones, Mapping):
        return float(gamma ** sum(int(count) for at, count in milestones.items() if at <= step))
    fields = {"gamma", "base_lrs", "last_epoch", "verbose", "_step_count", "_last_lr", "_get_lr_called_within_step"}
    return float(gamma**step) if scheduler.keys() <= fields | {"_is_initial"} else None


def rate_after(points: Mapping[int, float], step: int) -> float | None:
    """The rate of a schedule after some steps, on a line through the nearest known steps.

    None if no step is known, or a single one with rate zero, because the rate before it is unknown.
    """
    if step in points:
        return points[step]
    steps = sorted(points)
    if len(steps) < 2:  # noqa: PLR2004 - a line needs two points
        only = points[steps[0]] if steps else 0.0
        return only or None
    right = min(max(bisect_right(steps, step), 1), len(steps) - 1)
    a, b = steps[right - 1], steps[right]
    return max(0.0, points[a] + (points[b] - points[a]) * (step - a) / (b - a))
