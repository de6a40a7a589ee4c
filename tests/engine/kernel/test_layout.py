"""Kernels with only some products give the same scores as complete ones."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SMOOTH, Model, make_checkpoints, make_data, worst
from torch import nn

from tracinctl import Pairs, Samples, compute_influence
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.kernel import layout
from tracinctl.engine.losses import LossSettings
from tracinctl.errors import MemoryBudgetError, NonFiniteError

ONCE = [(2 * k, 2 * k + 1, 1 if k % 3 else -1) for k in range(8)]
CHAINED = [(k, (5 * k + 3) % 16, 1 if k % 3 else -1) for k in range(16)]
HELD_OUT = [(0, 1, 1), (2, 3, -1), (4, 5, 1)]


def make(name, folder, train_pairs):
    build, kind = SMOOTH[name]
    model = build()
    data = make_data(kind, 5, 16, 6, train_pairs, HELD_OUT)
    return data, model, make_checkpoints(model, folder, (0.1, 0.05, 0.02), 5)


def tight(data, model, paths, **options):
    memory = 3000
    while True:
        try:
            return compute_influence(data, model, paths, memory=memory, **options)
        except MemoryBudgetError:
            memory = memory * 5 // 4


@pytest.fixture
def few_columns(monkeypatch):
    """Treat more than eight items as many, with five neighbours."""
    monkeypatch.setattr(layout, "COMPLETE", 8)
    monkeypatch.setattr(layout, "NEIGHBOURS", 5)


@pytest.mark.parametrize("memory", ["plenty", "tight"])
@pytest.mark.parametrize("pairs", [ONCE, CHAINED], ids=["items once", "items twice"])
@pytest.mark.parametrize("name", ["linear", "embedding", "one dimension"])
def test_the_layout_changes_no_score(name, pairs, memory, tmp_path, few_columns, request):
    data, model, paths = make(name, tmp_path, pairs)
    compute = tight if memory == "tight" else compute_influence
    options = {"dtype": "float64", "loss": "logistic", "device": "cpu"}
    few = compute(data, model, paths, **options)
    request.getfixturevalue("monkeypatch").setattr(layout, "COMPLETE", 100)
    complete = compute_influence(data, model, paths, **options)
    assert worst(few.scores, complete.scores) < 1e-12
    assert worst(few.self_influence, complete.self_influence) < 1e-12


def test_all_items_as_neighbours_equal_the_complete_kernel(tmp_path, few_columns, monkeypatch):
    data, model, paths = make("linear", tmp_path, CHAINED)
    monkeypatch.setattr(layout, "NEIGHBOURS", 16)
    few = compute_influence(data, model, paths, dtype="float64")
    monkeypatch.setattr(layout, "COMPLETE", 100)
    assert worst(few.sample_influence, compute_influence(data, model, paths, dtype="float64").sample_influence) < 1e-12


def test_rows_are_pairs_if_items_occur_once_and_the_loss_depends_on_the_difference(tmp_path, few_columns):
    data, model, paths = make("linear", tmp_path, ONCE)

    def rows(loss):
        return compute_scores(data, model, paths, ComputeOptions(loss=loss)).scores._layout.second is not None

    assert rows(LossSettings("logistic"))
    assert not rows(LossSettings(lambda s_i, s_j, y: s_i.exp() - y * s_j))


def test_a_function_of_the_difference_gives_the_same_scores_as_the_named_loss(tmp_path, few_columns):
    data, model, paths = make("linear", tmp_path, ONCE)
    table = compute_influence(data, model, paths, dtype="float64", loss="logistic")
    losses = [
        lambda a, b, y: (1 + (-y * (a - b)).exp()).log(),
        lambda a, b, y: (1 + (-y * a).exp() * (y * b).exp()).log(),
    ]
    others = [compute_influence(data, model, paths, dtype="float64", loss=loss) for loss in losses]
    assert [other.provenance["item_view"] for other in others] == ["own pairs", "5 neighbours"]
    for other in others:
        assert worst(table.scores, other.scores) < 1e-10


@pytest.mark.parametrize("method", ["tracin", "margin", "fisher"])
@pytest.mark.parametrize("name", ["linear", "embedding", "one dimension"])
def test_kernels_of_few_pairs_give_the_same_scores_as_those_of_items(name, method, tmp_path, monkeypatch):
    data, model, paths = make(name, tmp_path, [*ONCE[:6], ONCE[0], (3, 2, 1)])
    options = {"dtype": "float64", "loss": "logistic", "device": "cpu", "method": method}
    of_pairs = compute_influence(data, model, paths, **options)
    assert of_pairs.provenance["item_view"] == "all pairs"
    monkeypatch.setattr(layout, "_ONCE", 0.0)
    of_items = compute_influence(data, model, paths, **options)
    assert of_items.provenance["item_view"] == "all items"
    assert worst(of_pairs.scores, of_items.scores) < 1e-12
    assert worst(of_pairs.self_influence, of_items.self_influence) < 1e-12


def test_many_held_out_pairs_of_few_items_have_kernels_of_items(tmp_path):
    data, model, paths = make("linear", tmp_path, ONCE)
    every = [(i, j, 1) for i in range(6) for j in range(i)]
    data = dataclasses.replace(data, test_pairs=Pairs(*np.array(every).T))
    table = compute_influence(data, model, paths, loss="logistic")
    assert table.provenance["item_view"] == "all items"


def test_a_pair_of_items_with_different_shapes_is_right(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = Model(lambda m, x: m.b(torch.tanh(m.a(x)).mean(1)), a=nn.Linear(3, 4), b=nn.Linear(4, 1))
    inputs = [torch.randn(2 + k % 3, 3) for k in range(22)]
    data, _, _ = make("linear", tmp_path, ONCE)
    data = dataclasses.replace(
        data, train=Samples(data.train.ids, inputs[:16]), test=Samples(data.test.ids, inputs[16:])
    )
    paths = make_checkpoints(model, tmp_path / "shapes", (0.1, 0.05), 5)
    options = {"dtype": "float64", "loss": "logistic", "device": "cpu"}
    of_pairs = compute_influence(data, model, paths, **options)
    assert of_pairs.provenance["item_view"] == "all pairs"
    monkeypatch.setattr(layout, "_ONCE", 0.0)
    of_items = compute_influence(data, model, paths, **options)
    assert worst(of_pairs.scores, of_items.scores) < 1e-12


def test_a_gradient_of_a_pair_that_is_not_finite_names_the_item(tmp_path):
    data, model, paths = make("linear", tmp_path, ONCE)
    data.train.inputs[5] = float("inf")
    with pytest.raises(NonFiniteError, match="item t5 is NaN or infinite"):
        compute_influence(data, model, paths, loss="logistic")


@pytest.mark.parametrize("pairs", [ONCE, CHAINED], ids=["items once", "items twice"])
def test_the_cache_serves_another_loss_and_fewer_test_pairs(pairs, tmp_path, few_columns):
    data, model, paths = make("linear", tmp_path, pairs)
    options = {"dtype": "float64", "cache": tmp_path / "cache"}
    compute_influence(data, model, paths, **options)
    fewer = dataclasses.replace(data, test_pairs=data.test_pairs.take(np.array([0, 2])))
    again = compute_scores(
        fewer, model, paths[1:], ComputeOptions(LossSettings("logistic"), dtype="float64", cache=options["cache"])
    )
    assert again.gradients_computed == 0
    table = again.scores.table()
    fresh = compute_influence(fewer, model, paths[1:], dtype="float64", loss="logistic")
    for name in ("scores", "self_influence", "sample_influence"):
        assert worst(getattr(table, name), getattr(fresh, name)) < 1e-13, name


@pytest.mark.parametrize("loss", ["logistic", lambda s_i, s_j, y: (s_i.exp() - y * s_j) ** 2])
def test_scores_read_from_files_block_by_block_are_the_same(loss, tmp_path):
    data, model, paths = make("linear", tmp_path, CHAINED)
    in_memory = compute_scores(data, model, paths, ComputeOptions(LossSettings(loss), dtype="float64"))
    assert in_memory.scores._hold
    # kernels do not fit into this memory, so they stay in files even without a cache
    small = compute_scores(data, model, paths, ComputeOptions(LossSettings(loss), dtype="float64", memory=7_000))
    assert not small.scores._hold
    folder = small.scores._kernels[0]._arrays.path.parents[1]
    assert folder.is_dir()
    blocks = [block for _, block in small.scores.blocks()]
    assert worst(np.concatenate(blocks), in_memory.scores.table().scores) < 1e-13
    assert worst(small.scores.sample_influence, in_memory.scores.sample_influence) < 1e-13
    block = small.scores.block(3, 9, checkpoint=1)
    assert worst(block, in_memory.scores.block(3, 9, checkpoint=1)) < 1e-13
    del small, blocks
    assert not folder.exists()
    assert not list(Path(tempfile.gettempdir()).glob(f"{folder.name}*"))
