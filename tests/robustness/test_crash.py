"""Commands that are killed, or whose writes fail: no half-written file, and the next run comes to the same result.

The long forms run with ``-m nightly -s``, which prints their figures. ``KILLS`` says how often each command is killed
at random (100), ``EVERY`` that only each n-th change or operation is tried (1: all).
"""

from __future__ import annotations

import os
import random
import shutil

import pytest
from crash_projects import CASES, KILLED, assert_finishes, assert_old_or_new, contents, prepared, ran

QUICK = [name for name in CASES if name != "demo elsewhere"]
KILLS = 3
NIGHTLY_KILLS = int(os.environ.get("KILLS", "100"))
EVERY = int(os.environ.get("EVERY", "1"))
FAULTS = 3
DISK_FAULTS = {"a short write": 1, "a full disk": 2, "a broken disk": 3}  # by number in disk_faults.c
DISK_WORDS = ("No space left on device", "Input/output error")


class Trial:
    """A command, the project before and after it, and any number of copies of the former."""

    def __init__(self, run, start, folder, name):
        self.run, self.folder, self.name, self.case = run, folder, name, CASES[name]
        self.project = prepared(run, self.case, start, folder / "before")
        self.before = contents(self.project)
        whole = self.fresh()
        self.end = run(whole, self.case.arguments)
        ran(self.end)
        self.after = contents(whole)
        assert self.after != self.before
        shutil.rmtree(whole)

    def fresh(self):
        # always the same path, because results may contain paths
        place = self.folder / "the project"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.project, place)
        return place


@pytest.fixture(
    scope="module",
    params=[*QUICK, *(pytest.param(name, marks=pytest.mark.nightly) for name in CASES if name not in QUICK)],
)
def trial(run, start, tmp_path_factory, request):
    return Trial(run, start, tmp_path_factory.mktemp("trial"), request.param)


def tell(trial, text):
    print(f"{trial.name}: {text}")  # noqa: T201 - a figure


def kill_at_random(trial, kills, seed):
    """Kill one run after the other at random moments; let a few finish."""
    dice = random.Random(f"{seed} {trial.case.arguments}")  # noqa: S311  not for secrets
    killed = runs = 0
    place = trial.fresh()
    while killed < kills:
        moment = dice.uniform(0, trial.end.seconds)
        end = trial.run(place, trial.case.arguments, kill_after=moment)
        runs += 1
        assert runs < 10 * kills + 50, "too many runs ended before they were killed"
        killed += end.code == KILLED
        how = f"killed after {moment:.3f} s ({runs} runs, seed {seed})"
        assert_old_or_new(place, trial.before, trial.after, how)
        if end.code == KILLED and (dice.random() < 0.4 or killed == kills):
            assert_finishes(trial.run, trial.case, place, trial.after, how)
            place = trial.fresh()
        elif end.code != KILLED:
            place = trial.fresh()
    tell(trial, f"{killed} of {runs} runs killed at random")


def test_killed_at_random_moments(trial):
    kill_at_random(trial, KILLS, seed=0)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1])
def test_killed_at_many_random_moments(trial, seed):
    kill_at_random(trial, NIGHTLY_KILLS, seed)


def moments(trial, most):
    changes = range(1, trial.end.changes + 1)
    if most is None:
        return list(changes[::EVERY])
    if len(changes) <= most:
        return list(changes)
    # the last changes rename files
    return [*random.Random(0).sample(changes[:-2], most - 1), random.Random(1).choice(changes[-2:])]  # noqa: S311


def kill_at_changes(trial, most):
    numbers = moments(trial, most)
    for number in numbers:
        place = trial.fresh()
        end = trial.run(place, trial.case.arguments, kill_at=number)
        how = f"killed at change {number} of {trial.end.changes}"
        assert end.code == KILLED, how
        assert_old_or_new(place, trial.before, trial.after, how)
        assert_finishes(trial.run, trial.case, place, trial.after, how)
    tell(trial, f"killed before {len(numbers)} of {trial.end.changes} changes")


def test_killed_before_a_change_of_a_file(trial):
    kill_at_changes(trial, FAULTS)


@pytest.mark.nightly
def test_killed_before_every_change_of_a_file(trial):
    kill_at_changes(trial, None)


