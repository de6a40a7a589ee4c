"""The classes of the old module: TracInCP for single examples, RankingTracInCP for pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.engine.compute import checkpoint_sources, compute_influence, compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.influence import InfluenceScores
from tracinctl.engine.item_forms import WANTED, FormError, item_of
from tracinctl.engine.losses import LossSettings
from tracinctl.engine.options import EngineOptions, LossOptions
from tracinctl.errors import CheckpointWarning, DataError, LossError
from tracinctl.scores.files.records import add_values

ExampleLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(eq=False, repr=False)
class TracInCP:
    """Influence of single training examples on single test examples, under any loss.

    Attributes:
        model: the model; its weights do not matter.
        checkpoints: files or folders, or state dicts in memory, in order.
        loss_fn: ``loss_fn(model(inputs), target)`` for one example, with a leading dimension of 1.
        checkpoint_weights: ``relative``, ``absolute`` or ``uniform``.
        dtype: precision of the gradients.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    """

    model: torch.nn.Module
    checkpoints: Sequence[Path | str | Mapping[str, Any]]
    loss_fn: ExampleLoss
    _: KW_ONLY
    checkpoint_weights: str | Sequence[float] = EngineOptions.checkpoint_weights
    dtype: str = EngineOptions.dtype
    device: str = EngineOptions.device

    def compute_influence(
        self, dataset: Iterable[tuple[Any, Any, Any]], test_inputs: torch.Tensor, test_targets: torch.Tensor
    ) -> dict[str, list[float]]:
        """Influence of each training example on each test example.

        Args:
            dataset: yields ``inputs, target, id``.
            test_inputs: inputs, examples first.
            test_targets: targets, examples first.

        Returns:
            ``{id: [score on each test example]}``. Positive = helpful.
        """
        if len(test_inputs) != len(test_targets):
            raise DataError(
                f"{len(test_inputs):,} `test_inputs` but {len(test_targets):,} `test_targets`",
                hint="Give one target per test input.",
            )
        train = _examples(dataset)
        tests = zip(test_inputs, test_targets, strict=True)
        result = self._scores(train, _examples((*test, f"test {k}") for k, test in enumerate(tests)))
        rows = (row for _, block in result.blocks() for row in block.tolist())
        return dict(zip(train.ids, rows, strict=True))

    def compute_self_influence(self, dataset: Iterable[tuple[Any, Any, Any]]) -> dict[str, float]:
        """Influence of each training example on itself, ``{id: score}``. High = hard, rare or wrong."""
        train = _examples(dataset)
        result = self._scores(train, Samples(train.ids[:1], train.inputs[:1]))
        return dict(zip(train.ids, result.self_influence.tolist(), strict=True))

    def _scores(self, train: Samples, test: Samples) -> InfluenceScores:
        """The scores of the examples, each as a pair whose loss is the score of its first item, the example's loss."""
        options = ComputeOptions(
            LossSettings(_first_score),
            checkpoint_weights=self.checkpoint_weights,
            dtype=self.dtype,
            device=self.device,
        )
        data = RankingData(train, _with_themselves(train), test, _with_themselves(test), self._loss_of)
        result = compute_scores(data, self.model, checkpoint_sources(self.checkpoints), options)
        for warning in result.warnings:
            if isinstance(warning, CheckpointWarning):
                warnings.warn(warning, stacklevel=3)
        return result.scores

    def _loss_of(self, model: torch.nn.Module, example: Mapping[str, torch.Tensor]) -> torch.Tensor:
        value = self.loss_fn(model(example["inputs"]), example["target"])
        if value.numel() != 1:
            raise LossError(
                f"the loss of an example has shape {tuple(value.shape)}, not one value",
                hint="Take the mean or the sum over its outputs.",
            )
        return value

    @staticmethod
    def save_influence_scores(
        scores: Mapping[str, float | Sequence[float]], path: Path | str, score_name: str = "tracin_influence"
    ) -> None:
        """Add scores to a JSON file of records by id, under ``score_name``; other content stays.

        Raises:
            ScoreFileError: the file exists and does not have records by id.
        """
        values = {key: v if isinstance(v, (int, float)) else list(map(float, v)) for key, v in scores.items()}
        add_values(Path(path), {score_name: values})


