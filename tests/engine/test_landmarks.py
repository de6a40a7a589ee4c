"""Method fisher by landmarks: exact if they span all gradients, else with a measured error, within ``memory``."""

from __future__ import annotations

import math

import numpy as np
import oracle
import pytest
import torch
from small_models import make_checkpoints, worst
from torch import nn

from tracinctl import Pairs, RankingData, Samples, compute_influence
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.kernel import layout
from tracinctl.engine.landmark_kernel import LandmarkKernel
from tracinctl.engine.losses import LossSettings
from tracinctl.errors import MemoryBudgetError

ITEMS = 90


def pairs_of(items, count, seed):
    random = np.random.default_rng(seed)
    first = random.integers(0, items, count)
    second = (first + random.integers(1, items, count)) % items
    return Pairs(first, second, np.where(random.random(count) < 0.5, 1, -1))


def one_pair_per_item(items):
    first = np.arange(0, items, 2)
    return Pairs(first, first + 1, np.where(first % 3, 1, -1))


def make(folder, width, *, once=False):
    generator = torch.Generator().manual_seed(width)

    def side(letter, items, pairs):
        return Samples([f"{letter}{k}" for k in range(items)], torch.randn(items, 4, generator=generator)), pairs

    train = one_pair_per_item(ITEMS) if once else pairs_of(ITEMS, 4 * ITEMS, 1)
    test = one_pair_per_item(20) if once else pairs_of(20, 30, 2)
    data = RankingData(*side("t", ITEMS, train), *side("h", 20, test))
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))
    return data, model, make_checkpoints(model, folder, seed=3)


@pytest.fixture
def few_columns(monkeypatch):
    monkeypatch.setattr(layout, "COMPLETE", 8)
    monkeypatch.setattr(layout, "NEIGHBOURS", 32)


@pytest.mark.usefixtures("few_columns")
@pytest.mark.parametrize("once", [False, True], ids=["items", "pairs"])
def test_landmarks_that_span_the_gradients_are_exact(once, tmp_path):
    data, model, paths = make(tmp_path, 3, once=once)
    scores, self_influence, _ = oracle.influence_of_files(data, model, paths, method="fisher", loss="logistic")
    table = compute_influence(data, model, paths, method="fisher", loss="logistic", dtype="float64")
    assert worst(table.scores, scores) < 1e-7
    assert worst(table.self_influence, self_influence) < 1e-7
    for error in table.provenance["landmarks"]["error"]:
        assert error["root_mean_square"] < 1e-6
        assert error["correlation"] > 1 - 1e-9
    single = compute_influence(data, model, paths, method="fisher", loss="logistic")
    assert worst(single.scores, scores) < 1e-4


@pytest.mark.usefixtures("few_columns")
def test_directions_in_several_parts_give_the_same_lengths(tmp_path, monkeypatch):
    data, model, paths = make(tmp_path, 64)

    def lengths():
        return compute_influence(data, model, paths, method="fisher", loss="logistic").self_influence

    at_once = lengths()
    monkeypatch.setattr(
        LandmarkKernel, "_parts", lambda self, columns: (slice(k, min(k + 3, columns)) for k in range(0, columns, 3))
    )
    np.testing.assert_allclose(lengths(), at_once, rtol=1e-9)


def off(few, exact):
    return math.sqrt(np.mean((few - exact) ** 2) / np.mean(exact**2))


@pytest.mark.parametrize("once", [False, True], ids=["items", "pairs"])
def test_the_measured_error_is_close_to_the_scores_error(once, tmp_path, monkeypatch):
    data, model, paths = make(tmp_path, 64, once=once)
    options = {"method": "fisher", "loss": "logistic", "dtype": "float64"}
    exact = compute_influence(data, model, paths[:1], **options)
    monkeypatch.setattr(layout, "COMPLETE", 8)
    true, measured = {}, {}
    for neighbours in (8, 16, 32):
        monkeypatch.setattr(layout, "NEIGHBOURS", neighbours)
        few = compute_influence(data, model, paths[:1], **options)
        true[neighbours] = off(few.scores, exact.scores)
        [error] = few.provenance["landmarks"]["error"]
        measured[neighbours] = error["root_mean_square"]
        plain = compute_influence(data, model, paths[:1], **options | {"method": "margin"})
        assert true[neighbours] < 0.5 * off(plain.scores, exact.scores)
    assert 0.001 < true[32] < true[8]
    # the error is measured on items that are no landmarks; here a third of the items are landmarks
    for neighbours, value in true.items():
        assert 0.5 < measured[neighbours] / value < 5


