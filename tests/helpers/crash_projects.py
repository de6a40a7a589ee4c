"""Projects for killed commands, and checks of their state afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wav_trees import tree

SETTINGS = """
material = "plastic"
frequencies = ["500hz", "1000hz"]

[features]
n_fft = 64
hop = 64

[train]
epochs = 3
checkpoint_interval = 1
"""
KILLED = -9


@dataclass
class End:
    """How a run ended.

    Attributes:
        code: its exit code.
        seconds: how long it took.
        changes: number of its changes to files, as seen by Python.
        said: its output.
        operations: number of its operations on the disk, counted by ``disk_faults.c``.
        failures: number of these that failed or were incomplete.
    """

    code: int
    seconds: float
    changes: int
    said: str
    operations: int = 0
    failures: int = 0


def disk_faults_library(folder):
    """``disk_faults.c`` as a library; None without a compiler."""
    library = Path(folder) / "disk_faults.so"
    source = Path(__file__).with_name("disk_faults.c")
    try:
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return library if done.returncode == 0 and sys.platform == "linux" else None


class CrashServer:
    """Run commands in separate processes, which can be killed."""

    def __init__(self, folder):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "500"}
        library = disk_faults_library(folder)
        self.disk_can_fail = library is not None
        if library:
            environment |= {"LD_PRELOAD": str(library), "DISK_FAULTS": str(library)}
        forks = "ignore:This process:DeprecationWarning"  # from Python 3.12 on, if libraries have started threads
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-W", forks, str(Path(__file__).with_name("crash_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, folder, arguments, **how):
        return self.together(folder, [arguments], **how)[0]

    def together(self, folder, commands, **how):
        """Run commands side by side."""
        jobs = [{"folder": str(folder), "arguments": arguments, **how} for arguments in commands]
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        return [End(**end) for end in json.loads(self.process.stdout.readline())]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def made(run, folder):
    """A project of two small frequencies, trained."""
    folder.mkdir()
    for frequency in ("500hz", "1000hz"):
        tree(folder / "data", takes=4, frequency=frequency)
    (folder / "tracinctl.toml").write_text(SETTINGS)
    ran(run(folder, ["train", "--epochs", "2"]))
    return folder


def ran(end):
    assert end.code == 0, end.said


@dataclass(frozen=True)
class Case:
    """A command, and the steps in the project before it."""

    arguments: list[str]
    before: list[list[str]]
    fresh: bool = False


CASES = {
    "compute": Case(
        ["compute", "--frequency", "500hz", "--save-per-checkpoint"],
        [["compute", "--frequency", "500hz", "--margin", "3"]],
    ),
    "compute over another format": Case(
        ["compute", "--frequency", "500hz", "--format", "parquet"],
        [["compute", "--frequency", "500hz", "--margin", "3", "--no-cache"]],
    ),
    "train": Case(["train", "--frequency", "500hz"], [], fresh=True),
    "train again": Case(["train", "--frequency", "500hz", "--margin", "2", "--force"], []),
    "exclude": Case(
        ["exclude", "--frequency", "500hz", "--update-metadata", "--min-occurrences", "1"],
        [["compute", "--frequency", "500hz", "--margin", "9"], ["exclude", "--frequency", "500hz"]],
    ),
    "workflow": Case(
        ["workflow", "--report", "report.md"],
        [["workflow", "--margin", "3", "--min-occurrences", "1"]],
    ),
    "demo": Case(["demo", "."], [], fresh=True),
    "demo elsewhere": Case(["demo", "sub/my demo"], [], fresh=True),
}


def prepared(run, case, start, folder):
    """The project before the command."""
    if case.arguments[0] == "demo":
        folder.mkdir()
        return folder
    shutil.copytree(start, folder)
    if case.fresh:
        shutil.rmtree(folder / "checkpoints")
    for arguments in case.before:
        ran(run(folder, arguments))
    return folder


def contents(folder):
    """Relative path -> bytes of every visible file, without dates."""
    bytes_by_path = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not hidden(name):
            data = path.read_bytes()
            bytes_by_path[name] = (
                re.sub(rb"\d{4}-\d\d-\d\d", b"DATE", data) if path.suffix in {".json", ".md"} else data
            )
    return bytes_by_path


def hidden(name):
    return name.endswith(".lock") or ".tracinctl-" in name or name == ".tracinctl/digests.json"


def leftovers(folder):
    """The temporary files and locks in the folder."""
    return [path.name for path in folder.rglob("*") if ".tracinctl-" in path.name or path.suffix == ".lock"]


def assert_old_or_new(folder, before, after, how, said=""):
    """Check that every file is as before the command or as after it.

    A report may instead be complete and contain the failures that were ``said``.
    """
    now = contents(folder)
    for name, data in now.items():
        if name == "report.md" and data not in (before.get(name), after[name]):
            assert_tells_of_failures(folder, data.decode(), after[name].decode(), said, how)
            continue
        assert data in (before.get(name), after.get(name)), f"{name} is neither the old nor the new one, {how}"
    lost = [name for name in before if name in after and name not in now]
    assert not lost, f"{lost} were there before and are there after, but not now, {how}"


def assert_tells_of_failures(folder, now, whole, said, how):
    """Check that a report is complete except for the frequencies that failed, for which it has the command's reasons.

    The command's paths begin in the current folder.
    """
    (start, *sections), (whole_start, *whole_sections) = now.split("\n## "), whole.split("\n## ")
    assert len(sections) == len(whole_sections), how
    failed = []
    for section, wanted in zip(sections, whole_sections, strict=True):
        if section == wanted:
            continue
        title, _, rest = section.partition("\n\n> **")
        assert title == wanted.partition("\n")[0], how
        reason, _, hint = rest.replace("\\", "").partition("**\n")
        assert reason, how
        assert f"error: {title}: {reason}\n".replace(f"{folder}{os.sep}", "") in said, how
        assert all(line.startswith(">") or not line for line in hint.splitlines()), how
        failed.append(title)
    assert failed, how
    for line, wanted in zip(start.splitlines(), whole_start.splitlines(), strict=True):
        told = [title for title in failed if line.startswith(f"| {title} | failed |")]
        assert line == wanted or told, how


def assert_finishes(run, case, folder, after, how):
    """Check that the next run has exactly the result of an undisturbed run."""
    end = run(folder, case.arguments)
    done = case.arguments[0] == "demo" and "is not an empty folder" in end.said
    assert end.code == 0 or done, f"{end.said}\n{how}"
    now = contents(folder)
    assert now.keys() == after.keys(), how
    assert [name for name in now if now[name] != after[name]] == [], how
    assert leftovers(folder) == [], how
