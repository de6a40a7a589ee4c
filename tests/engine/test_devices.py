"""Other devices: the same scores as on the CPU."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from small_models import SMOOTH, make_checkpoints, make_data, worst
from torch import nn

from tracinctl import compute_influence
from tracinctl.errors import UsageError

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_cuda
@pytest.mark.parametrize("name", SMOOTH)
def test_cuda_equals_the_oracle_and_the_cpu(name, tmp_path):
    build, kind = SMOOTH[name]
    model = build()
    data = make_data(kind, seed=3)
    paths = make_checkpoints(model, tmp_path, seed=3)
    scores, self_influence, _ = oracle.influence_of_files(data, model, paths, loss="logistic")
    double = compute_influence(data, model, paths, loss="logistic", dtype="float64", device="cuda")
    assert worst(double.scores, scores) < 1e-10
    assert worst(double.self_influence, self_influence) < 1e-10
    single, cpu = (compute_influence(data, model, paths, loss="logistic", device=d) for d in ("cuda", "cpu"))
    assert worst(single.scores, scores) < 1e-5
    assert worst(single.scores, cpu.scores) < 1e-5
    assert np.array_equal(single.train_ids, cpu.train_ids)


def test_float64_on_a_device_without_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    model = nn.Linear(6, 1)
    paths = make_checkpoints(model, tmp_path)
    with pytest.raises(UsageError, match="MPS has no float64"):
        compute_influence(make_data((6,)), model, paths, dtype="float64", device="mps")