@pytest.mark.usefixtures("few_columns")
def test_a_note_names_the_landmarks_and_their_error(tmp_path):
    data, model, paths = make(tmp_path, 64)
    options = ComputeOptions(LossSettings("logistic"), method="fisher")
    result = compute_scores(data, model, paths, options)
    [note] = [note for note in result.notes if "landmarks" in note]
    landmarks = result.scores.provenance["landmarks"]
    # held-out items, and training items less those that measure the error
    assert landmarks["count"] == 20 + 32 - 8
    worst_error = max(error["root_mean_square"] for error in landmarks["error"])
    assert note.startswith("method fisher uses 44 landmarks for all items: ")
    assert f"off by {worst_error:.1%} (root mean square)" in note
    assert result.scores.provenance["notes"][-1] == note
    plain = compute_scores(data, model, paths, ComputeOptions(LossSettings("logistic"), method="margin"))
    assert "landmarks" not in plain.scores.provenance


@pytest.mark.usefixtures("few_columns")
def test_less_memory_means_fewer_landmarks_and_a_larger_error(tmp_path):
    data, model, paths = make(tmp_path, 64)

    def landmarks(memory):
        options = ComputeOptions(LossSettings("logistic"), method="fisher", memory=memory)
        provenance = compute_scores(data, model, paths, options).scores.provenance["landmarks"]
        return provenance["count"], max(error["root_mean_square"] for error in provenance["error"])

    many, small = landmarks(1 << 30)
    few, large = landmarks(200 << 10)
    assert few < many
    assert small < large
    with pytest.raises(MemoryBudgetError, match=r"`method` fisher needs at least \d+KiB for 110 items"):
        landmarks(10 << 10)


@pytest.mark.usefixtures("few_columns")
def test_pairs_without_a_gradient_score_zero_with_landmarks(tmp_path):
    data, model, paths = make(tmp_path, 3)
    met = lambda s_i, s_j, y: torch.relu(-1e6 - y * (s_i - s_j))  # noqa: E731
    table = compute_influence(data, model, paths, method="fisher", loss=met)
    assert not table.scores.any()
    assert not table.self_influence.any()
    assert table.provenance["landmarks"]["error"] == [None] * len(paths)


@pytest.mark.usefixtures("few_columns")
def test_a_kernel_made_for_fisher_serves_the_other_methods(tmp_path):
    data, model, paths = make(tmp_path, 3, once=True)
    cache = tmp_path / "cache"
    compute_influence(data, model, paths, method="fisher", loss="logistic", cache=cache)
    result = compute_scores(data, model, paths, ComputeOptions(LossSettings("logistic"), cache=cache))
    assert all(result.taken)
    alone = compute_influence(data, model, paths, loss="logistic")
    assert worst(result.scores.table().scores, alone.scores) < 1e-6


@pytest.mark.usefixtures("few_columns")
@pytest.mark.parametrize("method", ["fisher", "tracin"])
def test_rows_from_a_file_equal_computed_rows(method, tmp_path):
    data, model, paths = make(tmp_path, 3)

    def scores(memory):
        options = ComputeOptions(LossSettings("logistic"), method=method, memory=memory, dtype="float64")
        return compute_scores(data, model, paths, options).scores

    few = scores(100 << 10)
    blocks = [block for _, block in few.blocks()]
    assert len(blocks) > 1
    assert few._row_files
    again = scores(100 << 10)
    assert worst(again.block(0, len(data.train_pairs)), np.concatenate(blocks)) < 1e-12
    assert not again._row_files
