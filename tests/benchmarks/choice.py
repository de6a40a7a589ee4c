"""What a list gains over a ranker that is tuned alone: ``python tests/benchmarks/choice.py digits 0.15``.

Errors are planted in rankings of scikit-learn's bundled sets (``planted_tasks.py``), or are those of people and of web
search (``reference_tasks.py``). Small rankers are trained by the library's stack. Every row of the table is a list or
another way to train, and what it gains in points of pair accuracy over the ranker tuned alone, by items that took no
part: the mean over seeds with its standard error, and how many training pairs it leaves out or turns round.

- tuned alone: everything, with the stop and the weight decay that rank the other half of the scoring items best.
- chosen: what the library's choice says, which may be to leave nothing out.
- the rules of the choice: each with the stop and weight decay that the choice finds best for it.
- the truth left out, random pairs (as many as the truth), and rivals: each tuned by all scoring items, which did not
  make these lists. Highest loss and self-influence at the checkpoints, the worst tenth; cleanlab's confident learning
  on out-of-fold probabilities; the lowest preference strength of an ensemble turned round, a tenth (Wang et al. 2024,
  arXiv 2401.06080); suspects out of fold turned round; a capped (ramp) loss; a logistic loss with smoothed labels.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from contenders import train_losses
from planted_tasks import SOURCES, Task, make_tasks
from reference_tasks import arguments_task, letor_task
from torch import nn

from tracinctl import InfluenceTable, Pairs, compute_influence
from tracinctl.engine.options import METHODS
from tracinctl.errors import CheckpointWarning
from tracinctl.project.candidates import margin_candidates, of_scores, suspicion_candidates, total_candidates
from tracinctl.retraining.builtin_trainer import stops_until
from tracinctl.retraining.choice import NOTHING, ChoiceSettings, choose
from tracinctl.retraining.crossfit import LISTED_ABOVE, out_of_fold
from tracinctl.retraining.judging import divide_items, pair_correct, pairs_within
from tracinctl.retraining.margins import mean_margins
from tracinctl.retraining.stack import Member, train_stack
from tracinctl.retraining.trainer import Recipe, Trained, Training
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.votes import parse_threshold
from tracinctl.training.options import TrainSettings

NO_PAIRS = Pairs(*np.zeros((3, 0), dtype=np.int64))
JUDGED = 3  # trainings of each row
TUNED = (1, 2)  # their seeds
DECAYS = (None, 0.01, 0.1)
CHECKPOINTS = 6
ENSEMBLE = 8
FISHER_ITEMS = 2048
WORST = 0.1
SMOOTHED = 0.1
EPOCHS = {"digits": 30, "arguments": 10, "letor": 10}
USUAL_EPOCHS = 10


def smoothed_logistic(s_i: torch.Tensor, s_j: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The logistic loss with a tenth of each label given to the other outcome."""
    margin = y * (s_i - s_j)
    right, wrong = nn.functional.softplus(-margin), nn.functional.softplus(margin)
    return (1 - SMOOTHED) * right + SMOOTHED * wrong


