"""Read the accuracies in a checkpoint, without its tensors and without torch."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MOST: Final = 1 << 26  # limit in bytes on the pickle in a checkpoint, which has names and numbers


@dataclass(frozen=True)
class Measures:
    """Accuracy on the held-out pairs, 0 to 1, of this checkpoint and before training; None if unknown."""

    held_out_accuracy: float | None = None
    untrained_accuracy: float | None = None


def measures_of(path: Path) -> Measures:
    """The measures in a checkpoint; empty if it is another program's or cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            [entry] = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
            if entry.file_size > _MOST:
                return Measures()
            with archive.open(entry) as stream:
                content = _Values(stream).load()
        settings = content["args"]
        return Measures(_share(content["val_accuracy"], 100), _share(settings["untrained_accuracy"], 1))
    except Exception:  # noqa: BLE001 - any other file has no measures
        return Measures()


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
