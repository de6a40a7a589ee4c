"""What a chosen list gains over a ranker that is tuned alone: ``python tests/benchmarks/choice.py digits 0.15``.

Errors are planted in rankings of scikit-learn's bundled sets (``planted_tasks.py``). Small rankers are trained
by the library's stack, the list, the stop and the weight decay are chosen by the library's choice, and items that took
no part judge. Every line is one seed; the last one is the mean with its standard error, in points of pair accuracy over
the ranker tuned alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from planted_tasks import SOURCES, Task, make_tasks
from torch import nn

from tracinctl import Pairs, compute_influence
from tracinctl.data.leave_out import leave_out
from tracinctl.engine.options import METHODS
from tracinctl.errors import CheckpointWarning
from tracinctl.project.candidates import of_scores, suspicion_candidates, total_candidates
from tracinctl.retraining.builtin_trainer import stops_until
from tracinctl.retraining.choice import NOTHING, ChoiceSettings, choose
from tracinctl.retraining.crossfit import out_of_fold
from tracinctl.retraining.judging import divide, pair_correct, pairs_within
from tracinctl.retraining.stack import Member, train_stack
from tracinctl.retraining.trainer import Recipe, Trained, Training
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.votes import parse_threshold
from tracinctl.training.options import TrainSettings

NO_PAIRS = Pairs(*np.zeros((3, 0), dtype=np.int64))
SEEDS = 3
CHECKPOINTS = 6
RULES = ("chosen", "random", "truth", "as given")


@dataclass(frozen=True)
class Bench:
    """A task and how its rankers are trained."""

    task: Task
    settings: TrainSettings

    def build(self) -> nn.Module:
        """A perceptron with two hidden layers of 32."""
        width = self.task.data.train.inputs.shape[1]
        layers = [nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)]
        return nn.Sequential(*layers)

    def train(self, plan: Sequence[Training]) -> list[Trained]:
        """Train a plan as one stack; scores of held-out, training and judging items at each stop."""
        data, judge = self.task.data, self.task.judge
        inputs = torch.cat([data.test.inputs, data.train.inputs, judge.inputs])
        ids = (*data.test.ids, *data.train.ids, *judge.ids)
        usual, stops = self.settings.weight_decay, stops_until(self.settings.epochs)
        members = [
            Member(
                leave_out(data, training.exclusions).pairs,
                NO_PAIRS,
                training.seed,
                usual if training.weight_decay is None else training.weight_decay,
            )
            for training in plan
        ]
        scores = train_stack(self.build, data.train.inputs, inputs, members, self.settings, stops).double()
        return [Trained(dict(zip(ids, map(tuple, own.T.tolist()), strict=True)), stops) for own in scores]

    def accuracy(self, ids: Sequence[str], recipe: Recipe) -> float:
        """Share of the judging pairs that rankers without these ids rank correctly."""
        plan = [Training("", k, 500 + k, tuple(ids), recipe.weight_decay) for k in range(SEEDS)]
        scores = np.array([one.scores_at(recipe.stop, self.task.judge.ids) for one in self.train(plan)])
        return float(pair_correct(scores, self.task.judge_pairs).mean())

    def checkpoints(self, folder: Path, seed: int) -> list[Path]:
        """Checkpoints of one training on everything."""
        paths = []
        for k in range(1, CHECKPOINTS + 1):
            epochs = max(1, round(self.settings.epochs * k / CHECKPOINTS))
            paths.append(folder / f"model_epoch_{epochs}.pt")
            torch.save({"model_state_dict": self._trained_until(epochs, seed)}, paths[-1])
        return list(dict.fromkeys(paths))

    def _trained_until(self, epochs: int, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        model, settings, data = self.build(), self.settings, self.task.data
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        for epoch in range(1, epochs + 1):
            order = np.random.default_rng([seed, epoch]).permutation(len(data.train_pairs))
            for at in range(0, len(order), settings.batch_size):
                batch = data.train_pairs.take(order[at : at + settings.batch_size])
                s = model(data.train.inputs[np.concatenate([batch.first, batch.second])]).view(2, -1)
                loss = (settings.margin - torch.from_numpy(batch.target) * (s[0] - s[1])).clamp(min=0).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model.state_dict()


def gains(bench: Bench, seed: int) -> tuple[str, dict[str, float]]:
    """The chosen rule, and points of accuracy over the ranker tuned alone."""
    data = bench.task.data
    labels = None if data.test.labels is None else np.asarray(data.test.labels)
    halves = divide(data.test.ids, labels, seed)
    names = data.test_pairs.row_ids(data.test.ids)
    one, other = ({names[row] for row in pairs_within(data, half)} for half in halves)
    with tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", CheckpointWarning)  # these checkpoints have no learning rate, and need none
        paths = bench.checkpoints(Path(folder), seed)
        tables = {
            method: compute_influence(data, bench.build(), paths, method=method, cache=Path(folder) / "cache")
            for method in METHODS
        }
    totals = total_candidates(tables, (one, other))
    votes = of_scores(
        "votes",
        tables["tracin"],
        (one, other),
        lambda view: choose_exclusions(view, threshold=parse_threshold("0")).ids,
    )
    suspicion = out_of_fold(bench.train, data, seed)
    candidates = [votes, *totals, *suspicion_candidates(data, suspicion, totals)]
    decays = (None, 0.01, 0.1)
    choice = choose(bench.train, data, halves, candidates, ChoiceSettings([1, 2], decays))
    tuned = bench.accuracy((), choice.tuned)
    lists = {"chosen": choice.exclusions, "random": _as_many(bench, len(choice.exclusions), seed), "as given": ()}
    lists["truth"] = [
        name for name, bad in zip(data.train_pairs.row_ids(data.train.ids), bench.task.bad_pairs, strict=True) if bad
    ]
    recipes = dict.fromkeys(lists, choice.chosen.recipe) | {"as given": Recipe(stop=bench.settings.epochs)}
    found = {name: 100 * (bench.accuracy(lists[name], recipes[name]) - tuned) for name in lists}
    if choice.chosen.name == NOTHING:
        found["chosen"] = found["random"] = 0.0
    return choice.chosen.name, found


def _as_many(bench: Bench, count: int, seed: int) -> list[str]:
    names = bench.task.data.train_pairs.row_ids(bench.task.data.train.ids)
    return np.random.default_rng([seed, 7]).permutation(np.array(names, dtype=object))[:count].tolist()


def main() -> None:
    """Run, and print a line a seed and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", choices=list(SOURCES))
    parser.add_argument("share", type=float, help="share of the comparisons that are flipped")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    error = ("flipped", given.share) if given.share else ("clean", 0.0)
    rows = []
    for seed in range(given.seeds):
        began = time.perf_counter()
        task = make_tasks(given.source, [error], seed)[0]
        settings = replace(TrainSettings(), epochs=given.epochs, batch_size=64)
        rule, found = gains(Bench(task, settings), seed)
        rows.append([found[name] for name in RULES])
        shown = "  ".join(f"{name} {found[name]:+.1f}" for name in RULES)
        print(f"seed {seed}: {shown}  ({rule})")
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5
    print("  ".join(f"{name} {m:+.2f} +- {s:.2f}" for name, m, s in zip(RULES, mean, spread, strict=True)))


if __name__ == "__main__":
    main()
