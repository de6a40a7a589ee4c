"""The user's commands end with tracinctl, however it ends, and no two runs share a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from places import HELPERS, ROOT

from tests.retraining.test_command_trainer import trainer
from tests.retraining.test_interrupt import alive
from tracinctl.errors import TrainingError
from tracinctl.retraining.run_folder import clear_left_over, run_folder
from tracinctl.retraining.runs import run_trainings
from tracinctl.retraining.trainer import Training

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and locks are POSIX")

# a command that starts another program, writes both process ids, and waits
WAITS = """
import os, pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[2], "pids.part").write_text(f"{os.getpid()} {child.pid}")
os.replace(sys.argv[2] + "/pids.part", sys.argv[2] + "/pids")
child.wait()
"""
RUN = """
import pathlib, sys
sys.path.insert(0, {root!r})
import tests.retraining.test_run_folder as t
own = t.waiting(pathlib.Path({folder!r}))
t.run_trainings(own, [t.Training("x", 1, 7, ())], own.work, at_once=1, progress=lambda _: None)
"""


def waiting(folder):
    own = trainer(folder, command=f"'{sys.executable}' wait.py {{exclusions_file}} {{output_dir}}")
    (own.root / "wait.py").write_text(WAITS)
    return own


def until(what):
    end = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def started(folder):
    """Start a run that trains by a command; return its process and the ids of the command's processes."""
    environment = {**os.environ, "PYTHONPATH": str(HELPERS)}
    program = RUN.format(root=str(ROOT), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    (path,) = until(lambda: list(folder.glob("my project/work/run-*/output/pids")))
    return process, [int(pid) for pid in path.read_text().split()]


GENTLE = [pytest.param(how, marks=pytest.mark.nightly) for how in ("SIGTERM", "SIGHUP")]


@pytest.mark.parametrize("how", ["SIGKILL", *GENTLE])
def test_a_command_and_its_children_end_with_tracinctl(tmp_path, how):
    process, pids = started(tmp_path)
    process.send_signal(getattr(signal, how))
    process.wait()
    until(lambda: not any(map(alive, pids)))


def test_the_next_run_ends_a_command_that_outlived_tracinctl(tmp_path):
    work = tmp_path / "work"
    program = (
        "import subprocess, sys, time\nfrom tracinctl.retraining.run_folder import run_folder\nimport pathlib\n"
        f"with run_folder(pathlib.Path({str(work)!r}), 'key') as (folder, lock):\n"
        "    child = subprocess.Popen(['sleep', '600'], pass_fds=(lock,))\n"
        "    print(child.pid, flush=True)\n    time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    pid = int(owner.stdout.readline())
    assert clear_left_over(work) == [], "the owner is alive"
    assert alive(pid)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert alive(pid), "the command outlives its owner"
    assert len(clear_left_over(work)) == 1
    until(lambda: not alive(pid))
    assert list(work.iterdir()) == []


def test_two_runs_of_one_training_use_separate_folders(tmp_path):
    with run_folder(tmp_path, "key") as (first, _), run_folder(tmp_path, "key") as (second, _):
        assert first != second
        (second / "log.txt").write_text("mine")
        assert clear_left_over(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_failed_command_ends_the_others(tmp_path):
    own = waiting(tmp_path)
    program = own.root / "either.py"
    program.write_text(
        "import runpy, sys, time, pathlib\n"
        "if sys.argv[3] == '7': runpy.run_path('wait.py')\n"
        "while not list(pathlib.Path('work').glob('run-*/output/pids')): time.sleep(0.02)\n"
        "sys.exit(5)\n"
    )
    command = f"'{sys.executable}' either.py {{exclusions_file}} {{output_dir}} {{seed}}"
    own = trainer(tmp_path, command=command)
    plan = [Training("x", 1, 7, ()), Training("x", 2, 8, ())]
    with pytest.raises(TrainingError, match="exit code 5"):
        run_trainings(own, plan, own.work, at_once=2, progress=lambda _: None)
    (path,) = own.work.glob("run-*/output/pids")
    pids = [int(pid) for pid in path.read_text().split()]
    until(lambda: not any(map(alive, pids)))
