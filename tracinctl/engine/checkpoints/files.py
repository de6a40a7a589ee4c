"""What on disk is a checkpoint: a file, or a folder that a Hugging Face trainer wrote.

Completion asks this too, so what it does not need is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tracinctl.errors import CheckpointError

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

TRAINER_STATE = "trainer_state.json"

STAGED = ".tracinctl-"
"""Begins the name of a hidden folder beside checkpoints: those of a training that is not over."""
MOVING = "-moving"
"""Ends it while the checkpoints in it are put in the place of others."""

_INDEX = ".index.json"
_WEIGHTS = tuple(name + end for name in ("model.safetensors", "pytorch_model.bin") for end in ("", _INDEX))


def is_checkpoint(path: Path) -> bool:
    """Whether a path looks like a checkpoint: by a file's ending, or by what a folder holds."""
    if path.name.startswith("."):
        return False
    if path.suffix in SUFFIXES and path.is_file():
        return True
    return any((path / name).is_file() for name in _WEIGHTS)


def is_mixed(folder: Path) -> bool:
    """Whether a folder may hold checkpoints of two trainings, because one ended while it put its own in place."""
    return any(folder.glob(f"{STAGED}*{MOVING}"))


def weight_files(path: Path) -> list[Path]:
    """The files that hold a checkpoint's weights: itself, or those of a folder, in order.

    Raises:
        CheckpointError: a folder holds none, or its index names what is no file of the folder.
    """
    if not path.is_dir():
        return [path]
    found = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(f"{path} holds no weights", hint=f"wanted: one of {', '.join(_WEIGHTS)}")
    return _shards(found) if found.name.endswith(_INDEX) else [found]


def _shards(index: Path) -> list[Path]:
    import json

    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is no index of weights: {type(error).__name__}: {error}",
            hint="it may be cut off; save the model again",
        ) from error
    for name in names:
        # a name alone: a folder that was sent by somebody must not have other files read
        if not isinstance(name, str) or not name.endswith(SUFFIXES) or "\\" in name or Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is no file of weights in its folder")
        if not (index.parent / name).is_file():
            raise CheckpointError(
                f"{index} names {name}, which is not there", hint="copy all files of the checkpoint, or save it again"
            )
    return [index.parent / name for name in names]


def checkpoint_parts(path: Path) -> list[Path]:
    """Every file that says what a checkpoint is: its weights, their index, and the state of the trainer.

    Raises:
        CheckpointError: see ``weight_files``.
    """
    weights = weight_files(path)
    if not path.is_dir():
        return weights
    beside = [path / name for name in (*(name for name in _WEIGHTS if name.endswith(_INDEX)), TRAINER_STATE)]
    return [*weights, *(each for each in beside if each.is_file())]


def checkpoint_digest(path: Path, digest_of: Callable[[Path], str] | None = None) -> str:
    """SHA-256 of a file's bytes, or of the names and contents of a folder's parts, in hexadecimal.

    Args:
        path: the checkpoint.
        digest_of: gives the digest of one file; None reads it.

    Raises:
        CheckpointError: it cannot be read.
    """
    import hashlib

    from tracinctl.files import file_digest

    digest_of = digest_of or file_digest
    part = path
    try:
        if not path.is_dir():
            return digest_of(path)
        state = hashlib.sha256()
        for part in checkpoint_parts(path):
            state.update(f"{part.name}\0{digest_of(part)}\0".encode())
    except OSError as error:
        raise CheckpointError(f"cannot read {part}: {error.strerror}") from error
    return state.hexdigest()
