"""Read the accuracies and arguments in a checkpoint, without its tensors and without torch."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_MOST: Final = 1 << 26  # limit in bytes on the pickle in a checkpoint, which has names and numbers


def held_out_accuracies(path: Path) -> tuple[float | None, float | None]:
    """Accuracy on the held-out pairs, 0 to 1, of a checkpoint and before its training; None if unknown."""
    content = _values(path)
    return _share(content.get("val_accuracy"), 100), _share(_arguments(content).get("untrained_accuracy"), 1)


def arguments_of(path: Path) -> Mapping[str, Any]:
    """The training's arguments in a checkpoint; empty if it has none or cannot be read."""
    return _arguments(_values(path))


def _arguments(content: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = content.get("args")
    return arguments if isinstance(arguments, Mapping) else {}


def _values(path: Path) -> Mapping[str, Any]:
    """The plain values in a checkpoint; empty if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            [entry] = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
            if entry.file_size > _MOST:
                return {}
            with archive.open(entry) as stream:
                content = _Values(stream).load()
    except Exception:  # noqa: BLE001 - a file of another form has none
        return {}
    return content if isinstance(content, Mapping) else {}


def _share(value: object, scale: int) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    share = float(value) / scale if is_number else -1.0  # type: ignore[arg-type]
    return share if 0 <= share <= 1 else None


class _Nothing(dict[Any, Any]):
    """Replacement for every object that is not a plain value."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Ignore the state."""


class _Values(pickle.Unpickler):
    """Read plain values only: no class is imported and no function called."""

    def persistent_load(self, _: Any) -> None:
        """Skip a tensor's numbers."""

    def find_class(self, _: str, __: str) -> type[_Nothing]:
        """Replace every class and function."""
        return _Nothing
