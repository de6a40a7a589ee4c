"""The classes that the first users know: TracInCP for single examples, RankingTracInCP for pairs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.engine.checkpoints.load import apply_checkpoint, checkpoint_weights, load_checkpoint
from tracinctl.engine.compute import compute_influence
from tracinctl.engine.devices import choose_device
from tracinctl.engine.kernel.checkpoint_kernels import DTYPES
from tracinctl.engine.options import EngineOptions, LossOptions
from tracinctl.errors import LossError, ScoreFileError
from tracinctl.files import write_text_atomic

ExampleLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TracInCP:
    """Influence of single training examples on single test examples, under any loss.

    Args:
        model: the model; its own state does not matter.
        checkpoints: files, in order.
        loss_fn: ``loss_fn(model(inputs), target)`` of one example, inputs and target with a leading dimension of 1.
        checkpoint_weights: ``relative``, ``absolute`` or ``uniform``.
        dtype: of the gradients.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        checkpoints: Sequence[Path | str],
        loss_fn: ExampleLoss,
        *,
        checkpoint_weights: str = EngineOptions.checkpoint_weights,
        dtype: str = EngineOptions.dtype,
        device: str = EngineOptions.device,
    ) -> None:
        self.model = model
        self.checkpoints = [Path(p) for p in checkpoints]
        self.loss_fn = loss_fn
        self.weighting = checkpoint_weights
        self.dtype = dtype
        self.device = device

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
        examples = list(dataset)
        tests = [(x, y) for x, y in zip(test_inputs, test_targets, strict=True)]
        total = np.zeros((len(examples), len(tests)))
        for weight, train, test in self._gradients([(x, y) for x, y, _ in examples], tests):
            total += weight * (train @ test.T).cpu().numpy()
        return {str(e[2]): [float(v) for v in row] for e, row in zip(examples, total, strict=True)}

    def compute_self_influence(self, dataset: Iterable[tuple[Any, Any, Any]]) -> dict[str, float]:
        """Influence of each training example on itself, ``{id: score}``. High = hard, rare or wrong."""
        examples = list(dataset)
        total = np.zeros(len(examples))
        for weight, train, _ in self._gradients([(x, y) for x, y, _ in examples], []):
            total += weight * (train * train).sum(1).cpu().numpy()
        return {str(e[2]): float(v) for e, v in zip(examples, total, strict=True)}

    def _gradients(self, train: list[Any], test: list[Any]) -> Iterable[tuple[float, torch.Tensor, torch.Tensor]]:
        device = choose_device(self.device)
        model = copy.deepcopy(self.model).to(device=device, dtype=DTYPES[self.dtype]).eval()
        loaded = [load_checkpoint(p) for p in self.checkpoints]
        weights, _ = checkpoint_weights([c.learning_rate for c in loaded], [c.name for c in loaded], self.weighting)
        wanted = [p for p in model.parameters() if p.requires_grad]
        for weight, checkpoint in zip(weights, loaded, strict=True):
            apply_checkpoint(model, checkpoint)
            yield weight, self._rows(model, train, wanted, device), self._rows(model, test, wanted, device)

    def _rows(self, model: Any, examples: list[Any], wanted: list[Any], device: torch.device) -> torch.Tensor:
        rows = torch.zeros(len(examples), sum(p.numel() for p in wanted), dtype=torch.float64)
        for k, (inputs, target) in enumerate(examples):
            x = torch.as_tensor(inputs).to(device).unsqueeze(0)
            x = x.to(DTYPES[self.dtype]) if x.is_floating_point() else x
            y = torch.as_tensor(target).to(device).unsqueeze(0)
            with torch.enable_grad():
                value = self.loss_fn(model(x), y.to(DTYPES[self.dtype]) if y.is_floating_point() else y)
                if value.numel() != 1:
                    raise LossError(f"the loss of one example has shape {tuple(value.shape)}, wanted one value")
                slopes = torch.autograd.grad(value.reshape(()), wanted, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, slopes, strict=True)]
            rows[k] = torch.cat([g.reshape(-1) for g in parts]).cpu().double()
        return rows

    @staticmethod
    def save_influence_scores(
        scores: Mapping[str, float | Sequence[float]], path: Path | str, score_name: str = "tracin_influence"
    ) -> None:
        """Write scores into a JSON file of records by id, under ``score_name``; what else the file holds stays.

        Raises:
            ScoreFileError: the file is there and is not a JSON object.
        """
        path = Path(path)
        records: dict[str, Any] = {}
        if path.exists():
            try:
                records = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ScoreFileError(f"{path} is not JSON, so nothing was added to it: {error}") from error
            if not isinstance(records, dict):
                raise ScoreFileError(f"{path} does not hold records by id, so nothing was added to it")
        for key, value in scores.items():
            record = records.setdefault(key, {})
            record[score_name] = value if isinstance(value, (int, float)) else [float(v) for v in value]
        write_text_atomic(path, json.dumps(records, indent=2, ensure_ascii=False) + "\n")


class RankingTracInCP:
    """Influence of training pairs on a test pair, as the first users know it.

    Args:
        model: gives an item a score.
        checkpoints: files, in order.
        loss_type: ``standard``, ``logistic``, ``ghm``, ``package.module:function``, or a function of (s_i, s_j, y).
        margin: of ``standard`` and ``ghm``.
        options: any other keyword of ``compute_influence``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        checkpoints: Sequence[Path | str],
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
            test_x1: input of the test pair's first item, without or with a leading dimension of 1.
            test_x2: the same of its second item.
            test_target: +1 or -1.
        """
        place: dict[str, int] = {}
        inputs: list[torch.Tensor] = []
        first, second, target = [], [], []
        for x1, x2, y, _, _, id1, id2 in dataset:
            for item_id, x in ((str(id1), x1), (str(id2), x2)):
                if item_id not in place:
                    place[item_id] = len(inputs)
                    inputs.append(torch.as_tensor(x))
            first.append(place[str(id1)])
            second.append(place[str(id2)])
            target.append(int(y))
        tests = [torch.as_tensor(x) for x in (test_x1, test_x2)]
        if inputs and tests[0].dim() == inputs[0].dim() + 1:
            tests = [x[0] for x in tests]
        data = RankingData(
            Samples(list(place), inputs),
            Pairs(np.array(first), np.array(second), np.array(target)),
            Samples(["test_1", "test_2"], tests),
            Pairs(np.array([0]), np.array([1]), np.array([int(torch.as_tensor(test_target).item())])),
        )
        table = compute_influence(
            data,
            self.model,
            [Path(p) for p in self.checkpoints],
            loss=self.loss_type,
            margin=self.margin,
            **self.options,
        )
        return dict(zip(table.train_ids, table.scores[:, 0].tolist(), strict=True))