@dataclass(frozen=True)
class Variant:
    """A way to train: which pairs are kept, which are turned round, with what loss, and how long."""

    name: str
    kept: np.ndarray
    turned: np.ndarray
    recipe: Recipe | None = None
    settings: dict[str, str] = field(default_factory=dict)
    ramp: bool = False

    def pairs(self, pairs: Pairs) -> Pairs:
        """What it trains on."""
        target = np.where(self.turned, -pairs.target, pairs.target)
        return Pairs(pairs.first, pairs.second, target).take(np.flatnonzero(self.kept))


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
        """Train a plan of the library's as one stack; scores of held-out and training items at each stop."""
        names = self.names
        runs = [
            (Variant("", ~np.isin(names, training.exclusions), self.none), training.weight_decay, training.seed)
            for training in plan
        ]
        ids = (*self.task.data.test.ids, *self.task.data.train.ids)
        stops = stops_until(self.settings.epochs)
        scores = self.scores(runs, torch.cat([self.task.data.test.inputs, self.task.data.train.inputs]))
        return [Trained(dict(zip(ids, map(tuple, own.T.tolist()), strict=True)), stops) for own in scores]

    @property
    def names(self) -> np.ndarray:
        """The ids of the training pairs."""
        return np.array(self.task.data.train_pairs.row_ids(self.task.data.train.ids), dtype=object)

    @property
    def none(self) -> np.ndarray:
        """No training pair."""
        return np.zeros(len(self.task.data.train_pairs), dtype=bool)

    def scores(self, runs: Sequence[tuple[Variant, float | None, int]], inputs: torch.Tensor) -> np.ndarray:
        """Scores of items, shape (runs, stops, items); all runs of one loss are one stack."""
        data, usual = self.task.data, self.settings.weight_decay
        stops = stops_until(self.settings.epochs)
        result = np.empty((len(runs), len(stops), len(inputs)))
        kinds = [(variant.ramp, tuple(variant.settings.items())) for variant, _, _ in runs]
        for kind in dict.fromkeys(kinds):
            rows = [row for row, own in enumerate(kinds) if own == kind]
            members = [
                Member(variant.pairs(data.train_pairs), NO_PAIRS, seed, usual if decay is None else decay)
                for variant, decay, seed in (runs[row] for row in rows)
            ]
            settings = replace(self.settings, **runs[rows[0]][0].settings)
            trained = train_stack(self.build, data.train.inputs, inputs, members, settings, stops, ramp=kind[0])
            result[rows] = trained.double().numpy()
        return result

    def tuned(self, variants: Sequence[Variant]) -> list[Variant]:
        """The variants with the stop and weight decay that rank the scoring pairs best."""
        stops, data = stops_until(self.settings.epochs), self.task.data
        runs = [(variant, decay, seed) for variant in variants for decay in DECAYS for seed in TUNED]
        scores = self.scores(runs, data.test.inputs)
        right = np.array([pair_correct(own, data.test_pairs).mean(1) for own in scores])
        cells = right.reshape(len(variants), len(DECAYS), len(TUNED), len(stops)).mean(2)
        found = []
        for variant, own in zip(variants, cells, strict=True):
            decay, stop = np.unravel_index(own.argmax(), own.shape)
            found.append(replace(variant, recipe=Recipe(DECAYS[decay], stops[stop])))
        return found

    def accuracies(self, variants: Sequence[Variant]) -> list[float]:
        """The share of the judging pairs that each variant ranks correctly, in its recipe."""
        stops = stops_until(self.settings.epochs)
        runs = [(variant, variant.recipe.weight_decay, 500 + k) for variant in variants for k in range(JUDGED)]
        scores = self.scores(runs, self.task.judge.inputs)
        at = [stops.index(variant.recipe.stop) for variant, _, _ in runs]
        own = np.array([one[stop] for one, stop in zip(scores, at, strict=True)])
        right = pair_correct(own, self.task.judge_pairs).mean(1)
        return right.reshape(len(variants), JUDGED).mean(1).tolist()

    def checkpoints(self, folder: Path, seed: int) -> list[Path]:
        """Checkpoints of one training on everything."""
        torch.manual_seed(seed)
        model, settings, pairs = self.build(), self.settings, self.task.data.train_pairs
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        wanted = {max(1, round(settings.epochs * k / CHECKPOINTS)) for k in range(1, CHECKPOINTS + 1)}
        paths = []
        for epoch in range(1, settings.epochs + 1):
            order = np.random.default_rng([seed, epoch]).permutation(len(pairs))
            for at in range(0, len(order), settings.batch_size):
                batch = pairs.take(order[at : at + settings.batch_size])
                s = model(self.task.data.train.inputs[np.concatenate([batch.first, batch.second])]).view(2, -1)
                loss = (settings.margin - torch.from_numpy(batch.target) * (s[0] - s[1])).clamp(min=0).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch in wanted:
                paths.append(folder / f"model_epoch_{epoch}.pt")
                torch.save({"model_state_dict": model.state_dict()}, paths[-1])
        return paths


