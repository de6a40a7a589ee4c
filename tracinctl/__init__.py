"""Find the training pairs that hurt a ranking model, leave them out, and see whether it helped."""

from __future__ import annotations

from tracinctl._version import __version__

# typing takes ten milliseconds to load, in which Ctrl-C would give a traceback; type checkers know this name
TYPE_CHECKING = False

_EXPORTS = {
    "InfluenceTable": "tracinctl.scores.table",
    "Pairs": "tracinctl.data.pairs",
    "RankingData": "tracinctl.data.pairs",
    "RankingTracInCP": "tracinctl.engine.tracin",
    "Samples": "tracinctl.data.pairs",
    "TracInCP": "tracinctl.engine.tracin",
    "TracinctlError": "tracinctl.errors",
    "compute_influence": "tracinctl.engine.compute",
    "load_influence_scores": "tracinctl.scores.files.open",
}

__all__ = [
    "InfluenceTable",
    "Pairs",
    "RankingData",
    "RankingTracInCP",
    "Samples",
    "TracInCP",
    "TracinctlError",
    "__version__",
    "compute_influence",
    "load_influence_scores",
]

if TYPE_CHECKING:
    from typing import Any

    from tracinctl.data.pairs import Pairs, RankingData, Samples
    from tracinctl.engine.compute import compute_influence
    from tracinctl.engine.tracin import RankingTracInCP, TracInCP
    from tracinctl.errors import TracinctlError
    from tracinctl.scores.files.open import load_influence_scores
    from tracinctl.scores.table import InfluenceTable


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing tracinctl loads no heavy library."""
    if name in _EXPORTS:
        import importlib

        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
