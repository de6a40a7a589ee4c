"""Find the learning rate of each of a model's parameters.

An optimizer's state has the names of its parameters only if it was given names. Otherwise it numbers them, group by
group, and its tensors show their shapes. The groups are then assumed to be in the model's order, one after another, or
interleaved if the shapes contradict that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from tracinctl.engine.checkpoints.rates import Group
from tracinctl.engine.checkpoints.state_keys import bare_name

_MOST_STATES = 20_000  # largest number of assignments to groups that are followed at once


def rates_by_name(model: torch.nn.Module, groups: Sequence[Group]) -> Mapping[str, float] | None:
    """Learning rates by parameter; None if the groups do not show their parameters."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if all(group.names for group in groups):
        by_bare_name = {bare_name(name): group.rate for group in groups for name in group.names or ()}
        by_name = {name: by_bare_name.get(bare_name(name)) for name in trainable}
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
    fits = all(recorded is None or recorded == shape for shape, (_, recorded) in zip(shapes, listed, strict=True))
    return [rate for rate, _ in listed] if fits else None


def _one_inside_the_other(shapes: Sequence[tuple[int, ...]], groups: Sequence[Group]) -> list[float] | None:
    """Rates if each group keeps the model's order; None if there is no such assignment, or several that differ."""
    # by the number of placed parameters of each group: the rates so far; None if assignments differ
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
