"""A run over very many checkpoints: memory and open files stay as they are. Linux, for what it reads of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from places import HELPERS
from shared_project import make_project

# what is counted between checkpoints, by the process itself
WATCH = """
import gc, json, os, sys
from pathlib import Path
import torch
from shared_project import build_model, load
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions

seen = []


def look(state):
    if state.note and state.done % {every} == 0:
        gc.collect()
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
        seen.append((state.done, int(line.split()[1]) * 1024, len(os.listdir("/proc/self/fd"))))


torch.set_num_threads(1)
paths = sorted(Path("checkpoints/b_a").iterdir())
result = compute_scores(load("a", "b"), build_model(), paths, ComputeOptions(cache=Path("cache")), look)
for _ in result.scores.blocks():
    pass
print(json.dumps(seen))
"""


def watched(folder, checkpoints, every):
    """(checkpoints done, bytes of memory, open files) now and then during a run."""
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
def test_memory_and_open_files_stay_as_they_are_over_many_checkpoints(checkpoints, first, tmp_path):
    seen = watched(tmp_path, checkpoints, first)
    begun, ended = seen[0], seen[-1]
    assert begun[0] == first
    assert ended[0] == checkpoints
    assert ended[2] == begun[2], "open files"
    # a kernel of these items is 3 KiB and may be held; a model or its gradients of every checkpoint may not
    assert ended[1] - begun[1] < (16 << 20) + (8 << 10) * (checkpoints - first)
