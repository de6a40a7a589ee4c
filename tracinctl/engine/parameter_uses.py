"""Uses of parameters whose gradients an item follow from a formula.

A linear map, a convolution, an embedding and the affine part of a normalisation have gradients that are products of
their input and of the gradient at their output. A function mode sees each such use while the model runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tracinctl.engine.branches import answer, is_question


@dataclass(frozen=True)
class Dense:
    """Gradients of some parameters, shape (items, parameters)."""

    values: torch.Tensor


@dataclass(frozen=True)
class Outer:
    """Gradients of a linear map at one position, as outer products: shapes (items, inputs) and (items, outputs)."""

    inputs: torch.Tensor
    outputs: torch.Tensor


Feature = Dense | Outer


@dataclass
class Use:
    """One use of a weight and a bias: which map it was, and what its formula needs to know."""

    kind: str
    weight: str | None
    bias: str | None
    extra: tuple[Any, ...] = ()
    positions: int = 0


@dataclass
class Trace:
    """What one run of the model showed.

    Attributes:
        uses: whose gradients follow from a formula; ``inputs`` and ``outputs`` are what to save for them.
        other: parameters that were used in another way.
        asked: whether the model decided on its data.
    """

    uses: list[Use] = field(default_factory=list)
    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    other: set[str] = field(default_factory=set)
    asked: bool = False


_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, (tuple, list)) and any(map(_holds_tensor, value)))


def _arguments(names: str, args: Sequence[Any], kwargs: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    given = dict(zip(names.split(), args, strict=False)) | dict(kwargs)
    return {name: given.get(name, defaults.get(name)) for name in names.split()}


class UseWatch(TorchFunctionMode):
    """Sees every torch function of a run; records the uses of parameters that have a formula.

    Args:
        names: of the parameters, by the identity of their tensors.
        anchor: a differentiable zero, added to outputs of maps whose inputs are not differentiable themselves.
        apart: hand the model copies of the outputs, for it works on them in place.
    """

    def __init__(self, names: Mapping[int, str], anchor: torch.Tensor, *, apart: bool) -> None:
        super().__init__()
        self.names = names
        self.anchor = anchor
        self.apart = apart
        self.trace = Trace()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_question(func):
            self.trace.asked = True
            return answer(func, args, kwargs)
        used = self._used(args, kwargs)
        if not used:
            return func(*args, **kwargs)
        result = self._formula(func, args, kwargs, used)
        if result is not None:
            return result
        plain = func(*args, **kwargs)
        # what gives a tensor (`weight.T` is one, and a property) may carry a gradient; a shape or a number does not
        if _holds_tensor(plain):
            self.trace.other |= used
        return plain

    def _used(self, args: Any, kwargs: Mapping[str, Any]) -> set[str]:
        found: set[str] = set()
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.Tensor):
                if (name := self.names.get(id(value))) is not None:
                    found.add(name)
            elif isinstance(value, (list, tuple)):
                found |= self._used(value, {})
        return found

    def _name(self, value: Any) -> str | None:
        return None if value is None else self.names.get(id(value))

    def _record(self, use: Use, inputs: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            output = output + self.anchor.to(output.dtype)
        use.positions = output.numel() // max(1, output.shape[-1])
        self.trace.uses.append(use)
        self.trace.inputs.append(inputs)
        self.trace.outputs.append(output)
        return output.clone() if self.apart else output

    def _formula(self, func: Any, args: Any, kwargs: Any, used: set[str]) -> torch.Tensor | None:
        if self._name(args[0] if args else kwargs.get("input")) is not None:
            return None  # the formulas take a map's input to be no parameter
        if func is functional.linear:
            a = _arguments("input weight bias", args, kwargs)
            use = Use("linear", self._name(a["weight"]), self._name(a["bias"]))
            if self._only(use, used):
                return self._record(use, a["input"], func(a["input"], a["weight"], a["bias"]))
        elif func in _CONVOLUTIONS:
            a = _arguments(
                "input weight bias stride padding dilation groups",
                args,
                kwargs,
                stride=1,
                padding=0,
                dilation=1,
                groups=1,
            )
            use = Use("conv", self._name(a["weight"]), self._name(a["bias"]))
            if self._only(use, used) and not isinstance(a["padding"], str) and a["input"].dim() == a["weight"].dim():
                n = _CONVOLUTIONS[func]
                spread = tuple(
                    tuple(v)
                    if isinstance(v, (tuple, list)) and len(v) == n
                    else (v[0] if isinstance(v, (tuple, list)) else v,) * n
                    for v in (a["stride"], a["padding"], a["dilation"])
                )
                use.extra = (tuple(a["weight"].shape), *spread, a["groups"])
                return self._record(use, a["input"], func(*a.values()))
        elif func is functional.embedding:
            a = _arguments(
                "input weight padding_idx max_norm norm_type scale_grad_by_freq sparse", args, kwargs, norm_type=2.0
            )
            use = Use("embedding", self._name(a["weight"]), None)
            if self._only(use, used) and a["max_norm"] is None and not a["scale_grad_by_freq"]:
                use.extra = (tuple(a["weight"].shape), a["padding_idx"])
                return self._record(use, a["input"], func(a["input"], a["weight"], a["padding_idx"]))
        elif func is functional.batch_norm:
            a = _arguments(
                "input running_mean running_var weight bias training momentum eps", args, kwargs, momentum=0.1, eps=1e-5
            )
            if a["weight"] is not None and a["bias"] is not None and not a["training"]:
                w, b = a["weight"], a["bias"]
                plain = func(
                    a["input"], a["running_mean"], a["running_var"], None, None, False, a["momentum"], a["eps"]
                )
                return self._affine(plain, w, b, 1, used)
        elif func is functional.layer_norm:
            a = _arguments("input normalized_shape weight bias eps", args, kwargs, eps=1e-5)
            if a["weight"] is not None and a["bias"] is not None:
                plain = func(a["input"], a["normalized_shape"], None, None, a["eps"])
                return self._affine(plain, a["weight"], a["bias"], None, used)
        elif func is functional.group_norm:
            a = _arguments("input num_groups weight bias eps", args, kwargs, eps=1e-5)
            if a["weight"] is not None and a["bias"] is not None:
                plain = func(a["input"], a["num_groups"], None, None, a["eps"])
                return self._affine(plain, a["weight"], a["bias"], 1, used)
        return None

    def _affine(
        self, plain: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, channel: int | None, used: set[str]
    ) -> torch.Tensor | None:
        use = Use("affine", self._name(weight), self._name(bias), (tuple(weight.shape), channel))
        if not self._only(use, used):
            return None
        if channel is not None:
            spread = [1] * plain.dim()
            spread[channel] = -1
            weight, bias = weight.view(spread), bias.view(spread)
        return self._record(use, plain, torch.addcmul(bias, plain, weight))

    @staticmethod
    def _only(use: Use, used: set[str]) -> bool:
        return used <= {use.weight, use.bias}


def use_gradients(use: Use, inputs: torch.Tensor, slope: torch.Tensor, outer: set[str]) -> list[tuple[str, Any]]:
    """Gradients an item by the names of the parameters: (items, parameters), or an outer product.

    Args:
        use: what was seen.
        inputs: of the map, items first.
        slope: gradient of the scores at the map's output, items first.
        outer: names of linear weights to be left as outer products.
    """
    items = len(slope)
    found: list[tuple[str, Any]] = []
    if use.kind == "linear":
        a = inputs.reshape(items, -1, inputs.shape[-1])
        b = slope.reshape(items, -1, slope.shape[-1])
        if use.weight is not None:
            if use.weight in outer:
                found.append((use.weight, Outer(a[:, 0], b[:, 0])))
            else:
                found.append((use.weight, torch.bmm(b.transpose(1, 2), a).reshape(items, -1)))
        if use.bias is not None:
            found.append((use.bias, b.sum(1)))
    elif use.kind == "conv":
        if use.weight is not None:
            found.append((use.weight, _convolution_gradient(inputs, slope, *use.extra)))
        if use.bias is not None:
            found.append((use.bias, slope.reshape(items, slope.shape[1], slope.shape[2], -1).sum((1, 3))))
    elif use.kind == "embedding" and use.weight is not None:
        (rows, width), padding = use.extra
        index = inputs.reshape(items, -1)
        b = slope.reshape(items, -1, width)
        if padding is not None:
            b = b * (index != padding % rows).unsqueeze(-1)
        total = torch.zeros(items, rows, width, dtype=b.dtype, device=b.device)
        total.scatter_add_(1, index.unsqueeze(-1).expand(-1, -1, width), b)
        found.append((use.weight, total.reshape(items, -1)))
    elif use.kind == "affine":
        shape, channel = use.extra
        if channel is not None:
            dims = [d for d in range(1, inputs.dim()) if d != channel + 1]
            weight, bias = (inputs * slope).sum(dims), slope.sum(dims)
        else:
            a, b = inputs.reshape(items, -1, _numel(shape)), slope.reshape(items, -1, _numel(shape))
            weight, bias = (a * b).sum(1), b.sum(1)
        if use.weight is not None:
            found.append((use.weight, weight))
        if use.bias is not None:
            found.append((use.bias, bias))
    return found


def _numel(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def _convolution_gradient(
    inputs: torch.Tensor,
    slope: torch.Tensor,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> torch.Tensor:
    """Gradient of a convolution's weight an item, shape (items, weights): patches times output gradients."""
    items, alone = inputs.shape[:2]
    spatial = len(stride)
    x = inputs.flatten(0, 1)
    b = slope.flatten(0, 1)
    pads = [p for pad in reversed(padding) for p in (pad, pad)]
    x = functional.pad(x, pads) if any(pads) else x
    outs = b.shape[2:]
    for d in range(spatial):
        x = x.unfold(2 + d, dilation[d] * (shape[2 + d] - 1) + 1, stride[d]).narrow(2 + d, 0, outs[d])
        x = x[..., :: dilation[d]]
    # x: (rows, channels, *out positions, *kernel positions)
    rows = len(x)
    positions, kernel = _numel(outs), _numel(shape[2:])
    order = (0, 1, *range(2 + spatial, 2 + 2 * spatial), *range(2, 2 + spatial))
    patches = x.permute(order).reshape(rows * groups, shape[1] * kernel, positions)
    outputs = b.reshape(rows * groups, shape[0] // groups, positions)
    weight = torch.bmm(outputs, patches.transpose(1, 2)).reshape(items, alone, -1)
    return weight[:, 0] if alone == 1 else weight.sum(1)
