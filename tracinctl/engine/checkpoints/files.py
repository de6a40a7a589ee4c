"""The forms of checkpoints: files, folders of trainers, and state dicts in memory.

Completion imports this module, so heavy imports are inside functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracinctl.errors import CheckpointError

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pth.tar", ".pt.tar")

TRAINER_STATE = "trainer_state.json"
ADAPTER_CONFIG = "adapter_config.json"

STAGED = ".tracinctl-"
"""Prefix of a hidden folder beside checkpoints, for those of an unfinished training."""
MOVING = "-moving"
"""Suffix of that folder while its checkpoints replace others."""

ANY_PART = "*"
"""A part of a weight's name that may be missing in the model, between a numbered module and its content."""

_INDEX = ".index.json"
_WEIGHTS = tuple(name + end for name in ("model.safetensors", "pytorch_model.bin") for end in ("", _INDEX))
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_MODULES = "modules.json"  # of sentence-transformers
_SHARDED = (".metadata", "pytorch_model_fsdp_0/.metadata")  # of torch.distributed.checkpoint, and accelerate's
_JOIN_SHARDS = "Join it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} joined.pt"
_UNREADABLE = dict.fromkeys(
    _SHARDED, ("is a sharded checkpoint of torch.distributed, which must be joined first", _JOIN_SHARDS)
) | {
    "zero_to_fp32.py": (
        "is a checkpoint of DeepSpeed, which must be joined first",
        "Join it in its folder: python zero_to_fp32.py . joined",
    ),
    "tf_model.h5": ("has weights of TensorFlow", "Save it with PyTorch: save_pretrained."),
}  # by a file in the folder: what the folder is, and what to do
_BESIDE = (TRAINER_STATE, ADAPTER_CONFIG, _MODULES, "scheduler.pt", "scheduler.bin")


@dataclass(frozen=True)
class CheckpointSource:
    """The place of a checkpoint, and the weights to ignore.

    Attributes:
        name: the name of the file or folder, or a made-up one for a state in memory.
        place: a path, or the content in memory.
        ignore_keys: patterns of names of weights to leave out.
    """

    name: str
    place: Path | Mapping[str, Any]
    ignore_keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Path | CheckpointSource) -> CheckpointSource:
        """The source of a path, with all weights."""
        return source if isinstance(source, CheckpointSource) else cls(source.name, source)

    def __str__(self) -> str:
        return str(self.place) if isinstance(self.place, Path) else self.name


def is_checkpoint(path: Path) -> bool:
    """Whether a path looks like a checkpoint, by a file's ending or a folder's content."""
    if path.name.startswith("."):
        return False
    if path.name.endswith(SUFFIXES) and path.is_file():
        return True
    return path.is_dir() and any((path / name).is_file() for name in (*_WEIGHTS, *_ADAPTERS, _MODULES, *_SHARDED))


def is_mixed(folder: Path) -> bool:
    """Whether a folder may have checkpoints of two trainings, because one ended while it replaced the other's."""
    return any(folder.glob(f"{STAGED}*{MOVING}"))


def weight_files(path: Path) -> list[tuple[Path, str]]:
    """The files of a checkpoint's weights, in order, each with the prefix of its weights' names.

    Raises:
        CheckpointError: a folder has no readable weights, or its index names something else than files of the folder.
    """
    if not path.is_dir():
        return [(path, "")]
    if (path / _MODULES).is_file() and (parts := _modules(path)):
        return parts
    weights = next((path / name for name in (*_WEIGHTS, *_ADAPTERS) if (path / name).is_file()), None)
    if weights is None:
        raise _no_weights(path)
    second = next(iter(sorted(path.glob(f"{weights.stem}_[0-9]{weights.suffix}"))), None)
    if second is not None:
        raise CheckpointError(
            f"{path} has the weights of several models: {weights.name} and {second.name}",
            hint=f"Give the file of the model that was trained on pairs, for example {second}.",
        )
    return [(part, "") for part in _in_parts(weights)]


