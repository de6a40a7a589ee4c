"""Finding the items of flipped pairs in preference data, by several measures: ``python preference_items.py``.

Each item is in one pair. A perceptron is trained on pairs of scikit-learn's datasets, some of them flipped, and the
table has the AUC of finding the items of these, with the differences from the measure that compares items. The
constants in ``engine/pair_view.py`` were chosen on seeds 100 to 111.
"""

from __future__ import annotations

import argparse
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

SETS = {"digits 400": 400, "digits 120": 120, "diabetes 150": 150, "cancer 200": 200, "wine 60": 60}
LOAD = {
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
    "cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
}
HELD_OUT = 20  # pairs, which do not matter here
PASSES, KEPT, BATCH = 60, 12, 16  # passes over the pairs, passes between checkpoints, pairs a step
ITEMS, PAIRS, OWN, PULL = "similar items", "similar pairs (used)", "own scores (used for many)", "squared pull"


def task(name: str, count: int, flipped: float, seed: int) -> tuple[RankingData, FloatArray]:
    """Pairs of standardised items, some flipped, and which training items are in a flipped pair."""
    random = np.random.default_rng(seed)
    loaded = LOAD[name]()
    x = (loaded.data - loaded.data.mean(0)) / np.maximum(loaded.data.std(0), 1e-9)
    order = random.permutation(len(x))[: 2 * (count + HELD_OUT)]
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
    return RankingData(sides[0], pairs, sides[1], held_out), np.repeat(wrong, 2)[: 2 * count].astype(float)


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


def measures(data: RankingData, model: nn.Module, paths: Sequence[Path], loss: str) -> dict[str, FloatArray]:
    """Each measure of the training items."""
    settings = ComputeOptions(loss=LossSettings(loss), device="cpu", checkpoint_weights=[1.0] * len(paths))

    def scores(**sizes: float) -> InfluenceScores:
        with mock.patch.multiple(layout, **sizes):
            return compute_scores(data, model, paths, settings).scores

    of_items = scores(_ONCE=0.0)
    views = {ITEMS: of_items, PAIRS: scores(COMPLETE=2048), OWN: scores(COMPLETE=0)}
    return {name: view.sample_influence for name, view in views.items()} | {PULL: squared_pull(of_items)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=200)
    parser.add_argument("--loss", choices=("logistic", "standard"), default="logistic")
    parser.add_argument("--flipped", type=float, default=0.15, help="share of the training pairs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"loss {options.loss}, {options.flipped:.0%} flipped, {options.seeds} seeds from {options.first_seed}\n")
    print("| |", " | ".join([ITEMS, *(f"{name} | difference" for name in (PAIRS, OWN, PULL))]), "|")
    print("| --- |", " ---: |" * 7)
    for title in options.set or SETS:
        found: dict[str, list[float]] = {}
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            data, wrong = task(title.split()[0], SETS[title], options.flipped, seed)
            with tempfile.TemporaryDirectory() as folder:
                model, paths = train(data, options.loss, seed, Path(folder))
                used = np.unique([data.train_pairs.first, data.train_pairs.second])
                for name, values in measures(data, model, paths, options.loss).items():
                    found.setdefault(name, []).append(roc_auc_score(wrong[used], values[used]))
        cells = [f"{np.mean(found[ITEMS]):.3f}"]
        for name in (PAIRS, OWN, PULL):
            gain = np.subtract(found[name], found[ITEMS])
            error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.nan
            cells += [f"{np.mean(found[name]):.3f}", f"{gain.mean():+.3f} +- {error:.3f}"]
        print(f"| {title} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
