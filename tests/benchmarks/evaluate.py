"""How well bad pairs and items are found, what leaving them out regains, and how well the effect of it is predicted.

    python tests/benchmarks/evaluate.py                 # the whole table, some fifteen minutes of one core
    python tests/benchmarks/evaluate.py --quick         # one small set, seconds; its numbers mean little
    python tests/benchmarks/evaluate.py --markdown      # the middle shares, as Markdown
    python tests/benchmarks/evaluate.py --readme README.md    # the whole table, and the middle shares into the README

Errors are planted in rankings of scikit-learn's bundled sets (``planted_tasks.py``), small rankers are trained on them
(``many_rankers.py``), and every contender (``contenders.py``) says which training pairs or items are bad. The demo
(``planted_demo.py``) has both kinds of errors at once, and its ranker is not trained again here.

The methods, the item measure and their numbers were chosen on seeds 100 to 103; the table is of seeds 0 to 2.

What is measured, as median over the seeds with the lowest and the highest:

- AUC: of the order by votes (most votes, then lowest mean score), and of the order by mean score.
- precision, recall: of what the default rule lists (threshold 0, 60 % of the active test pairs; for items, outliers).
  Baselines list as many as the first contender does.
- regained: accuracy on judging pairs of rankers trained without what is listed, less that with everything, as a share
  of the gap between everything and clean data; accuracies are means over all seeds and repeats before they are
  divided. Items that judge take no part in scoring. Where the gap is under half a point there is no share.
- LDS: linear datamodeling score (Park et al. 2023, arXiv 2303.14186): Spearman's rank correlation, over random halves
  of the training pairs, of the summed effects of the pairs in a half with the margin of rankers trained on it,
  as a mean over the active test pairs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from contenders import Finding, findings
from many_rankers import Rankers, Recipe, build_model
from planted_demo import demo_tasks
from planted_tasks import SOURCES, Task, make_tasks
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

ERRORS = [("clean", 0.0), *(("flipped", s) for s in (0.05, 0.15, 0.3)), *(("mislabelled", s) for s in (0.05, 0.1, 0.2))]
LDS_TASK = ("flipped", 0.15)
COLUMNS = ("AUC", "AUC by mean", "precision", "recall", "regained", "LDS")
NO_GAP = 0.005
MIDDLE = (LDS_TASK, ("mislabelled", 0.1))

Case = tuple[str, str, float]  # source, error, share


@dataclass(frozen=True)
class Size:
    """How much is run."""

    sources: tuple[str, ...]
    seeds: int = 3
    repeats: int = 2
    subsets: int = 24
    scale: float = 1.0
    pairs: int = 3000
    retrain: bool = True
    recipe: Recipe = field(default_factory=Recipe)


QUICK = Size(("iris",), seeds=1, repeats=1, subsets=3, scale=0.4, pairs=150, recipe=Recipe(epochs=4, interval=2))


class Results:
    """Measured values by case, contender and column, and judged accuracies by case and variant."""

    def __init__(self) -> None:
        self.values: dict[tuple[Case, str, str], list[float]] = defaultdict(list)
        self.accuracy: dict[tuple[Case, str], list[float]] = defaultdict(list)

    def cell(self, case: Case, name: str, column: str) -> str:
        if column == "regained":
            return self._regained(case, name)
        values = self.values.get((case, name, column))
        if not values:
            return ""
        low, mid, high = np.min(values), np.median(values), np.max(values)
        return f"{mid:.2f} ({low:.2f}-{high:.2f})" if len(values) > 1 else f"{mid:.2f}"

    def _regained(self, case: Case, name: str) -> str:
        without = self.accuracy.get((case, name))
        if not without:
            return ""
        whole = np.mean(self.accuracy[case, "everything"])
        gap = np.mean(self.accuracy[(case[0], "clean", 0.0), "everything"]) - whole
        return f"{(np.mean(without) - whole) / gap:.0%}" if gap >= NO_GAP else "no gap"

    def rows(self, only: tuple[tuple[str, float], ...] | None = None) -> list[tuple[Case, str]]:
        seen = dict.fromkeys((case, name) for case, name in self.accuracy if name != "everything")
        seen |= dict.fromkeys((case, name) for case, name, _ in self.values)
        return sorted(
            (row for row in seen if only is None or row[0][1:] in only or row[0][0] == "demo"),
            key=lambda row: (row[0][1:], row[0][0]),
        )


def evaluate(size: Size, *, rival: bool) -> Results:
    """Run everything."""
    results = Results()
    for name in size.sources:
        one = _demo if name == "demo" else _one
        for seed in range(size.seeds):
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                one(name, seed, size, Path(folder), results, rival=rival and seed == 0)
            print(f"{name}, seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return results


def _one(name: str, seed: int, size: Size, folder: Path, results: Results, *, rival: bool) -> None:
    tasks = make_tasks(name, ERRORS, seed, size.scale, size.pairs)
    inputs = tasks[0].data.train.inputs
    base = Rankers(inputs, [task.data.train_pairs for task in tasks], [seed] * len(tasks), size.recipe)
    folders = [folder / f"{task.error}{task.share}" for task in tasks]
    base.train(folders)
    jobs: list[tuple[Case, str, np.ndarray, Task]] = []
    found: dict[Case, list[Finding]] = {}
    random = np.random.default_rng([seed, 3])
    for task, checkpoints in zip(tasks, folders, strict=True):
        case = (name, task.error, task.share)
        everything = np.ones(len(task.data.train_pairs), dtype=bool)
        jobs.append((case, "everything", everything, task))
        if task.error == "clean":
            continue
        paths = sorted(checkpoints.iterdir(), key=lambda path: int(path.stem.rpartition("_")[2]))
        model = build_model(inputs.shape[1], size.recipe)
        found[case] = findings(
            task, model, paths, size.recipe.loss, folder / "cache", rival=rival and case[1:] == LDS_TASK, seed=seed
        )
        for finding in found[case]:
            _detection(results, case, task, finding)
            jobs.append((case, finding.name, _kept(task, finding.listed), task))
        jobs.append((case, "the truth", ~task.bad_pairs, task))
    if not size.retrain:
        return
    subsets = [random.random(size.pairs) < 0.5 for _ in range(size.subsets)]
    lds_task = next(task for task in tasks if (task.error, task.share) == LDS_TASK)
    lds_pairs = lds_task.data.train_pairs
    halves = [lds_pairs.take(half[: len(lds_pairs)]) for half in subsets]
    lists = [task.data.train_pairs.take(kept) for _, _, kept, task in jobs]
    seeds = [100 + 10 * seed + r for r in range(size.repeats)]
    many = Rankers(
        inputs, (lists + halves) * size.repeats, [s for s in seeds for _ in lists + halves], size.recipe, base.steps
    )
    many.train()
    judged = many.margins(tasks[0].judge.inputs, tasks[0].judge_pairs).reshape(size.repeats, len(lists + halves), -1)
    for k, (case, variant, _, _) in enumerate(jobs):
        results.accuracy[case, variant] += (judged[:, k] > 0).mean(1).tolist()
    data = tasks[0].data
    margins = many.margins(data.test.inputs, data.test_pairs).reshape(size.repeats, len(lists + halves), -1)
    truth = margins[:, len(lists) :].mean(0)
    chosen = np.stack([half[: len(lds_pairs)] for half in subsets]).astype(float)
    case = (name, *LDS_TASK)
    active = next(f.effect for f in found[case] if f.effect is not None).any(0)
    for finding in found[case]:
        if finding.effect is not None:
            results.values[case, finding.name, "LDS"].append(_lds(chosen @ finding.effect, truth, active))


def _demo(name: str, seed: int, size: Size, folder: Path, results: Results, *, rival: bool) -> None:
    tasks, model, checkpoints = demo_tasks(folder / "demo", seed)
    for task in tasks:
        for finding in findings(task, model, checkpoints, size.recipe.loss, folder / "cache", rival=rival, seed=seed):
            _detection(results, (name, task.error, round(task.share, 3)), task, finding)


def _kept(task: Task, listed: np.ndarray) -> np.ndarray:
    """The training pairs that are left without what is listed; all of them where nothing would be left."""
    if task.error == "mislabelled":
        listed = listed[task.data.train_pairs.first] | listed[task.data.train_pairs.second]
    return ~listed if not listed.all() else ~np.zeros_like(listed)


def _detection(results: Results, case: Case, task: Task, finding: Finding) -> None:
    bad, listed = task.bad, finding.listed
    measured = {"AUC": roc_auc_score(bad, finding.order), "recall": listed[bad].mean()}
    if finding.mean is not None:
        measured["AUC by mean"] = roc_auc_score(bad, finding.mean)
    if listed.any():
        measured["precision"] = bad[listed].mean()
    for column, value in measured.items():
        results.values[case, finding.name, column].append(float(value))


def _lds(predicted: np.ndarray, truth: np.ndarray, active: np.ndarray) -> float:
    """Mean over the active test pairs of Spearman's correlation over the subsets (rows)."""
    a, b = (rankdata(values[:, active], axis=0) for values in (predicted, truth))
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return float(((a * b).sum(0)[scale > 0] / scale[scale > 0]).mean())


