"""Gradients of blocks of items, joined without copying what can be computed in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.gradients.uses import Dense, Feature, tensors_of
from tracinctl.errors import NonFiniteError

Places = Sequence[torch.Tensor | None]


def places_in(held: Sequence[Feature], rows: IntArray) -> Places:
    """Tensors for the dense gradients of these rows, if the rows follow each other."""
    if not _follow(rows):
        return ()
    return [part.values[rows[0] : rows[-1] + 1] if isinstance(part, Dense) else None for part in held]


def put(features: Sequence[Feature], held: list[Feature], rows: IntArray, count: int) -> list[Feature]:
    """Copy features to these rows of ``held``, or of new features of ``count`` rows, unless they are there already."""
    held = held or [
        type(feature)(*(t.new_empty(count, *t.shape[1:]) for t in tensors_of(feature))) for feature in features
    ]
    follow = _follow(rows)
    for feature, part in zip(features, held, strict=True):
        for value, target in zip(tensors_of(feature), tensors_of(part), strict=True):
            if not follow:
                target[torch.from_numpy(rows).to(target.device)] = value
            elif (place := target[rows[0] : rows[-1] + 1]).data_ptr() != value.data_ptr():
                place.copy_(value)
    return held


def _follow(rows: IntArray) -> bool:
    """Whether these rows follow each other, which are faster to copy."""
    return bool(rows[-1] - rows[0] + 1 == len(rows))


def check_finite(
    features: list[Feature], scores: torch.Tensor, lengths: FloatArray | None, ids: Iterable[str], checkpoint: str
) -> None:
    """Raise NonFiniteError for NaN or infinite scores or gradients of items with these ids.

    ``lengths`` are squared lengths of the gradients, if they are known. They or a sum are finite if all numbers are,
    unless they overflow, and need no mask.
    """
    gradients = [("gradient", tensor) for feature in features for tensor in tensors_of(feature)]
    if lengths is None:
        gradients = [(name, tensor) for name, tensor in gradients if not bool(torch.isfinite(tensor.sum()))]
    elif np.isfinite(lengths).all():
        gradients = []
    for name, tensor in (("score", scores.unsqueeze(1)), *gradients):
        bad = (~torch.isfinite(tensor)).flatten(1).any(1).nonzero()
        if len(bad):
            raise NonFiniteError(
                f"checkpoint {checkpoint}: the {name} of item {list(ids)[int(bad[0])]} is NaN or infinite",
                hint="Leave the checkpoint or the item out, or check the recording and the training run.",
            )
