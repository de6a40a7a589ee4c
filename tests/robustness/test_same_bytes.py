"""The same input gives the same bytes: in another process, folder and hash seed, and on more threads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from crash_projects import SETTINGS, contents
from wav_trees import tree

STEPS = [
    ["train", "--frequency", "500hz", "--epochs", "2"],
    ["compute", "--frequency", "500hz", "--margin", "9", "--save-per-checkpoint"],
    ["exclude", "--frequency", "500hz", "--min-occurrences", "1", "--update-metadata"],
    ["workflow", "--frequencies", "500hz", "--report", "report.html"],
    ["plot", "overview", "--frequency", "500hz", "--output", "overview.svg"],
]
STEP = """
import sys, json
from tracinctl.cli.app import app
from tracinctl.cli.base import run
for arguments in json.loads(sys.argv[1]):
    code = run(app, ["-q", *arguments])
    assert code == 0, arguments
"""


def run_in(folder, steps, *, seed, threads):
    numbers = {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    subprocess.run(
        [sys.executable, "-c", STEP, json.dumps(steps)],
        check=True,
        cwd=folder,
        env={**os.environ, **numbers},
        capture_output=True,
    )
    # the report contains the project's path
    found = contents(folder)
    return {name: re.sub(re.escape(str(folder)).encode(), b"FOLDER", data) for name, data in found.items()}


def made_in(folder, *, seed):
    folder.mkdir(parents=True)
    tree(folder / "data", takes=4)
    (folder / "tracinctl.toml").write_text(SETTINGS)
    return run_in(folder, STEPS, seed=seed, threads=1)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return made_in(tmp_path_factory.mktemp("first") / "project", seed=1)


def test_another_process_folder_and_hash_seed_write_the_same_bytes(first, tmp_path):
    again = made_in(tmp_path / "elsewhere" / "a project", seed=2)
    assert len(first) > 15
    assert again.keys() == first.keys()
    assert [name for name in first if first[name] != again[name]] == []


@pytest.mark.nightly
def test_another_number_of_threads_changes_scores_only_by_rounding(first, tmp_path):
    for name, data in first.items():
        if name.startswith(("data/", "checkpoints/")) or name == "tracinctl.toml":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    compute = ["compute", "--frequency", "500hz", "--margin", "9"]
    one = scores_of(run_in(tmp_path, [[*compute, "--no-cache"]], seed=1, threads=1))
    two = scores_of(run_in(tmp_path, [[*compute, "--no-cache"]], seed=1, threads=2))
    assert np.abs(two - one).max() <= 1e-5 * np.abs(one).max()


def scores_of(found):
    records = json.loads(found["metadata/plastic_500hz_influence_metadata.json"])
    return np.array([list(record.values()) for record in records.values()])
