"""A one-line caption of scores: method, loss, checkpoints and date, from their provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracinctl.text import apart, count, number

_METHODS = {"tracin": "TracIn", "fisher": "TracIn by Fisher"}
_WIDEST_NAME = 24


def caption(provenance: Mapping[str, Any]) -> str:
    """``TracIn, standard loss, margin 1, 5 checkpoints (epoch 3 to epoch 15)``; empty if nothing is known."""
    method, loss = provenance.get("method"), provenance.get("loss")
    parts = [_METHODS.get(str(method), str(method))] if method else []
    parts += [f"{loss} loss"] if loss else []
    margin = provenance.get("margin")
    if isinstance(margin, (int, float)) and loss in {"standard", "ghm", "capped"}:
        parts.append(f"margin {number(margin)}")
    parts += _checkpoints(provenance)
    date = provenance.get("date")
    return ", ".join([*parts, str(date)] if date else parts)


def _checkpoints(provenance: Mapping[str, Any]) -> list[str]:
    listed = provenance.get("checkpoints")
    if not isinstance(listed, (list, tuple)) or not listed:
        return []
    names = [str(entry.get("name", "?")) if isinstance(entry, Mapping) else str(entry) for entry in listed]
    shown = apart(names, _WIDEST_NAME)
    ends = shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
    weights = provenance.get("checkpoint_weights", "relative")
    weighting = f", {weights} weights" if weights != "relative" else ""
    return [f"{count(len(names), 'checkpoint')} ({ends}){weighting}"]
