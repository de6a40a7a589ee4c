"""The classes of the old module: TracInCP for single examples, RankingTracInCP for pairs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import Pairs, RankingData, Samples, check_unique
from tracinctl.engine.checkpoints.load import apply_checkpoint, load_checkpoint
from tracinctl.engine.checkpoints.record import CheckpointRecord
from tracinctl.engine.checkpoints.weights import copies_of_others, group_scales, unknown_rates, weigh_checkpoints
from tracinctl.engine.compute import checkpoint_sources, compute_influence
from tracinctl.engine.devices import choose_device
from tracinctl.engine.item_forms import WANTED, FormError, item_of
from tracinctl.engine.kernel.checkpoint_kernels import DTYPES
from tracinctl.engine.model_errors import asking_model
from tracinctl.engine.options import EngineOptions, LossOptions
from tracinctl.engine.own_model import own_model, plain_passes
from tracinctl.errors import CheckpointWarning, DataError, LossError, ModelError, NonFiniteError, ScoreFileError
from tracinctl.files import write_text_atomic

ExampleLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_Example = tuple[Any, Any]  # inputs and target


class TracInCP:
    """Influence of single training examples on single test examples, under any loss.

    Args:
        model: the model; its weights do not matter.
        checkpoints: files or folders, or state dicts in memory, in order.
        loss_fn: ``loss_fn(model(inputs), target)`` for one example, with a leading dimension of 1.
        checkpoint_weights: ``relative``, ``absolute`` or ``uniform``.
        dtype: precision of the gradients.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        checkpoints: Sequence[Path | str | Mapping[str, Any]],
        loss_fn: ExampleLoss,
        *,
        checkpoint_weights: str | Sequence[float] = EngineOptions.checkpoint_weights,
        dtype: str = EngineOptions.dtype,
        device: str = EngineOptions.device,
    ) -> None:
        self.model = model
        self.checkpoints = checkpoints
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
        examples, ids = _examples(dataset)
        if len(test_inputs) != len(test_targets):
            raise DataError(
                f"{len(test_inputs):,} `test_inputs` but {len(test_targets):,} `test_targets`",
                hint="Give one target a test input.",
            )
        tests = list(zip(test_inputs, test_targets, strict=True))
        total = np.zeros((len(examples), len(tests)))
        for weight, train, test in self._gradients(examples, ids, tests):
            total += weight * (train @ test.T).cpu().numpy()
        return {name: row.tolist() for name, row in zip(ids, total, strict=True)}

    def compute_self_influence(self, dataset: Iterable[tuple[Any, Any, Any]]) -> dict[str, float]:
        """Influence of each training example on itself, ``{id: score}``. High = hard, rare or wrong."""
        examples, ids = _examples(dataset)
        total = np.zeros(len(examples))
        for weight, train, _ in self._gradients(examples, ids, []):
            total += weight * (train * train).sum(1).cpu().numpy()
        return dict(zip(ids, total.tolist(), strict=True))

    def _gradients(
        self, train: list[_Example], ids: list[str], test: list[_Example]
    ) -> Iterator[tuple[float, torch.Tensor, torch.Tensor]]:
        """Yield each checkpoint's weight and the gradients of the examples' losses, one per row."""
        device, dtype = choose_device(self.device), DTYPES[self.dtype]
        sources = checkpoint_sources(self.checkpoints)
        names, records = [source.name for source in sources], [load_checkpoint(source).record for source in sources]
        copies = copies_of_others(names, records) if isinstance(self.weighting, str) else {}
        places = [place for place in range(len(sources)) if place not in copies]
        test_ids = [f"test {k}" for k in range(len(test))]
        with plain_passes(device):

            def run_once(model: torch.nn.Module) -> None:
                with asking_model(ids[:1]):
                    model(_alone(train[0][0], torch.device("cpu"), torch.float32))

            model, _ = own_model(self.model, device, dtype, ours=False, run_once=run_once)
            weighed, notes = weigh_checkpoints(
                model, [names[k] for k in places], [records[k] for k in places], self.weighting
            )
            for text in [*notes, *unknown_rates(weighed, self.weighting)]:
                warnings.warn(text, CheckpointWarning, stacklevel=3)
            for place, checkpoint in zip(places, weighed, strict=True):
                apply_checkpoint(model, load_checkpoint(sources[place]))
                self._check_same_again(model, train, ids, device)
                scale = self._scale(model, records[place])
                yield (
                    checkpoint.weight,
                    self._rows(model, train, ids, device) * scale,
                    self._rows(model, test, test_ids, device) * scale,
                )

    def _scale(self, model: torch.nn.Module, record: CheckpointRecord) -> torch.Tensor:
        """Factors for the numbers of a gradient, so that parameter groups count by their own rates."""
        by_rates = self.weighting in ("relative", "absolute")
        scales = group_scales(model, record.rates).by_name if by_rates else {}
        parts = [
            torch.full((parameter.numel(),), scales.get(name, 1.0), dtype=torch.float64)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        return torch.cat(parts)

    def _check_same_again(
        self, model: torch.nn.Module, examples: list[_Example], ids: list[str], device: torch.device
    ) -> None:
        """Raise ModelError if the gradient of the first example changes between calls."""
        if not examples:
            return
        once, again = (self._rows(model, examples[:1], ids[:1], device) for _ in range(2))
        if not torch.allclose(once, again, rtol=1e-4, atol=1e-6 * float(once.abs().max())):
            raise ModelError(
                f"item {ids[0]}: the gradient of its loss changes between calls",
                hint="Turn off randomness in eval() mode, such as functional dropout.",
            )

    def _rows(
        self, model: torch.nn.Module, examples: list[_Example], ids: list[str], device: torch.device
    ) -> torch.Tensor:
        dtype = DTYPES[self.dtype]
        wanted = [p for p in model.parameters() if p.requires_grad]
        rows = torch.zeros(len(examples), sum(p.numel() for p in wanted), dtype=torch.float64)
        for k, (name, (inputs, target)) in enumerate(zip(ids, examples, strict=True)):
            x, y = _alone(inputs, device, dtype), _alone(target, device, dtype)
            with torch.enable_grad(), asking_model([name], x):
                value = self.loss_fn(model(x), y)
                if value.numel() != 1:
                    raise LossError(
                        f"the loss of example {name} has shape {tuple(value.shape)}, not one value",
                        hint="Take the mean or the sum over its outputs.",
                    )
                slopes = torch.autograd.grad(value.reshape(()), wanted, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, slopes, strict=True)]
            rows[k] = torch.cat([g.reshape(-1) for g in parts]).cpu().double()
            if not bool(torch.isfinite(rows[k]).all()):
                raise NonFiniteError(
                    f"the gradient of item {name} is NaN or infinite",
                    hint="Leave the item out, or check its input and the loss.",
                )
        return rows

    @staticmethod
    def save_influence_scores(
        scores: Mapping[str, float | Sequence[float]], path: Path | str, score_name: str = "tracin_influence"
    ) -> None:
        """Add scores to a JSON file of records by id, under ``score_name``; other content stays.

        Raises:
            ScoreFileError: the file exists and is not a JSON object.
        """
        path = Path(path)
        records: dict[str, Any] = {}
        if path.exists():
            try:
                records = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ScoreFileError(
                    f"{path} is not JSON, so nothing was added to it: {error}",
                    hint="Name another file, or move it away.",
                ) from error
            if not isinstance(records, dict):
                raise ScoreFileError(
                    f"{path} does not hold records by id, so nothing was added to it",
                    hint="Name another file, or move it away.",
                )
        for key, value in scores.items():
            record = records.setdefault(key, {})
            record[score_name] = value if isinstance(value, (int, float)) else [float(v) for v in value]
        write_text_atomic(path, json.dumps(records, indent=2, ensure_ascii=False) + "\n")


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
            data,
            self.model,
            self.checkpoints,
            loss=self.loss_type,
            margin=self.margin,
            **self.options,
        )
        return dict(zip(table.train_ids, table.scores[:, 0].tolist(), strict=True))


def _examples(dataset: Iterable[tuple[Any, Any, Any]]) -> tuple[list[_Example], list[str]]:
    """The examples of a dataset and their ids."""
    rows = list(dataset)
    ids = [str(row[2]) for row in rows]
    check_unique("dataset", ids)
    return [(inputs, target) for inputs, target, _ in rows], ids


def _alone(value: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A value with a leading dimension of 1."""
    tensor = torch.as_tensor(value).to(device).unsqueeze(0)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


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
