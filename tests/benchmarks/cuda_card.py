"""The engine on a CUDA card, in under ten minutes: ``python tests/benchmarks/cuda_card.py``.

It first runs the tests of the engine and of the stacks of rankers, which use the card by default. Then each kind of
work takes turns with its floor on the same card: one plain forward and backward pass of every item at every checkpoint,
in the fastest of several batch sizes. Scores are compared with those of the processor. Memory is the largest amount
that torch holds on the card. Work that has not begun after ``--minutes`` is named and left out.

Without a card it prints so and exits with status 3. ``--device cpu --tiny`` runs everything on the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embedding_tables
import engine_speed
import many_items
import numpy as np
import preference_pairs
import text_model
import torch

from tracinctl import RankingData
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.losses import LossSettings

NO_CARD = 3
ROOT = Path(__file__).resolve().parents[2]
TESTS = ["tests/engine", "tests/training", "tests/retraining/test_stack.py"]
BATCHES = (32, 256, 2048)
WARM, ROUNDS = 1, 3


@dataclass(frozen=True)
class Case:
    """One kind of work."""

    name: str
    data: RankingData
    model: torch.nn.Module
    paths: Sequence[Path]
    loss: str = "logistic"
    projection_dim: int | None = None


def saved(model: torch.nn.Module, folder: Path) -> list[Path]:
    path = folder / "model_epoch_1.pt"
    torch.save(model.state_dict(), path)
    return [path]


def spectrograms(folder: Path, model: str, frames: int, *, tiny: bool) -> Case:
    shape, items = ((40, frames), (7, 4)) if tiny else ((1025, frames), (engine_speed.TRAIN, engine_speed.TEST))
    work = engine_speed.make_workload(model, shape, folder, 10, items)
    return Case(f"spectrograms, {work.name}", work.data, work.model(), work.paths, "standard")


def preferences(folder: Path, model: str, *, tiny: bool) -> Case:
    data, built = preference_pairs.make(model, 8 if tiny else 64, 12 if tiny else 2000, 3 if tiny else 200)
    return Case(f"preference pairs, {model}", data, built, saved(built, folder))


def text(folder: Path, *, tiny: bool) -> Case:
    data, model = text_model.task(20 if tiny else 2000), text_model.build(tiny=tiny)
    return Case("text model, projected to 1,024", data, model, saved(model, folder), projection_dim=1024)


def tables(folder: Path, *, tiny: bool) -> Case:
    users, items, pairs, held_out = (9, 11, 12, 3) if tiny else (943, 1682, 2000, 300)
    model = embedding_tables.Tables(users, items, 32)
    data = embedding_tables.make(users, items, pairs, held_out)
    return Case("embedding tables", data, model, saved(model, folder))


def many(folder: Path, *, tiny: bool) -> Case:
    size = many_items.Size(60, 300, 20) if tiny else many_items.Size(20_000, 200_000, 400)
    data = many_items.make_data(size)
    return Case(f"many items: {size}", data, many_items.build_model(), many_items.train(data, folder))


def cases(*, tiny: bool) -> dict[str, Callable[[Path], Case]]:
    """The cases by name; each is built when its turn comes."""
    made: dict[str, Callable[[Path], Case]] = {
        f"spectrograms, {model}, {frames}": (lambda f, m=model, n=frames: spectrograms(f, m, n, tiny=tiny))  # type: ignore[misc]
        for model, frames in (("small", 47), ("wide", 47), ("small", 188), ("wide", 188))
    }
    made |= {
        f"preference pairs, {model}": (lambda f, m=model: preferences(f, m, tiny=tiny))  # type: ignore[misc]
        for model in ("perceptron", "encoder")
    }
    made["embedding tables"] = lambda f: tables(f, tiny=tiny)
    made["many items"] = lambda f: many(f, tiny=tiny)
    made["text model"] = lambda f: text(f, tiny=tiny)
    return made


def done(device: torch.device) -> None:
    """Wait until the card has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def floor(case: Case, device: torch.device, batch: int) -> None:
    """A pass of every item at every checkpoint; inputs are sent to the card in batches."""
    model = case.model.to(device).eval()
    for path in case.paths:
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state.get("model_state_dict", state))
        for samples in (case.data.train, case.data.test):
            for start in range(0, len(samples), batch):
                some = slice(start, start + batch)
                model.zero_grad(set_to_none=True)
                if isinstance(samples.inputs, dict):
                    scores = model(**{name: value[some].to(device) for name, value in samples.inputs.items()})
                else:
                    scores = model(samples.inputs[some].to(device))
                scores.sum().backward()
    done(device)


def engine(case: Case, device: torch.device, dtype: str = "float32") -> Any:
    """tracinctl, from checkpoint files to the table of scores."""
    options = ComputeOptions(
        LossSettings(case.loss), device=str(device), dtype=dtype, projection_dim=case.projection_dim
    )
    scores = compute_scores(case.data, case.model, case.paths, options).scores.table().scores
    done(device)
    return scores


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median of some rounds after a warm-up round."""
    times = []
    for _ in range(WARM + rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[WARM:])


def measure(case: Case, device: torch.device, rounds: int) -> str:
    """A row of the table."""
    floors = {batch: seconds(lambda: floor(case, device, batch), rounds) for batch in BATCHES}  # noqa: B023 - called at once
    best = min(floors, key=floors.__getitem__)
    held = 0.0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    took = seconds(lambda: engine(case, device), rounds)
    if device.type == "cuda":
        held = torch.cuda.max_memory_allocated(device) / 2**20
    ours, processor = engine(case, device), engine(case, torch.device("cpu"))
    off = np.abs(ours - processor).max() / np.abs(processor).max()
    return (
        f"| {case.name} | {floors[best]:.3g} s in batches of {best:,} | {took:.3g} s | {took / floors[best]:.2f} | "
        f"{held:,.0f} MiB | {off:.1e} |"
    )


def run_tests(limit: float) -> str:
    """Run the tests of the engine and of the stacks; return the result in words."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "8", "-p", "no:cacheprovider", *TESTS]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {limit:.0f} s"
    lines = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([*lines, *ended.stdout.splitlines()[-1:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no further work begins")
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--only", default="", help="work whose name begins like this")
    parser.add_argument("--tiny", action="store_true", help="very small items, to check that everything runs")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no CUDA card; nothing was measured", file=sys.stderr)
        return NO_CARD
    device, begun = torch.device(options.device), time.perf_counter()
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no card"
    print(f"{card}, torch {torch.__version__}, Python {sys.version.split()[0]}", flush=True)
    if not options.no_tests:
        print(f"tests of the engine and of the stacks: {run_tests(options.minutes * 60 / 2)}", flush=True)
    print("\n| work | floor | tracinctl, cold | ratio | on the card | off the processor's scores |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, make in cases(tiny=options.tiny).items():
        if not name.startswith(options.only):
            continue
        if time.perf_counter() - begun > 60 * options.minutes:
            print(f"| {name} | not begun: no time left | | | | |")
            continue
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            print(measure(make(Path(folder)), device, options.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
