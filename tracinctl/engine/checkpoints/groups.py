"""Which of a model's parameters had which learning rate.

An optimizer's state names its parameters only where it was given names. Elsewhere it numbers them, group by group, and
what it keeps of each shows its shape: the groups are then taken to be in the model's order, one after the other or,
where shapes contradict that, one inside the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from tracinctl.engine.checkpoints.rates import Group
from tracinctl.engine.checkpoints.state_keys import bare_name

_MOST_STATES = 20_000  # ways to tell groups apart that are followed at once


def rates_by_name(model: torch.nn.Module, groups: Sequence[Group]) -> Mapping[str, float] | None:
    """Parameter -> its learning rate; None where the groups do not show which parameters they hold."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if all(group.names for group in groups):
        given = {bare_name(name): group.rate for group in groups for name in group.names or ()}
        by_name = {name: given.get(bare_name(name)) for name in trainable}
        return {name: rate or 0.0 for name, rate in by_name.items()} if any(by_name.values()) else None
    count = sum(len(group.shapes) for group in groups)
    for parameters in (dict(model.named_parameters()), trainable):
        if len(parameters) == count:
            shapes = [tuple(p.shape) for p in parameters.values()]
            rates = _one_after_the_other(shapes, groups) or _one_inside_the_other(shapes, groups)
            if rates is not None:
                return dict(zip(parameters, rates, strict=True))
    return None


def _one_after_the_other(shapes: Sequence[tuple[int, ...]], groups: Sequence[Group]) -> list[float] | None:
    listed = [(group.rate, shape) for group in groups for shape in group.shapes]
    fits = all(there is None or there == shape for shape, (_, there) in zip(shapes, listed, strict=True))
    return [rate for rate, _ in listed] if fits else None


def _one_inside_the_other(shapes: Sequence[tuple[int, ...]], groups: Sequence[Group]) -> list[float] | None:
    """Rates where each group keeps the model's order; None where there is no such way, or several that differ."""
    # how many parameters of each group are placed -> the rates so far; None where ways differ
    states: dict[tuple[int, ...], list[float] | None] = {(0,) * len(groups): []}
    for shape in shapes:
        following: dict[tuple[int, ...], list[float] | None] = {}
        for placed, rates in states.items():
            for k, group in enumerate(groups):
                if placed[k] < len(group.shapes) and group.shapes[placed[k]] in (None, shape):
                    state = (*placed[:k], placed[k] + 1, *placed[k + 1 :])
                    now = None if rates is None else [*rates, group.rate]
                    following[state] = now if following.get(state, now) == now else None
        if len(following) > _MOST_STATES:
            return None
        states = following
    return states.get(tuple(len(group.shapes) for group in groups))
