"""The cost of many training pairs: each command on scores, compared with writing or reading the same bytes once.

    python tests/benchmarks/many_pairs.py                      # 1,000 to 500,000 training pairs, one line per command
    python tests/benchmarks/many_pairs.py --readme README.md   # the same, and the table into the README

The project has a plain linear model and kept kernels. Each command runs in its own process. It takes turns with a
process that only writes the same number of bytes to a file and flushes it, or reads them once. The assembly of scores,
which are dropped at once, takes turns with filling the same memory with one number. Memory is the peak minus the memory
after the imports. Times are those of whole commands without the imports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracinctl.scores.source import BLOCK_BYTES, ScoreSource

TEST_PAIRS = 1000
CHECKPOINTS = 3
THRESHOLDS = "0,-0.1,-0.2,-0.5,-1,-2,-3,-5,-8,-10"
SHARES = "0.1%,0.2%,0.5%,1%,2%,3%,5%,8%,10%,20%"
PLAIN_WRITE, PLAIN_READ, PLAIN_FILL = "plain write", "plain read", "plain fill"
ASSEMBLY = "assembly"
COMPUTE = ["compute", "--format", "parquet"]
COMMANDS = {
    "assembly of scores alone": [ASSEMBLY],
    "compute": COMPUTE,
    "sweep, 10 scores": ["sweep", "--thresholds", THRESHOLDS, "--json"],
    "sweep, 10 shares": ["sweep", "--thresholds", SHARES, "--json"],
    "exclude": ["exclude", "--threshold", "0", "--json"],
    "sweep by annotator": ["sweep", "--by", "annotator", "--thresholds", THRESHOLDS, "--json"],
    "exclude by annotator": ["exclude", "--by", "annotator", "--threshold", "0", "--dry-run", "--json"],
    "exclude, items of pairs": ["exclude", "--pair-mode", "full_pair", "--json"],
    "exclude, update metadata": ["exclude", "--update-metadata", "--min-occurrences", "90%", "--json"],
    "plot overview": ["plot", "overview"],
    "plot distribution": ["plot", "distribution"],
    "plot sweep": ["plot", "sweep"],
    "plot heatmap": ["plot", "heatmap"],
    "plot top": ["plot", "top"],
    "plot top, one test pair": [
        "plot",
        "top",
        "--test-pair",
        "plastic_deg000_500hz_held0000_plastic_deg036_500hz_held0001",
    ],
    "plot self": ["plot", "self"],
}
SECTION = "## Many pairs"
CHUNK = 8 << 20

PROJECT = '''"""Enough items for the required pairs, and a linear model."""
import numpy as np
import torch

from tracinctl import Pairs, RankingData, Samples

WANTED, TESTED, WIDTH = {pairs}, {test_pairs}, 16


def every_pair(wanted, value):
    items = int((1 + (1 + 8 * wanted) ** 0.5) / 2) + 1
    first, second = (each[:wanted] for each in np.triu_indices(items, 1))
    groups = {{"annotator": np.arange(wanted) * 7919 % 3000}}
    return items, lambda value: Pairs(first, second, np.where(value[first] > value[second], 1, -1), groups=groups)


def samples(name, items, seed):
    values = np.random.default_rng(seed).standard_normal((items, WIDTH))
    labels = (values[:, 0] > 0).astype(int)
    ids = [f"plastic_deg{{k % 6 * 36:03}}_500hz_{{name}}{{k:04}}" for k in range(items)]
    return Samples(ids, torch.from_numpy(values).float(), labels), values[:, 1]


def load(frequency, material):
    trained, pairs = every_pair(WANTED, None)
    tested, test_pairs = every_pair(TESTED, None)
    train, value = samples("item", trained, 1)
    test, test_value = samples("held", tested, 2)
    return RankingData(train, pairs(value), test, test_pairs(test_value))


def build_model():
    return torch.nn.Linear(WIDTH, 1)
'''


@dataclass(frozen=True)
class Measured:
    """One run: seconds by the clock, seconds of the processor, bytes of memory above the base."""

    clock: float
    processor: float
    memory: int


Row = tuple[str, Measured, Measured]
"""A command: its measurements, and those of the plain bytes beside it."""


def make_project(folder: Path, pairs: int) -> None:
    """A project whose source has ``pairs`` training pairs, and its checkpoints."""
    import torch

    (folder / "many.py").write_text(PROJECT.format(pairs=pairs, test_pairs=TEST_PAIRS))
    (folder / "tracinctl.toml").write_text(
        "material = 'plastic'\nfrequencies = ['500hz']\nsource = 'many:load'\nmodel = 'many:build_model'\n"
        "[compute]\nloss_type = 'logistic'\n"
    )
    where = folder / "checkpoints" / "plastic_500hz"
    where.mkdir(parents=True)
    for k in range(CHECKPOINTS):
        torch.manual_seed(k)
        torch.save(torch.nn.Linear(16, 1).state_dict(), where / f"model_epoch_{k}.pt")


def measure(folder: Path, job: Sequence[str]) -> Measured:
    """One run of a job in a separate process."""
    run = subprocess.run(
        [sys.executable, __file__, "--child", *job], cwd=folder, text=True, stdout=subprocess.PIPE, check=False
    )
    if run.returncode:
        raise SystemExit(f"{' '.join(job)} failed")
    return Measured(*json.loads(run.stdout.splitlines()[-1]))


def child(job: Sequence[str]) -> None:
    """Run a job in this process and print its measurements."""
    import plotext  # noqa: F401 - imports are not measured
    import pyarrow.parquet  # noqa: F401
    import rich.table  # noqa: F401
    import torch  # noqa: F401

    import tracinctl.engine.compute
    import tracinctl.plots.picture
    import tracinctl.scores.files.exclusion_list
    import tracinctl.scores.files.records  # noqa: F401
    from tracinctl.cli.app import app
    from tracinctl.cli.base import run

    said = os.dup(1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    if "-v" not in job:
        os.dup2(silent, 2)
    scores = assembled() if job[0] == ASSEMBLY else None
    base = memory("VmRSS")
    clock, processor = time.perf_counter(), time.process_time()
    code = 0
    if job[0] == PLAIN_WRITE:
        plain_write(int(job[1]))
    elif job[0] == PLAIN_READ:
        plain_read(int(job[1]))
    elif job[0] == PLAIN_FILL:
        plain_fill(int(job[1]))
    elif scores is not None:
        for _ in scores.blocks():
            pass
    else:
        code = run(app, list(job))
    took = [time.perf_counter() - clock, time.process_time() - processor, memory("VmHWM") - base]
    os.write(said, json.dumps(took).encode() + b"\n")
    sys.stdout.flush()
    os._exit(code)


def memory(field: str) -> int:
    """Bytes of this process's memory: VmRSS is the present size, VmHWM the largest so far (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def plain_write(size: int) -> None:
    """Write this many bytes and flush them to the disk, as for score files."""
    data = np.random.default_rng(0).standard_normal(CHUNK // 8).tobytes()
    with Path("plain.bin").open("wb", buffering=0) as file:
        file.writelines(data[: size - start] for start in range(0, size, CHUNK))
        os.fsync(file.fileno())


def plain_read(size: int) -> None:
    """Read this many bytes, in blocks."""
    held = bytearray(CHUNK)
    left = size
    with Path("plain.bin").open("rb", buffering=0) as file:
        while left > 0 and (got := file.readinto(held)):
            left -= got


def plain_fill(size: int) -> None:
    """Fill this many bytes of memory, in blocks like those of scores."""
    for start in range(0, size, BLOCK_BYTES):
        np.empty(min(BLOCK_BYTES, size - start) // 8).fill(1.0)


def assembled() -> ScoreSource:
    """The project's scores, from kept kernels; blocks are not computed yet."""
    from tracinctl.engine.checkpoints.listing import list_checkpoints
    from tracinctl.engine.compute import compute_scores
    from tracinctl.engine.compute_options import ComputeOptions
    from tracinctl.engine.losses import LossSettings

    sys.path.insert(0, ".")
    project = importlib.import_module("many")
    checkpoints = list_checkpoints(Path("checkpoints/plastic_500hz"), "model_epoch_")
    options = ComputeOptions(LossSettings("logistic"), cache=Path(".tracinctl/assembly"))
    return compute_scores(project.load("500hz", "plastic"), project.build_model(), checkpoints, options).scores


def size_of(pairs: int, rounds: int, folder: Path) -> list[Row]:
    """Measure each command at this size, and the plain bytes beside it."""
    make_project(folder, pairs)
    measure(folder, COMPUTE)
    size = str(8 * pairs * TEST_PAIRS)
    measure(folder, [PLAIN_WRITE, size])
    rows = []
    for name, command in COMMANDS.items():
        turns = [(measure(folder, [beside(command), size]), measure(folder, command)) for _ in range(rounds)]
        rows.append((name, *(middle([turn[k] for turn in turns]) for k in (1, 0))))
    return rows


def middle(runs: Sequence[Measured]) -> Measured:
    """The medians of the times, and the largest memory."""
    clock, processor = (statistics.median(getattr(run, of) for run in runs) for of in ("clock", "processor"))
    return Measured(clock, processor, max(run.memory for run in runs))


def markdown(found: dict[int, list[Row]]) -> str:
    """The table for the README: seconds by size, and ratios to the plain bytes at the largest size."""
    largest = max(found)
    sizes = sorted(found)
    shown = {size: {name: took.clock for name, took, _ in found[size]} for size in sizes}
    for size in sizes:
        for plain_work in (PLAIN_FILL, PLAIN_WRITE, PLAIN_READ):
            turns = [plain.clock for name, _, plain in found[size] if beside(COMMANDS[name]) == plain_work]
            if turns:
                shown[size][plain_work] = statistics.median(turns)
    heads = [f"{TEST_PAIRS:,} test pairs", *(f"{size:,} pairs" for size in sizes)]
    heads += ["times the plain bytes: by the clock", "by the processor", "memory"]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" + " ---: |" * (len(heads) - 1)]
    ratios = {}
    for name, took, plain in found[largest]:
        clock, processor = took.clock / plain.clock, took.processor / plain.processor
        ratios[name] = f"{clock:.1f} | {processor:.1f} | {took.memory / 2**20:,.0f} MiB"
    for name in shown[largest]:
        seconds = " | ".join(f"{shown[size][name]:.2g} s" for size in sizes)
        lines.append(f"| {name} | {seconds} | {ratios.get(name, '1 | 1 |')} |")
    return "\n".join(lines)


def with_table(text: str, table: str) -> str:
    """The text with this table in place of the one at the end of its section about many pairs."""
    lines = text.split("\n")
    start = lines.index(SECTION)
    stop = next(k for k in range(start + 1, len(lines)) if lines[k].startswith("## "))
    section = [line for line in lines[start:stop] if not line.startswith("|")]
    while not section[-1]:
        section.pop()
    return "\n".join([*lines[:start], *section, "", table, "", *lines[stop:]])


def beside(command: Sequence[str]) -> str:
    """The plain work that a command is compared with."""
    return {ASSEMBLY: PLAIN_FILL, "compute": PLAIN_WRITE}.get(command[0], PLAIN_READ)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000,500000", help="training pairs, with commas")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="commands whose name begins like this")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="put the table into FILE's section about many pairs"
    )
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        child(chosen.child)
    if chosen.only:
        for name in [command for command in COMMANDS if not command.startswith(chosen.only)]:
            del COMMANDS[name]
    found = {}
    for pairs in map(int, chosen.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="many-pairs-") as folder:
            rows = found[pairs] = size_of(pairs, chosen.rounds, Path(folder))
        print(f"\n{pairs:,} training pairs x {TEST_PAIRS:,} test pairs, {8 * pairs * TEST_PAIRS / 2**20:,.0f} MiB")
        heads = ("clock", "plain", "ratio", "processor", "plain", "ratio", "memory")
        print(" " * 26 + "".join(f"{head:>{n}}" for head, n in zip(heads, (9, 9, 7, 12, 9, 7, 11), strict=True)))
        for name, took, plain in rows:
            clock = f"{took.clock:>8.2f}s{plain.clock:>8.2f}s{took.clock / plain.clock:>7.1f}"
            work = f"{took.processor:>11.2f}s{plain.processor:>8.2f}s{took.processor / plain.processor:>7.1f}"
            print(f"  {name:<24}{clock}{work}{took.memory / 2**20:>7,.0f} MiB", flush=True)
    if chosen.readme:
        text = chosen.readme.read_text(encoding="utf-8")
        chosen.readme.write_text(with_table(text, markdown(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