def render(results: Results, *, markdown: bool) -> str:
    """The table; as Markdown only the middle shares and the demo, as text everything."""
    rows = results.rows(MIDDLE if markdown else None)
    head = ["bad", "data", "by", *COLUMNS]
    cells = [
        [f"{case[1]} {case[2]:.0%}", case[0], name, *(results.cell(case, name, column) for column in COLUMNS)]
        for case, name in rows
    ]
    if markdown:
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])
    widths = [max(len(row[k]) for row in [head, *cells]) for k in range(len(head))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) for row in [head, *cells])


def with_table(text: str, table: str) -> str:
    """The text with its table of the evaluation, the one with an LDS column, exchanged for this one."""
    lines = text.split("\n")
    start = next(k for k, line in enumerate(lines) if line.startswith("|") and "| LDS |" in line)
    stop = next(k for k in range(start, len(lines)) if not lines[k].startswith("|"))
    return "\n".join([*lines[:start], *table.split("\n"), *lines[stop:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, to see that it runs")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")
    parser.add_argument(
        "--sources", default="digits,diabetes,cancer,wine,demo", help=f"comma list of {', '.join(SOURCES)}, demo"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--loss", default="standard", choices=["standard", "logistic"])
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--no-retraining", action="store_true", help="detection alone, in a quarter of the time")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the middle shares into FILE's table as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK
    if not given.quick:
        sources = tuple(given.sources.split(","))
        size = Size(sources, given.seeds, recipe=Recipe(loss=given.loss), retrain=not given.no_retraining)
    results = evaluate(size, rival=not given.no_rival)
    print(render(results, markdown=given.markdown))
    if given.readme:
        text = given.readme.read_text(encoding="utf-8")
        given.readme.write_text(with_table(text, render(results, markdown=True)), encoding="utf-8")


if __name__ == "__main__":
    main()