def _no_weights(path: Path) -> CheckpointError:
    for name, (kind, hint) in _UNREADABLE.items():
        if (path / name).is_file():
            return CheckpointError(f"{path} {kind}", hint=hint.format(folder=(path / name).parent))
    inside = next(filter(is_checkpoint, sorted(path.iterdir())), None)
    if inside is not None:
        return CheckpointError(
            f"{path} is a folder of checkpoints, not a checkpoint",
            hint=f"Give the checkpoints in it, such as {inside}.",
        )
    return CheckpointError(f"{path} has no weights", hint=f"Add one of {', '.join((*_WEIGHTS, *_ADAPTERS))}.")


def _modules(path: Path) -> list[tuple[Path, str]]:
    """The weights of the modules of a sentence-transformers folder; empty if only the first one has any."""
    index = path / _MODULES
    parts: list[tuple[Path, str]] = []
    with _parsing(index, "a list of modules"):
        for module in _read_json(index):
            name, place = str(module["name"]), str(module["path"])
            if Path(place).name != place:
                raise CheckpointError(
                    f"{index} names {place!r}, which is not a folder beside it",
                    hint="Save the model again, all in one folder.",
                )
            weights = next((path / place / file for file in _WEIGHTS if (path / place / file).is_file()), None)
            if weights is not None:
                parts += [(part, f"{name}.{ANY_PART}.") for part in _in_parts(weights)]
    return parts if len({prefix for _, prefix in parts}) > 1 or (parts and parts[0][0].parent != path) else []


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise CheckpointError if the system cannot read a file or folder in the block."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot read {error.filename or path}: {error.strerror}", hint="Check its path and permissions."
        ) from error


@contextlib.contextmanager
def _parsing(index: Path, content: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is not {content}: {type(error).__name__}: {error}",
            hint="Save the model again, in case the file is cut off.",
        ) from error


def _in_parts(weights: Path) -> list[Path]:
    """The file of weights, or the files that it lists if it is an index."""
    if not weights.name.endswith(_INDEX):
        return [weights]
    with _parsing(weights, "an index of weights"):
        names = sorted(set(_read_json(weights)["weight_map"].values()))
    for name in names:
        # only names without folders, so that a folder from somebody else cannot make us read other files
        plain = isinstance(name, str) and name.endswith(SUFFIXES) and "\\" not in name and Path(name).name == name
        if not plain or not (weights.parent / name).is_file():
            raise CheckpointError(
                f"{weights} names {name!r}, which is not a file of weights in its folder",
                hint="Copy all files of the checkpoint to one folder, or save it again.",
            )
    return [weights.parent / name for name in names]


def checkpoint_parts(path: Path) -> list[Path]:
    """All files of a checkpoint: its weights, their index, and the state of the trainer."""
    weights = [file for file, _ in weight_files(path)]
    if not path.is_dir():
        return weights
    beside = [path / name for name in (*(name for name in _WEIGHTS if name.endswith(_INDEX)), *_BESIDE)]
    return [*weights, *(file for file in beside if file.is_file())]


def checkpoint_digest(source: Path | CheckpointSource, digest_of: Callable[[Path], str] | None = None) -> str:
    """SHA-256 of a file's bytes, of the names and contents of a folder's parts, or of a state in memory; hexadecimal.

    ``digest_of`` returns the digest of one file; None reads the file.
    """
    import hashlib

    from tracinctl.files import file_digest

    digest_of = digest_of or file_digest
    path = source.place if isinstance(source, CheckpointSource) else source
    if not isinstance(path, Path):
        from tracinctl.engine.checkpoints.record import content_digest

        return content_digest(path)
    with reading(path):
        if not path.is_dir():
            return digest_of(path)
        state = hashlib.sha256()
        for part in checkpoint_parts(path):
            state.update(f"{part.relative_to(path).as_posix()}\0{digest_of(part)}\0".encode())
    return state.hexdigest()


def _read_json(path: Path) -> Any:
    # completion imports this module and reads no JSON
    import json

    return json.loads(path.read_text(encoding="utf-8"))
