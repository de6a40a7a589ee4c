"""Ctrl-C in ``--retrain``: finished trainings are kept, and the same command continues."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from command_line import CommandLine
from places import ROOT
from wav_trees import retrainable

from tracinctl.retraining.workers import _BEGIN, train_in_workers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")

RULE = ["--threshold", "90%", "--max-exclusions", "40"]


@pytest.fixture
def project(capsys, tmp_path, monkeypatch):
    retrainable(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert CommandLine(capsys)("train").code == 0
    (tmp_path / "temporary").mkdir()
    return tmp_path


def begun(folder, *arguments):
    """Start a run in its own process group, as a terminal does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "temporary")}
    return subprocess.Popen(
        [sys.executable, "-m", "tracinctl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def interrupted(process, when):
    """Send Ctrl-C to all processes of a run, as a terminal does, and check that they end with the right message."""
    end = time.monotonic() + 100
    while not when():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.endswith(
        "warning: interrupted\n"
        "  Finished trainings are kept in .tracinctl/retraining; run the same command to continue.\n"
    )
    while is_left(process.pid):
        assert time.monotonic() < end + 30, "a process of the run is left"
        time.sleep(0.02)


def is_left(group):
    """Whether a process of the group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def alive(pid):
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


def kept(folder):
    return sorted(folder.glob(".tracinctl/retraining/*/[!.]*.json"))


SWEEP = pytest.param(["sweep", "--thresholds", "20%"], id="sweep", marks=pytest.mark.nightly)


@pytest.mark.parametrize("command", [pytest.param(["workflow", *RULE], id="workflow"), SWEEP])
def test_finished_trainings_are_kept_and_the_same_command_continues(project, capsys, command):
    cli = CommandLine(capsys)
    if command[0] == "sweep":
        assert cli("compute").code == 0
    arguments = [*command, "--retrain", "--repeats", "2", "--at-once", "1"]
    interrupted(begun(project, *arguments), lambda: len(kept(project)) >= 2)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept(project)}
    again = cli(*arguments)
    assert again.code == 0, again.err
    assert sum(map(int, re.findall(r"(\d+) finished earlier", again.err))) >= len(before)
    assert len(kept(project)) > len(before) >= 2
    for path, whole in before.items():
        assert (path.read_bytes(), path.stat().st_mtime_ns) == whole


def test_ctrl_c_before_a_process_is_fed_ends_it(monkeypatch):
    class Interrupted(threading.Thread):
        def start(self):
            raise KeyboardInterrupt

    started = []
    popen = subprocess.Popen
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    monkeypatch.setattr("threading.Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_in_workers(None, [{"key": None}], 2, lambda *_: None, lambda *_: None)
    assert len(started) == 2
    assert all(process.poll() is not None and process.stdin.closed and process.stdout.closed for process in started)


@pytest.mark.parametrize("sent", [0, 1, 2], ids=["nothing", "half of the path", "the path and half of the trainer"])
def test_a_new_process_ends_silently_if_its_parent_is_gone(sent):
    path = pickle.dumps(sys.path)
    content = (b"", path[:-3], path + pickle.dumps(list(range(1000)))[:-3])[sent]
    run = subprocess.run(
        [sys.executable, "-c", _BEGIN], input=content, capture_output=True, check=False, start_new_session=True
    )
    assert run.returncode in (0, -signal.SIGKILL)
    assert run.stdout == run.stderr == b""


def test_new_processes_end_silently(project):
    run = begun(project, "workflow", *RULE, "--retrain", "--repeats", "2", "--at-once", "2")
    workers = []
    interrupted(run, lambda: workers.extend(children(run.pid)) or len(workers) >= 2)
    assert list((project / "temporary").iterdir()) == []
    assert len(kept(project)) == 1, "one training runs before the processes"
    assert not any(map(alive, workers))
