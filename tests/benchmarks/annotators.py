"""How well careless annotators are found, and what leaving them out gains: ``python tests/benchmarks/annotators.py``.

The data are people's votes on arguments (``reference_tasks.py``). An annotator is careless who agrees with the majority
of the others on less than 60 % of at least ten pairs, counted over all votes. A ranker trains on one vote per pair:
that of the pair's least competent annotator (``--vote weakest``), or a random one (``--vote drawn``). An annotator's
measure is the mean over their training votes of

- influence: for each method, the total influence on the scoring pairs;
- out of fold: the share of the rankers trained without the vote that rank its pair the other way;
- agreement: the probability, by the other votes only, that a further vote says the opposite.

Of the annotators with three training votes or more, the worst 5 % and 10 % are left out. For comparison, as many random
votes and as many of the worst single votes are left out. Each variant has the stop and weight decay that rank the
scoring pairs best, and is judged by items that took no part. Figures are means over seeds with standard errors.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bench import Bench, Variant
from reference_tasks import REFERENCE, arguments_task, careless_annotators
from sklearn.metrics import roc_auc_score

from tracinctl import compute_influence
from tracinctl.data.bradley_terry import contradiction
from tracinctl.engine.options import METHODS
from tracinctl.errors import CheckpointWarning
from tracinctl.retraining.crossfit import cross_fit
from tracinctl.scores.groups import Members, group_influence
from tracinctl.training.options import TrainSettings

LEAST_VOTES = 3
SHARES = (0.05, 0.1)
# they decide what is left out; chosen before anything was measured
MEASURE = "influence, margin"
BY_RANKERS = "out of fold"


def measures(bench: Bench, seed: int) -> dict[str, np.ndarray]:
    """The measures of each training vote; higher is worse."""
    data = bench.task.data
    with tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", CheckpointWarning)  # these checkpoints have no learning rate; all weights are 1
        paths = bench.checkpoints(Path(folder), seed)
        tables = {
            method: compute_influence(data, bench.build(), paths, method=method, cache=Path(folder) / "cache")
            for method in METHODS
        }
    found = {f"influence, {method}": -table.scores.sum(1) for method, table in tables.items()}
    found[BY_RANKERS] = cross_fit(bench.train, data, seed).suspicion(data)
    found["agreement"] = contradiction(data.train_pairs, len(data.train))
    return found


def one_seed(bench: Bench, seed: int, careless: dict[str, bool]) -> dict[str, float]:
    """AUC of each measure, and points of accuracy over the ranker trained on everything."""
    annotators = [str(name) for name in bench.task.data.train_pairs.groups["annotator"]]
    members = Members.of("annotator", ((name,) for name in annotators))
    found: dict[str, float] = {}
    variants = [Variant("everything", ~bench.none, bench.none)]
    for name, votes in measures(bench, seed).items():
        groups = [group for group in group_influence(votes, members) if group.pairs >= LEAST_VOTES]
        judged = [group for group in groups if group.name in careless]
        found[f"AUC {name}"] = roc_auc_score([careless[g.name] for g in judged], [g.mean for g in judged])
        found["judged"], found["careless"] = len(judged), sum(careless[g.name] for g in judged)
        worst = [group.name for group in sorted(groups, key=lambda group: -group.mean)]
        for share in SHARES if name in (MEASURE, BY_RANKERS) else ():
            gone = members.rows_of(worst[: round(share * len(worst))])
            found[f"votes left out, {name}, {share:.0%}"] = len(gone)
            lists = {
                "annotators": gone,
                "single votes": np.argsort(-votes, kind="stable")[: len(gone)],
                "at random": np.random.default_rng([seed, 17]).permutation(len(votes))[: len(gone)],
            }
            for kind, rows in lists.items():
                kept = ~bench.none
                kept[rows] = False
                variants.append(Variant(f"{kind}, {name}, {share:.0%}", kept, bench.none))
    tuned = bench.tuned(variants)
    accuracies = bench.accuracies(tuned)
    gains = {variant.name: 100 * (own - accuracies[0]) for variant, own in zip(tuned[1:], accuracies[1:], strict=True)}
    return {**found, "accuracy on everything": 100 * accuracies[0], **gains}


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--vote", choices=["weakest", "drawn"], default="weakest")
    options = parser.parse_args()
    if not (REFERENCE / "arguments" / "votes.csv.gz").is_file():
        print(f"skipped: there are no votes in {REFERENCE / 'arguments'}; name their folder in TRACINCTL_REFERENCE")
        return
    torch.set_num_threads(1)
    careless, rows = careless_annotators(), []
    for seed in range(options.seeds):
        began = time.perf_counter()
        settings = replace(TrainSettings(), epochs=options.epochs, batch_size=64)
        rows.append(one_seed(Bench(arguments_task(seed, options.vote), settings), seed, careless))
        print(f"seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(f"| {options.vote} vote of each pair, {options.seeds} seeds | mean | standard error |\n| --- | ---: | ---: |")
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        print(f"| {name} | {values.mean():.3g} | {error:.2g} |")


if __name__ == "__main__":
    main()