class Rows(NamedTuple):
    """What one seed shows.

    Attributes:
        chosen: the rule that was chosen.
        tuned: accuracy of the ranker tuned alone, in per cent.
        gains: row -> points over that, and training pairs left out or turned round.
        seen: rule -> the gain that the choice saw, its standard error, and whether it was a finalist.
    """

    chosen: str
    tuned: float
    gains: dict[str, tuple[float, int]]
    seen: dict[str, tuple[float, float, bool]]


def rows_of(bench: Bench, seed: int) -> Rows:
    """Train, choose and judge with one seed."""
    data, names = bench.task.data, bench.names
    halves = divide_items(data, data.test.ids, seed)
    pair_names = np.array(data.test_pairs.row_ids(data.test.ids), dtype=object)
    one, other = (set(pair_names[pairs_within(data, half)].tolist()) for half in halves)
    with tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", CheckpointWarning)  # these checkpoints have no learning rate, and need none
        paths = bench.checkpoints(Path(folder), seed)
        tables = {
            method: compute_influence(data, bench.build(), paths, method=method, cache=Path(folder) / "cache")
            for method in (METHODS if len(data.train) + len(data.test) <= FISHER_ITEMS else ("tracin", "margin"))
        }
        losses = train_losses(bench.task, bench.build(), paths, "standard")
    totals = total_candidates(tables, (one, other))
    votes = of_scores(
        "votes",
        tables["tracin"],
        (one, other),
        lambda view: choose_exclusions(view, threshold=parse_threshold("0")).ids,
    )
    suspicion = out_of_fold(bench.train, data, seed)
    candidates = [votes, *totals, *suspicion_candidates(data, suspicion, totals)]
    candidates += margin_candidates(data, mean_margins(bench.train, data, seed))
    choice = choose(bench.train, data, halves, candidates, ChoiceSettings(TUNED, DECAYS))
    whole = {candidate.name: candidate.whole for candidate in candidates} | {NOTHING: ()}

    def without(name: str, ids: Sequence[str], recipe: Recipe | None = None) -> Variant:
        return Variant(name, ~np.isin(names, ids), bench.none, recipe)

    variants = [
        without("tuned alone", (), choice.tuned),
        without("as given", (), Recipe(stop=bench.settings.epochs)),
        without("chosen", choice.exclusions, choice.chosen.recipe),
        *(without(gain.name, whole[gain.name], gain.recipe) for gain in choice.gains if gain.name != NOTHING),
        *bench.tuned(_rivals(bench, tables["tracin"], losses, suspicion, seed, without)),
    ]
    accuracy = dict(zip([v.name for v in variants], bench.accuracies(variants), strict=True))
    if choice.chosen.name == NOTHING:
        accuracy["chosen"] = accuracy["tuned alone"]
    changed = {v.name: int((~v.kept | v.turned).sum()) for v in variants}
    rows = {name: (100 * (own - accuracy["tuned alone"]), changed[name]) for name, own in accuracy.items()}
    seen = {gain.name: (100 * gain.mean, 100 * gain.error, gain.final) for gain in choice.gains}
    return Rows(choice.chosen.name, 100 * accuracy["tuned alone"], rows, seen)


