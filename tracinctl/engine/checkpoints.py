"""Checkpoints: found in natural order, loaded once each, tensors only."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tracinctl.engine.untrusted import check_state, read_tensors
from tracinctl.errors import CheckpointError

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
WEIGHTINGS = ("relative", "absolute", "uniform")

_STATE_KEYS = ("model_state_dict", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_NAMED = 3


@dataclass(frozen=True)
class Checkpoint:
    """A model's state at one moment of training.

    Attributes:
        name: the file's name.
        digest: SHA-256 of the file's bytes.
        state: parameters and buffers by name.
        learning_rate: of the optimizer's first parameter group; None where the file does not say.
    """

    name: str
    digest: str
    state: Mapping[str, torch.Tensor]
    learning_rate: float | None


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which ``epoch_2`` comes before ``epoch_10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def list_checkpoints(folder: Path, prefix: str = "model_epoch_") -> list[Path]:
    """The folder's checkpoint files whose names start with ``prefix``, in natural order.

    Raises:
        CheckpointError: there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"no checkpoints: {folder} is not a folder",
            hint="train first (`tracinctl train`), or give --checkpoint-dir",
        )
    found = [p for p in folder.iterdir() if p.name.startswith(prefix) and p.suffix in SUFFIXES and p.is_file()]
    if not found:
        others = sorted((p.name for p in folder.iterdir() if p.suffix in SUFFIXES), key=natural_key)[:_NAMED]
        seen = f"; it holds {', '.join(others)}" if others else ""
        raise CheckpointError(
            f"no checkpoint in {folder} has a name that starts with {prefix!r}{seen}",
            hint="give --checkpoint-prefix, or train first (`tracinctl train`)",
        )
    return sorted(found, key=lambda p: natural_key(p.name))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint on the CPU. No code in the file is run: tensors and plain values only.

    Raises:
        CheckpointError: the file is missing, broken, holds code or what would swell in memory, holds no state of a
            model, or says a learning rate that is none.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not raw:
        raise CheckpointError(f"{path} is empty", hint="it was not written to its end; delete it or train again")
    content = read_tensors(path, raw)
    state: Any = content
    if isinstance(content, Mapping):
        state = next((content[k] for k in _STATE_KEYS if isinstance(content.get(k), Mapping)), content)
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())
    ):
        raise CheckpointError(
            f"{path} holds no state of a model",
            hint="wanted: a state dict, alone or under `model_state_dict` or `state_dict`",
        )
    check_state(path, state, len(raw))
    rate = _learning_rate(path, content) if state is not content else None
    return Checkpoint(path.name, hashlib.sha256(raw).hexdigest(), dict(state), rate)


def _learning_rate(path: Path, content: Mapping[str, Any]) -> float | None:
    states = content.get("optimizer_state_dict", content.get("optimizer_states", content.get("optimizer")))
    if isinstance(states, Sequence) and states:
        states = states[0]
    try:
        rate = float(states["param_groups"][0]["lr"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError):
        return None
    except OverflowError:
        rate = math.inf
    if not 0 <= rate < math.inf:
        raise CheckpointError(
            f"{path} says that its learning rate is {rate}, and scores cannot be weighted by that",
            hint="leave the checkpoint out; training went wrong there",
        )
    return rate


def apply_checkpoint(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's state into the model.

    Raises:
        CheckpointError: keys are missing, unexpected or of another shape; the first of each kind are named.
    """
    own = model.state_dict()
    state = dict(checkpoint.state)
    for prefix in _PREFIXES:
        if not own.keys() & state.keys() and all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    shaped = [
        f"{k} is {tuple(state[k].shape)}, the model wants {tuple(own[k].shape)}"
        for k in own
        if k in state and own[k].shape != state[k].shape
    ]
    complex_numbers = [k for k in own if k in state and state[k].is_complex() and not own[k].is_complex()]
    wrong = [
        f"{what}: {', '.join(keys[:_NAMED])}{f' and {len(keys) - _NAMED} more' if len(keys) > _NAMED else ''}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("wrong shape", shaped),
            ("complex", complex_numbers),
        )
        if keys
    ]
    if wrong:
        raise CheckpointError(
            f"checkpoint {checkpoint.name} does not fit the model: {'; '.join(wrong)}",
            hint="is it of another model? see --model, or `architecture` under [ranker] in tracinctl.toml",
        )
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"checkpoint {checkpoint.name}: {key} holds NaN or infinite weights")
    model.load_state_dict(state)


def checkpoint_weights(rates: Sequence[float | None], names: Sequence[str], weighting: str) -> tuple[list[float], str]:
    """Weights ``w_c`` of checkpoints in the sum of influences, and a note where they are not what was asked.

    ``relative``: learning rate over the mean learning rate; ``absolute``: the learning rate (as in TracInCP, Pruthi et
    al. 2020); ``uniform``: 1.

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
        return [1.0] * len(
            rates
        ), f"{len(without)} of {len(rates)} checkpoints do not say their learning rate: weight 1 each"
    mean = sum(known) / len(known)
    if mean <= 0:
        return [1.0] * len(rates), "the learning rates are all zero: weight 1 each"
    return [rate / mean for rate in known], ""
