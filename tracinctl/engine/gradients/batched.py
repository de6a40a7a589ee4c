"""Gradients of single items' scores at the cost of one batched pass.

``torch.vmap`` runs the model on every item of a block as if the item were alone (so a model that normalises over its
batch still sees one item), while the arithmetic is batched. If a parameter is used in a map with a formula (``uses``),
its gradient per item follows from the map's input and the gradient at its output, without autograd. For every other
use, each item gets its own copy of the parameter, and autograd computes the copy's gradient.

If a model branches on its data, a block is split into items that take the same branch (``branches``).
"""

from __future__ import annotations

import operator
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracinctl.engine.allocations import AllocationWatch
from tracinctl.engine.gradients.branches import PartingError, together
from tracinctl.engine.gradients.normalised import Normalisation
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.gradients.tracing import Trace, UseWatch
from tracinctl.engine.gradients.uses import (
    AsOuter,
    AsRows,
    Dense,
    Feature,
    Form,
    Linear,
    Outer,
    Taps,
    Touched,
    Whole,
    bytes_of,
    differences,
)
from tracinctl.engine.item_forms import of_each
from tracinctl.errors import ModelError

ScoreFunction = Callable[[Any, Any], Any]

_RUNS = 6  # a run may show that it needs more copies or anchors, or that normalisations can or cannot be folded
_ALONE = operator.methodcaller("unsqueeze", 0)
_APART = 8192  # gradients of parameters with fewer entries share one matrix


@dataclass(frozen=True)
class _Run:
    """A run of the model on a block of items.

    Attributes:
        trace: the uses of parameters.
        inputs: inputs of the uses.
        slopes: gradients of the scores at the output of each use, by its number, and at each copy, by its name.
        scores: shape (items,).
        paired: whether items are the first and second ones of pairs, in turn, and gradients of second ones negated.
    """

    trace: Trace
    inputs: Sequence[torch.Tensor]
    slopes: Mapping[int | str, torch.Tensor | None]
    scores: torch.Tensor
    paired: bool = False


