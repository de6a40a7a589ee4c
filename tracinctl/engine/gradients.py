"""Gradients of item scores, one item at a time, at the price of one batched pass.

``torch.vmap`` runs the model on every item of a block as if the item were alone (so a model that normalises over its
batch still sees one item), while the arithmetic is batched. A function mode watches where each parameter is used. Where
a parameter enters a linear map, a convolution, an embedding or the affine part of a normalisation, its gradient an item
follows from the map's input and the gradient at its output, so no weight gradient goes through autograd; for every
other use the parameter is handed to each item as a copy of its own, and autograd gives that copy's gradient.

Models that ``vmap`` cannot run are taken one item at a time with plain autograd. What the fast way gives is compared
with plain autograd on an item before it is trusted.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tracinctl.errors import ModelError, UsageError

ScoreFunction = Callable[[Any, Any], Any]


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
class _Use:
    kind: str
    weight: str | None
    bias: str | None
    extra: tuple[Any, ...] = ()
    positions: int = 0


@dataclass
class _Trace:
    """What one run of the model showed: the uses whose gradients follow from a formula, and what to save for them."""

    uses: list[_Use] = field(default_factory=list)
    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    other: set[str] = field(default_factory=set)


_HARMLESS = {"__get__", "size", "dim", "numel", "is_floating_point", "is_complex", "__len__", "stride", "element_size"}
_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


def _arguments(names: str, args: Sequence[Any], kwargs: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    given = dict(zip(names.split(), args, strict=False)) | dict(kwargs)
    return {name: given.get(name, defaults.get(name)) for name in names.split()}


class _Watch(TorchFunctionMode):
    """Sees every torch function of a run; records the uses of parameters that have a formula."""

    def __init__(self, names: Mapping[int, str], anchor: torch.Tensor) -> None:
        super().__init__()
        self.names = names
        self.anchor = anchor
        self.trace = _Trace()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        used = self._used(args, kwargs)
        if not used:
            return func(*args, **kwargs)
        result = self._formula(func, args, kwargs, used)
        if result is not None:
            return result
        if getattr(func, "__name__", "") not in _HARMLESS:
            self.trace.other |= used
        return func(*args, **kwargs)

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

    def _record(self, use: _Use, inputs: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            output = output + self.anchor.to(output.dtype)
        use.positions = output.numel() // max(1, output.shape[-1])
        self.trace.uses.append(use)
        self.trace.inputs.append(inputs)
        self.trace.outputs.append(output)
        return output

    def _formula(self, func: Any, args: Any, kwargs: Any, used: set[str]) -> torch.Tensor | None:
        if func is functional.linear:
            a = _arguments("input weight bias", args, kwargs)
            use = _Use("linear", self._name(a["weight"]), self._name(a["bias"]))
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
            use = _Use("conv", self._name(a["weight"]), self._name(a["bias"]))
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
            use = _Use("embedding", self._name(a["weight"]), None)
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
        use = _Use("affine", self._name(weight), self._name(bias), (tuple(weight.shape), channel))
        if not self._only(use, used):
            return None
        if channel is not None:
            spread = [1] * plain.dim()
            spread[channel] = -1
            weight, bias = weight.view(spread), bias.view(spread)
        return self._record(use, plain, torch.addcmul(bias, plain, weight))

    @staticmethod
    def _only(use: _Use, used: set[str]) -> bool:
        return used <= {use.weight, use.bias}


def _one_score(output: Any, what: str) -> torch.Tensor:
    value = getattr(output, "logits", output)
    if not isinstance(value, torch.Tensor):
        raise ModelError(
            f"{what} gave a {type(output).__name__}, wanted one score an item",
            hint="a tensor of shape (items,) or (items, 1), or an object with .logits; or give score(model, inputs)",
        )
    if value.numel() != 1:
        raise ModelError(
            f"{what} gave shape {tuple(value.shape)} for one item, wanted one score an item: (1,) or (1, 1)",
            hint="give score(model, inputs) with the data where the model's output is something else",
        )
    return value.reshape(())


def _alone(value: Any) -> Any:
    return {k: v.unsqueeze(0) for k, v in value.items()} if isinstance(value, Mapping) else value.unsqueeze(0)


_SMALL = 65536  # gradients of fewer parameters are put into one matrix


class ItemGradients:
    """Scores of items and gradients of the scores by the model's trainable parameters.

    The model is put into ``eval()`` mode. Its state may be changed between calls, its structure not.

    Args:
        model: gives an item a score.
        layers: patterns of parameter names (``classifier.*``); only these parameters count. None = all trainable ones.
        score: ``score(model, inputs)`` where calling the model does not give the scores.

    Raises:
        UsageError: a pattern fits no trainable parameter.
        ModelError: the model has no trainable parameter.
    """

    def __init__(
        self, model: torch.nn.Module, *, layers: Sequence[str] | None = None, score: ScoreFunction | None = None
    ) -> None:
        self.model = model.eval()
        self._score = score or _call
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        for pattern in layers or ():
            if not fnmatch.filter(names, pattern):
                raise UsageError(
                    f"--layers {pattern!r} fits no trainable parameter",
                    hint=f"the parameters are {', '.join(names[:8])} ...",
                )
        if layers is not None:
            names = [n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in layers)]
        if not names:
            raise ModelError("the model has no trainable parameter, so no item has a gradient")
        self.names = names
        self.parameters = sum(dict(model.named_parameters())[n].numel() for n in names)
        self._fast: bool | None = None
        self._other: set[str] = set()
        self._outer: set[str] | None = None
        self.bytes_per_item = 0

    def prepare(self, inputs: Any) -> None:
        """Find out, on the first item of ``inputs``, which way serves the model, and what an item takes in memory."""
        first = {k: v[:1] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[:1]
        scores, plain = self._one_at_a_time(first)
        if self._fast is False:
            return
        try:
            features, fast_scores = self._batched(first, learn=True)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, IndexError):
            self._fast = False
            return
        self._fast = self._agrees(features, fast_scores, plain, scores)

    @staticmethod
    def _agrees(features: list[Feature], score: torch.Tensor, plain: list[Feature], plain_score: torch.Tensor) -> bool:
        def square(parts: list[Feature]) -> float:
            total = 0.0
            for part in parts:
                if isinstance(part, Dense):
                    total += float(part.values.double().square().sum())
                else:
                    total += float(part.inputs.double().square().sum() * part.outputs.double().square().sum())
            return total

        ours, true = square(features), square(plain)
        close = abs(ours - true) <= 1e-3 * abs(true) + 1e-30
        return close and bool(torch.allclose(score, plain_score, rtol=1e-3, atol=1e-5))

    def __call__(self, inputs: Any) -> tuple[list[Feature], torch.Tensor]:
        """Gradients of these items' scores, as features whose inner products add up, and the scores, shape (items,)."""
        if self._fast is None:
            self.prepare(inputs)
        if self._fast:
            return self._batched(inputs)
        scores, features = self._one_at_a_time(inputs)
        return features, scores

    def _learn_outer(self, trace: _Trace) -> None:
        """Keep the linear weights that every shape of items uses once, at one position."""
        used: dict[str, int] = {}
        for use in trace.uses:
            if use.weight is not None:
                used[use.weight] = used.get(use.weight, 0) + 1
        single = {
            use.weight
            for use in trace.uses
            if use.kind == "linear" and use.weight is not None and used[use.weight] == 1 and use.positions == 1
        }
        self._outer = single if self._outer is None else self._outer & single

    def _one_at_a_time(self, inputs: Any) -> tuple[torch.Tensor, list[Feature]]:
        own = dict(self.model.named_parameters())
        wanted = [own[n] for n in self.names]
        count = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
        rows, scores = [], []
        with torch.enable_grad():
            for k in range(count):
                one = (
                    {key: v[k : k + 1] for key, v in inputs.items()}
                    if isinstance(inputs, Mapping)
                    else inputs[k : k + 1]
                )
                score = _one_score(self._score(self.model, one), "the model")
                if not score.requires_grad:
                    raise ModelError(
                        "an item's score has no gradient: the model's output does not depend on its parameters"
                    )
                slopes = torch.autograd.grad(score, wanted, allow_unused=True)
                rows.append(
                    torch.cat(
                        [
                            (torch.zeros_like(p) if g is None else g).reshape(-1)
                            for p, g in zip(wanted, slopes, strict=True)
                        ]
                    )
                )
                scores.append(score.detach())
        return torch.stack(scores), [Dense(torch.stack(rows))]

    def _batched(self, inputs: Any, *, learn: bool = False) -> tuple[list[Feature], torch.Tensor]:
        for _ in range(2):
            result = self._try_batched(inputs, learn=learn)
            if result is not None:
                return result
        raise RuntimeError("the uses of the parameters change from run to run")

    def _try_batched(self, inputs: Any, *, learn: bool) -> tuple[list[Feature], torch.Tensor] | None:
        own = dict(self.model.named_parameters(remove_duplicate=False))
        leader: dict[int, str] = {}
        aliases = {name: leader.setdefault(id(p), name) for name, p in own.items()}
        fixed = {name: own[leader[id(own[name])]].detach() for name in set(aliases.values())}
        count = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
        wanted = set(self.names)
        copies = {
            name: fixed[name].expand(count, *fixed[name].shape).detach().requires_grad_()
            for name in self.names
            if name in self._other
        }
        anchor = torch.zeros((), device=next(iter(fixed.values())).device, requires_grad=True)
        # only a differentiable input makes the first layer's output part of the graph without an addition
        inputs = _differentiable(inputs)
        watch: list[_Watch] = []

        def run(own_copies: dict[str, torch.Tensor], item: Any) -> Any:
            state = {name: own_copies.get(lead, fixed[lead]) for name, lead in aliases.items()}
            names = {id(fixed[name]): name for name in wanted if name not in own_copies}
            mode = _Watch(names, anchor)
            watch.append(mode)
            with mode:
                output = torch.func.functional_call(_Scored(self.model, self._score), _prefixed(state), (_alone(item),))
            return _one_score(output, "the model"), mode.trace.inputs, mode.trace.outputs

        with torch.enable_grad():
            scores, ins, outs = torch.vmap(run, in_dims=(0, 0), randomness="error")(copies, inputs)
            trace = watch[-1].trace
            if not trace.other <= set(copies):
                self._other |= trace.other
                return None
            leaves = [*outs, *copies.values()]
            slopes = torch.autograd.grad(scores.sum(), leaves, allow_unused=True)
        self.bytes_per_item = sum(t.element_size() * t[0].numel() for t in (*ins, *outs))
        if learn:
            self._learn_outer(trace)
        gathered: dict[str, Any] = {}
        for use, a, slope in zip(trace.uses, ins, slopes[: len(outs)], strict=True):
            if slope is None:
                continue
            for name, part in _use_gradients(use, a.detach(), slope, self._outer or set()):
                gathered[name] = part if name not in gathered else gathered[name] + part
        for name, slope in zip(copies, slopes[len(outs) :], strict=True):
            if slope is not None:
                flat = slope.reshape(count, -1)
                gathered[name] = flat if name not in gathered else gathered[name] + flat
        # one order for every block, so that blocks of items of other shapes can be put side by side
        features: list[Feature] = []
        small: list[torch.Tensor] = []
        for name in self.names:
            part = gathered.get(name)
            if part is None:
                part = torch.zeros(count, fixed[name].numel(), dtype=fixed[name].dtype, device=fixed[name].device)
            if isinstance(part, Outer):
                features.append(part)
            elif part.shape[1] >= _SMALL:
                features.append(Dense(part))
            else:
                small.append(part)
        if small:
            features.append(Dense(torch.cat(small, dim=1)))
        return features, scores.detach()


class _Scored(torch.nn.Module):
    """A model together with the way it is asked for scores."""

    def __init__(self, model: torch.nn.Module, score: ScoreFunction) -> None:
        super().__init__()
        self.model = model
        self.score = score
        self.training = False

    def forward(self, inputs: Any) -> Any:
        return self.score(self.model, inputs)


def _prefixed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"model.{name}": value for name, value in state.items()}


def _call(model: Any, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _differentiable(inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {k: _differentiable(v) for k, v in inputs.items()}
    return inputs.detach().requires_grad_() if inputs.is_floating_point() else inputs


def _use_gradients(use: _Use, inputs: torch.Tensor, slope: torch.Tensor, outer: set[str]) -> list[tuple[str, Any]]:
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
