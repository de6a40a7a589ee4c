"""Adapters of peft: folders with only an adapter's weights, for a base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tracinctl.engine.checkpoints.files import ADAPTER_CONFIG, CheckpointSource
from tracinctl.engine.checkpoints.record import weights_digest
from tracinctl.engine.checkpoints.state_keys import first_of_each, misfits
from tracinctl.errors import CheckpointError, ModelError
from tracinctl.user_code import said


def is_adapter(place: Any) -> bool:
    """Whether the place of a checkpoint is a folder with an adapter."""
    return isinstance(place, Path) and (place / ADAPTER_CONFIG).is_file()


def with_adapter(model: torch.nn.Module, sources: Sequence[CheckpointSource]) -> torch.nn.Module:
    """Add the checkpoints' adapter to the model, if they are adapters and the model has none yet.

    The adapter's layers are put into the model's layers; its other weights are no longer trainable.

    Raises:
        CheckpointError: some checkpoints are adapters and some are not.
        ModelError: peft is not installed, or cannot place the adapter in this model.
    """
    adapter = next((source for source in sources if is_adapter(source.place)), None)
    if adapter is None:
        return model
    other = next((source for source in sources if not is_adapter(source.place)), None)
    if other is not None:
        raise CheckpointError(f"{adapter} is an adapter, but {other} is not", hint="Give checkpoints of one kind.")
    try:
        import peft
    except ImportError as error:
        hint = "Run: pip install peft"
        raise ModelError(f"{adapter} is an adapter, which only peft can read", hint=hint) from error
    if hasattr(model, "peft_config"):
        return model
    try:
        config = peft.PeftConfig.from_pretrained(str(adapter))
        config.inference_mode = False  # or nothing would be trainable
        wrapped: torch.nn.Module = peft.get_peft_model(model, config)
    except Exception as error:
        raise ModelError(
            f"the adapter {adapter} cannot be added to the model: {said(error)}",
            hint="Give the base model that the adapter was trained with.",
        ) from error
    like = next(model.parameters())
    return wrapped.to(device=like.device, dtype=like.dtype).eval()


def base_digest(model: torch.nn.Module, sources: Sequence[CheckpointSource]) -> str:
    """Digest of the base model of adapters; empty if the checkpoints are not adapters."""
    if not any(is_adapter(source.place) for source in sources):
        return ""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return weights_digest({name: value for name, value in model.state_dict().items() if name not in trained})


def apply_adapter(model: torch.nn.Module, state: Mapping[str, torch.Tensor], checkpoint: str) -> None:
    """Load an adapter's weights into the model and keep the other weights."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    if wrong := first_of_each(misfits(get_peft_model_state_dict(model), state)):
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit the model's adapter: {'; '.join(wrong)}",
            hint="Give checkpoints of one run, with the same adapter and base model.",
        )
    set_peft_model_state_dict(model, dict(state))
