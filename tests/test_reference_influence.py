"""Influence on the first users' own recordings and checkpoints, against the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
import pytest
import torch

from tracinctl import RankingData, compute_influence
from tracinctl.data.recordings import load_recordings
from tracinctl.engine.checkpoints import list_checkpoints, load_checkpoint
from tracinctl.models import build_ranker

PROJECT = Path(__file__).parents[1].parent / "shared" / "reference" / "their-project"


@pytest.mark.skipif(not PROJECT.is_dir(), reason="the first users' project is not here")
def test_scores_on_the_users_own_project_equal_the_oracle():
    whole = load_recordings(PROJECT / "data", "plastic", "500hz", pairs_file=PROJECT / "pairs.csv")
    data = RankingData(
        whole.train,
        whole.train_pairs.take(np.arange(0, len(whole.train_pairs), 40)),
        whole.test,
        whole.test_pairs.take(np.arange(0, len(whole.test_pairs), 20)),
    )
    paths = list_checkpoints(PROJECT / "checkpoints" / "plastic_500hz")
    assert [p.name for p in paths] == [f"model_epoch_{n}.pt" for n in (5, 10, 15, 20)]
    loaded = [load_checkpoint(p) for p in paths]
    rates = [c.learning_rate for c in loaded]
    assert rates == pytest.approx([0.003, 0.003, 0.0015, 0.00075])
    states = [{k: v.double() if v.is_floating_point() else v for k, v in c.state.items()} for c in loaded]
    weights = [rate / np.mean(rates) for rate in rates]
    scores, own, sample = oracle.influence(data, build_ranker(), states, weights)
    table = compute_influence(data, build_ranker(), paths, dtype="float64")
    largest = np.abs(scores).max()
    assert largest > 0
    assert np.abs(table.scores - scores).max() < 1e-10 * largest
    assert np.abs(table.self_influence - own).max() < 1e-10 * own.max()
    assert np.abs(table.sample_influence - sample).max() < 1e-10 * sample.max()
    # where a ReLU or a pooling window is at a tie, float32 may fall on its other side
    single = compute_influence(data, build_ranker(), paths)
    assert np.abs(single.scores - scores).max() < 1e-3 * largest
    assert torch.get_default_dtype() == torch.float32
