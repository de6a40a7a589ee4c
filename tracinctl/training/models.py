"""The built-in rankers: two convolutional networks that score a spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from tracinctl.errors import ModelError

ARCHITECTURES: Final = ("small", "wide")

_EPSILON: Final = 1e-5  # added to the standard deviation, so that a constant input becomes 0


class HalvingPool(nn.Module):
    """``MaxPool2d(2, 2)`` that keeps a side of length 1 instead of removing it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool (items, channels, height, width)."""
        return functional.max_pool2d(x, (min(2, x.shape[-2]), min(2, x.shape[-1])))


class Ranker(nn.Module):
    """Convolutions, a mean over both axes, and a small classifier, with one score per item.

    Takes (items, 1, frequencies, frames) and returns (items,). With ``normalise``, each item is first standardised by
    its own mean and (unbiased) standard deviation, so that in eval mode an item's score does not depend on its
    neighbours.
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential, *, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        self.features = features
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score (items, 1, frequencies, frames): (items,)."""
        if self.normalise:
            axes = (1, 2, 3)
            x = (x - x.mean(axes, keepdim=True)) / (x.std(axes, keepdim=True) + _EPSILON)
        score: torch.Tensor = self.classifier(self.features(x).mean((2, 3))).squeeze(-1)
        return score


def build_ranker(architecture: str = "small", normalise: bool = True) -> Ranker:
    """Build a ranker with new weights, ``small`` (5,733 parameters) or ``wide`` (422,337).

    Args:
        architecture: one of ARCHITECTURES.
        normalise: whether each item is standardised first. State dicts do not record this, so give the value that
            training used.

    Raises:
        ModelError: the architecture is unknown.
    """
    if architecture == "small":
        features = _block(1, 32, 5, (2, 4)) + _block(32, 16, 3, (2, 2))
        classifier = [nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 1)]
    elif architecture == "wide":
        features = _block(1, 32, 5, (2, 4)) + _block(32, 64, 3, (2, 2)) + _block(64, 128, 3, (2, 2))
        features += _block(128, 256, 3, (1, 1))
        classifier = [nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1)]
    else:
        raise ModelError(
            f"there is no built-in ranker {architecture!r}", hint=f"Choose one of {', '.join(ARCHITECTURES)}."
        )
    return Ranker(nn.Sequential(*features), nn.Sequential(*classifier), normalise=normalise)


def _block(inputs: int, outputs: int, kernel: int, stride: tuple[int, int]) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    # pooling before the ReLU gives the same numbers with less work
    return [convolution, nn.BatchNorm2d(outputs), HalvingPool(), nn.ReLU()]


def architecture_of(state_dict: Mapping[str, torch.Tensor]) -> str:
    """The built-in ranker of a state dict, by its keys and shapes.

    Raises:
        ModelError: the state dict fits none; the message names the first differences from the nearest.
    """
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    differences = []
    for architecture in ARCHITECTURES:
        with torch.device("meta"):
            wanted = {key: tuple(value.shape) for key, value in build_ranker(architecture).state_dict().items()}
        if shapes == wanted:
            return architecture
        wrong = sorted(key for key in shapes.keys() | wanted.keys() if shapes.get(key) != wanted.get(key))
        differences.append((len(wrong), architecture, wrong[0], wanted.get(wrong[0]), shapes.get(wrong[0])))
    _, architecture, key, want, have = min(differences)
    raise ModelError(
        f"the checkpoint fits no built-in ranker; the nearest is {architecture!r}, in which {key} "
        f"{_shape(want)}, but here it {_shape(have)}",
        hint="Give the model that it was trained with: `model` your_module:build_model.",
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "does not exist" if shape is None else f"has shape {tuple(shape)}"
