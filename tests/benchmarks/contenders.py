"""A baseline and a rival on a task and its checkpoints: the loss of each training pair, and dattri's influence."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from planted_tasks import Task

from tracinctl import InfluenceTable, Pairs
from tracinctl.engine.losses import pair_loss_values


def item_means(pairs: Pairs, values: np.ndarray, items: int) -> np.ndarray:
    """Mean of the values of each item's pairs."""
    total = np.bincount(pairs.first, values, items) + np.bincount(pairs.second, values, items)
    count = np.bincount(pairs.first, minlength=items) + np.bincount(pairs.second, minlength=items)
    return np.asarray(total / np.maximum(count, 1))


@torch.no_grad()
def train_losses(task: Task, model: torch.nn.Module, checkpoints: Sequence[Path], loss: str) -> np.ndarray:
    """Mean loss of each training pair over the checkpoints."""
    pairs, total = task.data.train_pairs, np.zeros(len(task.data.train_pairs))
    model.eval()
    for path in checkpoints:
        model.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])
        scores = model(task.data.train.inputs).squeeze(-1)
        target = torch.from_numpy(pairs.target).to(scores.dtype)
        total += pair_loss_values(loss, scores[pairs.first], scores[pairs.second], target).numpy()
    return total / len(checkpoints)


def dattri_table(task: Task, model: torch.nn.Module, checkpoints: Sequence[Path], loss: str) -> InfluenceTable:
    """TracInCP by dattri with its defaults: one gradient per pair, projected to 512 random dimensions."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it prints its progress there
        warnings.simplefilter("ignore")  # it imports torch's deprecated scripting
        from dattri.algorithm.tracin import TracInAttributor
        from dattri.task import AttributionTask

        def pair_loss(parameters: dict[str, torch.Tensor], example: tuple[torch.Tensor, ...]) -> torch.Tensor:
            x1, x2, y = example
            s1, s2 = (torch.func.functional_call(model, parameters, (x.unsqueeze(0),)).reshape(1) for x in (x1, x2))
            return pair_loss_values(loss, s1, s2, y.reshape(1)).sum()

        def load(loaded: torch.nn.Module, path: str) -> torch.nn.Module:
            loaded.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])
            return loaded.eval()

        def loader(inputs: torch.Tensor, pairs: Pairs) -> torch.utils.data.DataLoader[tuple[torch.Tensor, ...]]:
            target = torch.from_numpy(pairs.target).to(inputs.dtype)
            dataset = torch.utils.data.TensorDataset(inputs[pairs.first], inputs[pairs.second], target)
            return torch.utils.data.DataLoader(dataset, batch_size=1000)

        data = task.data
        attribution = AttributionTask(pair_loss, model, [str(path) for path in checkpoints], checkpoints_load_func=load)
        weights = torch.ones(len(checkpoints))
        attributor = TracInAttributor(attribution, weight_list=weights, normalized_grad=False)
        scores = attributor.attribute(
            loader(data.train.inputs, data.train_pairs), loader(data.test.inputs, data.test_pairs)
        )
    return InfluenceTable(
        train_ids=data.train_pairs.row_ids(data.train.ids),
        test_ids=data.test_pairs.row_ids(data.test.ids),
        scores=scores.double().numpy(),
    )
