"""The methods of influence equal the oracle, in little memory and with incomplete kernels."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from small_models import SMOOTH, make_checkpoints, make_data, worst

from tracinctl import Pairs, compute_influence
from tracinctl.engine.kernel import layout
from tracinctl.engine.options import METHODS
from tracinctl.errors import MemoryBudgetError, UsageError


def make(folder, **options):
    build, kind = SMOOTH["linear"]
    model = build()
    return make_data(kind, 5, **options), model, make_checkpoints(model, folder, seed=5)


@pytest.mark.parametrize("loss", ["standard", "logistic", "ghm", "capped"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_equals_the_slow_version(method, loss, tmp_path):
    data, model, paths = make(tmp_path, train=9, test=6)
    scores, self_influence, _ = oracle.influence_of_files(data, model, paths, method=method, loss=loss, margin=0.3)
    options = {"loss": loss, "margin": 0.3, "method": method, "device": "cpu"}
    table = compute_influence(data, model, paths, dtype="float64", **options)
    assert worst(table.scores, scores) < 1e-10
    assert worst(table.self_influence, self_influence) < 1e-10
    assert table.provenance["method"] == method
    single = compute_influence(data, model, paths, **options)
    assert worst(single.scores, scores) < 1e-5


def test_under_method_margin_every_held_out_pair_counts(tmp_path):
    data, model, paths = make(tmp_path, train=9, test=6)
    options = {"margin": 1e-3, "dtype": "float64", "checkpoint_weights": "uniform"}
    by_loss = compute_influence(data, model, paths, **options)
    by_margin = compute_influence(data, model, paths, method="margin", **options)
    assert by_margin.scores.any(0).all()
    assert not by_loss.scores.any(0).all()
    # below its margin, a pair has the loss margin - y (s_i - s_j), so both methods agree
    wide = {**options, "margin": 1e6}
    assert np.array_equal(
        compute_influence(data, model, paths, **wide).scores,
        compute_influence(data, model, paths, method="margin", **wide).scores,
    )


@pytest.mark.parametrize("method", ["margin", "fisher"])
def test_a_mirrored_pair_scores_the_same(method, tmp_path):
    data, model, paths = make(tmp_path, train=5, test=4)
    i, j, y = data.train_pairs.first, data.train_pairs.second, data.train_pairs.target
    both = Pairs(np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([y, -y]))
    data = type(data)(data.train, both, data.test, data.test_pairs)
    table = compute_influence(data, model, paths, method=method, loss="logistic", dtype="float64")
    assert worst(table.scores[: len(i)], table.scores[len(i) :]) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_little_memory_changes_no_score(method, tmp_path):
    data, model, paths = make(tmp_path, train=20, test=12)
    options = {"method": method, "loss": "logistic", "dtype": "float64"}
    table = compute_influence(data, model, paths, **options)
    memory = 30_000
    if method == "fisher":
        with pytest.raises(MemoryBudgetError, match="at least 128KiB") as error:
            compute_influence(data, model, paths, memory=memory, **options)
        assert "`memory` 128KiB or more" in error.value.hint
        memory = 128 << 10
    tight = compute_influence(data, model, paths, memory=memory, **options)
    assert worst(tight.scores, table.scores) < 1e-13
    assert worst(tight.self_influence, table.self_influence) < 1e-13


def test_method_margin_needs_only_some_columns_for_many_items(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "COMPLETE", 8)
    monkeypatch.setattr(layout, "NEIGHBOURS", 5)
    data, model, paths = make(tmp_path, train=12, test=6)
    few = compute_influence(data, model, paths, method="margin", dtype="float64")
    monkeypatch.undo()
    complete = compute_influence(data, model, paths, method="margin", dtype="float64")
    assert worst(few.scores, complete.scores) < 1e-12


def test_an_unknown_method_is_refused_with_the_known_ones(tmp_path):
    data, model, paths = make(tmp_path)
    with pytest.raises(UsageError, match="'gauss'") as error:
        compute_influence(data, model, paths, method="gauss")
    assert error.value.hint == "Choose one of tracin, margin, fisher."


def test_without_any_gradient_all_scores_are_zero(tmp_path):
    data, model, paths = make(tmp_path)
    met = lambda s_i, s_j, y: torch.relu(-1e6 - y * (s_i - s_j))  # noqa: E731
    table = compute_influence(data, model, paths, method="fisher", loss=met)
    assert not table.scores.any()
    assert not table.self_influence.any()
