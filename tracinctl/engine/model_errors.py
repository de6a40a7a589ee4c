"""Turn errors of a user's model into ModelErrors that name the item, the reason and the remedy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from tracinctl.engine.item_forms import ItemInput
from tracinctl.errors import MemoryBudgetError, ModelError, TracinctlError
from tracinctl.user_code import said

_HINTS = {
    r"incompatible with \.grad\(\)|torch\.utils\.checkpoint": (
        "Call torch.utils.checkpoint.checkpoint with use_reentrant=False, or turn gradient checkpointing off."
    ),
    r"more than 1 value per channel|more than 1 spatial element": (
        "Use running statistics, GroupNorm or LayerNorm, because one item cannot be normalised over a batch."
    ),
    r"same device|different device|on device": (
        "Register the model's tensors as buffers or parameters, so that they move with it."
    ),
    r"unexpected keyword argument|positional argument|multiple values for argument": (
        "Name the parts of items like the arguments of the model's forward, or give a score function."
    ),
    r"shapes cannot be multiplied|size mismatch|must match the size|expected .*dim|Expected \dD": (
        "Check the shape of the inputs; the model gets an item with a leading dimension of 1."
    ),
    r"expanded size of the tensor .* must match the existing size": (
        "Cut the item as in training, because it is longer than the model allows."
    ),
    r"not compiled with CUDA|NVIDIA driver|No CUDA": (
        "Let forward put new tensors on the device of its inputs, not on a fixed one."
    ),
    r"index out of range|out of bounds": "Check the inputs for numbers that the model's embedding has no row for.",
    r"same dtype|scalar type": (
        "All weights get the same `dtype`: remove casts such as .double() from forward, or give the `dtype` they give."
    ),
}  # by a pattern of the error's text
_TYPES = r"same dtype|scalar type|dtype|not implemented for '(Short|Int|Long|Byte|Char|Bool|Half)'"


@contextlib.contextmanager
def asking_model(ids: Iterable[str], inputs: ItemInput | None = None) -> Iterator[None]:
    """Run the user's model on items with these ids, which are only read if it fails.

    Raises:
        ModelError: the model failed; the message names the item.
        MemoryBudgetError: the device has no memory left.
    """
    try:
        yield
    except ModelError as error:
        if error.message.startswith(("item ", "one of the items ")):
            raise
        raise ModelError(f"{_items(ids)}: {error.message}", hint=error.hint) from error
    except TracinctlError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryBudgetError(
            f"the device ran out of memory at {_items(ids)}", hint="Give a smaller `memory`."
        ) from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"the model failed on {_items(ids)}: {said(error)}", hint=_hint(error, inputs)) from error


@contextlib.contextmanager
def handling_model(doing: str) -> Iterator[None]:
    """Copy or move the user's model.

    Raises:
        ModelError: this failed; ``doing`` describes the action.
    """
    try:
        yield
    except TracinctlError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryBudgetError(
            f"there is not enough memory to {doing} the model", hint="Use a smaller model, or another `device`."
        ) from error
    except Exception as error:
        raise ModelError(
            f"cannot {doing} the model: {said(error)}",
            hint="Build the model with a plain function, and keep nothing in it that torch cannot copy or move.",
        ) from error


def _items(ids: Iterable[str]) -> str:
    ids = list(ids)
    return f"item {ids[0]}" if len(ids) == 1 else f"one of the items {ids[0]} to {ids[-1]}"


def _hint(error: BaseException, inputs: ItemInput | None) -> str:
    text = str(error)
    tensors = inputs.values() if isinstance(inputs, Mapping) else [] if inputs is None else [inputs]
    integers = [value.dtype for value in tensors if not (value.is_floating_point() or value.is_complex())]
    if integers and re.search(_TYPES, text):
        kind = str(integers[0]).removeprefix("torch.")
        return f"If the model needs floats, give inputs.float(); the inputs are whole numbers ({kind})."
    for pattern, hint in _HINTS.items():
        if re.search(pattern, text):
            return hint
    example = f"an input of {_described(inputs)}" if inputs is not None else "one item"
    return f"Call the model in eval() mode on {example}, whose leading 1 is the item, to see where it fails."


def score_hint(output: Any) -> str:
    """The hint for a model's output that is not one score per item."""
    name, part = "output", output
    if isinstance(getattr(output, "logits", None), torch.Tensor):
        name, part = "output.logits", output.logits
    elif isinstance(output, (Mapping, tuple, list)):
        # in a mapping, a head's output comes after the hidden states
        parts = reversed(list(output.items())) if isinstance(output, Mapping) else enumerate(output)
        key = next((key for key, value in parts if isinstance(value, torch.Tensor)), None)
        name, part = f"output[{key!r}]", None if key is None else output[key]
    if not isinstance(part, torch.Tensor):
        return "Let forward return a tensor made by torch's operations, so that the score has a gradient."
    if part.dim() == 2 and part.shape[1] > 1:  # noqa: PLR2004  two axes: items and their values
        name = f"{name}[:, 1] - {name}[:, 0]"
    elif part.dim() > 1:
        name = f"{name}[:, {'-1, ' * (part.dim() - 2)}0]"
    return f"Give `score`, a function of the model's output that returns one number per item: lambda output: {name}"


def _described(inputs: ItemInput) -> str:
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name} {_described(value)}" for name, value in inputs.items())
    return f"{tuple(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"
