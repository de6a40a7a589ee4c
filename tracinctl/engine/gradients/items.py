"""Gradients of item scores, one item at a time.

The fast way works for nearly every model (``batched``), and plain autograd on one item at a time for all. Before the
fast way is used, its result is compared with plain autograd on an item: once per shape of items, and once per way in
which a run uses the parameters.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from tracinctl.engine.gradients.batched import BatchedGradients
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.gradients.uses import Dense, Feature, differences
from tracinctl.engine.model_errors import score_hint
from tracinctl.errors import ModelError, UsageError

ScoreFunction = Callable[[Any, Any], Any]

_REFUSALS = (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, IndexError)  # by torch.vmap


class ItemGradients:
    """Scores of items and their gradients for the model's trainable parameters.

    The model is put into ``eval()`` mode. Its state may change between calls, but not its structure.

    Args:
        model: scores items.
        layers: patterns of parameter names (``classifier.*``); only these parameters count. None = all trainable ones.
        score: ``score(model, inputs)``, if calling the model does not return the scores.
        projection: projection of the gradients; None = exact gradients.

    Attributes:
        scales: factors for gradients by parameter name; other gradients are unchanged.
        names: names of the parameters that count.
        parameters: number of entries of these parameters.

    Raises:
        UsageError: a pattern fits no trainable parameter.
        ModelError: the model has no trainable parameter.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        layers: Sequence[str] | None = None,
        score: ScoreFunction | None = None,
        projection: Projection | None = None,
    ) -> None:
        self.model = model.eval()
        self.projection = projection
        self.scales: dict[str, float] = {}
        self._ask = score or _call
        self.names = _chosen(model, layers)
        self.parameters = sum(model.get_parameter(name).numel() for name in self.names)
        layouts = (True, False) if _gains_by_channels_last(model) else (False,)
        self._ways = [self._batched(model, channels_last=channels_last) for channels_last in layouts]
        if any(model.get_parameter(name).is_complex() for name in self.names):
            self._ways.clear()  # the formulas are for real numbers
        self._trusted: set[object] = set()
        self._unchecked = False
        self._examples: dict[object, Any] = {}
        self._refusal = ""

    @property
    def bytes_per_item(self) -> int:
        """Bytes per item that the formulas keep in a pass; 0 before ``prepare``, and without the fast way."""
        return self._ways[0].bytes_per_item if self._ways else 0

    @property
    def placed_bytes(self) -> int:
        """Bytes per item of the gradients that are computed in given places; 0 before ``prepare``."""
        return self._ways[0].placed_bytes if self._ways else 0

    @property
    def learned(self) -> tuple[int, int] | None:
        """Bytes of an exact gradient and of its pass, as ``prepare`` measured them; None with several shapes."""
        if not self._ways or self.projection is not None or len(self._examples) > 1:
            return None
        return self._ways[0].row_bytes, self._ways[0].peak_bytes

    @property
    def way(self) -> str:
        """How gradients are computed, and why, in words; known after ``prepare``."""
        return "in blocks" if self._ways else f"one item at a time: {self._refusal}"

    def unlearned(self, model: torch.nn.Module) -> BatchedGradients:
        """The fast way for a model of this kind, before it has learned anything."""
        return self._batched(model, channels_last=_gains_by_channels_last(self.model))

    def _batched(self, model: torch.nn.Module, *, channels_last: bool) -> BatchedGradients:
        return BatchedGradients(
            model,
            self._score,
            self.names,
            channels_last=channels_last,
            projection=self.projection,
            scales=self.scales,
        )

    def prepare(self, inputs: Any) -> None:
        """Choose the way for the model in its present state, on the first item of ``inputs``.

        Call this with an item of each shape before computing gradients, so that they fit together.
        """
        self._unchecked = False
        first = {k: v[:1] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[:1]
        self._examples[_shape(first)] = first
        if self._ways and not self._serves(first):
            while self._ways and not all(map(self._serves, self._examples.values())):
                refused = self._ways.pop(0)
                if refused.stop_folding():
                    self._ways.append(refused)
                self._trusted.clear()

    def prepare_in_passing(self) -> bool:
        """Check at the next block whether the known way fits the model's new state, which saves a pass of its own.

        False if that does not do: with items of several shapes, or a model that branches on its data.
        """
        self._unchecked = len(self._examples) == 1 and not any(way.branches for way in self._ways)
        return self._unchecked

    def _as_before(
        self, inputs: Any, places: Sequence[torch.Tensor | None], *, paired: bool
    ) -> tuple[list[Feature], torch.Tensor] | None:
        """Gradients in the known way, or None if the model in its new state needs another."""
        try:
            result = self._ways[0](inputs, places, paired=paired)
        except (ModelError, *_REFUSALS):
            return None
        return result if self._ways[0].uses in self._trusted and not self._ways[0].branches else None

    def _serves(self, first: Any) -> bool:
        """Whether the current way computes the gradient of this item."""
        if not self._ways:
            return False
        try:
            gradients, scores = self._ways[0].learn(first)
            uses = self._ways[0].uses
            if self._ways[0].channels_last and uses not in self._trusted:
                # a single item may be stored in another order than several, so that a `view` works only for it
                self._ways[0](_twice(first))
        except _REFUSALS as error:
            self._refusal = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
            return False
        if uses not in self._trusted:
            if not self._agrees(self._ways[0].flat_gradients(gradients), scores, *self._one_at_a_time(first)):
                self._refusal = "in blocks they differ from plain autograd"
                return False
            self._trusted.add(uses)
        return True

    def __call__(
        self, inputs: Any, places: Sequence[torch.Tensor | None] = (), *, paired: bool = False
    ) -> tuple[list[Feature], torch.Tensor]:
        """Gradients of these items' scores, as features whose inner products add up, and the scores, shape (items,).

        ``places`` are tensors for the values of the features, in order. Some features are computed there, which saves
        copying them; the caller copies the others. If ``paired``, items are the first and second ones of pairs, in
        turn, and gradients are ``differences``.
        """
        if self._ways and self._unchecked:
            if (result := self._as_before(inputs, places, paired=paired)) is not None:
                self._unchecked = False
                return result
            self.prepare(inputs)
        elif self._ways and not self._trusted:
            self.prepare(inputs)
        if self._ways:
            return self._ways[0](inputs, places, paired=paired)
        features, scores = self._one_at_a_time(inputs)
        return (differences(features) if paired else features), scores

    def scores(self, inputs: Any) -> torch.Tensor:
        """Scores of these items, one at a time and without gradients, shape (items,)."""
        with torch.no_grad():
            return torch.stack([self._score(self.model, item) for item in _each_alone(inputs)])

    def together(self, inputs: Any) -> torch.Tensor | None:
        """Scores of these items in one pass, shape (items,), or None if the model needs one item at a time."""
        copies = {k: v.clone() for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs.clone()
        count = len(next(iter(copies.values()))) if isinstance(copies, Mapping) else len(copies)
        try:
            with torch.no_grad():
                output = self._ask(self.model, copies)
        except Exception:  # noqa: BLE001  a model for single items may raise anything
            return None
        value = getattr(output, "logits", output)
        return value.reshape(-1) if isinstance(value, torch.Tensor) and value.numel() == count else None

    def _score(self, model: Any, inputs: Any) -> torch.Tensor:
        """The score of one item, shape ()."""
        output = self._ask(model, inputs)
        value = getattr(output, "logits", output)
        if not isinstance(value, torch.Tensor):
            kind = type(output).__name__
            raise ModelError(f"the model returned a {kind}, not one score per item", hint=score_hint(output))
        if value.numel() != 1:
            raise ModelError(
                f"the model returned shape {tuple(value.shape)} for one item, not one score per item: (1,) or (1, 1)",
                hint=score_hint(output),
            )
        return value.reshape(())

    def _agrees(
        self, ours: dict[str, torch.Tensor], score: torch.Tensor, plain: list[Feature], plain_score: torch.Tensor
    ) -> bool:
        """Whether the gradient of one item is equal, entry by entry, up to rounding."""
        [row] = [part.values[0] for part in plain if isinstance(part, Dense)]
        share = 1e-3 if row.dtype == torch.float32 else 1e-9
        close = bool((torch.cat([ours[name] for name in self.names]) - row).norm() <= share * row.norm())
        return close and bool(torch.allclose(score, plain_score, rtol=share, atol=1e-2 * share))

    def _one_at_a_time(self, inputs: Any) -> tuple[list[Feature], torch.Tensor]:
        wanted = [self.model.get_parameter(name) for name in self.names]
        count = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
        rows: torch.Tensor | None = None
        scores = []
        with torch.enable_grad():
            for k, item in enumerate(_each_alone(inputs)):
                score = self._score(self.model, item)
                if not score.requires_grad:
                    raise ModelError(
                        "an item's score has no gradient, because the model's output does not depend on its parameters",
                        hint="Remove no_grad, detach and decisions such as argmax from forward.",
                    )
                parts = self._scaled(self._plain(score, wanted))
                if rows is None:
                    rows = parts[0].new_empty(count, sum(map(len, parts)))
                torch.cat(parts, out=rows[k])
                scores.append(score.detach())
        assert rows is not None  # noqa: S101  a block has at least one item
        return [Dense(rows)], torch.stack(scores)

    def _scaled(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        return (
            [part * self.scales.get(name, 1.0) for name, part in zip(self.names, parts, strict=True)]
            if self.scales
            else parts
        )

    def _plain(self, score: torch.Tensor, wanted: list[torch.nn.Parameter]) -> list[torch.Tensor]:
        """Flat gradients of one score for each parameter; they are projected one at a time to save memory."""
        if self.projection is None:
            slopes = torch.autograd.grad(score, wanted, allow_unused=True)
            return [_flat(torch.zeros_like(p) if g is None else g) for p, g in zip(wanted, slopes, strict=True)]
        projection = self.projection
        names = {id(p): name for p, name in zip(wanted, self.names, strict=True)}
        gradients: dict[str, torch.Tensor] = {}

        def project(p: torch.Tensor) -> None:
            if p.grad is not None:
                name = names[id(p)]
                gradients[name] = projection.project(name, p.grad.reshape(1, -1), p.shape)[0].clone()
            p.grad = None

        hooks: list[Any] = [p.register_post_accumulate_grad_hook for p in wanted]
        handles = [hook(project) for hook in hooks]
        try:
            torch.autograd.backward(score, inputs=wanted)
        finally:
            for handle in handles:
                handle.remove()
        return [
            gradients[n] if n in gradients else p.new_zeros(projection.size(p.shape))
            for n, p in zip(self.names, wanted, strict=True)
        ]


def _chosen(model: torch.nn.Module, layers: Sequence[str] | None) -> list[str]:
    """Names of the trainable parameters that fit one of the patterns."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    for pattern in layers or ():
        if not fnmatch.filter(names, pattern):
            raise UsageError(
                f"`layers`: {pattern!r} matches no trainable parameter",
                hint=f"Match some of {', '.join(names[:8])} ...",
            )
    if layers is not None:
        names = [n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in layers)]
    if not names:
        raise ModelError(
            "the model has no trainable parameter, so no item has a gradient",
            hint="Set requires_grad on the parameters that were trained.",
        )
    return names


def _gains_by_channels_last(model: torch.nn.Module) -> bool:
    """Whether the model has convolutions of images and is on a CPU."""
    return any(isinstance(part, torch.nn.Conv2d) and part.weight.device.type == "cpu" for part in model.modules())


def _flat(gradient: torch.Tensor) -> torch.Tensor:
    """A gradient as a vector of real numbers; a complex number becomes two."""
    dense = gradient if gradient.layout == torch.strided else gradient.to_dense()
    return (torch.view_as_real(dense) if dense.is_complex() else dense).reshape(-1)


def _twice(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {key: torch.cat([value, value]) for key, value in item.items()}
    return torch.cat([item, item])


def _shape(inputs: Any) -> object:
    if isinstance(inputs, Mapping):
        return tuple((key, _shape(value)) for key, value in inputs.items())
    return inputs.dtype, inputs.shape


def _each_alone(inputs: Any) -> Iterator[Any]:
    """Yield a copy of each item with a leading 1, because a model may change the user's input in place."""
    if not isinstance(inputs, Mapping):
        yield from (inputs[k : k + 1].clone() for k in range(len(inputs)))
        return
    for k in range(len(next(iter(inputs.values())))):
        yield {key: value[k : k + 1].clone() for key, value in inputs.items()}


def _call(model: Any, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
