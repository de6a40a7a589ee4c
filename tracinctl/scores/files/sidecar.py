"""What is known of a JSON score file beyond its scores, in a file beside it.

``<name>_influence_provenance.json`` names the SHA-256 of the score file that it belongs to. One that belongs to other
scores, or is broken, is as good as none: the scores speak for themselves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.scores.files.json_text import json_text, read_json
from tracinctl.scores.table import FloatArray, ScoreSource

SCORES_ENDING = "_influence_metadata.json"


def provenance_path(path: Path) -> Path:
    """Where the provenance of a JSON score file stands."""
    name = path.name
    stem = name.removesuffix(SCORES_ENDING) if name.endswith(SCORES_ENDING) else path.stem
    return path.with_name(f"{stem}_influence_provenance.json")


def provenance_text(source: ScoreSource, digest: str) -> str:
    """The content of the file; ``digest`` is the SHA-256 of the score file, in hexadecimal."""
    own, sample = source.self_influence, source.sample_influence
    content = {
        "scores_sha256": digest,
        "provenance": dict(source.provenance),
        "checkpoint_names": list(source.checkpoint_names),
        "train_items": [list(pair) for pair in source.train_items],
        "self_influence": None if own is None else own.tolist(),
        "sample_influence": None if sample is None else dict(zip(source.sample_ids, sample.tolist(), strict=True)),
    }
    return json_text(content) + "\n"


def read_provenance(path: Path, data: bytes, pairs: int) -> dict[str, Any]:
    """What the file beside a score file says, as arguments of InfluenceTable; nothing where it does not belong to it.

    Args:
        path: of the score file.
        data: its content.
        pairs: how many training pairs it has.
    """
    place = provenance_path(path)
    if place == path or not place.is_file():
        return {}
    try:
        beside = read_json(place)
        if beside["scores_sha256"] != hashlib.sha256(data).hexdigest():
            return {}
        items = [(str(a), str(b)) for a, b in beside["train_items"]]
        own, sample = beside["self_influence"], beside["sample_influence"]
        self_influence = None if own is None else _finite(own)
        fits = len(items) in (0, pairs) and (self_influence is None or len(self_influence) == pairs)
        if not fits or not isinstance(beside["provenance"], dict):
            return {}
        return {
            "train_items": items,
            "self_influence": self_influence,
            "sample_ids": [] if sample is None else list(sample),
            "sample_influence": None if sample is None else _finite(list(sample.values())),
            "checkpoint_names": [str(name) for name in beside["checkpoint_names"]],
            "provenance": beside["provenance"],
        }
    except (ScoreFileError, OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return {}


def _finite(values: Any) -> FloatArray:
    if not all(type(value) in (int, float) for value in values):
        raise TypeError("numbers are wanted")
    found = np.array(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("finite numbers are wanted")
    return found
