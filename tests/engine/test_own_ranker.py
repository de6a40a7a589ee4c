"""A user's own ranker on the command line: a transformer, folders of its trainer, a lazy dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import own_ranker
import pytest
import torch
from places import HELPERS

from tracinctl import RankingData, Samples, compute_influence
from tracinctl.scores.files.open import open_scores

PROJECT = """\
source = "own_ranker:load"
model = "own_ranker:build"
checkpoint_dir = "runs"
material = "texts"
frequencies = "mixed"

[compute]
checkpoint_prefix = "checkpoint-"
loss_type = "logistic"
dtype = "float64"
"""


@pytest.fixture
def project(tmp_path):
    with warnings.catch_warnings(action="ignore"):  # the trainer warns of pinned memory and of its libraries
        own_ranker.train(tmp_path / "runs")
    (tmp_path / "tracinctl.toml").write_text(PROJECT)
    return tmp_path


def tracinctl(folder, *arguments, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRACINCTL_")}
    environment = clean | {"PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"} | more
    done = subprocess.run(
        [sys.executable, "-m", "tracinctl", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, " ".join(done.stderr.split())


def test_a_users_transformer_is_exact_and_a_changed_checkpoint_is_named(project):
    readers = project / "readers"
    readers.mkdir()
    code, out, err = tracinctl(project, "compute", "--num-workers", "2", "--json", READ_BY=str(readers))
    assert code == 0, err
    (answer,) = json.loads(out)
    assert answer["gradients_computed"] == 2 * (own_ranker.TEXTS + own_ranker.HELD_OUT)
    assert len(list(readers.iterdir())) >= 2, "each worker read items"

    # the same texts in memory
    data = own_ranker.load("", "")
    in_memory = [
        Samples(part.ids, torch.utils.data.default_collate([part.inputs[k] for k in range(len(part.ids))]))
        for part in (data.train, data.test)
    ]
    data = RankingData(in_memory[0], data.train_pairs, in_memory[1], data.test_pairs)
    paths = [project / "runs" / f"checkpoint-{k}" for k in (5, 10)]
    table = compute_influence(data, own_ranker.build(), paths, loss="logistic", dtype="float64")
    source = open_scores(project / "metadata" / "texts_mixed_influence_metadata.json")
    scores = np.concatenate([block for _, block in source.blocks()])
    np.testing.assert_allclose(scores, table.scores, rtol=0, atol=1e-12 * np.abs(table.scores).max())
    weights = [checkpoint["weight"] for checkpoint in source.provenance["checkpoints"]]
    assert weights == pytest.approx([12 / 7, 2 / 7]), "the trainer logged the rates 0.006 and 0.001"

    code, _, err = tracinctl(project, "sweep", "--thresholds", "0,-1")
    assert (code, "since these scores were made" in err) == (0, False), err
    weights = project / "runs" / "checkpoint-10" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, _, err = tracinctl(project, "sweep", "--thresholds", "0,-1")
    assert code == 0, err
    assert "checkpoint changed: checkpoint-10" in err
