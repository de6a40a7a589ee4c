"""Load checkpoints one at a time, as tensors only, and put them into a model."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tracinctl.engine.checkpoints.adapters import apply_adapter, is_adapter
from tracinctl.engine.checkpoints.files import CheckpointSource, checkpoint_digest, reading, weight_files
from tracinctl.engine.checkpoints.rates import rates_in
from tracinctl.engine.checkpoints.record import CheckpointRecord, record_of, weights_digest
from tracinctl.engine.checkpoints.safe_load import check_state, read_tensors
from tracinctl.engine.checkpoints.state_keys import state_for
from tracinctl.engine.checkpoints.trainer_state import folder_rates, read_trainer_state
from tracinctl.engine.checkpoints.unpickle import Inert, NoPlainTensor, module_state
from tracinctl.errors import CheckpointError
from tracinctl.text import clean, first_few

_STATE_KEYS = ("model_state_dict", "state_dict", "model")


@dataclass(frozen=True)
class Checkpoint:
    """A model's state at one moment of training.

    Attributes:
        name: the name of the file or folder.
        digest: SHA-256 of the file's bytes, or of the folder's parts (``files.checkpoint_digest``).
        state: parameters and buffers by name.
        record: its data on the training.
        adapter: whether it has only an adapter's weights.
    """

    name: str
    digest: str
    state: Mapping[str, torch.Tensor]
    record: CheckpointRecord = field(default_factory=CheckpointRecord)
    adapter: bool = False


def load_checkpoint(source: Path | CheckpointSource) -> Checkpoint:
    """Load a checkpoint on the CPU, as tensors and plain values; no code in it is run.

    A checkpoint is a file with a state dict, alone or under a name, of torch, safetensors or Lightning; a folder of
    Hugging Face's Trainer, accelerate, peft or sentence-transformers; or the content of such a file in memory.

    Raises:
        CheckpointError: the checkpoint is missing, broken or something else, asks to run code, would take far more
            memory than its bytes, has no state of a model, or its learning rate is not a number.
    """
    source = CheckpointSource.of(source)
    if not isinstance(source.place, Path):
        checkpoint = _load_content(source, source.place, checkpoint_digest(source))
    elif source.place.is_dir():
        checkpoint = _load_folder(source.place)
    else:
        raw = _read(source.place)
        content = read_tensors(source.place, raw)
        checkpoint = _load_content(source, content, hashlib.sha256(raw).hexdigest(), len(raw))
    state = {
        name: weight
        for name, weight in checkpoint.state.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in source.ignore_keys)
    }
    if not state:
        raise CheckpointError(f"{source}: ignore_keys leaves no weights", hint="Give patterns of fewer names.")
    return replace(checkpoint, state=state, record=replace(checkpoint.record, weights=weights_digest(state)))


def _load_content(source: CheckpointSource, content: Any, digest: str, size: int | None = None) -> Checkpoint:
    state = _state_of(content)
    path = Path(str(source))
    if state is None:
        raise _no_state(source, content)
    if size is not None:
        check_state(path, state, size)
    beside = content if state is not content and not isinstance(content, Inert) else {}
    return Checkpoint(source.name, digest, dict(state), record_of(beside, rates_in(path, beside)))


def _no_state(source: CheckpointSource, content: Any) -> CheckpointError:
    inside = content if isinstance(content, Mapping) else {}
    if "param_groups" in inside:
        return CheckpointError(
            f"{source} has the state of an optimizer, not of a model",
            hint="Move it to another folder, or choose the models' files with checkpoint_prefix.",
        )
    names = _inner_states(inside)
    others = [name for name, value in inside.items() if not isinstance(value, torch.Tensor)]
    if 0 < len(others) < len(inside):
        kind = type(inside[others[0]]).__name__
        return CheckpointError(
            f"{source} has {others[0]!r} among its weights, which is not a tensor but a {kind}",
            hint="Save the weights alone under `model_state_dict`, and everything else beside them.",
        )
    if len(names) > 1:
        return CheckpointError(
            f"{source} has several states of models: {', '.join(map(repr, names))}",
            hint="Save the trained one under `model_state_dict`, or alone.",
        )
    only = f", only {first_few([clean(name) for name in inside])}" if inside else ""
    return CheckpointError(
        f"{source} has no state of a model{only}",
        hint="Save a state dict of tensors, alone or under `model_state_dict` or `state_dict`.",
    )


def _load_folder(path: Path) -> Checkpoint:
    digest = checkpoint_digest(path)
    state: dict[str, torch.Tensor] = {}
    for part, prefix in weight_files(path):
        raw = _read(part)
        tensors = _state_of(read_tensors(part, raw))
        if tensors is None:
            raise CheckpointError(f"{part} has no state of a model", hint="Save the checkpoint again.")
        check_state(part, tensors, len(raw))
        state |= {f"{prefix}{name}": value for name, value in tensors.items()}
    trainer = read_trainer_state(path)
    rates = folder_rates(path, trainer, lambda place: read_tensors(place, _read(place)))
    if checkpoint_digest(path) != digest:
        raise CheckpointError(f"{path} changed while it was read", hint="Run the command again when training is over.")
    record = CheckpointRecord(rates, "step" if trainer.step else "", trainer.step, trainer.planned)
    return Checkpoint(path.name, digest, state, record, adapter=is_adapter(path))


def _read(path: Path) -> bytearray:
    """A file's bytes in a buffer that tensors can be views of."""
    with reading(path):
        if path.exists() and not path.is_file():
            raise CheckpointError(f"cannot read {path}: it is a device or a pipe", hint="Give a file.")
        with path.open("rb") as file:
            raw = bytearray(os.fstat(file.fileno()).st_size)
            if file.readinto(raw) != len(raw) or file.read(1):
                raise CheckpointError(
                    f"{path} changed while it was read", hint="Run the command again when training is over."
                )
    return raw