def assert_said(end, how):
    assert end.code == 1, f"{how}: {end.said}"
    assert "error: " in end.said, how
    assert "Traceback" not in end.said, how
    assert "internal error" not in end.said, f"{how}: {end.said}"


ERRORS = {
    "ENOSPC": "No space left on device",
    "EACCES": "Permission denied",
    "ENOENT": "No such file or directory",
    "EIO": "Input/output error",  # a breaking disk, or a lost network share
}


def fail_at_change(trial, number, error):
    place = trial.fresh()
    end = trial.run(place, trial.case.arguments, fail_at=number, error=error)
    how = f"{error} at change {number} of {trial.end.changes}"
    assert_old_or_new(place, trial.before, trial.after, how, end.said)
    if end.code == 0:
        assert contents(place) == trial.after, f"{how} was passed over: {end.said}"
    else:
        assert_said(end, how)
        assert ERRORS[error] in end.said, f"{how}: {end.said}"
    assert_finishes(trial.run, trial.case, place, trial.after, how)


def test_a_change_of_a_file_that_fails(trial):
    for number, error in zip(moments(trial, len(ERRORS)), ERRORS, strict=False):
        fail_at_change(trial, number, error)


@pytest.mark.nightly
@pytest.mark.parametrize("turn", range(2))
def test_every_change_of_a_file_that_fails(trial, turn):
    """Two errors for each change, in turn."""
    numbers = moments(trial, None)
    for number in numbers:
        fail_at_change(trial, number, list(ERRORS)[(number + 2 * turn) % len(ERRORS)])
    tell(trial, f"{len(numbers)} of {trial.end.changes} changes failed, one at a time")


@pytest.mark.parametrize("share", [0.5])
def test_a_disk_that_fills_up_within_a_file(trial, share):
    old = {name for name, data in trial.before.items() if trial.after.get(name) == data}
    largest = max(len(data) for name, data in trial.after.items() if name not in old)
    place = trial.fresh()
    end = trial.run(place, trial.case.arguments, largest_file=int(share * largest))
    assert_said(end, f"no file larger than {share} of {largest} bytes")
    assert_old_or_new(place, trial.before, trial.after, "where the disk is full")
    assert_finishes(trial.run, trial.case, place, trial.after, "where the disk was full")


def disk_fault(trial, number, how):
    """Make the disk fail at one operation; return the number of operations that failed."""
    place = trial.fresh()
    end = trial.run(place, trial.case.arguments, disk_fault_at=number, disk_fault=DISK_FAULTS[how])
    where = f"{how} at operation {number} of {trial.end.operations}"
    assert_old_or_new(place, trial.before, trial.after, where, end.said)
    if end.code == 0:
        assert contents(place) == trial.after, f"{where} was passed over: {end.said}"
    else:
        assert how != "a short write", f"{where}: {end.said}"
        assert end.failures, f"{where}: {end.said}"
        assert_said(end, where)
        assert any(words in end.said for words in DISK_WORDS), f"{where}: {end.said}"
    assert_finishes(trial.run, trial.case, place, trial.after, where)
    return end.failures


@pytest.fixture
def failing(trial):
    if not trial.run.disk_can_fail:
        pytest.skip("no compiler for a disk that fails, or no Linux")
    return trial


LEAST = {
    "compute": 30,
    "compute over another format": 30,
    "train": 30,
    "train again": 30,
    "exclude": 20,
    "workflow": 60,
    "demo": 60,
    "demo elsewhere": 60,
}
"""Operations of each case at the least: fewer would mean that they are no longer seen."""


def test_a_disk_that_fails_at_an_operation(failing):
    operations = failing.end.operations
    assert operations >= LEAST[failing.name]
    failures = {how: disk_fault(failing, random.Random(how).randrange(1, operations), how) for how in DISK_FAULTS}  # noqa: S311
    assert failures["a full disk"]
    assert failures["a broken disk"]


@pytest.mark.nightly
@pytest.mark.parametrize("how", DISK_FAULTS)
def test_a_disk_that_fails_at_every_operation(failing, how):
    operations = range(1, failing.end.operations + 1)[::EVERY]
    failures = [disk_fault(failing, number, how) for number in operations]
    failed = sum(map(bool, failures))
    tell(failing, f"{how}: {failed} of {len(failures)} operations tried, {failing.end.operations} in all")
    # about one operation in five is a write, and only a write can be short
    assert failed >= len(failures) // (10 if how == "a short write" else 3)
