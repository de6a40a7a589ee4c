"""The file beside a score file: what is known of the scores beyond them, and digests that bind the two together.

``<name>_influence_provenance.json`` stands beside the users' JSON, which has no room for more than scores, and
``<file>.parquet.json`` beside Parquet. Either names the digest of its score file and of its own content, so that a
change of one of the two is noticed and never read as scores. This module is light: completion reads test pairs with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracinctl.errors import ScoreFileError

SCORES_ENDING = "_influence_metadata.json"
OWN_DIGEST = "sha256"


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a score file stands."""
    if path.suffix == ".parquet":
        return path.with_name(f"{path.name}.json")
    name = path.name
    stem = name.removesuffix(SCORES_ENDING) if name.endswith(SCORES_ENDING) else path.stem
    return path.with_name(f"{stem}_influence_provenance.json")


def sidecar_text(content: Mapping[str, Any]) -> str:
    """The text of a sidecar: its content and the content's digest."""
    plain = json.loads(json.dumps(content))  # as it will be read: keys are text
    return json.dumps({OWN_DIGEST: _digest(plain), **plain}) + "\n"


def read_sidecar(path: Path) -> dict[str, Any]:
    """The content of the sidecar of a score file.

    Raises:
        ScoreFileError: it is missing, broken, or was changed after it was written.
    """
    place = sidecar_path(path)
    again = f"Compute the scores again: tracinctl compute{_or_without(path)}"
    try:
        if place.exists() and not place.is_file():
            raise ScoreFileError(f"{place} is a pipe or a device, not a file", hint=again)
        if not place.exists():
            raise ScoreFileError(
                f"cannot read {path}: {place.name} is not beside it, which says how to check it",
                hint=f"Copy {place.name} too, or compute the scores again: tracinctl compute",
            )
        content = json.loads(place.read_bytes())
        own = content.pop(OWN_DIGEST)
    except OSError as error:
        raise ScoreFileError(f"cannot read {place}: {error.strerror or error}", hint=again) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ScoreFileError(f"{place} is damaged", hint=again) from error
    if own != _digest(content):
        raise ScoreFileError(f"{place} was changed after it was written", hint=again)
    return dict(content)


def apart(path: Path) -> ScoreFileError:
    """The error of a score file that is not the one its sidecar describes."""
    return ScoreFileError(
        f"{path} is damaged, or was changed after {sidecar_path(path).name} was written",
        hint=f"Compute the scores again: tracinctl compute{_or_without(path)}",
    )


def _or_without(path: Path) -> str:
    """The other way out: JSON can be read without a sidecar."""
    return "" if path.suffix == ".parquet" else f"\nTo read these scores as they are, remove {sidecar_path(path)}."


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content, whatever the order of its keys and the layout of its text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
