"""A change of a model's helpers or constants, which digests of code miss, is found by its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import make_checkpoints, make_data
from torch import nn

from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.influence import LossSettings
from tracinctl.engine.kernel import checkpoint_kernels
from tracinctl.engine.kernel.score_check import check_scores

SCALE = {"factor": 1.0}


def scaled(x):
    """A helper of ``forward``, whose constant is in no attribute of the model."""
    return x * SCALE["factor"]


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 1)

    def forward(self, x):
        return self.layer(scaled(x))


@pytest.fixture(autouse=True)
def constants():
    SCALE.update(factor=1.0)
    yield
    SCALE.update(factor=1.0)


@pytest.fixture
def compute(tmp_path):
    torch.manual_seed(1)
    model, data = Ranker(), make_data((6,))
    paths = make_checkpoints(model, tmp_path)

    def compute(cache="cache", dtype="float32", memory=None):
        options = ComputeOptions(LossSettings(), dtype=dtype, cache=tmp_path / cache, memory=memory)
        return compute_scores(data, model, paths, options)

    return compute


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("memory", [None, 9_000])
def test_kernels_from_other_scores_are_made_again_with_the_reason(compute, dtype, memory):
    compute(dtype=dtype)
    SCALE["factor"] = 1.01
    stale = compute(dtype=dtype, memory=memory)
    assert not any(stale.taken)
    [note] = [note for note in stale.notes if "made again" in note]
    assert "at model_epoch_" in note
    assert "code or a constant that it uses has changed" in note
    fresh = compute("other", dtype=dtype)
    assert np.abs(stale.scores.table().scores - fresh.scores.table().scores).max() < 1e-9
    again = compute(dtype=dtype)
    assert all(again.taken)
    assert not any("made again" in note for note in again.notes)


def test_one_outdated_kernel_makes_all_of_them_again(compute, monkeypatch):
    compute()
    checked = []

    def check(maker, kernel, checkpoint, draw):
        checked.append((checkpoint, draw))
        if len(checked) == 2:
            SCALE["factor"] = 1.01
        check_scores(maker, kernel, checkpoint, draw)

    monkeypatch.setattr(checkpoint_kernels, "check_scores", check)
    result = compute()
    assert len(checked) == 2, "the other kernels are not read any more"
    assert len({draw for _, draw in checked}) == 2, "each checkpoint has its own sample"
    assert list(result.taken) == [False, False]
