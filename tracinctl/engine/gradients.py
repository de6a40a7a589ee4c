"""Gradients of item scores, one item at a time, at the price of one batched pass.

``torch.vmap`` runs the model on every item of a block as if the item were alone (so a model that normalises over its
batch still sees one item), while the arithmetic is batched. A function mode watches where each parameter is used. Where
a parameter enters a linear map, a convolution, an embedding or the affine part of a normalisation, its gradient an item
follows from the map's input and the gradient at its output, so no weight gradient goes through autograd; for every
other use the parameter is handed to each item as a copy of its own, and autograd gives that copy's gradient.

Where a model decides on its data, a block is parted into items that go the same way (``engine.branches``).

Models that ``vmap`` cannot run are taken one item at a time with plain autograd. What the fast way gives is compared
with plain autograd on an item before it is trusted.
"""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracinctl.engine.branches import PartingError
from tracinctl.engine.parameter_uses import Dense, Feature, Outer, Trace, UseWatch, use_gradients
from tracinctl.errors import ModelError, UsageError

ScoreFunction = Callable[[Any, Any], Any]


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
        self._apart = False
        self._order: list[str] = []
        self._other: set[str] = set()
        self._outer: set[str] | None = None
        self.bytes_per_item = 0

    def prepare(self, inputs: Any) -> None:
        """Find out, on the first item of ``inputs``, which way serves the model, and what an item takes in memory."""
        first = {k: v[:1] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[:1]
        scores, plain = self._one_at_a_time(first)
        if self._fast is False:
            return
        # a model that changes a layer's output in place is given a copy of it, which costs a little: so only then
        self._fast = self._serves(first, scores, plain)
        if not self._fast and not self._apart:
            self._apart = True
            self._fast = self._serves(first, scores, plain)

    def _serves(self, first: Any, scores: torch.Tensor, plain: list[Feature]) -> bool:
        try:
            features, fast_scores = self._batched(first, learn=True)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, IndexError):
            return False
        return self._agrees(features, fast_scores, plain, scores)

    def _agrees(
        self, features: list[Feature], score: torch.Tensor, plain: list[Feature], plain_score: torch.Tensor
    ) -> bool:
        """Whether the gradient of one item is the same, entry by entry, up to rounding."""
        own = dict(self.model.named_parameters())
        [row] = [part.values[0] for part in plain if isinstance(part, Dense)]
        by_name = dict(zip(self.names, torch.split(row, [own[n].numel() for n in self.names]), strict=True))
        true = torch.cat([by_name[name] for name in self._order])
        ours = torch.cat(
            [
                f.values[0] if isinstance(f, Dense) else torch.outer(f.outputs[0], f.inputs[0]).flatten()
                for f in features
            ]
        )
        share = 1e-3 if true.dtype == torch.float32 else 1e-9
        close = bool((ours - true).norm() <= share * true.norm())
        return close and bool(torch.allclose(score, plain_score, rtol=share, atol=1e-2 * share))

    def __call__(self, inputs: Any) -> tuple[list[Feature], torch.Tensor]:
        """Gradients of these items' scores, as features whose inner products add up, and the scores, shape (items,)."""
        if self._fast is None:
            self.prepare(inputs)
        if self._fast:
            return self._batched(inputs)
        scores, features = self._one_at_a_time(inputs)
        return features, scores

    def _learn_outer(self, trace: Trace) -> None:
        """Keep the linear weights that every shape of items uses once, at one position.

        A model that decides on its data may use them otherwise for the next item, and it asks the first item too.
        """
        used: dict[str, int] = {}
        for use in trace.uses:
            if use.weight is not None:
                used[use.weight] = used.get(use.weight, 0) + 1
        single = {
            use.weight
            for use in trace.uses
            if use.kind == "linear" and use.weight is not None and used[use.weight] == 1 and use.positions == 1
        }
        if trace.asked:
            single = set()
        self._outer = single if self._outer is None else self._outer & single

    def _one_at_a_time(self, inputs: Any) -> tuple[torch.Tensor, list[Feature]]:
        own = dict(self.model.named_parameters())
        wanted = [own[n] for n in self.names]
        count = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
        rows, scores = [], []
        with torch.enable_grad():
            for k in range(count):
                # a copy, for a model may work on its input in place, and these are the user's own tensors
                one = (
                    {key: v[k : k + 1].clone() for key, v in inputs.items()}
                    if isinstance(inputs, Mapping)
                    else inputs[k : k + 1].clone()
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
        try:
            for _ in range(2):
                result = self._try_batched(inputs, learn=learn)
                if result is not None:
                    return result
        except PartingError as parting:
            return _together([self._batched(_rows(inputs, way)) for way in parting.ways], parting.ways)
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
        # slopes are taken at the outputs of layers whose weights need none, so something before them must
        inputs = _differentiable(inputs)
        anchors = torch.zeros(count, device=next(iter(fixed.values())).device, requires_grad=True)
        watch: list[UseWatch] = []

        def run(own_copies: dict[str, torch.Tensor], item: Any, anchor: torch.Tensor) -> Any:
            state = {name: own_copies.get(lead, fixed[lead]) for name, lead in aliases.items()}
            names = {id(fixed[name]): name for name in wanted if name not in own_copies}
            mode = UseWatch(names, anchor, apart=self._apart)
            watch.append(mode)
            with mode:
                output = torch.func.functional_call(_Scored(self.model, self._score), _prefixed(state), (_alone(item),))
            return _one_score(output, "the model"), mode.trace.inputs, mode.trace.outputs

        # of the ways to attend, the one that vmap can batch
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # where vmap goes item by item
            scores, ins, outs = torch.vmap(run, in_dims=(0, 0, 0), randomness="error")(copies, inputs, anchors)
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
            for name, part in use_gradients(use, a.detach(), slope, self._outer or set()):
                gathered[name] = part if name not in gathered else gathered[name] + part
        for name, slope in zip(copies, slopes[len(outs) :], strict=True):
            if slope is not None:
                flat = slope.reshape(count, -1)
                gathered[name] = flat if name not in gathered else gathered[name] + flat
        # one order for every block, so that blocks of items of other shapes can be put side by side
        features: list[Feature] = []
        small: dict[str, torch.Tensor] = {}
        self._order = []
        for name in self.names:
            part = gathered.get(name)
            if part is None:
                part = torch.zeros(count, fixed[name].numel(), dtype=fixed[name].dtype, device=fixed[name].device)
            if isinstance(part, Outer) or part.shape[1] >= _SMALL:
                features.append(part if isinstance(part, Outer) else Dense(part))
                self._order.append(name)
            else:
                small[name] = part
        if small:
            features.append(Dense(torch.cat(list(small.values()), dim=1)))
            self._order += small
        return features, scores.detach()


def _rows(inputs: Any, rows: Sequence[int]) -> Any:
    return {k: v[rows] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[rows]


def _together(
    parts: Sequence[tuple[list[Feature], torch.Tensor]], ways: Sequence[Sequence[int]]
) -> tuple[list[Feature], torch.Tensor]:
    """Gradients and scores of a block, from those of the items of each way; none of them are outer products."""
    back = torch.argsort(torch.tensor([row for way in ways for row in way]))
    features: list[Feature] = [
        Dense(torch.cat([feature.values for feature in same if isinstance(feature, Dense)])[back])
        for same in zip(*(features for features, _ in parts), strict=True)
    ]
    return features, torch.cat([scores for _, scores in parts])[back]


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
    # numbers may not be changed in place once they want a gradient, and that sends the model the slow way; tokens might
    return inputs.detach().requires_grad_() if inputs.is_floating_point() else inputs.clone()