def _rivals(
    bench: Bench,
    table: InfluenceTable,
    losses: np.ndarray,
    suspicion: np.ndarray,
    seed: int,
    without: Callable[[str, Sequence[str]], Variant],
) -> list[Variant]:
    from cleanlab.filter import find_label_issues

    names, bad = bench.names, bench.task.bad_pairs
    random = np.random.default_rng([seed, 7])
    worst = max(1, round(WORST * len(names)))
    likely = np.clip(suspicion, 0.01, 0.99)
    targets = (bench.task.data.train_pairs.target > 0).astype(int)
    chances = np.where(targets[:, None] == np.arange(2), 1 - likely[:, None], likely[:, None])
    strength = _strength(bench, seed)
    everything = ~bench.none
    weakest = np.isin(np.arange(len(names)), np.argsort(strength, kind="stable")[:worst])
    rivals = [
        without("random", random.permutation(names)[: int(bad.sum()) or worst].tolist()),
        without("highest loss", names[np.argsort(-losses, kind="stable")[:worst]].tolist()),
        without("self-influence", names[np.argsort(-np.asarray(table.self_influence), kind="stable")[:worst]].tolist()),
        without("cleanlab", names[find_label_issues(targets, chances)].tolist()),
        Variant("lowest strength, turned", everything, weakest),
        Variant("out of fold, turned", everything, suspicion > LISTED_ABOVE),
        Variant("capped loss", everything, bench.none, ramp=True),
        Variant(
            "smoothed labels",
            everything,
            bench.none,
            settings={"loss_type": f"{Path(__file__).stem}:smoothed_logistic"},
        ),
    ]
    return [*rivals, without("truth", names[bad].tolist())] if bad.any() else rivals


def _strength(bench: Bench, seed: int) -> np.ndarray:
    """By how much an ensemble trained on everything prefers the outcome of each training pair."""
    everything = Variant("", ~bench.none, bench.none)
    runs = [(everything, None, 900 + seed * ENSEMBLE + k) for k in range(ENSEMBLE)]
    scores = bench.scores(runs, bench.task.data.train.inputs)[:, -1]
    pairs = bench.task.data.train_pairs
    margins = (scores[:, pairs.first] - scores[:, pairs.second]) * pairs.target
    return np.asarray((margins / margins.std(1, keepdims=True)).mean(0))


def make_task(source: str, error: str, share: float, seed: int) -> Task:
    """The task of a source with an error and a seed."""
    if source == "arguments":
        return arguments_task(seed)
    if source == "letor":
        return letor_task(seed, share)
    return make_tasks(source, [(error, share) if share else ("clean", 0.0)], seed)[0]


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", choices=[*SOURCES, "arguments", "letor"])
    parser.add_argument("share", type=float, help="share of the comparisons or items that are wrong")
    parser.add_argument("--error", choices=["flipped", "mislabelled"], default="flipped")
    parser.add_argument("--epochs", type=int, help="passes of the recipe as given")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a file to add each seed's rows to, as JSON lines")
    given = parser.parse_args()
    torch.set_num_threads(1)
    epochs = given.epochs or EPOCHS.get(given.source, USUAL_EPOCHS)
    every: list[Rows] = []
    for seed in range(given.first, given.first + given.seeds):
        began = time.perf_counter()
        task = make_task(given.source, given.error, given.share, seed)
        rows = rows_of(Bench(task, replace(TrainSettings(), epochs=epochs, batch_size=64)), seed)
        every.append(rows)
        said = f"chose {rows.chosen}, {rows.gains['chosen'][0]:+.1f}, {time.perf_counter() - began:.0f} s"
        print(f"seed {seed}: {said}", file=sys.stderr)
        if given.keep:
            with given.keep.open("a") as stream:
                stream.write(json.dumps([given.source, given.error, given.share, seed, rows]) + "\n")
    nothing = sum(rows.chosen == NOTHING for rows in every)
    print(f"{given.source}, {given.share:.0%} {given.error}, {epochs} passes, {given.seeds} seeds")
    print(f"tuned alone: {np.mean([rows.tuned for rows in every]):.1f} %; nothing left out in {nothing} seeds")
    for name in every[0].gains:
        gains = np.array([rows.gains[name][0] for rows in every if name in rows.gains])
        error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.nan
        pairs = np.mean([rows.gains[name][1] for rows in every if name in rows.gains])
        print(f"{name:<40}{gains.mean():>+7.2f} +- {error:.2f}{pairs:>8.0f} pairs")


if __name__ == "__main__":
    main()
