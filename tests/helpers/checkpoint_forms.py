"""Every documented form of checkpoints, and changes of a state that make similar forms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

State = Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointForm:
    """A form of checkpoints.

    Attributes:
        name: what README and ``load_checkpoint`` call it.
        save: writes a state into a new folder, and gives what a caller passes on.
        key: the name that the state has in the content, if it has one.
    """

    name: str
    save: Callable[[State, Path], Any]
    key: str = ""


def torch_file(content, folder, name="model_epoch_1.pt", **options):
    path = folder / name
    torch.save(content, path, **options)
    return path


def safetensors_file(state, folder, name="model.safetensors"):
    save_file({key: torch.as_tensor(value).contiguous() for key, value in state.items()}, folder / name)
    return folder / name


def trainer_folder(save):
    def build(state, folder):
        place = folder / "checkpoint-1"
        place.mkdir()
        save(state, place)
        (place / "trainer_state.json").write_text(json.dumps({"global_step": 1, "max_steps": 2, "log_history": []}))
        return place

    return build


CHECKPOINTS = {
    "a bare state dict": CheckpointForm("torch", torch_file),
    "a legacy file": CheckpointForm("torch", lambda s, f: torch_file(s, f, _use_new_zipfile_serialization=False)),
    "under model_state_dict": CheckpointForm(
        "torch", lambda s, f: torch_file({"model_state_dict": s, "epoch": 1}, f), "model_state_dict"
    ),
    "under state_dict": CheckpointForm("torch", lambda s, f: torch_file({"state_dict": s}, f), "state_dict"),
    "under model": CheckpointForm("torch", lambda s, f: torch_file({"model": s}, f), "model"),
    "a safetensors file": CheckpointForm("safetensors", safetensors_file),
    "a Lightning file": CheckpointForm(
        "Lightning",
        lambda s, f: torch_file(
            {"state_dict": {f"model.{k}": v for k, v in s.items()}, "pytorch-lightning_version": "2.5.0", "epoch": 1},
            f,
            "last.ckpt",
        ),
        "state_dict",
    ),
    "a Trainer's folder": CheckpointForm("Trainer", trainer_folder(safetensors_file)),
    "a Trainer's older folder": CheckpointForm(
        "Trainer", trainer_folder(lambda s, f: torch_file(s, f, "pytorch_model.bin"))
    ),
    "a state dict in memory": CheckpointForm("state dict", lambda s, _: dict(s)),
    "a state dict in memory under a name": CheckpointForm(
        "state dict", lambda s, _: {"model_state_dict": dict(s)}, "model_state_dict"
    ),
}

STATES: dict[str, Callable[[State], State]] = {
    "reordered": lambda s: dict(reversed(s.items())),
    "one weight missing": lambda s: dict(list(s.items())[:-1]),
    "one weight too many": lambda s: s | {"b.weight": torch.ones(1, 4)},
    "one weight transposed": lambda s: s | {"a.weight": s["a.weight"].T},
    "one weight in one dimension": lambda s: s | {"a.weight": s["a.weight"].flatten()},
    "one weight of a longer tensor": lambda s: s | {"a.weight": torch.cat([s["a.weight"]] * 2)[:1]},
    "with the prefix of a wrapper": lambda s: {f"module.{k}": v for k, v in s.items()},
    "under another name": lambda s: {k.replace("a.", "c."): v for k, v in s.items()},
    "each weight twice": lambda s: s | {f"ema.{k}": v * 2 for k, v in s.items()},
    "nested": lambda s: {"a": {k.removeprefix("a."): v for k, v in s.items()}},
    "as arrays": lambda s: {k: v.numpy() for k, v in s.items()},
    "as lists": lambda s: {k: v.tolist() for k, v in s.items()},
    "a NaN": lambda s: s | {"a.bias": torch.tensor([np.nan])},
    "in double precision": lambda s: {k: v.double() for k, v in s.items()},
    "as whole numbers": lambda s: {k: v.int() for k, v in s.items()},
    "as complex numbers": lambda s: {k: v.to(torch.complex64) for k, v in s.items()},
    "empty": lambda _: {},
}
"""Changes of a state that keep its weights, or after which it does not fit the model."""
