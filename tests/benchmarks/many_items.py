"""The cost of many items: each part of the work for each method, and its growth with pairs and items.

    python tests/benchmarks/many_items.py                # 100,000 items, 1,000,000 pairs on 2,000 held-out ones
    python tests/benchmarks/many_items.py --share 0.1    # a tenth of the items, pairs and held-out pairs
    python tests/benchmarks/many_items.py --share 0.1 --growth  # also twice the pairs, and twice the items

Items are 20 numbers, the model is a perceptron, and a tenth of the comparisons are wrong. Each run is its own process.
It makes the kernels of two checkpoints in a folder, then computes the scores of each method from them, block by block,
and keeps only their sum. Times are wall-clock and processor seconds. Memory is the peak minus the memory after the
items and the model are made; ``memory`` limits it.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.losses import LossSettings
from tracinctl.engine.options import METHODS

FEATURES = 20
CHECKPOINTS = 2
MEMORY = 4 << 30
TEST_ITEMS = 0.5  # per held-out pair


@dataclass(frozen=True)
class Size:
    """The number of items, pairs and held-out pairs."""

    items: int
    pairs: int
    held_out: int

    def __str__(self) -> str:
        return f"{self.items:,} items, {self.pairs:,} pairs on {self.held_out:,} held-out ones"


FULL = Size(100_000, 1_000_000, 2_000)


def make_data(size: Size) -> RankingData:
    """Items of random numbers, and distinct pairs ranked by a random direction; a tenth of the pairs are reversed."""
    random = np.random.default_rng(0)
    direction = random.standard_normal(FEATURES)

    def side(letter: str, items: int, pairs: int) -> tuple[Samples, Pairs]:
        values = random.standard_normal((items, FEATURES)).astype(np.float32)
        first = random.integers(0, items, pairs)
        second = (first + random.integers(1, items, pairs)) % items
        _, once = np.unique(first * items + second, return_index=True)
        first, second = first[np.sort(once)], second[np.sort(once)]
        target = np.where((values[first] - values[second]) @ direction > 0, 1, -1)
        target[random.random(len(target)) < 0.1] *= -1
        return Samples([f"{letter}{k}" for k in range(items)], torch.from_numpy(values)), Pairs(first, second, target)

    tested = max(4, round(TEST_ITEMS * size.held_out))
    return RankingData(*side("t", size.items, size.pairs), *side("h", tested, size.held_out))


def build_model() -> nn.Module:
    """A perceptron of 1,761 parameters."""
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


def train(data: RankingData, folder: Path) -> list[Path]:
    """Checkpoints after each half of an epoch over up to 100,000 pairs."""
    torch.manual_seed(0)
    model, paths = build_model(), []
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    rows = torch.randperm(len(data.train_pairs))[:100_000]
    pairs, inputs = data.train_pairs, data.train.inputs
    for half in rows.chunk(CHECKPOINTS):
        for some in half.split(64):
            x, z = (model(inputs[side[some]]).squeeze(1) for side in (pairs.first, pairs.second))
            optimizer.zero_grad()
            nn.functional.softplus(-torch.from_numpy(pairs.target[some.numpy()]) * (x - z)).mean().backward()
            optimizer.step()
        paths.append(folder / f"model_epoch_{len(paths) + 1}.pt")
        torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, paths[-1])
    return paths


def resident(field: str) -> int:
    """Bytes of this process's memory: VmRSS is the present size, VmHWM the largest so far (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def child(size: Size, methods: Sequence[str], memory: int) -> list[dict[str, Any]]:
    """Run all parts in this process, one after another."""
    parts: list[dict[str, Any]] = []
    data = make_data(size)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # measure the peak from here
        clock, processor = time.perf_counter(), time.process_time()
        yield
        took = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
        parts.append({"part": name, **took, "memory": resident("VmHWM") - base})
        print(f"  {name}: {took['processor']:.1f} s of the processor", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="many-items-") as name:
        folder = Path(name)
        paths = train(data, folder)

        def opened(method: str) -> Any:
            options = ComputeOptions(
                LossSettings("logistic"), device="cpu", memory=memory, method=method, cache=folder / "kernels"
            )
            return compute_scores(data, build_model(), paths, options)

        base = resident("VmRSS")
        with part("kernels, computed"):
            result = opened("tracin")
        for method in methods:
            del result
            with part(f"{method}: kernels, opened"):
                result = opened(method)
            parts[-1]["notes"] = [note for note in result.notes if "landmarks" in note]
            scores, total = result.scores, 0.0
            with part(f"{method}: scores"):
                for _, block in scores.blocks():
                    total += float(np.abs(block).sum())
            with part(f"{method}: self-influence"):
                total += float(scores.self_influence.sum())
            if not np.isfinite(total) or not total:
                raise SystemExit(f"{method}: scores add up to {total}")
            del scores
        with part("item-level view"):
            _ = result.scores.sample_influence.sum()
    return parts


def run(size: Size, methods: Sequence[str], memory: int) -> list[dict[str, Any]]:
    """Run all parts in a separate process."""
    command = [sys.executable, __file__, "--child", json.dumps(vars(size)), "--memory", str(memory)]
    for method in methods:
        command += ["--method", method]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{size} failed")
    parts: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return parts


def growth(parts: Sequence[dict[str, Any]], others: Sequence[Sequence[dict[str, Any]]], at: int) -> str:
    """Ratios of processor time of the other sizes to this one."""
    return "".join(f" {other[at]['processor'] / max(1e-3, parts[at]['processor']):.2f} |" for other in others)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the items, pairs and held-out pairs")
    parser.add_argument("--growth", action="store_true", help="also twice the pairs, and twice the items")
    parser.add_argument("--method", choices=list(METHODS), action="append", help="default: all")
    parser.add_argument("--memory", type=int, default=MEMORY, help="bytes")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    methods = options.method or list(METHODS)
    if options.child:
        print(json.dumps(child(Size(**json.loads(options.child)), methods, options.memory)))
        return
    size = Size(*(round(options.share * count) for count in vars(FULL).values()))
    measure: Callable[[Size], list[dict[str, Any]]] = lambda size: run(size, methods, options.memory)  # noqa: E731
    parts = measure(size)
    twice = [Size(size.items, 2 * size.pairs, size.held_out), Size(2 * size.items, size.pairs, size.held_out)]
    others = [measure(each) for each in twice] if options.growth else []
    print(
        f"\n{size}, {CHECKPOINTS} checkpoints, {options.memory / 2**20:,.0f} MiB, {torch.get_num_threads()} threads\n"
    )
    print("| part | clock | processor | memory |" + " twice the pairs | twice the items |" * options.growth)
    print("| --- | ---: | ---: | ---: |" + " ---: | ---: |" * options.growth)
    for at, part in enumerate(parts):
        times = f"{part['clock']:.1f} s | {part['processor']:.1f} s | {part['memory'] / 2**20:,.0f} MiB |"
        print(f"| {part['part']} | {times}{growth(parts, others, at)}")
        for note in part.get("notes", []):
            print(f"  {note}", file=sys.stderr)


if __name__ == "__main__":
    main()
