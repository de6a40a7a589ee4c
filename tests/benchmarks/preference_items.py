"""Finding the items of flipped pairs in preference data, by several measures.

    python tests/benchmarks/preference_items.py         # AUC of finding the items of flipped pairs
    python tests/benchmarks/preference_items.py --gain  # accuracy without the items that stand out

Each item is in one pair. A perceptron is trained on pairs of scikit-learn's datasets, some of them flipped. The AUC has
the differences from the measure that compares items. The constants in ``engine/pair_view.py`` were chosen on seeds 100
to 111.

With ``--gain``, the perceptron is trained twice on everything and twice without the pairs of items that stand out by a
measure. Its accuracy is measured on all pairs of the items that no pair of the training or the scores contains.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from sklearn import datasets
from sklearn.metrics import roc_auc_score
from torch import nn

from tracinctl import Pairs, RankingData, Samples
from tracinctl.data.pairs import FloatArray
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.influence import InfluenceScores
from tracinctl.engine.kernel import layout
from tracinctl.engine.losses import LossSettings
from tracinctl.scores.exclusion import suspicious_items

SETS = {"digits 400": 400, "digits 120": 120, "diabetes 150": 150, "cancer 200": 200, "wine 60": 60}
LOAD = {
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
    "cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
}
HELD_OUT = 20  # pairs, which do not matter here
PASSES, KEPT, BATCH = 60, 12, 16  # passes over the pairs, passes between checkpoints, pairs a step
TRAININGS = 2
ITEMS, PAIRS, OWN, PULL = "similar items", "similar pairs (used)", "own scores (used for many)", "squared pull"


@dataclasses.dataclass(frozen=True)
class Task:
    """Pairs of standardised items, some flipped.

    Attributes:
        data: the pairs.
        wrong: whether each training item is in a flipped pair.
        others: inputs of the items in no pair, and their classes.
    """

    data: RankingData
    wrong: FloatArray
    others: tuple[torch.Tensor, FloatArray]

    def accuracy(self, model: nn.Module) -> float:
        """The share of all pairs of other items that a model ranks correctly."""
        inputs, classes = self.others
        with torch.no_grad():
            scores = model(inputs)[:, 0].numpy()
        return float((scores[:, None] > scores)[classes[:, None] > classes].mean())


def task(name: str, count: int, flipped: float, seed: int) -> Task:
    random = np.random.default_rng(seed)
    loaded = LOAD[name]()
    x = (loaded.data - loaded.data.mean(0)) / np.maximum(loaded.data.std(0), 1e-9)
    order = random.permutation(len(x))
    order, rest = np.split(order, [2 * (count + HELD_OUT)])
    inputs, classes = torch.from_numpy(x[order]).float(), loaded.target[order].astype(float)
    first = np.arange(0, len(order), 2)
    target = np.sign(classes[first] - classes[first + 1]).astype(int)
    train = first < 2 * count
    wrong = train & (target != 0) & (random.random(len(first)) < flipped)
    some, others = train & (target != 0), ~train & (target != 0)
    pairs = Pairs(first[some], first[some] + 1, np.where(wrong, -target, target)[some])
    held_out = Pairs(first[others] - 2 * count, first[others] - 2 * count + 1, target[others])
    ids = [f"{k}" for k in range(len(order))]
    sides = Samples(ids[: 2 * count], inputs[: 2 * count]), Samples(ids[2 * count :], inputs[2 * count :])
    data = RankingData(sides[0], pairs, sides[1], held_out)
    left = torch.from_numpy(x[rest]).float(), loaded.target[rest].astype(float)
    return Task(data, np.repeat(wrong, 2)[: 2 * count].astype(float), left)


def train(data: RankingData, loss: str, seed: int, folder: Path) -> tuple[nn.Module, list[Path]]:
    """A perceptron trained on the pairs, and its checkpoints."""
    torch.manual_seed(seed)
    x, pairs = data.train.inputs, data.train_pairs
    assert isinstance(x, torch.Tensor)
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    target = torch.from_numpy(pairs.target).float()
    paths = []
    for k in range(PASSES):
        for rows in torch.randperm(len(pairs)).split(BATCH):
            sides = (x[torch.from_numpy(side)[rows]] for side in (pairs.first, pairs.second))
            first, second = (model(side)[:, 0] for side in sides)
            margin = target[rows] * (first - second)
            optimizer.zero_grad()
            (nn.functional.softplus(-margin) if loss == "logistic" else torch.relu(1 - margin)).mean().backward()
            optimizer.step()
        if (k + 1) % KEPT == 0:
            paths.append(folder / f"model_epoch_{k + 1}.pt")
            torch.save(model.state_dict(), paths[-1])
    return model, paths


def squared_pull(scores: InfluenceScores) -> FloatArray:
    """(sum of a)^2 K_ii summed over checkpoints, from kernels of items."""
    pairs, total = scores._train, np.zeros(len(scores.sample_ids))
    for c, kernel in enumerate(scores._kernels):
        a, _ = scores._pairs(c)
        pull = np.bincount(pairs.first, a.first, len(total)) + np.bincount(pairs.second, a.second, len(total))
        total += pull**2 * kernel.part("lengths")[scores._layout.train_rows]
    return total


def views(data: RankingData, model: nn.Module, paths: Sequence[Path], loss: str) -> dict[str, InfluenceScores]:
    """The scores from kernels of items, and of few and of many pairs."""
    settings = ComputeOptions(loss=LossSettings(loss), device="cpu", checkpoint_weights=[1.0] * len(paths))

    def scores(**sizes: float) -> InfluenceScores:
        with mock.patch.multiple(layout, **sizes):
            return compute_scores(data, model, paths, settings).scores

    return {ITEMS: scores(_ONCE=0.0), PAIRS: scores(COMPLETE=2048), OWN: scores(COMPLETE=0)}


def areas(task: Task, loss: str, seed: int) -> dict[str, float]:
    """AUC of each measure."""
    with tempfile.TemporaryDirectory() as folder:
        found = views(task.data, *train(task.data, loss, seed, Path(folder)), loss)
    used = np.unique([task.data.train_pairs.first, task.data.train_pairs.second])
    measures = {name: scores.sample_influence for name, scores in found.items()} | {PULL: squared_pull(found[ITEMS])}
    return {name: float(roc_auc_score(task.wrong[used], values[used])) for name, values in measures.items()}


def gains(task: Task, loss: str, seed: int) -> dict[str, float]:
    """Points of accuracy gained without the items that stand out, by two measures."""
    data = task.data

    def accuracy(data: RankingData) -> float:
        models = [train(data, loss, seed + 1000 * k, Path(folder))[0] for k in range(TRAININGS)]
        return 100 * float(np.mean([task.accuracy(model) for model in models]))

    with tempfile.TemporaryDirectory() as folder:
        found = views(data, *train(data, loss, seed, Path(folder)), loss)
        result = {"everything": accuracy(data)}
        for name in (ITEMS, PAIRS):
            listed = np.isin(data.train.ids, list(suspicious_items(found[name])))
            kept = ~(listed[data.train_pairs.first] | listed[data.train_pairs.second])
            fewer = dataclasses.replace(data, train_pairs=data.train_pairs.take(kept))
            result[name] = accuracy(fewer) - result["everything"]
    return result


def with_error(values: FloatArray, digits: int) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{values.mean():+.{digits}f} +- {error:.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=200)
    parser.add_argument("--loss", choices=("logistic", "standard"), default="logistic")
    parser.add_argument("--flipped", type=float, default=0.15, help="share of the training pairs")
    parser.add_argument("--gain", action="store_true", help="train without the items that stand out")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"loss {options.loss}, {options.flipped:.0%} flipped, {options.seeds} seeds from {options.first_seed}\n")
    names = ["everything", ITEMS, PAIRS] if options.gain else [ITEMS, PAIRS, OWN, PULL]
    print(
        "| |", " | ".join(names if options.gain else [names[0], *(f"{name} | difference" for name in names[1:])]), "|"
    )
    print("| --- |", " ---: |" * (len(names) if options.gain else 2 * len(names) - 1))
    for title in options.set or SETS:
        found: dict[str, list[float]] = {}
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            one = task(title.split()[0], SETS[title], options.flipped, seed)
            for name, value in (gains if options.gain else areas)(one, options.loss, seed).items():
                found.setdefault(name, []).append(value)
        first, *others = (np.array(found[name]) for name in names)
        if options.gain:
            cells = [f"{first.mean():.1f}", *(with_error(values, 1) for values in others)]
        else:
            cells = [f"{first.mean():.3f}"]
            for values in others:
                cells += [f"{values.mean():.3f}", with_error(values - first, 3)]
        print(f"| {title} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
