"""A run over very many checkpoints: neither memory nor the number of open files grows. Reads Linux's /proc."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from places import HELPERS
from shared_project import make_project

# the process measures itself between checkpoints
WATCH = """
import gc, json, os, sys
from pathlib import Path
import torch
from shared_project import build_model, load
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions

measured = []


def look(state):
    if state.note and state.done % {every} == 0:
        gc.collect()
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
        measured.append((state.done, int(line.split()[1]) * 1024, len(os.listdir("/proc/self/fd"))))


torch.set_num_threads(1)
paths = sorted(Path("checkpoints/b_a").iterdir())
result = compute_scores(load("a", "b"), build_model(), paths, ComputeOptions(cache=Path("cache")), look)
for _ in result.scores.blocks():
    pass
print(json.dumps(measured))
"""


def watched(folder, checkpoints, every):
    """(finished checkpoints, bytes of memory, open files) after every ``every`` checkpoints of a run."""
    make_project(folder, checkpoints)
    done = subprocess.run(
        [sys.executable, "-c", WATCH.format(every=every)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("checkpoints", "first"), [(60, 20), pytest.param(3000, 500, marks=pytest.mark.nightly)], ids=["short", "long"]
)
def test_memory_and_open_files_do_not_grow_over_many_checkpoints(checkpoints, first, tmp_path):
    measured = watched(tmp_path, checkpoints, first)
    begun, ended = measured[0], measured[-1]
    assert begun[0] == first
    assert ended[0] == checkpoints
    assert ended[2] == begun[2], "the number of open files"
    # kernels of 3 KiB may stay in memory; models and gradients of earlier checkpoints may not
    assert ended[1] - begun[1] < (16 << 20) + (8 << 10) * (checkpoints - first)
