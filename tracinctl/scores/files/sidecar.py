"""The sidecar of a score file: data besides the scores, and digests that tie both files together.

``<name>_influence_provenance.json`` is beside the users' JSON, which has room only for scores, and
``<file>.parquet.json`` beside Parquet. A sidecar has the digests of its score file and of its own content, so that a
change of either is noticed. This module imports little, because completion reads test pairs with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_paths, locked

SCORES_ENDING = "_influence_metadata.json"
OWN_DIGEST = "sha256"


def sidecar_path(path: Path) -> Path:
    """The path of a score file's sidecar."""
    if path.suffix == ".parquet":
        return path.with_name(f"{path.name}.json")
    name = path.name
    stem = name.removesuffix(SCORES_ENDING) if name.endswith(SCORES_ENDING) else path.stem
    return path.with_name(f"{stem}_influence_provenance.json")


@contextlib.contextmanager
def writing_with_sidecar(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a temporary file for the scores, and an empty dictionary for the content of their sidecar.

    Both are complete before the first is renamed, so that a full disk leaves the old files.
    """
    with contextlib.ExitStack() as last, atomic_paths(path, sidecar_path(path)) as (scores, sidecar):
        content: dict[str, Any] = {}
        yield scores, content
        sidecar.write_text(sidecar_text(content), encoding="utf-8", newline="\n")
        last.enter_context(locked(path))  # or two runs could mix one's scores with the other's sidecar


def sidecar_text(content: Mapping[str, Any]) -> str:
    """The text of a sidecar: its content with a digest."""
    plain = json.loads(json.dumps(content))  # the form after reading, in which keys are text
    return json.dumps({OWN_DIGEST: _digest(plain), **plain}) + "\n"


def read_sidecar(path: Path) -> dict[str, Any]:
    """The content of the sidecar of a score file."""
    place = sidecar_path(path)
    again = f"Compute the scores again: tracinctl compute{_second_hint(path)}"
    try:
        if place.exists() and not place.is_file():
            raise ScoreFileError(f"{place} is a pipe or a device, not a file", hint=again)
        if not place.exists():
            raise ScoreFileError(
                f"cannot read {path}: its sidecar {place.name} is missing",
                hint=f"Copy {place.name} too, or compute the scores again: tracinctl compute",
            )
        content = json.loads(place.read_bytes())
        digest = content.pop(OWN_DIGEST)
    except OSError as error:
        raise ScoreFileError(f"cannot read {place}: {error.strerror or error}", hint=again) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ScoreFileError(f"{place} is damaged", hint=again) from error
    if digest != _digest(content):
        raise ScoreFileError(f"{place} was changed after it was written", hint=again)
    return dict(content)


def does_not_fit(path: Path) -> ScoreFileError:
    """The error that a score file does not fit its sidecar."""
    return ScoreFileError(
        f"{path} is damaged, or was changed after {sidecar_path(path).name} was written",
        hint=f"Compute the scores again: tracinctl compute{_second_hint(path)}",
    )


def _second_hint(path: Path) -> str:
    """A second hint for JSON, which can be read without a sidecar."""
    return "" if path.suffix == ".parquet" else f"\nTo read these scores unchecked, remove {sidecar_path(path)}."


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content, independent of the order of its keys and the layout of its text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
