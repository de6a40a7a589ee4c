"""Parallel runs on one project: none breaks another's files, and none waits for a dead one."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil

import pytest
from crash_projects import KILLED, contents, leftovers, ran

SCORES = "metadata/plastic_500hz_influence_metadata.json"
PROVENANCE = "metadata/plastic_500hz_influence_provenance.json"
COMPUTE = ["compute", "--frequency", "500hz"]
WORKFLOW = ["workflow", "--frequencies", "500hz,1000hz"]


@pytest.fixture
def fresh(start, tmp_path):
    """Make the project, always at the same path, because results may contain paths."""

    def make():
        place = tmp_path / "the project"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(start, place)
        return place

    return make


@pytest.mark.parametrize(
    "commands",
    [
        [COMPUTE, COMPUTE, COMPUTE],
        [COMPUTE, ["compute", "--frequency", "1000hz"]],
        [WORKFLOW, WORKFLOW],
        [WORKFLOW, COMPUTE, [*COMPUTE[:-1], "1000hz"]],
        [[*COMPUTE, "--prune-cache"], COMPUTE, [*COMPUTE, "--dtype", "float32"]],
    ],
    ids=lambda commands: ", ".join(f"{c[0]} {c[-1]}" for c in commands),
)
def test_parallel_runs_leave_the_same_files_as_serial_runs(run, fresh, commands):
    place = fresh()
    for arguments in commands:
        ran(run(place, arguments))
    alone = contents(place)
    place = fresh()
    for end in run.together(place, commands):
        ran(end)
    now = contents(place)
    assert now.keys() == alone.keys()
    assert [name for name in now if now[name] != alone[name]] == []
    assert leftovers(place) == []


def test_parallel_runs_with_different_settings_leave_one_complete_result(run, fresh):
    commands = [[*COMPUTE, "--margin", margin] for margin in ("1", "9")] * 2
    whole = set()
    for arguments in commands[:2]:
        place = fresh()
        ran(run(place, arguments))
        whole.add(((place / SCORES).read_bytes(), (place / PROVENANCE).read_bytes()))
    assert len(whole) == 2
    for _ in range(2):
        place = fresh()
        for end in run.together(place, commands):
            ran(end)
        scores, beside = (place / SCORES).read_bytes(), (place / PROVENANCE).read_bytes()
        assert (scores, beside) in whole
        assert json.loads(beside)["scores_sha256"] == hashlib.sha256(scores).hexdigest()
        assert leftovers(place) == []


def test_records_that_parallel_runs_add_are_all_there(run, fresh):
    place = fresh()
    ran(run(place, [*COMPUTE, "--margin", "9"]))
    ran(run(place, ["compute", "--frequency", "1000hz"]))
    path = place / "metadata/plastic_500hz_metadata.json"
    before = json.loads(path.read_text())
    before["mine"] = {"notes": "kept"}
    path.write_text(json.dumps(before))
    marking = ["exclude", "--frequency", "500hz", "--min-occurrences", "1", "--update-metadata"]
    for end in run.together(place, [marking, [*COMPUTE, "--margin", "9"], marking]):
        ran(end)
    after = json.loads(path.read_text())
    assert after["mine"] == {"notes": "kept"}
    assert {key: "tracin_self_influence" in record for key, record in after.items()} == {
        key: "tracin_self_influence" in record for key, record in before.items()
    }
    listed = (place / "exclusions/plastic_500hz_excluded_pairs.txt").read_text().splitlines()
    pairs = [line for line in listed if not line.startswith("#")]
    assert pairs
    assert all(after[pair]["excluded"] for pair in pairs)


def test_one_of_two_trainings_into_one_folder_is_refused_or_finds_it_done(run, fresh):
    place = fresh()
    shutil.rmtree(place / "checkpoints")
    train = ["train", "--frequency", "500hz"]
    ran(run(place, train))
    alone = contents(place)
    place = fresh()
    shutil.rmtree(place / "checkpoints")
    ends = run.together(place, [train, train])
    assert 0 in [end.code for end in ends]
    for end in ends:
        assert end.code == 0 or "another process is" in end.said, end.said
    assert contents(place) == alone


def test_the_lock_of_a_dead_process_is_no_obstacle(run, fresh):
    marking = ["exclude", "--frequency", "500hz", "--min-occurrences", "1", "--update-metadata"]
    place = fresh()
    ran(run(place, COMPUTE))
    changes = run(place, marking).changes
    for number in itertools.count(changes, -1):
        assert number > 0, "no process was killed while it held the lock"
        place = fresh()
        ran(run(place, COMPUTE))
        assert leftovers(place) == []
        end = run(place, marking, kill_at=number)
        if end.code == KILLED and list(place.rglob("*.lock")):
            break
    end = run(place, marking)
    ran(end)
    assert leftovers(place) == []
    # a run that waits for a dead process would wait for two minutes
    assert "another process" not in end.said
    assert all(record["excluded"] for record in excluded(place))


def test_a_slow_disk_costs_only_time(run, fresh):
    marking = ["exclude", "--frequency", "500hz", "--min-occurrences", "1", "--update-metadata"]
    after = []
    for slow in ({}, {"slow": 0.03}):
        place = fresh()
        ran(run(place, COMPUTE, **slow))
        ends = [run(place, marking, **slow), *run.together(place, [COMPUTE, marking, marking], **slow)]
        for end in ends:  # a run waits for a lock
            ran(end)
            assert "another process" not in end.said
        after.append(contents(place))
        assert leftovers(place) == []
    assert after[0].keys() == after[1].keys()
    assert [name for name in after[0] if after[0][name] != after[1][name]] == []


def excluded(place):
    records = json.loads((place / "metadata/plastic_500hz_metadata.json").read_text())
    found = [record for record in records.values() if "tracin_info" in record]
    assert found
    return found
