"""What ``workflow --retrain`` gains on the demo: ``python tests/benchmarks/demo.py --seeds 10``.

Each seed makes its own demo (500 Hz; a quarter of the comparisons flipped, three recordings misfiled), and
``workflow --retrain`` chooses and judges. Figures are points of pair accuracy over the ranker tuned alone, on held-out
recordings that took no part. Each seed writes a file in ``--results``; while the file exists, it is not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

EVERYTHING = "everything"


def run(seed: int) -> dict[str, Any]:
    """Run the workflow on the demo of this seed; return its result with its wall-clock and processor seconds."""
    tracinctl = [sys.executable, "-m", "tracinctl"]
    with tempfile.TemporaryDirectory() as folder:
        make = [*tracinctl, "demo", "demo", "--frequencies", "500hz", "--seed", str(seed)]
        subprocess.run(make, cwd=folder, check=True, capture_output=True)
        began, used = time.monotonic(), _processor_seconds()
        workflow = [*tracinctl, "workflow", "--frequencies", "500hz", "--retrain", "--json"]
        done = subprocess.run(workflow, cwd=Path(folder) / "demo", check=True, capture_output=True, text=True)
        took = {"seconds": time.monotonic() - began, "processor_seconds": _processor_seconds() - used}
        return {**took, **json.loads(done.stdout)[0]["retraining"]}


def _processor_seconds() -> float:
    """Processor seconds of all child processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def gains(result: dict[str, Any]) -> dict[str, float]:
    """Points of each trained arm over training on everything, tuned."""
    accuracy = {arm["name"]: 100 * arm["accuracy"]["mean"] for arm in result["arms"]}
    return {name: own - accuracy[EVERYTHING] for name, own in accuracy.items() if name != EVERYTHING}


def table(results: Sequence[dict[str, Any]]) -> str:
    """One row per arm."""
    rows: dict[str, list[float]] = {}
    for result in results:
        for name, gain in gains(result).items():
            rows.setdefault(name, []).append(gain)
    lines = ["| trained | points over everything, tuned | n |", "| --- | ---: | ---: |"]
    for name, values in rows.items():
        error = f" +- {np.std(values, ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
        lines.append(f"| {name} | {np.mean(values):+.1f}{error} | {len(values)} |")
    verdicts = [result["verdict"] for result in results]
    counts = ", ".join(f"{verdict} {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
    seconds = np.median([result["processor_seconds"] for result in results])
    return "\n".join([*lines, "", f"Verdicts: {counts}. Processor time: {seconds:.0f} s, median."])


def main() -> None:
    """Run the missing seeds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--results", type=Path, default=Path("demo-results"), help="folder of the results")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in range(options.seeds):
        path = options.results / f"{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(run(seed)))
        results.append(json.loads(path.read_text()))
        print(f"seed {seed}: {results[-1]['verdict']}, {results[-1]['processor_seconds']:.0f} s", file=sys.stderr)
    print(table(results))


if __name__ == "__main__":
    main()
