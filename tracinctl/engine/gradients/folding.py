"""Find the normalisations that can be folded into convolutions, while a model runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from tracinctl.engine.gradients.branches import is_question
from tracinctl.engine.gradients.normalised import Normalisation, NormalisedConvolution
from tracinctl.engine.gradients.uses import Convolution

_T = TypeVar("_T")
_PLAIN = (
    bool,
    int,
    str,
    torch.Size,
    torch.dtype,
    torch.device,
    torch.layout,
)  # results that do not depend on a tensor's values


class Folding:
    """The normalisations that one run folds, and what it shows about them.

    A normalisation can be folded if it is the only use of a convolution's output. A run shows this for the next one.

    Args:
        known: normalisations to fold, by the name of the convolution's weight; None for a convolution whose output has
            other uses. The run updates it. Without it, nothing is folded.
        parameters: the parameters' tensors by name.

    Attributes:
        changed: whether the run showed that other normalisations must be folded, so that it must be repeated.
    """

    def __init__(self, known: dict[str, Normalisation | None] | None, parameters: Mapping[str, torch.Tensor]) -> None:
        self.known, self.parameters = known, parameters
        self.changed = False
        # outputs of convolutions as the model gets them, by identity
        self._outputs: dict[int, tuple[torch.Tensor, Convolution]] = {}
        # those of folded ones that were not normalised yet
        self._pending: set[int] = set()

    def folded(
        self, use: Convolution, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> tuple[Convolution, torch.Tensor, torch.Tensor | None]:
        """The use, the weight and the bias of the convolution with its normalisation folded, or unchanged."""
        after = (self.known or {}).get(use.weight or "")
        # there is no formula for a bias that is computed or copied per item
        if after is None or not use.has_many_positions or (use.bias is None) != (bias is None):
            return use, weight, bias
        if not {after.weight, after.bias} <= self.parameters.keys() or not after.is_precise(bias, self.parameters):
            return use, weight, bias
        return after.folded(use, weight, bias, self.parameters)

    def record(self, output: torch.Tensor, use: Convolution) -> None:
        """Record a convolution's output as the model gets it."""
        self._outputs[id(output)] = output, use
        if isinstance(use, NormalisedConvolution):
            self._pending.add(id(output))

    def normalised(self, inputs: torch.Tensor, after: Normalisation | None) -> torch.Tensor | None:
        """The normalised ``inputs``, if a convolution that the normalisation is folded into computed them; else None.

        ``after`` is the normalisation; None for one that cannot be folded.
        """
        output, use = self._outputs.get(id(inputs), (None, None))
        if output is None or use is None or use.weight is None or self.known is None:
            return None
        if after is not None and use.weight not in self.known and output.device.type == "cpu":
            self.known[use.weight] = after
            self.changed = True
        known = self.known.get(use.weight)
        if after is None or known is None or not known.is_same(after):
            self._give_up(use)
        elif isinstance(use, NormalisedConvolution):
            self._pending.discard(id(output))
            return output
        return None

    def note(self, func: Any, result: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Note a call of another function; it may use the output of a convolution."""
        if self._outputs and (is_question(func) or not isinstance(result, _PLAIN)):
            for _, use in entries(self._outputs, args, kwargs):
                self._give_up(use)

    def finish(self, *, branched: bool) -> None:
        """Give up the normalisations that the run left out.

        If the model ``branched`` on its data, give up all, because another branch may leave them out.
        """
        for key, (_, use) in self._outputs.items():
            if key in self._pending or branched:
                self._give_up(use)

    def _give_up(self, use: Convolution) -> None:
        """Never fold into this convolution."""
        if use.weight is not None and self.known is not None:
            self.known[use.weight] = None
            self.changed |= isinstance(use, NormalisedConvolution)


def entries(by_identity: Mapping[int, _T], args: Any, kwargs: Mapping[str, Any]) -> list[_T]:
    """The entries of these arguments, also of those in lists and tuples."""
    result: list[_T] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, (list, tuple)):
            result += entries(by_identity, value, {})
        elif id(value) in by_identity:
            result.append(by_identity[id(value)])
    return result