class BatchedGradients:
    """Gradients of blocks of items for the named parameters.

    ``learn`` fixes the form of gradients for all later blocks, so that their features fit together.

    Args:
        model: in ``eval()`` mode.
        score: returns the score of one item, shape (), from the model and the item's input with a leading 1.
        names: names of the parameters.
        channels_last: store images in the model with the channels last. On a CPU, pooling is then eight times as fast;
            a model that takes a ``view`` of an image fails.
        projection: projection of the gradients; None = exact gradients.
        scales: factors for gradients by parameter name; the caller may change them between blocks.

    Attributes:
        bytes_per_item: bytes per item that the formulas kept in the last pass.
        placed_bytes: bytes per item of the gradients that can be computed in given places.
        row_bytes, peak_bytes: bytes of the gradient that ``learn`` computed last, and bytes that this used; of exact
            gradients only.
        uses: how the last pass used the parameters. Equal values mean the same uses.
        branches: whether the model branched on its data in some pass, so that the next item may use them differently.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        score: ScoreFunction,
        names: Sequence[str],
        *,
        channels_last: bool = False,
        projection: Projection | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self.names = names
        self._scales = {} if scales is None else scales
        self._projection = projection
        self._shapes = {name: model.get_parameter(name).shape for name in names}
        self.bytes_per_item = 0
        self.placed_bytes = 0
        self.row_bytes = self.peak_bytes = 0
        self._scored = _ScoredModel(model, score)
        # models that change a layer's output in place get a copy of it, which costs a little, so others do not
        self._apart = False
        self.channels_last = channels_last
        self._copied: set[str] = set()
        self._anchored: set[int] = set()
        # projections are of the gradients of single layers
        self._folds: dict[str, Normalisation | None] | None = {} if projection is None else None
        self._forms: dict[str, Form] = {}
        self._apart_names: list[str] = []
        self.uses: object = None
        self.branches = False

    def learn(self, inputs: Any) -> tuple[dict[str, Feature], torch.Tensor]:
        """Learn the form of each gradient, and the memory of a pass, from one item; return gradients and score."""
        with AllocationWatch() as watch:
            run = self._run(inputs)
            for name, form in self._forms_of(run.trace):
                self._forms[name] = _common(self._forms.get(name, form), form)
            outer = {name for name, form in self._forms.items() if isinstance(form, AsOuter | AsRows)}
            self._apart_names = [name for name in self.names if name in outer or self._length(name) >= _APART]
            whole = [name for name in self._apart_names if name in self._placed(run.trace)]
            self.placed_bytes = sum(self._length(name) * run.scores.element_size() for name in whole)
            # gradients for the comparison with plain autograd are all projected in the way that both support
            forms = self._forms if self._projection is None else {}
            gathered = self._gathered(run, forms)
            features = self._joined(dict(gathered)) if forms else []
        self.row_bytes, self.peak_bytes = bytes_of(features), watch.peak
        return gathered, run.scores

    def __call__(
        self, inputs: Any, places: Sequence[torch.Tensor | None] = (), *, paired: bool = False
    ) -> tuple[list[Feature], torch.Tensor]:
        """Gradients of these items' scores as features, whose inner products add up, and the scores, (items,).

        ``places`` are tensors for the values of the first features. Gradients of linear layers are computed there. If
        ``paired``, items are the first and second ones of pairs, in turn, and gradients are ``differences``.
        """
        try:
            run = self._run(inputs, paired=paired)
        except PartingError as parting:
            parts, start = [], 0
            for way in parting.ways:
                there = [None if t is None else t[start : start + len(way)] for t in places]
                parts.append(self(of_each(operator.itemgetter(way), inputs), there))
                start += len(way)
            features, scores = together(parts, parting.ways, places)
            return (differences(features) if paired else features), scores
        if any(_common(self._forms[name], form) != self._forms[name] for name, form in self._forms_of(run.trace)):
            raise ModelError(
                "the model uses its parameters differently than before, on items of the same shape",
                hint="Make scores in eval() mode depend only on the item and the checkpoint.",
            )
        return self._features(run, places), run.scores

    def stop_folding(self) -> bool:
        """Fold no normalisation from now on; whether any was folded, so that this changes something."""
        folded = any((self._folds or {}).values())
        self._folds = None
        return folded

    def flat_gradients(self, gathered: Mapping[str, Feature]) -> dict[str, torch.Tensor]:
        """The flat gradients of the first item by name, from the gradients of ``learn``."""
        gradients: dict[str, torch.Tensor] = {}
        for name, part in gathered.items():
            if isinstance(part, Outer):
                gradients[name] = torch.outer(part.outputs[0], part.inputs[0]).flatten()
            elif isinstance(part, Touched):
                gradients[name] = part.first(self._shapes[name]).flatten()
            else:
                gradients[name] = _spread_out(part.values[0], self._forms[name], self._shapes[name])
        return gradients

    def _run(self, inputs: Any, *, paired: bool = False) -> _Run:
        places = _places(self._scored.model)
        leader: dict[int, str] = {}
        aliases = {name: leader.setdefault(id(p), name) for name, p in places.items()}
        fixed = {name: places[name].detach() for name in set(aliases.values())}
        anchors = torch.zeros(_count(inputs), device=next(iter(fixed.values())).device, requires_grad=True)
        # outputs of layers need gradients although their weights do not, so something before them must
        inputs = of_each(_differentiable, inputs)
        for _ in range(_RUNS):
            copies = {n: fixed[n].expand(len(anchors), *fixed[n].shape).detach().requires_grad_() for n in self._copied}
            watches: list[UseWatch] = []
            run = partial(self._run_one, watches, fixed, aliases)
            # the attention implementation that vmap can batch
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")  # when vmap runs items one by one
                scores, ins, outs = torch.vmap(run, randomness="error")(copies, inputs, anchors)
                trace = watches[-1].trace
                bare = {k for k, output in enumerate(outs) if not output.requires_grad}
                # a change in place hides the gradient at the output, even if it keeps the values of these items
                changed = any(output._version for output in outs)  # noqa: SLF001  documented in "Autograd mechanics"
                if trace.copied <= set(copies) and not bare and not watches[-1].folding.changed and not changed:
                    signs = torch.ones_like(scores)
                    signs[1::2] = -1.0 if paired else 1.0
                    slopes = torch.autograd.grad(scores, [*outs, *copies.values()], signs, allow_unused=True)
                    # outputs of layers that follow an anchored one need no anchor of their own
                    self._anchored = {k for k in self._anchored if k < len(ins) and not ins[k].requires_grad}
                    self.uses = (tuple(trace.uses), frozenset(self._copied), frozenset(self._anchored))
                    self.branches |= trace.branched
                    self.bytes_per_item = sum(t.element_size() * t[0].numel() for t in (*ins, *outs))
                    by_key = dict(zip([*range(len(outs)), *copies], slopes, strict=True))
                    return _Run(trace, [x.detach() for x in ins], by_key, scores.detach(), paired)
            self._copied |= trace.copied
            self._anchored |= bare
            self._apart |= changed
        raise RuntimeError("the uses of the parameters change from run to run")

    def _run_one(
        self,
        watches: list[UseWatch],
        fixed: Mapping[str, torch.Tensor],
        aliases: Mapping[str, str],
        copies: Mapping[str, torch.Tensor],
        item: Any,
        anchor: torch.Tensor,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """The score of one item, and the inputs and outputs of the uses, which a new watch traces."""
        state = {f"model.{name}": copies.get(lead, fixed[lead]) for name, lead in aliases.items()}
        parameters = {name: fixed[name] for name in self.names if name not in copies}
        more: dict[str, Any] = {"apart": self._apart, "channels_last": self.channels_last, "folds": self._folds}
        watch = UseWatch(parameters, anchor, self._anchored, **more)
        watches.append(watch)
        with watch:
            score = torch.func.functional_call(self._scored, state, (of_each(_ALONE, item),), tie_weights=False)
        watch.folding.finish(branched=watch.trace.branched)
        return score, watch.trace.inputs, watch.trace.outputs

    def _features(self, run: _Run, places: Sequence[torch.Tensor | None]) -> list[Feature]:
        """The gradients as features, some of them in given places."""
        placed = self._placed(run.trace)
        given = zip(self._apart_names, places, strict=False)
        # places of an earlier checkpoint may be for other forms
        fitting = {n: t for n, t in given if t is not None and t.shape[1] == self._length(n)}
        by_name = {n: t for n, t in fitting.items() if n in placed}
        return self._joined(self._gathered(run, self._forms, by_name))

    def _joined(self, gathered: dict[str, Feature]) -> list[Feature]:
        """One feature per long parameter, and one for all short ones."""
        features = [gathered.pop(name) for name in self._apart_names]
        short = [part.values for name in self.names if isinstance(part := gathered.get(name), Dense)]
        return [*features, Dense(torch.cat(short, dim=1))] if short else features

    def _gathered(
        self, run: _Run, forms: Mapping[str, Form], places: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, Feature]:
        """The gradients by each parameter, summed over its uses, in these forms and places."""
        gathered: dict[str, Feature] = {}

        def add(name: str, part: Feature) -> None:
            earlier = gathered.get(name)
            if isinstance(earlier, Touched) and isinstance(part, Touched):
                part = Touched(torch.cat([earlier.values, part.values], 1))
            elif earlier is not None:
                assert isinstance(earlier, Dense)  # noqa: S101  a weight that is used twice is not an outer product
                assert isinstance(part, Dense)  # noqa: S101  the same
                part = Dense(earlier.values + part.values)
            gathered[name] = part

        projection = self._projection
        for number, use in enumerate(run.trace.uses):
            if (slope := run.slopes[number]) is not None:
                form = forms.get(use.weight or "", Whole())
                a = run.inputs[number]
                # two items of a pair are one item with all positions of both
                if joined := run.paired and not isinstance(form, AsOuter | AsRows):
                    a, slope = _in_pairs(a), _in_pairs(slope)
                if projection is not None:
                    parts = projection.of_use(use, a, slope, form, self._shapes)
                elif isinstance(use, Linear):
                    parts = use.gradients(a, slope, form, (places or {}).get(use.weight or ""))
                else:
                    parts = use.gradients(a, slope, form)
                for name, part in parts:
                    add(name, part if joined or not run.paired else _summed_in_pairs(part))
        for name in self._copied:
            if (slope := run.slopes[name]) is not None:
                slope = _in_pairs(slope.unsqueeze(1)).sum(1) if run.paired else slope
                flat = slope.reshape(len(slope), -1)
                add(name, Dense(flat if projection is None else projection.project(name, flat, slope.shape[1:])))
        for name in self.names:
            wanted = forms.get(name)
            if name not in gathered:
                gathered[name] = self._nothing(name, run, wanted)
            elif name in self._scales:
                gathered[name] = _scaled(gathered[name], self._scales[name])
            if isinstance(part := gathered[name], Touched) and isinstance(wanted, AsRows):
                gathered[name] = part.at_most(wanted.positions)
        return gathered

    def _placed(self, trace: Trace) -> set[str]:
        """Names of the linear weights whose gradients can be computed in given places: whole ones of a single use."""
        if self._projection is not None:
            return set()
        uses = Counter(use.weight for use in trace.uses)
        linear = {use.weight for use in trace.uses if isinstance(use, Linear) and uses[use.weight] == 1}
        return {name for name in linear if name is not None and isinstance(self._forms[name], Whole)}

    def _nothing(self, name: str, run: _Run, form: Form | None) -> Feature:
        """Zero gradients of a parameter that no item depends on."""
        p, items = self._scored.model.get_parameter(name), len(run.scores)
        if isinstance(form, AsRows):
            return Touched(p.new_zeros(items, form.positions, 1 + p.shape[1]))
        return Dense(p.new_zeros(items // 2 if run.paired else items, self._length(name)))

    def _forms_of(self, trace: Trace) -> list[tuple[str, Form]]:
        """The form that the gradient of each parameter has in one run.

        A model that branches on its data may use them differently for the next item.
        """
        forms: dict[str, Form] = {}
        for use in [] if trace.branched else trace.uses:
            if use.weight is not None:
                earlier = forms.get(use.weight)
                form = use.form if earlier is None else _of_both(earlier, use.form)
                forms[use.weight] = (
                    form if self._projection is None else self._projection.form(form, self._shapes[use.weight])
                )
            if use.bias is not None:
                forms[use.bias] = Whole()
        return [(name, forms.get(name, Whole())) for name in self.names]

    def _length(self, name: str) -> int:
        shape, form = self._shapes[name], self._forms[name]
        if self._projection is not None:
            return self._projection.size(shape)
        if isinstance(form, Taps):
            shape = torch.Size([*shape[:2], *(end - first for first, end in form.ranges)])
        return shape.numel()


def _scaled(feature: Feature, scale: float) -> Feature:
    if isinstance(feature, Touched):
        return feature.times(scale)
    if isinstance(feature, Outer):
        return Outer(feature.inputs, feature.outputs * scale)
    return Dense(feature.values * scale)


def _of_both(a: Form, b: Form) -> Form:
    """The form of a sum of gradients of these forms."""
    if isinstance(a, Taps) and isinstance(b, Taps):
        return a | b
    if isinstance(a, AsRows) and isinstance(b, AsRows):
        return AsRows(a.positions + b.positions)
    return Whole()


def _common(a: Form, b: Form) -> Form:
    """The form that fits runs of either form."""
    if isinstance(a, AsRows) and isinstance(b, AsRows):
        return AsRows(max(a.positions, b.positions))
    if isinstance(a, Taps) and isinstance(b, Taps):
        return a | b
    return a if a == b else Whole()


def _spread_out(part: torch.Tensor, form: Form, shape: torch.Size) -> torch.Tensor:
    if not isinstance(form, Taps):
        return part
    place = spread = part.new_zeros(shape)
    for d, (first, end) in enumerate(form.ranges):
        place = place.narrow(2 + d, first, end - first)
    place.copy_(part.reshape(place.shape))
    return spread.flatten()


class _ScoredModel(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, score: ScoreFunction) -> None:
        super().__init__()
        self.model = model
        self.score = score
        self.training = False

    def forward(self, inputs: Any) -> Any:
        return self.score(self.model, inputs)


def _places(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameter at each place, once per module that has it; a module may also be in several places."""
    return {
        f"{name}.{key}".removeprefix("."): p
        for name, module in model.named_modules()
        for key, p in module.named_parameters(recurse=False, remove_duplicate=False)
    }


def _in_pairs(tensor: torch.Tensor) -> torch.Tensor:
    """The two items of each pair as one, from items with a leading 1: (pairs, 2, ...)."""
    return tensor.reshape(-1, 2 * tensor.shape[1], *tensor.shape[2:])


def _summed_in_pairs(feature: Feature) -> Feature:
    """Dense gradients added for each pair; other forms unchanged."""
    if not isinstance(feature, Dense):
        return feature
    return Dense(_in_pairs(feature.values.unsqueeze(1)).sum(1))


def _count(inputs: Any) -> int:
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def _differentiable(inputs: torch.Tensor) -> torch.Tensor:
    # numbers may not be changed in place once they want a gradient, and that sends the model the slow way; tokens might
    return inputs.detach().requires_grad_() if inputs.is_floating_point() else inputs.clone()
