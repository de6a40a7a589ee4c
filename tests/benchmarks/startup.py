"""The time of help and completion, compared with a bare typer program: ``python tests/benchmarks/startup.py``.

Each contender is a separate process, timed from its start to its end. All take turns in every round, so that a slow
moment of the machine affects them all. The time is processor time (user and system), which other work on the machine
changes little. The ratio is that of the medians. The bare program has one command with one option and no rich help, so
it is the smallest typer program.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 1.3
"""Limit of the ratio to the bare program."""

BARE = """\
import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def greet(name: str = typer.Option("you", help="Whom to greet.")) -> None:
    print(name)


@app.callback()
def program() -> None:
    pass


app(prog_name="bare")
"""

OURS = "import sys; from tracinctl.cli.app import main; sys.argv[0] = 'tracinctl'; sys.exit(main())"


@dataclass
class Contender:
    """A process to time: its arguments, its environment, the text that it must print, and its times."""

    name: str
    arguments: Sequence[str]
    variables: dict[str, str]
    says: str
    seconds: list[float] = field(default_factory=list)

    def run(self, folder: Path) -> None:
        """Run it once and record its processor time."""
        # byte code exists, as after an installation
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = subprocess.run(
            [sys.executable, *self.arguments],
            env={**environment, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), **self.variables},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if self.says not in answer.stdout:
            raise SystemExit(f"{self.name} did not print {self.says!r}: {answer.stdout}{answer.stderr}")
        self.seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def project(folder: Path) -> None:
    """A project folder with settings, and with ten frequencies to complete."""
    for k in range(10):
        (folder / "checkpoints" / f"plastic_{k + 1}00hz").mkdir(parents=True)
        (folder / "checkpoints" / f"plastic_{k + 1}00hz" / "model_epoch_5.pt").touch()
    (folder / "tracinctl.toml").write_text('material = "plastic"\n')
    (folder / "bare.py").write_text(BARE)


def contenders() -> dict[str, tuple[Contender, list[Contender]]]:
    """The contenders for help and for completion: the bare program and tracinctl."""
    bash = {"COMP_WORDS": "bare gr", "COMP_CWORD": "1", "_BARE_COMPLETE": "complete_bash"}
    complete = {"_TRACINCTL_COMPLETE": "complete_bash"}
    return {
        "help": (
            Contender("bare --help", ["bare.py", "--help"], {}, "--help"),
            [
                Contender("tracinctl --help", ["-c", OURS, "--help"], {}, "workflow"),
                Contender("tracinctl workflow --help", ["-c", OURS, "workflow", "--help"], {}, "--report"),
            ],
        ),
        "completion": (
            Contender("bare gr<TAB>", ["bare.py"], bash, "greet"),
            [
                Contender("tracinctl sw<TAB>", ["-c", OURS, "sw"], complete, "sweep"),
                Contender(
                    "tracinctl workflow --frequencies 100hz,<TAB>",
                    ["-c", OURS, "workflow", "--frequencies", "100hz,"],
                    complete,
                    "100hz,900hz",
                ),
            ],
        ),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Time everything and print a table; the exit status is 1 if the limit is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="processes of each contender (default 30)")
    rounds: int = parser.parse_args(arguments).rounds
    groups = contenders()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder)
        for turn in range(rounds + 1):
            for bare, programs in groups.values():
                for contender in (bare, *programs):
                    contender.run(folder)
                    if not turn:  # the first run writes byte code and warms the file cache
                        contender.seconds.clear()
    worst = 0.0
    print(f"{'processor time, median of ' + str(rounds):<48}{'ms':>6}{'ratio':>8}")
    for bare, programs in groups.values():
        floor = statistics.median(bare.seconds)
        for contender in (bare, *programs):
            ratio = statistics.median(contender.seconds) / floor
            worst = max(worst, ratio)
            print(f"{contender.name:<48}{1000 * statistics.median(contender.seconds):>6.0f}{ratio:>8.2f}")
    print(f"limit {LIMIT}: {'kept' if worst <= LIMIT else 'exceeded'}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
