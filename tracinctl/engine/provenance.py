"""The provenance of a computation, and notes on ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, RankingData
from tracinctl.engine.fisher import DAMPING
from tracinctl.engine.items import Items
from tracinctl.engine.losses import LossSettings
from tracinctl.engine.options import EngineOptions


def provenance_of(options: EngineOptions, model_key: str, item_view: str, items: Items) -> dict[str, Any]:
    """The settings, model and items behind the scores, for JSON."""
    loss, weighting = options.loss, options.checkpoint_weights
    provenance: dict[str, Any] = {
        "method": options.method,
        "loss": loss.name,
        "margin": loss.margin,
        "checkpoint_weights": weighting if isinstance(weighting, str) else list(map(float, weighting)),
        "dtype": options.dtype,
        "layers": list(options.layers) if options.layers is not None else None,
        "torch": torch.__version__,
        "model": model_key,
        "item_view": item_view,
        "items": dict(zip(items.ids, items.digests, strict=True)),
    }
    if options.method == "fisher":
        provenance["damping"] = DAMPING
    if loss.loss == "ghm":
        provenance |= {"ghm_bins": loss.ghm_bins, "ghm_alpha": loss.ghm_alpha, "batch_size": loss.batch_size}
    return provenance | {name: value for name in ("label_smoothing", "centring") if (value := getattr(loss, name))}


def note_on_error(way: str, errors: Sequence[FloatArray], sample: str, unknown: str) -> str:
    """The note on an approximation's error, measured on a sample at each checkpoint, or why it is unknown."""
    measured = [error for error in errors if not np.isnan(error).any()]
    if not measured:
        return f"{way}; the error is unknown, because {unknown}"
    correlation, off = min(e[0] for e in measured), max(e[1] for e in measured)
    return (
        f"{way}: on {sample}, at the worst checkpoint, scores correlate {correlation:.3f} with exact ones and are off "
        f"by {off:.1%} (root mean square)"
    )


def errors_in_plain_values(errors: Sequence[FloatArray]) -> list[dict[str, float] | None]:
    """Correlation and root mean square error at each checkpoint, for JSON; None if unknown."""
    return [
        None if np.isnan(e).any() else {"correlation": float(e[0]), "root_mean_square": float(e[1])} for e in errors
    ]


def notes_on_ties(data: RankingData, loss: LossSettings, method: str) -> list[str]:
    """Notes on ties, which have no gradient and so score 0."""
    notes = []
    silent = not loss.knows_ties
    for pairs, kind, counts_for_nothing in (
        (data.train_pairs, "training", silent),
        (data.test_pairs, "held-out", silent or method != "tracin"),
    ):
        ties = int((pairs.target == 0).sum())
        if ties and counts_for_nothing:
            of = f"the loss {loss.name}" if silent else f"the method {method}"
            notes.append(f"{ties:,} {kind} pairs are ties, which {of} leaves out, so they score 0")
    return notes
