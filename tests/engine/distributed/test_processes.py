"""A run in several processes: the same scores, one progress display, each message once, no lost kernel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import HELPERS
from shared_project import HELD_OUT, ITEMS, make_project

from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.distributed.divide import load_unchanged
from tracinctl.errors import CheckpointError
from tracinctl.scores.files.open import open_scores

COMPUTE = ["compute", "--material", "b", "--frequency", "a"]
CHECKPOINTS = 5  # two processes leave one over, three leave two; the items of these are divided


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path, CHECKPOINTS)
    return tmp_path


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRACINCTL_")}
    return clean | {"PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | more


def start(folder, command, **more):
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, command, **more):
    done = start(folder, command, **more)
    out, err = done.communicate(timeout=240)
    return done.returncode, out, err


def tracinctl(*arguments):
    return ["-m", "tracinctl", *COMPUTE, *arguments]


def torchrun(count, *arguments):
    return ["-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone", *tracinctl(*arguments)]


def scores(folder):
    table = open_scores(folder / "metadata" / "b_a_influence_metadata.json")
    return np.concatenate([block for _, block in table.blocks()])


def kernels(folder):
    """The finished kernels in the cache."""
    return sorted(path for path in (folder / ".tracinctl").rglob("*.kernel") if not path.name.startswith("."))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The scores of one process."""
    folder = tmp_path_factory.mktemp("alone")
    make_project(folder, CHECKPOINTS)
    code, _, err = run(folder, tracinctl())
    assert code == 0, err
    return scores(folder)


def test_several_processes_give_the_scores_of_one(project, alone):
    code, out, err = run(project, tracinctl("--processes", "2", "--json"))
    assert code == 0, err
    assert np.array_equal(scores(project), alone), "equal to the bit"
    assert json.loads(out)[0]["gradients_computed"] == CHECKPOINTS * (ITEMS + HELD_OUT)
    assert err.count("a source may print") == 1
    lines = [line for line in err.splitlines() if ": gradients " in line]
    assert len(lines) == CHECKPOINTS
    assert {line.split(",")[1].strip() for line in lines} == {f"model_epoch_{k}.pt" for k in range(CHECKPOINTS)}
    assert len(kernels(project)) == CHECKPOINTS
    assert len(list(project.glob("working.*"))) == 2
    code, out, _ = run(project, tracinctl("--json"))
    assert code == 0
    assert json.loads(out)[0]["gradients_computed"] == 0


def test_torchrun_gives_the_scores_of_one_process(project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    make_project(folder, CHECKPOINTS)
    code, _, err = run(folder, tracinctl("--memory", "14KiB"))
    assert code == 0, err
    # not all items fit into memory at once, so all processes share each tile
    code, out, err = run(project, torchrun(3, "--json", "--memory", "14KiB"))
    assert code == 0, err
    assert np.array_equal(scores(project), scores(folder)), "equal to the bit"
    assert json.loads(out)[0]["train_pairs"] == ITEMS * (ITEMS - 1) // 2


def test_a_checkpoint_that_changes_after_the_work_was_divided_is_an_error(project):
    first, second = sorted((project / "checkpoints" / "b_a").iterdir())[:2]
    about = load_checkpoint(first)
    assert load_unchanged(first, about.digest).digest == about.digest
    first.write_bytes(second.read_bytes())
    with pytest.raises(CheckpointError, match="changed during the run"):
        load_unchanged(first, about.digest)


def test_an_error_in_one_process_is_printed_once_and_ends_all(project):
    code, out, err = run(project, tracinctl("--processes", "3"), BREAK="2")
    assert code == 1
    assert err.count("error:") == 1
    assert "the score of item" in err
    assert "Traceback" not in err
    assert not (project / "metadata").exists()
    assert out == ""


def test_processes_with_different_data_are_refused(project):
    code, _, err = run(project, tracinctl("--processes", "2"), OTHER_DATA="1")
    assert code == 1
    assert "process 1 does not have the items of process 0" in err


@pytest.mark.parametrize(("starter", "victim"), [("processes", 0), ("torchrun", 1)])
def test_a_killed_process_ends_the_others_and_finished_kernels_are_kept(project, starter, victim):
    command = tracinctl("--processes", "3") if starter == "processes" else torchrun(2)
    process = start(project, command, SLOW="0.1")
    marker = project / f"working.{victim}"
    deadline = time.monotonic() + 120
    # each process first works on its own checkpoint; wait until one kernel is finished
    while not (marker.exists() and marker.read_text() and kernels(project)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [int(path.read_text()) for path in project.glob("working.*")]
    os.kill(int(marker.read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    if starter == "processes":
        assert err.count("error:") == 1, err
        assert f"process {victim} of 3 (counted from 0) was ended by SIGKILL" in err
        assert "Traceback" not in err
    else:
        assert err.count("error: another process of this run") + err.count("error: the processes of this run") == 1, err
    assert not any(lives(pid) for pid in pids)
    finished = len(kernels(project))
    assert finished >= 1
    code, out, err = run(project, tracinctl("--json"))
    assert code == 0, err
    assert json.loads(out)[0]["gradients_computed"] == (CHECKPOINTS - finished) * (ITEMS + HELD_OUT)


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_processes_listen_on_this_machine_only_and_an_interruption_is_printed_once(project):
    process = start(project, tracinctl("--processes", "2"), SLOW="0.3")
    deadline = time.monotonic() + 120
    while len(list(project.glob("working.*"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = {process.pid, *(int(path.read_text() or 0) for path in project.glob("working.*"))} - {0}
    heard = listening(pids)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert heard
    assert heard <= {f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}"}
    assert process.returncode == 130, err
    assert err.count("interrupted") == 1
    assert "Traceback" not in err


def listening(pids):
    """Addresses that these processes listen on, in the hexadecimal form of /proc."""
    sockets = {str(fd.readlink()) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if f"socket:[{line.split()[9]}]" in sockets
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A"}