class RankingTracInCP:
    """Influence of training pairs on a test pair, as in the old module.

    Args:
        model: scores items.
        checkpoints: files or folders, or state dicts in memory, in order.
        loss_type: ``standard``, ``logistic``, ``ghm``, ``package.module:function``, or a function of (s_i, s_j, y).
        margin: margin of ``standard`` and ``ghm``.
        options: any other keyword of ``compute_influence``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        checkpoints: Sequence[Path | str | Mapping[str, Any]],
        loss_type: Any = LossOptions.loss,
        margin: float = LossOptions.margin,
        **options: Any,
    ) -> None:
        self.model = model
        self.checkpoints = checkpoints
        self.loss_type = loss_type
        self.margin = margin
        self.options = options

    def compute_influence_for_pair(
        self, dataset: Iterable[Sequence[Any]], test_x1: torch.Tensor, test_x2: torch.Tensor, test_target: Any
    ) -> dict[str, float]:
        """Influence of each training pair on one test pair, ``{pair id: score}``. Positive = helpful.

        Args:
            dataset: yields ``x1, x2, target, label1, label2, id1, id2``.
            test_x1: input of the test pair's first item, with or without a leading dimension of 1.
            test_x2: input of its second item.
            test_target: +1 or -1.
        """
        place: dict[str, int] = {}
        inputs: list[Any] = []
        first, second, target = [], [], []
        for x1, x2, y, _, _, id1, id2 in dataset:
            for item_id, x in ((str(id1), x1), (str(id2), x2)):
                value = _input(item_id, x)
                if item_id not in place:
                    place[item_id] = len(inputs)
                    inputs.append(value)
                elif not _same(value, inputs[place[item_id]]):
                    raise DataError(f"item {item_id} has two different inputs", hint="Give each item its own id.")
            first.append(place[str(id1)])
            second.append(place[str(id2)])
            target.append(y.item() if isinstance(y, torch.Tensor) else y)
        if not inputs:
            raise DataError("there are no training pairs", hint="Give a dataset that yields some.")
        tests = [
            _without_leading(_input(f"test_x{k}", x), inputs[0], f"test_x{k}") for k, x in ((1, test_x1), (2, test_x2))
        ]
        data = RankingData(
            Samples(list(place), inputs),
            Pairs(np.array(first), np.array(second), np.array(target)),
            Samples(["test_1", "test_2"], tests),
            Pairs(np.array([0]), np.array([1]), np.array([torch.as_tensor(test_target).item()])),
        )
        table = compute_influence(
            data, self.model, self.checkpoints, loss=self.loss_type, margin=self.margin, **self.options
        )
        return dict(zip(table.train_ids, table.scores[:, 0].tolist(), strict=True))


def _examples(dataset: Iterable[tuple[Any, Any, Any]]) -> Samples:
    """The examples of a dataset as items with two arguments."""
    rows = list(dataset)
    inputs = [{"inputs": torch.as_tensor(x), "target": torch.as_tensor(y)} for x, y, _ in rows]
    return Samples([str(name) for _, _, name in rows], inputs)


def _with_themselves(examples: Samples) -> Pairs:
    rows = np.arange(len(examples))
    return Pairs(rows, rows, np.ones(len(examples), dtype=np.int64))


def _first_score(s_i: torch.Tensor, s_j: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    del s_j, target
    return s_i


def _input(item_id: str, value: Any) -> Any:
    try:
        return item_of(value)
    except FormError as error:
        raise DataError(f"item {item_id} cannot be read: {error}", hint=WANTED) from error


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) or isinstance(b, dict):
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    return torch.equal(a, b)


def _without_leading(value: Any, example: Any, name: str) -> Any:
    """The input of a test item without a leading dimension of 1."""
    if isinstance(value, dict) or isinstance(example, dict) or value.dim() != example.dim() + 1:
        return value
    if len(value) != 1:
        raise DataError(
            f"`{name}` has {len(value):,} items, not one", hint="Give one item, with a leading dimension of 1."
        )
    return value[0]
