"""Trace how a running model uses its parameters."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tracinctl.engine.gradients.attention import attention
from tracinctl.engine.gradients.branches import answer, is_question, shaped_by_data
from tracinctl.engine.gradients.folding import Folding, entries
from tracinctl.engine.gradients.normalised import Normalisation, NormalisedConvolution
from tracinctl.engine.gradients.uses import Affine, ChannelAffine, Convolution, Embedding, Linear, Use

_EMBEDDING = "input weight padding_idx max_norm norm_type scale_grad_by_freq sparse"
_BATCH_NORM = "input running_mean running_var weight bias training momentum eps"
_BAGS = 2  # number of dimensions of row numbers in bags of equal size
_IMAGES = 4  # number of dimensions of a two-dimensional convolution's weight


@dataclass
class Trace:
    """The trace of a run: the uses whose gradients have a formula, and the tensors that the formulas need.

    Attributes:
        uses: the uses in order.
        inputs, outputs: inputs and outputs of the uses.
        copied: names of parameters with other uses, which get a copy per item.
        branched: whether the model branched on its data.
    """

    uses: list[Use] = field(default_factory=list)
    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    copied: set[str] = field(default_factory=set)
    branched: bool = False


class UseWatch(TorchFunctionMode):
    """Watch every torch function of a run, and record the uses of parameters with a formula.

    Args:
        parameters: the parameters' tensors by name.
        anchor: a differentiable zero.
        anchored: numbers of the uses that need the anchor, because nothing before them is differentiable.
        apart: give the model copies of the outputs, because it changes them in place.
        channels_last: store the outputs of two-dimensional convolutions with the channels last.
        folds: see ``Folding``.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.Tensor],
        anchor: torch.Tensor,
        anchored: set[int],
        *,
        apart: bool,
        channels_last: bool = False,
        folds: dict[str, Normalisation | None] | None = None,
    ) -> None:
        super().__init__()
        self.names = {id(p): name for name, p in parameters.items()}
        self.anchor, self.anchored = anchor, anchored
        self.apart = apart
        self.channels_last = channels_last
        self.folding = Folding(folds, parameters)
        self.trace = Trace()

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            a = _arguments(_BATCH_NORM, args, kwargs, training=False, momentum=0.1, eps=1e-5)
            after = None if a["training"] else self._normalisation(a)
            if (normalised := self.folding.normalised(a["input"], after)) is not None:
                return normalised.clone() if self.apart else normalised.view_as(normalised)
            return self._result(func, args, kwargs)
        result = self._result(func, args, kwargs)
        self.folding.note(func, result, args, kwargs)
        return result

    def _result(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if is_question(func):
            self.trace.branched = True
            return answer(func, args, kwargs)
        if func is torch.Tensor.requires_grad_ and (*args[1:], *kwargs.values()) != (False,):
            # hooks of training require a gradient of the first layer's output, which is not a leaf here and needs none
            return args[0]
        used = set(entries(self.names, args, kwargs))
        if (call := shaped_by_data(func, args, kwargs)) is not None:
            self.trace.branched = True
            self.trace.copied |= used
            return call()
        if func is functional.scaled_dot_product_attention and not used:
            attended = attention(args, kwargs)
            return func(*args, **kwargs) if attended is None else attended
        if not used:
            return _UNCOUNTED.get(func, func)(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            with self:
                return _attend(*args, **kwargs)
        if func is functional.embedding_bag and (bags := _bags(args, kwargs)) is not None:
            with self:
                return bags()
        use = None
        # the formulas assume that a map's input is not a parameter
        if func in _READERS and self.name(args[0] if args else kwargs.get("input")) is None:
            use = _READERS[func](self, func, args, kwargs)
        if use is not None and used <= {use.use.weight, use.use.bias}:
            return self._record(use)
        plain = func(*args, **kwargs)
        # a result that is a tensor (such as the property `weight.T`) may have a gradient; a shape or number has none
        if _holds_tensor(plain):
            self.trace.copied |= used
        return plain

    def name(self, value: Any) -> str | None:
        """The parameter's name, or None."""
        return None if value is None else self.names.get(id(value))

    def _normalisation(self, a: Mapping[str, Any]) -> Normalisation | None:
        """The normalisation with these arguments; None if its parameters do not count."""
        weight, bias, mean = self.name(a["weight"]), self.name(a["bias"]), a["running_mean"]
        if weight is None or bias is None or mean is None:
            return None
        return Normalisation(weight, bias, mean, a["running_var"], a["eps"])

    def _record(self, use: _FormulaUse) -> torch.Tensor:
        output = use.output()
        if len(self.trace.uses) in self.anchored:
            output = output + self.anchor.to(output.dtype)
        self.trace.uses.append(use.use)
        self.trace.inputs.append(use.inputs)
        self.trace.outputs.append(output)
        # the normalisation copies the output of a folded one
        given = output.clone() if self.apart and not isinstance(use.use, NormalisedConvolution) else output
        if isinstance(use.use, Convolution):
            self.folding.record(given, use.use)
        return given


@dataclass(frozen=True)
class _FormulaUse:
    use: Use
    inputs: torch.Tensor
    output: Callable[[], torch.Tensor]


def _linear(watch: UseWatch, func: Any, args: Any, kwargs: Any) -> _FormulaUse | None:
    a = _arguments("input weight bias", args, kwargs)
    x, weight = a["input"], a["weight"]
    positions = x.numel() // max(1, x.shape[-1])
    use = Linear(watch.name(weight), watch.name(a["bias"]), positions, tuple(weight.shape))
    return _FormulaUse(use, x, lambda: func(*a.values()))


def _convolution(watch: UseWatch, func: Any, args: Any, kwargs: Any) -> _FormulaUse | None:
    names = "input weight bias stride padding dilation groups"
    a = _arguments(names, args, kwargs, stride=1, padding=0, dilation=1, groups=1)
    x, weight = a["input"], a["weight"]
    if isinstance(a["padding"], str) or x.dim() != weight.dim():
        return None
    spatial = weight.dim() - 2
    stride, padding, dilation = (_spread(a[name], spatial) for name in ("stride", "padding", "dilation"))
    shape, size = tuple(weight.shape), tuple(x.shape[2:])
    named = watch.name(weight), watch.name(a["bias"])
    use = Convolution(*named, shape, size, stride, padding, dilation, a["groups"])
    use, a["weight"], a["bias"] = watch.folding.folded(use, weight, a["bias"])
    if watch.channels_last and use.weight is not None and weight.dim() == _IMAGES:
        # `contiguous` keeps a weight with one input channel unchanged, and then the output has channels first
        a["weight"] = torch.empty_like(weight, memory_format=torch.channels_last).copy_(a["weight"])
    return _FormulaUse(use, x, lambda: func(*a.values()))


def _embedding(watch: UseWatch, func: Any, args: Any, kwargs: Any) -> _FormulaUse | None:
    a = _arguments(_EMBEDDING, args, kwargs, norm_type=2.0)
    if a["max_norm"] is not None or a["scale_grad_by_freq"]:
        return None
    x, weight, padding = a["input"], a["weight"], a["padding_idx"]
    use = Embedding(watch.name(weight), None, tuple(weight.shape), padding, x.numel())
    return _FormulaUse(use, x, lambda: func(x, weight, padding))


def _look_up(*args: Any, **kwargs: Any) -> torch.Tensor:
    """``functional.embedding`` of each item's own table, without the padding's gradient that torch.vmap would keep."""
    names = _EMBEDDING.removesuffix(" sparse")
    a = _arguments(names, args, kwargs, norm_type=2.0, scale_grad_by_freq=False)
    x, weight, padding = a["input"], a["weight"], a["padding_idx"]
    rows: torch.Tensor = functional.embedding(*(a | {"padding_idx": None}).values())
    if padding is None:
        return rows
    return torch.where((x == padding % weight.shape[0]).unsqueeze(-1), rows.detach(), rows)


def _bags(args: Any, kwargs: Any) -> Callable[[], torch.Tensor] | None:
    """An ``EmbeddingBag`` with bags of equal size as its look-ups and their sum or mean."""
    names = (
        "input weight offsets max_norm norm_type scale_grad_by_freq mode sparse per_sample_weights "
        "include_last_offset padding_idx"
    )
    a = _arguments(names, args, kwargs, mode="mean")
    plain = all(not a[name] for name in ("max_norm", "scale_grad_by_freq")) and a["offsets"] is None
    if not plain or a["padding_idx"] is not None or a["mode"] not in ("sum", "mean") or a["input"].dim() != _BAGS:
        return None

    def give() -> torch.Tensor:
        rows = functional.embedding(a["input"], a["weight"])
        if a["per_sample_weights"] is not None:
            rows = rows * a["per_sample_weights"].unsqueeze(-1)
        return rows.sum(1) if a["mode"] == "sum" else rows.mean(1)

    return give


def _batch_norm(watch: UseWatch, _func: Any, args: Any, kwargs: Any) -> _FormulaUse | None:
    a = _arguments(_BATCH_NORM, args, kwargs, training=False, momentum=0.1, eps=1e-5)
    weight, bias, mean = a["weight"], a["bias"], a["running_mean"]
    if weight is None or bias is None or mean is None or a["training"]:
        return None
    use = ChannelAffine(watch.name(weight), watch.name(bias), mean, torch.rsqrt(a["running_var"] + a["eps"]))
    return _FormulaUse(use, a["input"], lambda: _normalise(*args, **kwargs))


def _normalise(*args: Any, **kwargs: Any) -> torch.Tensor:
    """``functional.batch_norm``; in eval mode, one product and one sum per channel.

    Under torch.vmap, torch's own gradient of a single image with the channels last is wrong.
    """
    a = _arguments(_BATCH_NORM, args, kwargs, training=False, momentum=0.1, eps=1e-5)
    x, weight, bias, mean = a["input"], a["weight"], a["bias"], a["running_mean"]
    if mean is None or a["training"] or x.dtype != mean.dtype:
        return functional.batch_norm(*args, **kwargs)
    rate = torch.rsqrt(a["running_var"] + a["eps"])
    scale = rate if weight is None else weight * rate
    shift = -mean * scale if bias is None else bias - mean * scale
    return torch.addcmul(shift.view(_by_channel(x)), x, scale.view(_by_channel(x)))


def _layer_norm(watch: UseWatch, func: Any, args: Any, kwargs: Any) -> _FormulaUse | None:
    a = _arguments("input normalized_shape weight bias eps", args, kwargs, eps=1e-5)
    weight, bias = a["weight"], a["bias"]
    if weight is None or bias is None:
        return None
    plain = func(a["input"], a["normalized_shape"], None, None, a["eps"])
    use = Affine(watch.name(weight), watch.name(bias), weight.numel())
    return _FormulaUse(use, plain, lambda: torch.addcmul(bias, plain, weight))


def _group_norm(watch: UseWatch, func: Any, args: Any, kwargs: Any) -> _FormulaUse | None:
    a = _arguments("input num_groups weight bias eps", args, kwargs, eps=1e-5)
    weight, bias = a["weight"], a["bias"]
    if weight is None or bias is None:
        return None
    plain = func(a["input"], a["num_groups"], None, None, a["eps"])
    shape = _by_channel(plain)
    use = ChannelAffine(watch.name(weight), watch.name(bias))
    return _FormulaUse(use, plain, lambda: torch.addcmul(bias.view(shape), plain, weight.view(shape)))


_READERS: dict[Any, Callable[[UseWatch, Any, Any, Any], _FormulaUse | None]] = {
    functional.linear: _linear,
    torch.conv1d: _convolution,
    torch.conv2d: _convolution,
    torch.conv3d: _convolution,
    functional.embedding: _embedding,
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
}


# layers without counted parameters
_UNCOUNTED: dict[Any, Callable[..., torch.Tensor]] = {
    functional.embedding: _look_up,
    functional.batch_norm: _normalise,
}


def _seen_through(function: Any, **instead: Any) -> Any:
    """A torch function that is traced through the functions that it calls, not as itself.

    ``instead`` are functions that it calls instead of others, by the names of these.
    """
    names = {**function.__globals__, "has_torch_function": lambda _tensors: False, **instead}
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_projections: Any = functional.multi_head_attention_forward.__globals__.get("_in_projection_packed")


def _queries_keys_values(q: Any, k: Any, v: Any, *weights: Any) -> Any:
    """Projections of attention; those of self-attention are parts of one output.

    torch copies that output to take its parts, and fills a tensor of its size with zeros for the gradient of each.
    """
    if q is k is v:
        return functional.linear(q, *weights).chunk(3, -1)
    return _projections(q, k, v, *weights)


# attention consists of linear maps
_attend = _seen_through(functional.multi_head_attention_forward, _in_projection_packed=_queries_keys_values)


def _arguments(names: str, args: Sequence[Any], kwargs: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    values = dict(zip(names.split(), args, strict=False)) | dict(kwargs)
    return {name: values.get(name, defaults.get(name)) for name in names.split()}


def _spread(value: Any, count: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value) if len(value) == count else (value[0],) * count
    return (value,) * count


def _by_channel(x: torch.Tensor) -> list[int]:
    return [1, -1] + [1] * (x.dim() - 2)


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, (tuple, list)) and any(map(_holds_tensor, value)))
