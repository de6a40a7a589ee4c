"""A digest of everything in a model, besides its state, that its scores and gradients depend on.

A kept kernel may only be used again for the same model, and a state dict is not enough to identify one: numbers in
plain attributes, buffers that are not saved, and the code count too. Code that the model's methods call elsewhere
(helper functions of a module) is not followed.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

_DEPTH = 6  # levels of attributes of attributes
_BUILT_IN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, slice)
_INNER = frozenset(vars(torch.nn.Module())) | {"training"}  # attributes that every module has


def model_digest(model: torch.nn.Module, score: Any = None) -> str:
    """SHA-256 of a model's structure, code, unsaved numbers and names of trained parameters, and of its score function.

    The values of parameters and saved buffers do not count, because they come from a checkpoint.
    """
    state = hashlib.sha256()
    for part in _parts(model, score):
        state.update(part.encode() + b"\0")
    return state.hexdigest()


def _parts(model: torch.nn.Module, score: Any) -> Iterator[str]:
    for name, p in model.named_parameters(remove_duplicate=False):
        yield f"{name} {tuple(p.shape)} {p.requires_grad}"
    saved = model.state_dict().keys()
    seen: set[type] = set()
    for name, module in model.named_modules():
        yield f"{name}: {type(module).__module__}.{type(module).__qualname__}"
        for key, value in sorted(vars(module).items()):
            if key not in _INNER:
                yield f"{key}={_described(value)}"
        for key, buffer in module.named_buffers(recurse=False):
            if f"{name}.{key}".removeprefix(".") not in saved:
                yield f"{key}={_described(buffer)}"
        for cls in type(module).__mro__:
            if cls not in seen and not _well_known(cls):
                seen.add(cls)
                for key, value in sorted(vars(cls).items()):
                    if isinstance(value, (types.FunctionType, property, staticmethod, classmethod, *_PLAIN)):
                        yield f"{cls.__qualname__}.{key}={_described(value)}"
    yield _described(score)


def _well_known(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] in {"torch", "builtins", "typing", "abc"}


def code_digest(function: Any) -> str:
    """SHA-256 of a function's code and values; functions that it calls by name are not followed."""
    return hashlib.sha256(_described(function).encode()).hexdigest()


def _described(value: Any, depth: int = _DEPTH) -> str:
    """A text that is equal in every process for equal values, and differs for different values."""
    inner = depth - 1
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, torch.nn.Parameter):
        return f"parameter {tuple(value.shape)}"
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"tensor {value.dtype} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if depth <= 0 or isinstance(value, (torch.nn.Module, type, *_BUILT_IN)) or _well_known(value):
        of = value if hasattr(value, "__qualname__") else type(value)
        return f"{getattr(of, '__module__', '')}.{of.__qualname__}"  # a slot of a class has no module
    if isinstance(value, enum.Enum):
        return repr(value)
    if isinstance(value, types.CodeType):
        parts = [value.co_code.hex(), *map(repr, (value.co_names, value.co_varnames))]
        return " ".join(parts + [_described(constant, inner) for constant in value.co_consts])
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_described(k, inner)}: {_described(v, inner)}' for k, v in value.items())}}}"
    if isinstance(value, (set, frozenset)):
        return f"set {sorted(_described(v, inner) for v in value)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_described(v, inner) for v in value)}]"
    if isinstance(value, types.FunctionType):
        enclosed = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        return _described([value.__code__, value.__defaults__, value.__kwdefaults__, enclosed], depth)
    if isinstance(value, (staticmethod, classmethod, types.MethodType)):
        return _described([value.__func__, getattr(value, "__self__", None)], depth)
    if isinstance(value, functools.partial):
        return _described([value.func, value.args, value.keywords], depth)
    if isinstance(value, property):
        return _described(value.fget, depth)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    # objects may refer to much of a program, so they are followed less deeply
    return f"{kind} {_described(getattr(value, '__dict__', None), depth - 3)}"


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
