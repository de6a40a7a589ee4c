"""The gain of a list over a ranker that is only tuned, and how well bad pairs are found.

    python tests/benchmarks/choice.py                             # all tasks, ten seeds, both tables: hours
    python tests/benchmarks/choice.py digits-flipped-15 wine      # these tasks
    python tests/benchmarks/choice.py --table                     # the tables of finished results

Errors are planted in rankings of scikit-learn's bundled data sets (``planted_tasks.py``), or are real errors of people
and of web search (``reference_tasks.py``). The library's stack trains small rankers (``bench.py``). Each task and seed
writes a file in ``--results``; while the file exists, it is not run again. All tasks are run seed by seed, so that an
interrupted run has about as many seeds of each.

**Gains.** Each row is a list or another way to train. Its figure is the gain in points of pair accuracy over the ranker
tuned alone, on items that took no part: the mean over seeds with its standard error.

- tuned alone: all pairs, with the stop and the weight decay that rank the scoring items best.
- chosen: the library's choice, which may leave nothing out.
- the candidates of the choice: each with the stop and weight decay that the choice finds best for it.
- the true errors left out, random pairs left out (as many as the errors, or a tenth), and rivals. Scoring items did not
  make these lists, so all of them tune each row. The rivals: the tenth with the highest loss or self-influence at the
  checkpoints; the lowest tenth by dattri's total; cleanlab's confident learning on out-of-fold probabilities; the tenth
  with the lowest preference strength of an ensemble, reversed (Wang et al. 2024, arXiv 2401.06080); suspects out of
  fold, reversed; a ramp loss; a logistic loss with smoothed labels.

**Detection.** Area under the curve of ordering bad pairs before good ones. If items are mislabelled: of ordering bad
items before good ones by the mean over an item's pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import DECAYS, TUNED, Bench, Variant
from contenders import dattri_table, item_means, train_losses
from planted_tasks import Task, make_tasks
from reference_tasks import REFERENCE, arguments_task, letor_task
from sklearn.metrics import roc_auc_score

from tracinctl import InfluenceTable, compute_influence
from tracinctl.data.bradley_terry import contradiction
from tracinctl.engine.options import METHODS
from tracinctl.errors import CheckpointWarning
from tracinctl.project.candidates import (
    item_candidates,
    margin_candidates,
    of_scores,
    suspicion_candidates,
    total_candidates,
    with_unseen,
)
from tracinctl.retraining.choice import NOTHING, Candidate, Choice, ChoiceSettings, choose
from tracinctl.retraining.crossfit import CrossFit, cross_fit
from tracinctl.retraining.judging import divide_items, pairs_within
from tracinctl.retraining.margins import RANKERS, mean_margins
from tracinctl.retraining.trainer import END, Recipe, Training
from tracinctl.retraining.trial import CAPPED
from tracinctl.scores.options import Rule
from tracinctl.training.options import TrainSettings

WORST = 0.1
TURNED_ABOVE = 0.8  # out-of-fold share
EPOCHS = {"digits": 30}
USUAL_EPOCHS = 10
CHOSEN = "chosen"
TRUTH = "all that is wrong"
TASKS = {  # name: (source, error, share)
    "digits-flipped-15": ("digits", "flipped", 0.15),
    "digits-flipped-30": ("digits", "flipped", 0.3),
    "digits-mislabelled-10": ("digits", "mislabelled", 0.1),
    "digits": ("digits", "clean", 0.0),
    "arguments": ("arguments", "votes", 0.0),
    "letor-flipped-20": ("letor", "flipped", 0.2),
    "letor": ("letor", "clean", 0.0),
    **{
        f"{name}{'-flipped-15' if share else ''}": (name, "flipped" if share else "clean", share)
        for name in ("diabetes", "cancer", "wine")
        for share in (0.0, 0.15)
    },
}
REFERENCES = ("arguments", "letor")
TABLES = (("digits",), REFERENCES, ("diabetes", "cancer", "wine"))  # the sources of each table
ORDER = (  # the beginnings of the candidates' rows; rivals follow
    "everything, recipe as given",
    CHOSEN,
    "votes",
    "tracin,",
    "margin,",
    "fisher,",
    "pairs of items",
    "margin total",
    "not fitted",
    CAPPED,
)

Without = Callable[[str, Sequence[str]], Variant]


def make_task(source: str, error: str, share: float, seed: int) -> Task:
    """The task of a source, with an error and a seed."""
    if source == "arguments":
        return arguments_task(seed)
    if source == "letor":
        return letor_task(seed, share)
    return make_tasks(source, [(error, share)], seed)[0]


@dataclass(frozen=True)
class Evidence:
    """The evidence against each training pair of a task.

    Attributes:
        tables: influence by each method, and by dattri.
        losses: mean loss over the checkpoints.
        fold: rankers trained on halves of the training comparisons, under the capped loss.
        suspicion: share of the rankers not trained on the pair that rank it the other way.
        margins: mean margin of rankers trained on the pair, under the capped loss.
        strength: the same under the usual loss, at the end of the training.
    """

    tables: Mapping[str, InfluenceTable]
    dattri: InfluenceTable
    losses: np.ndarray
    fold: CrossFit
    suspicion: np.ndarray
    margins: np.ndarray
    strength: np.ndarray

    @classmethod
    def of(cls, bench: Bench, seed: int) -> Evidence:
        data = bench.task.data
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", CheckpointWarning
            )  # these checkpoints have no learning rate; all weights are 1
            paths = bench.checkpoints(Path(folder), seed)
            tables = {
                method: compute_influence(data, bench.build(), paths, method=method, cache=Path(folder) / "cache")
                for method in METHODS
            }
            dattri = dattri_table(bench.task, bench.build(), paths, "standard")
            losses = train_losses(bench.task, bench.build(), paths, "standard")
        margins = mean_margins(bench.train, data, seed, loss="capped")
        strength = _strength(bench, seed)
        fold = cross_fit(bench.train, data, seed, loss="capped")
        return cls(tables, dattri, losses, fold, fold.suspicion(data), margins, strength)

    def suspects(self, bench: Bench) -> dict[str, np.ndarray]:
        """The measures that order the training pairs; higher is worse."""
        totals = {f"{name}, total": -np.asarray(table.scores).sum(1) for name, table in self.tables.items()}
        return {
            **totals,
            "dattri, total": -np.asarray(self.dattri.scores).sum(1),
            "self-influence": np.asarray(self.tables["tracin"].self_influence),
            "highest loss": self.losses,
            "out of fold": self.suspicion,
            "least fitted": -self.margins,
            "lowest preference strength": -self.strength,
            "agreement with the other comparisons": contradiction(
                bench.task.data.train_pairs, len(bench.task.data.train), np.asarray(bench.task.data.train.inputs)
            ),
        }


def _strength(bench: Bench, seed: int) -> np.ndarray:
    """How strongly an ensemble trained on everything prefers the outcome of each training pair."""
    pairs = bench.task.data.train_pairs
    plan = [Training("", k + 1, seed + k, (), all_items=True) for k in range(RANKERS)]
    ensemble = bench.train(plan)
    scores = np.array([ranker.scores_at(END, bench.task.data.train.ids) for ranker in ensemble])
    margins = (scores[:, pairs.first] - scores[:, pairs.second]) * pairs.target
    return np.asarray((margins / margins.std(1, keepdims=True)).mean(0))


def rows_of(bench: Bench, seed: int) -> dict[str, Any]:
    """Train, choose and judge with one seed; return the content of the file."""
    evidence = Evidence.of(bench, seed)
    candidates, choice = _chosen(bench, evidence, seed)
    listed = {candidate.name: candidate.ids for candidate in candidates} | {NOTHING: ()}

    def without(name: str, ids: Sequence[str], recipe: Recipe | None = None) -> Variant:
        return Variant(name, ~np.isin(bench.names, ids), bench.none, recipe, loss=recipe and recipe.loss)

    variants = [
        without("tuned alone", (), choice.tuned),
        without("everything, recipe as given", (), Recipe(stop=bench.settings.epochs)),
        without(CHOSEN, choice.exclusions, choice.chosen.recipe),
        *(without(gain.name, listed[gain.name], gain.recipe) for gain in choice.gains if gain.name != NOTHING),
        *bench.tuned(_rivals(bench, evidence, seed, without)),
    ]
    accuracy = dict(zip([v.name for v in variants], bench.accuracies(variants), strict=True))
    if choice.chosen.name == NOTHING:
        accuracy[CHOSEN] = accuracy["tuned alone"]
    return {
        "chosen": choice.chosen.name,
        "tuned": 100 * accuracy["tuned alone"],
        "gains": {name: 100 * (share - accuracy["tuned alone"]) for name, share in accuracy.items()},
        "changed": {v.name: int((~v.kept | v.turned).sum()) for v in variants},
        "auc": _areas(bench, evidence),
        "choice": choice.to_json(),
    }


def _chosen(bench: Bench, evidence: Evidence, seed: int) -> tuple[list[Candidate], Choice]:
    data = bench.task.data
    halves = divide_items(data, data.test.ids, seed)
    pair_names = np.array(data.test_pairs.row_ids(data.test.ids), dtype=object)
    first, second = (set(pair_names[pairs_within(data, half)].tolist()) for half in halves)
    totals = total_candidates(evidence.tables, (first, second))
    votes = of_scores("votes", evidence.tables["tracin"], (first, second), Rule(threshold="0"))
    of_training = [
        *margin_candidates(data, evidence.margins, evidence.suspicion),
        Candidate(CAPPED, loss="capped"),
    ]
    candidates = [votes, *totals, *item_candidates(data, evidence.tables["tracin"])]
    candidates += suspicion_candidates(data, evidence.suspicion, totals)
    candidates += with_unseen(of_training, bench.train, data, evidence.fold)
    return candidates, choose(bench.train, data, halves, candidates, ChoiceSettings(TUNED, DECAYS))


def _rivals(bench: Bench, evidence: Evidence, seed: int, without: Without) -> list[Variant]:
    from cleanlab.filter import find_label_issues

    names, bad, pairs = bench.names, bench.task.bad_pairs, bench.task.data.train_pairs
    random = np.random.default_rng([seed, 7])
    worst, everything = max(1, round(WORST * len(names))), ~bench.none
    likely = np.clip(evidence.suspicion, 0.01, 0.99)
    targets = (pairs.target > 0).astype(int)
    chances = np.where(targets[:, None] == np.arange(2), 1 - likely[:, None], likely[:, None])
    suspects = evidence.suspects(bench)

    def highest(name: str) -> Variant:
        return without(f"{name}, 10 %", names[np.argsort(-suspects[name], kind="stable")[:worst]].tolist())

    weakest = np.isin(np.arange(len(names)), np.argsort(evidence.strength, kind="stable")[:worst])
    rivals = [
        without("as many as are wrong, at random", random.permutation(names)[: int(bad.sum()) or worst].tolist()),
        *(highest(name) for name in ("highest loss", "self-influence", "dattri, total")),
        without("cleanlab", names[find_label_issues(targets, chances, n_jobs=1)].tolist()),
        Variant("lowest preference strength, 10 %, turned", everything, weakest),
        Variant("out of fold, turned", everything, evidence.suspicion > TURNED_ABOVE),
        Variant("nothing, ramp loss", everything, bench.none, loss="bench:ramp"),
        Variant("nothing, smoothed labels", everything, bench.none, loss="bench:smoothed_logistic"),
    ]
    return [*rivals, without(TRUTH, names[bad].tolist())] if bad.any() else rivals


def _areas(bench: Bench, evidence: Evidence) -> dict[str, float]:
    """AUC of ordering bad pairs or items before good ones; empty if all are good."""
    task = bench.task
    if not task.bad.any():
        return {}
    suspects = evidence.suspects(bench)
    if task.error == "mislabelled":
        pairs, items = task.data.train_pairs, len(task.data.train)
        suspects = {name: item_means(pairs, order, items) for name, order in suspects.items()}
        suspects["item measure"] = np.asarray(evidence.tables["tracin"].sample_influence)
    return {name: float(roc_auc_score(task.bad, order)) for name, order in suspects.items()}


def run(name: str, seed: int, results: Path) -> str:
    """Run a task with a seed and write its file; return a line about it."""
    torch.set_num_threads(1)
    began = time.process_time()
    source, error, share = TASKS[name]
    settings = replace(TrainSettings(), epochs=EPOCHS.get(source, USUAL_EPOCHS), batch_size=64)
    rows = rows_of(Bench(make_task(source, error, share, seed), settings), seed)
    unfinished = results / f".{name}_{seed}.json"
    unfinished.write_text(json.dumps(rows))
    unfinished.rename(results / f"{name}_{seed}.json")
    seconds = time.process_time() - began
    return f"{name}, seed {seed}: chose {rows['chosen']}, {rows['gains'][CHOSEN]:+.1f} points, {seconds:.0f} s"


def gains_table(results: Path, names: Sequence[str]) -> str:
    """One column per task, one row per way to train; the header has the number of seeds."""
    columns = {name: _read(results, name) for name in names}
    columns = {name: seeds for name, seeds in columns.items() if seeds}
    rows = dict.fromkeys(row for seeds in columns.values() for result in seeds for row in result["gains"])
    lines = [["trained without", *(f"{name}, n = {len(seeds)}" for name, seeds in columns.items())]]
    lines += [["---", *["---:"] * len(columns)]]
    lines += [["tuned alone, %", *(_spread([result["tuned"] for result in seeds]) for seeds in columns.values())]]
    same = [sum(result["chosen"] == NOTHING for result in seeds) for seeds in columns.values()]
    empty = [sum(not result["choice"]["left_out"] for result in seeds) for seeds in columns.values()]
    lines += [["(seeds in which the choice leaves nothing out)", *map(str, empty)]]
    lines += [["(seeds in which it changes nothing)", *map(str, same)]]
    for row in sorted(rows, key=_place):
        if row != "tuned alone":
            gains = ([result["gains"][row] for result in seeds if row in result["gains"]] for seeds in columns.values())
            cells = [row, *(_spread(values, sign="+") for values in gains)]
            lines.append([f"**{cell}**" for cell in cells] if row == CHOSEN else cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _place(row: str) -> int:
    """The place of a row in the table; rivals come last, in their order."""
    starts = enumerate(ORDER) if not row.endswith("turned") else ()
    return next((place for place, start in starts if row.startswith(start)), len(ORDER))


def areas_table(results: Path, names: Sequence[str]) -> str:
    """One column per task with errors, one row per measure."""
    columns = {name: [result["auc"] for result in _read(results, name) if result["auc"]] for name in names}
    columns = {name: seeds for name, seeds in columns.items() if seeds}
    rows = dict.fromkeys(row for seeds in columns.values() for areas in seeds for row in areas)
    lines = [["ordered by", *(f"{name}, n = {len(seeds)}" for name, seeds in columns.items())]]
    lines += [["---", *["---:"] * len(columns)]]
    lines += [
        [row, *(_spread([areas[row] for areas in seeds if row in areas], digits=3) for seeds in columns.values())]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _read(results: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(results.glob(f"{name}_*.json"))]


def _spread(values: Sequence[float], sign: str = "", digits: int = 2) -> str:
    if not len(values):
        return ""
    error = f" +- {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.{digits}f}{error}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, default=Path("choice-results"), help="folder of the results")
    parser.add_argument("--at-once", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    names = options.tasks or list(TASKS)
    if not REFERENCE.is_dir():
        print(f"skipped: {', '.join(REFERENCES)}, because the folder {REFERENCE} does not exist", file=sys.stderr)
        names = [name for name in names if TASKS[name][0] not in REFERENCES]
    options.results.mkdir(parents=True, exist_ok=True)
    jobs = (
        []
        if options.table
        else [(name, seed) for seed in range(options.first, options.first + options.seeds) for name in names]
    )
    jobs = [(name, seed) for name, seed in jobs if not (options.results / f"{name}_{seed}.json").exists()]
    with ProcessPoolExecutor(options.at_once, get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(run, name, seed, options.results) for name, seed in jobs]):
            print(done.result(), file=sys.stderr, flush=True)
    groups = [[name for name in names if TASKS[name][0] in sources] for sources in TABLES]
    for table in (gains_table, areas_table):
        for group in filter(None, groups):
            print(table(options.results, group), "\n")


if __name__ == "__main__":
    main()
