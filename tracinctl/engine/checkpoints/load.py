"""Checkpoints: found in natural order, loaded once each, tensors only."""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tracinctl.engine.checkpoints.files import checkpoint_digest, is_checkpoint, is_mixed, weight_files
from tracinctl.engine.checkpoints.safe_load import check_state, read_tensors
from tracinctl.engine.checkpoints.state_keys import NAMED, state_for
from tracinctl.engine.checkpoints.trainer_state import checked_rate, trainer_learning_rate
from tracinctl.engine.checkpoints.unpickle import Inert, NoPlainTensor, module_state
from tracinctl.errors import CheckpointError
from tracinctl.text import natural_key

WEIGHTINGS = ("relative", "absolute", "uniform")

_STATE_KEYS = ("model_state_dict", "state_dict", "model")


@dataclass(frozen=True)
class Checkpoint:
    """A model's state at one moment of training.

    Attributes:
        name: the file's name, or the folder's.
        digest: SHA-256 of the file's bytes, or of the folder's parts (``checkpoint_files.checkpoint_digest``).
        state: parameters and buffers by name.
        learning_rate: of the optimizer's first parameter group; None where the file does not say.
    """

    name: str
    digest: str
    state: Mapping[str, torch.Tensor]
    learning_rate: float | None


def list_checkpoints(folder: Path, prefix: str = "model_epoch_") -> list[Path]:
    """The folder's checkpoints (files, or folders of a trainer) whose names start with ``prefix``, in natural order.

    Raises:
        CheckpointError: there is no such folder, no such checkpoint in it, or a training was killed while it replaced
            them.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"no checkpoints: {folder} is not a folder",
            hint="train first (`tracinctl train`), or give --checkpoint-dir",
        )
    if is_mixed(folder):
        raise CheckpointError(
            f"{folder} may hold checkpoints of two trainings: one ended while it put its own in place",
            hint="run the same `tracinctl train` again: it finishes that",
        )
    all_found = sorted((p for p in folder.iterdir() if is_checkpoint(p)), key=lambda p: natural_key(p.name))
    found = [p for p in all_found if p.name.startswith(prefix)]
    if not found:
        names = [p.name for p in all_found]
        seen = f"; it holds {', '.join(names[:NAMED])}" if names else ""
        begin = f" {re.split(r'[0-9]', names[0])[0]}" if names else ""
        raise CheckpointError(
            f"no checkpoint in {folder} has a name that starts with {prefix!r}{seen}",
            hint=f"give --checkpoint-prefix{begin}, or train first (`tracinctl train`)",
        )
    return found


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint on the CPU. No code in the file is run: tensors and plain values only.

    A file: a state dict, alone or under a name, of torch, safetensors or Lightning. A folder: what a Hugging Face
    trainer saved, in one file or in several.

    Raises:
        CheckpointError: the file is missing, broken, holds code or what would swell in memory, holds no state of a
            model, or says a learning rate that is none.
    """
    if path.is_dir():
        return _load_folder(path)
    raw = _read(path)
    content = read_tensors(path, raw)
    state = _state_of(content)
    if state is None:
        raise CheckpointError(
            f"{path} holds no state of a model",
            hint="wanted: a state dict, alone or under `model_state_dict` or `state_dict`",
        )
    check_state(path, state, len(raw))
    rate = _learning_rate(path, content) if state is not content else None
    return Checkpoint(path.name, hashlib.sha256(raw).hexdigest(), dict(state), rate)


def _load_folder(path: Path) -> Checkpoint:
    digest = checkpoint_digest(path)
    state: dict[str, torch.Tensor] = {}
    for part in weight_files(path):
        raw = _read(part)
        found = _state_of(read_tensors(part, raw))
        if found is None:
            raise CheckpointError(f"{part} holds no state of a model", hint="save the checkpoint again")
        check_state(part, found, len(raw))
        state |= found
    if checkpoint_digest(path) != digest:
        raise CheckpointError(f"{path} changed while it was read", hint="run again when training is over")
    return Checkpoint(path.name, digest, state, trainer_learning_rate(path, _optimizer_rate))


def _read(path: Path) -> bytearray:
    """A file's bytes, in room that its tensors may be views of."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"cannot read {path}: it is a device or a pipe", hint="Give a file.")
        with path.open("rb") as file:
            raw = bytearray(os.fstat(file.fileno()).st_size)
            if file.readinto(raw) != len(raw) or file.read(1):
                raise CheckpointError(f"{path} changed while it was read", hint="Run again when training is over.")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    return raw


def _state_of(content: Any) -> Mapping[str, torch.Tensor] | None:
    """The state of a model that a file's content is, or has under a name."""
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
    inner = [value for value in content.values() if _is_state(value)]
    return inner[0] if len(inner) == 1 else None


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, (torch.Tensor, NoPlainTensor)) for k, v in value.items())
    )


def _learning_rate(path: Path, content: Mapping[str, Any]) -> float | None:
    states = content.get("optimizer_state_dict", content.get("optimizer_states", content.get("optimizer")))
    if isinstance(states, Sequence) and states:
        states = states[0]
    return _first_rate(path, states)


def _first_rate(path: Path, states: Any) -> float | None:
    try:
        rate = float(states["param_groups"][0]["lr"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError):
        return None
    except OverflowError:
        rate = math.inf
    return checked_rate(path, rate)


def _optimizer_rate(path: Path) -> float | None:
    """The learning rate that a trainer's scheduler or optimizer had when it was saved."""
    try:
        content = read_tensors(path, _read(path))
        if "_last_lr" not in content:
            return _first_rate(path, content)
        rate = float(content["_last_lr"][0])
    except (CheckpointError, KeyError, IndexError, TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return checked_rate(path, rate)


def apply_checkpoint(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's state into the model.

    Raises:
        CheckpointError: names are missing, unexpected or of another shape (the first of each kind are named), or a
            weight is not finite.
    """
    state = state_for(model, checkpoint.state, checkpoint.name)
    for key, tensor in state.items():
        # torch knows of no NaN in numbers of eight bits
        values = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if (values.is_floating_point() or values.is_complex()) and not bool(torch.isfinite(values).all()):
            raise CheckpointError(f"checkpoint {checkpoint.name}: {key} holds NaN or infinite weights")
    model.load_state_dict(state)


def checkpoint_weights(rates: Sequence[float | None], names: Sequence[str], weighting: str) -> tuple[list[float], str]:
    """Weights ``w_c`` of checkpoints in the sum of influences, and a note where they are not what was asked.

    ``relative``: learning rate over the mean learning rate, or 1 where a checkpoint does not say its own;
    ``absolute``: the learning rate (as in TracInCP, Pruthi et al. 2020); ``uniform``: 1.

    Raises:
        CheckpointError: ``absolute`` and a checkpoint without a learning rate.
        ValueError: an unknown weighting.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"checkpoint weights are one of {', '.join(WEIGHTINGS)}, not {weighting!r}")
    without = [name for name, rate in zip(names, rates, strict=True) if rate is None]
    if weighting == "absolute" and without:
        raise CheckpointError(
            f"checkpoint {without[0]} does not say its learning rate, which --checkpoint-weights absolute needs",
            hint="use --checkpoint-weights relative or uniform",
        )
    known = [rate for rate in rates if rate is not None]
    if weighting == "uniform":
        return [1.0] * len(rates), ""
    if weighting == "absolute":
        return known, ""
    if without:
        return [1.0] * len(rates), ""
    mean = sum(known) / len(known)
    if mean <= 0:
        return [1.0] * len(rates), "the learning rates are all zero: weight 1 each"
    return [rate / mean for rate in known], ""
