"""Functions that ask a model for the scores of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tracinctl.engine.gradients.items import ScoreFunction
from tracinctl.engine.items import Items
from tracinctl.engine.model_errors import asking_model
from tracinctl.errors import UsageError

OutputScore = Callable[[Any], torch.Tensor]


def way_of_asking(score: ScoreFunction | None, of_output: OutputScore | None, *, positional: bool) -> ScoreFunction:
    """The function of (model, inputs) that returns scores.

    ``score`` is the user's function of (model, inputs), and ``of_output`` that of the model's output. If
    ``positional``, inputs are positional arguments of the model, by number.

    Raises:
        UsageError: both functions are given.
    """
    if score is not None and of_output is not None:
        raise UsageError("`score` and the score function of the data exclude each other", hint="Give one of them.")
    if not positional and of_output is None:
        return score or _call

    def ask(model: Any, inputs: Any) -> Any:
        arguments = tuple(inputs[number] for number in sorted(inputs)) if positional else inputs
        if score is not None:
            return score(model, arguments)
        output = model(*arguments) if positional else _call(model, inputs)
        return output if of_output is None else of_output(output)

    return ask


def _call(model: Any, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def ask_first_item(model: torch.nn.Module, items: Items, ask: ScoreFunction) -> None:
    """Run a model on the first item, in the model's own precision."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    inputs = items.stack([0], torch.device("cpu"), dtype)
    with torch.no_grad(), asking_model(items.ids[:1], inputs):
        ask(model, inputs)
