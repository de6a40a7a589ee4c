"""What the evaluation compares: tracinctl's methods, baselines, and a rival, on one task and its checkpoints."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from planted_tasks import Task

from tracinctl import InfluenceTable, Pairs, compute_influence
from tracinctl.engine.losses import pair_loss_values
from tracinctl.engine.options import METHODS
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.votes import parse_threshold


@dataclass(frozen=True)
class Finding:
    """What one contender says of a task's training pairs (or items, where items are bad).

    Attributes:
        name: of the contender.
        order: higher = more suspicious, shape (pairs or items,).
        mean: the same by mean score, where there are scores of pairs.
        listed: what its rule lists, shape (pairs or items,), bool; a baseline lists as many as ``tracin``.
        effect: predicted effect of each training pair on each test pair, positive = helpful; None where it says none.
    """

    name: str
    order: np.ndarray
    listed: np.ndarray
    mean: np.ndarray | None = None
    effect: np.ndarray | None = None


def findings(
    task: Task, model: torch.nn.Module, checkpoints: Sequence[Path], loss: str, cache: Path, *, rival: bool, seed: int
) -> list[Finding]:
    """Every contender's finding on a task."""
    tables = {
        name: compute_influence(task.data, model, checkpoints, method=name, loss=loss, cache=cache) for name in METHODS
    }
    losses = train_losses(task, model, checkpoints, loss)
    random = np.random.default_rng([seed, 2])
    if task.error == "mislabelled":
        table = tables["tracin"]
        found = [_items(table)]
        pairs = task.data.train_pairs
        baselines = {
            "self-influence": _item_mean(pairs, np.asarray(table.self_influence), len(task.bad)),
            "loss": _item_mean(pairs, losses, len(task.bad)),
            "votes": _item_mean(pairs, _votes("tracin", table).order, len(task.bad)),
            "random": random.random(len(task.bad)),
        }
    else:
        found = [_votes(name, table) for name, table in tables.items()]
        if rival:
            found.append(_votes("dattri, 512 random dimensions", _dattri(task, model, checkpoints, loss)))
        baselines = {
            "self-influence": np.asarray(tables["tracin"].self_influence),
            "loss": losses,
            "random": random.random(len(task.bad)),
        }
    many = int(found[0].listed.sum())
    for name, order in baselines.items():
        listed = np.zeros(len(order), dtype=bool)
        listed[np.argsort(-order, kind="stable")[:many]] = True
        effect = None
        if task.error != "mislabelled":
            # these know nothing of single test pairs: the same effect on each
            effect = np.repeat(-order[:, None], len(task.data.test_pairs), axis=1)
        found.append(Finding(name, order, listed, effect=effect))
    return found


def _votes(name: str, table: InfluenceTable) -> Finding:
    chosen = choose_exclusions(table, threshold=parse_threshold("0"))
    votes, mean = chosen.counted.votes[0], chosen.counted.mean
    place = np.empty(len(votes))
    place[np.lexsort((-mean, votes))] = np.arange(len(votes))
    return Finding(name, place, np.isin(table.train_ids, list(chosen.ids)), -mean, table.scores)


def _items(table: InfluenceTable) -> Finding:
    chosen = choose_exclusions(table, threshold=parse_threshold("0"), mode="sample")
    order = np.asarray(table.sample_influence)
    return Finding("item measure", order, np.isin(table.sample_ids, list(chosen.ids)))


def _item_mean(pairs: Pairs, values: np.ndarray, items: int) -> np.ndarray:
    """Mean over each item's pairs."""
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


def _dattri(task: Task, model: torch.nn.Module, checkpoints: Sequence[Path], loss: str) -> InfluenceTable:
    """TracInCP as dattri gives it: one gradient a pair, projected at random to 512 dimensions."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it shows its progress there
        warnings.simplefilter("ignore")  # it imports torch's own deprecated scripting
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