def _state_of(content: Any) -> Mapping[str, torch.Tensor] | None:
    """The state of a model in a file's content, alone or under a name."""
    if isinstance(content, Inert) and (state := module_state(content)):
        return state
    if not isinstance(content, Mapping):
        return None
    for key in _STATE_KEYS:
        if isinstance(inner := content.get(key), Inert) and (state := module_state(inner)):
            return state
        if isinstance(inner, Mapping):
            return inner if _is_state(inner) else None
    if _is_state(content):
        return content
    names = _inner_states(content)
    return content[names[0]] if len(names) == 1 else None


def _inner_states(content: Mapping[str, Any]) -> list[str]:
    return [name for name, value in content.items() if _is_state(value)]


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, (torch.Tensor, NoPlainTensor)) for k, v in value.items())
    )


def apply_checkpoint(model: torch.nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Put a checkpoint's state into the model; return notes on how it fits.

    Raises:
        CheckpointError: names are missing, unexpected or of another shape (the message names the first of each kind),
            or a weight is not finite.
    """
    if checkpoint.adapter:
        _check_finite(checkpoint.state, checkpoint.name)
        apply_adapter(model, checkpoint.state, checkpoint.name)
        return []
    state, notes = state_for(model, checkpoint.state, checkpoint.name)
    _check_finite(state, checkpoint.name)
    model.load_state_dict(state)
    return notes


def _check_finite(state: Mapping[str, torch.Tensor], checkpoint: str) -> None:
    for key, tensor in state.items():
        # torch cannot find NaN in eight-bit numbers
        values = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if (values.is_floating_point() or values.is_complex()) and not bool(torch.isfinite(values).all()):
            raise CheckpointError(
                f"checkpoint {checkpoint}: {key} has NaN or infinite weights",
                hint="Leave the checkpoint out, because its training had diverged.",
            )
