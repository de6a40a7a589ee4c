"""A copy of the user's model that is ready to score: unwrapped, on the device, in one precision."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils.checkpoint
from torch.nn.parameter import UninitializedBuffer, is_lazy

from tracinctl.engine.asking import ask_first_item
from tracinctl.engine.gradients.items import ScoreFunction
from tracinctl.engine.items import Items
from tracinctl.engine.model_errors import handling_model
from tracinctl.errors import ModelError

_PARTS = ("_parameters", "_buffers", "_modules")


def own_model(
    model: torch.nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    items: Items,
    ask: ScoreFunction,
    *,
    ours: bool = False,
) -> tuple[torch.nn.Module, list[str]]:
    """The model in eval() mode, and the names of removed wrappers.

    Args:
        model: stays unchanged unless it is ``ours``.
        device: the device to move it to.
        dtype: precision of its weights; complex ones stay complex.
        items: the first one is scored once, which gives lazy layers their shapes.
        ask: returns the scores of items.
        ours: whether nobody else uses the model, so that no copy is needed.

    Raises:
        ModelError: the model is not a torch.nn.Module, is TorchScript, or cannot be copied or moved.
    """
    _check_kind(model)
    bare = _unwrapped(model)
    if not ours:
        with handling_model("copy"):
            bare = _copied(bare)
    removed = ["mixed precision"] if _without_autocast(bare) else []
    bare.eval()
    for module in bare.modules():
        if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
            module.sparse = False  # gradients of single items must be dense
    if any(is_lazy(tensor) for tensor in (*bare.parameters(), *bare.buffers())):
        ask_first_item(bare, items, ask)
    with handling_model("move"):
        _move(bare, device, dtype)
    return bare, removed


@contextlib.contextmanager
def plain_passes(device: torch.device) -> Iterator[None]:
    """Run passes in the precision of the weights, with gradients, and without reentrant checkpoints.

    Reentrant checkpoints do not work with ``torch.autograd.grad``, and directly after the input they give no gradient.
    Their class is replaced for the whole process, and so is the beginning of autocast, which a model may use in
    ``forward``. Other threads should not run models meanwhile.
    """
    reentrant, enter = torch.utils.checkpoint.CheckpointFunction, torch.autocast.__enter__

    def enter_disabled(context: torch.autocast) -> Any:
        entered = enter(context)  # type: ignore[no-untyped-call]  # torch's
        torch.set_autocast_enabled(context.device, False)
        return entered

    torch.utils.checkpoint.CheckpointFunction = _NoCheckpoint  # type: ignore[misc,assignment]
    torch.autocast.__enter__ = enter_disabled  # type: ignore[method-assign]
    try:
        with torch.inference_mode(mode=False), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.utils.checkpoint.CheckpointFunction = reentrant  # type: ignore[misc]
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]


class _NoCheckpoint:
    """Replacement for a checkpoint that runs its function and keeps everything."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        del preserve_rng_state
        return function(*arguments)


def _check_kind(model: Any) -> None:
    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"the model is a {type(model).__name__}, not a torch.nn.Module",
            hint="Give the module itself; call a class or a function first.",
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            "the model is TorchScript (torch.jit.script, trace or load), which has no gradients of single items",
            hint="Give the Python module that it was made from; its state_dict() has the same weights.",
        )


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The module inside wrappers of training: several devices, torch.compile, Lightning's Fabric."""
    while True:
        if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
            model = model.module
        elif type(model).__name__ == "OptimizedModule":
            model = model.get_submodule("_orig_mod")
        elif type(model).__name__ == "_FabricModule":
            model = model.module  # type: ignore[assignment]  # a property of Fabric's wrapper
        else:
            return model


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    """A copy with its own weights. Attributes that cannot be copied, such as locks and files, are shared."""
    try:
        return copy.deepcopy(model)
    except Exception:  # noqa: BLE001  copying an object may raise anything
        return copy.deepcopy(model, _shared_attributes(model))


def _shared_attributes(model: torch.nn.Module) -> dict[int, Any]:
    """A memo for ``deepcopy`` that shares what cannot be copied, detaches tensors of a graph and renews lazy buffers.

    Such tensors are the weight that ``weight_norm`` computes before each pass, or a model's last activation.
    """
    memo: dict[int, Any] = {
        id(buffer): UninitializedBuffer(device=buffer.device, dtype=buffer.dtype)  # type: ignore[call-arg]  # undeclared
        for buffer in filter(is_lazy, model.buffers())
    }
    for module in model.modules():
        for name, value in vars(module).items():
            if name in _PARTS:
                continue
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
                continue
            try:
                copy.deepcopy(value, {id(part): part for part in model.modules()})
            except Exception:  # noqa: BLE001  copying an object may raise anything
                memo[id(value)] = value
    return memo


def _without_autocast(model: torch.nn.Module) -> bool:
    """Remove accelerate's autocast (also used by trl and transformers' Trainer); return whether there was any."""
    wrapped = [module for module in model.modules() if "_original_forward" in vars(module)]
    for module in wrapped:
        module.forward = vars(module).pop("_original_forward")
    return bool(wrapped)


def _move(model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    tensors = (*model.parameters(), *model.buffers())
    if not any(tensor.is_complex() for tensor in tensors):
        model.to(device=device, dtype=dtype)
        return
    model.to(device=device)
    for tensor in tensors:  # Module.to would drop the imaginary parts
        if tensor.is_complex() or tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype.to_complex() if tensor.is_complex() else dtype)
