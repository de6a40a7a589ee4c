"""The speed-up of several processes over one, with equal threads per process.

    python tests/benchmarks/processes.py --processes 2 --threads 1 --rounds 3

`tracinctl compute --no-cache` runs on random items of the size of spectrograms and the built-in ranker. One process and
several processes take turns, at three sizes: that of the first users, a larger one, and a minute of work or more. The
program prints the wall-clock time of the whole command with its start, the time of the computation that the command
reports, and the processor time of all processes together. On a busy machine only processor time is meaningful: it shows
how much more work several processes do together than one.

For comparison, independent processes run plain passes over the same number of items each. Two hardware threads of one
core, or cores that share memory bandwidth, are less than twice as fast as one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """The size of a project."""

    name: str
    items: int
    held_out: int
    checkpoints: int
    frames: int


SIZES = (
    Size("the users' size", 37, 17, 6, 47),
    Size("a larger size", 120, 40, 12, 188),
    Size("a minute or more", 120, 40, 64, 188),
)
TINY = (Size("tiny", 6, 4, 2, 8),)

SOURCE = '''"""Random spectrograms, and the built-in ranker."""
import numpy as np
import torch

from tracinctl import Pairs, RankingData, Samples
from tracinctl.training.models import build_ranker


def every_pair(items):
    first, second = np.triu_indices(items, 1)
    return Pairs(first, second, np.where((first + second) % 2, 1, -1))


def load(frequency, material):
    inputs = torch.randn({items} + {held_out}, 1, 1025, {frames}, generator=torch.Generator().manual_seed(1))
    names = [f"item{{k}}" for k in range(len(inputs))]
    return RankingData(
        Samples(names[:{items}], inputs[:{items}]),
        every_pair({items}),
        Samples(names[{items}:], inputs[{items}:]),
        every_pair({held_out}),
    )


def build_model():
    return build_ranker("small")
'''


def make_project(folder: Path, size: Size) -> None:
    """A project of this size, with checkpoints of random weights."""
    import torch

    from tracinctl.training.models import build_ranker

    (folder / "sounds.py").write_text(SOURCE.format(**vars(size)))
    (folder / "tracinctl.toml").write_text(
        "material = 'm'\nfrequencies = ['f']\nsource = 'sounds:load'\nmodel = 'sounds:build_model'\n"
    )
    where = folder / "checkpoints" / "m_f"
    where.mkdir(parents=True)
    for k in range(size.checkpoints):
        torch.manual_seed(k)
        torch.save(build_ranker("small").state_dict(), where / f"model_epoch_{k}.pt")


def timed(folder: Path, processes: int, threads: int) -> tuple[float, float, float]:
    """Seconds of the whole command, of the computation without its start, and of the processor."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tracinctl", "compute", "--no-cache", "--processes", str(processes), "--json"]
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, float(json.loads(done.stdout)[0]["seconds"]), processor


PASSES = """
import sys, time
import torch
from tracinctl.training.models import build_ranker

frames, items = map(int, sys.argv[1:])
inputs = torch.rand(items, 1, 1025, frames)
model = build_ranker("small").eval()
model(inputs[:8]).sum().backward()
print(flush=True)
input()
begun = time.perf_counter()
for part in inputs.split(8):
    model(part).sum().backward()
print(time.perf_counter() - begun)
"""


def plain_passes(size: Size, count: int, threads: int) -> float:
    """Seconds of a plain pass of the items, when this many independent processes each run one."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", PASSES, str(size.frames), str(size.items + size.held_out)]
    ways = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **ways) for _ in range(count)]  # type: ignore[call-overload]
    for process in running:
        process.stdout.readline()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in running)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, choices=range(1, 1 + len(SIZES)), action="append", help="default: all")
    parser.add_argument("--tiny", action="store_true", help="only to check that it runs")
    chosen = parser.parse_args(arguments)
    counts = (1, chosen.processes)
    for size in TINY if chosen.tiny else [SIZES[k - 1] for k in chosen.size or range(1, 1 + len(SIZES))]:
        with tempfile.TemporaryDirectory(prefix="processes-") as folder:
            make_project(Path(folder), size)
            plain = [[plain_passes(size, count, chosen.threads) for count in counts] for _ in range(chosen.rounds)]
            turns = [[timed(Path(folder), count, chosen.threads) for count in counts] for _ in range(chosen.rounds)]
        print(
            f"\n{size.name}: {size.items} + {size.held_out} items of 1 x 1025 x {size.frames}, {size.checkpoints} "
            f"checkpoints, {chosen.threads} thread(s) per process"
        )
        alone, shared = (statistics.median(turn[k] for turn in plain) for k in (0, 1))
        print(
            f"  {'plain passes':<14} 1 process {alone:7.2f} s   {chosen.processes} processes {shared:7.2f} s   "
            f"speed-up {chosen.processes * alone / shared:.2f}: the speed-up of independent processes on this machine"
        )
        for column, measure in enumerate(("whole command", "calculation", "processor")):
            alone, shared = (statistics.median(turn[k][column] for turn in turns) for k in (0, 1))
            speed_up = alone / shared * (chosen.processes if measure == "processor" else 1)
            print(
                f"  {measure:<14} 1 process {alone:7.2f} s   {chosen.processes} processes {shared:7.2f} s   "
                f"speed-up {speed_up:.2f}"
            )


if __name__ == "__main__":
    main()
