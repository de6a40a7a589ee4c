"""What scores were computed from, as tables of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracinctl.scores.source import ScoreSource

_NAMES = {
    "method": "method",
    "damping": "damping, times the mean diagonal of the Fisher matrix",
    "loss": "loss",
    "margin": "margin",
    "checkpoint_weights": "checkpoint weights",
    "dtype": "precision of the gradients",
    "layers": "layers",
    "ghm_bins": "GHM bins",
    "ghm_alpha": "GHM alpha",
    "batch_size": "training batch size",
    "torch": "torch version",
    "model": "model (digest)",
    "date": "date",
}


@dataclass(frozen=True)
class Table:
    """A table of text; ``numbers`` names the columns that are set at the right, ``codes`` those of ids and commands."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()


def origin_rows(source: ScoreSource, score_file: str) -> Table:
    """The settings that the scores' provenance names."""
    known = source.provenance
    rows = [["scores", score_file]] if score_file else []
    rows += [["training pairs", f"{len(source.train_ids):,}"], ["test pairs", f"{len(source.test_ids):,}"]]
    items = known.get("items")
    if isinstance(items, Mapping):
        rows.append(["items", f"{len(items):,}"])
    rows += [[_NAMES[key], _shown(known[key])] for key in _NAMES if known.get(key) is not None]
    return Table("Scores", ("what", "value"), rows, codes=frozenset({1}))


def checkpoint_table(provenance: Mapping[str, Any]) -> Table | None:
    """The checkpoints with their weights; None where they are not known."""
    checkpoints = [each for each in provenance.get("checkpoints") or () if isinstance(each, Mapping)]
    if not checkpoints:
        return None
    keys = ("name", "weight", "learning_rate", "digest")
    return Table(
        "Checkpoints",
        ("checkpoint", "weight", "learning rate", "content (digest)"),
        [[_shown(each.get(key)) for key in keys] for each in checkpoints],
        numbers=frozenset({1, 2}),
        codes=frozenset({0, 3}),
    )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return str(value)
