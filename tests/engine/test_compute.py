"""The engine equals a loop over pairs for any model, pairs, loss, weights and block sizes."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from places import HELPERS, ROOT
from small_models import MODELS, SMOOTH, make_checkpoints, make_data, worst
from torch import nn
from torch.nn import functional

from tracinctl import Pairs, Samples, compute_influence
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.errors import MemoryBudgetError

# torch warns that attention runs item by item under vmap, which is slow but right
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")

TRAIN, TEST = 6, 4


def _lopsided(s_i, s_j, y):
    return torch.tanh(s_i * y) ** 2 + 0.5 * s_i * s_j - y * s_j


def _rows(items, size):
    """Random pairs of different items, which may repeat or be mirrored; each id has one target."""
    row = st.tuples(st.integers(0, items - 1), st.integers(1, items - 1), st.sampled_from([1, -1]))
    drawn = st.lists(row, min_size=1, max_size=size)
    return drawn.map(_settle(items))


def _settle(items):
    def settle(rows):
        targets = {}
        placed = [(i, (i + step) % items, y) for i, step, y in rows]
        return [(i, j, targets.setdefault((i, j), y)) for i, j, y in placed]

    return settle


LOSSES = st.one_of(
    st.fixed_dictionaries({"loss": st.just("standard"), "margin": st.floats(0.1, 4)}),
    st.fixed_dictionaries({"loss": st.just("capped"), "margin": st.floats(0.1, 4)}),
    st.just({"loss": "logistic"}),
    st.just({"loss": _lopsided}),
    st.fixed_dictionaries(
        {
            "loss": st.just("ghm"),
            "margin": st.floats(0.1, 4),
            "bins": st.integers(1, 12),
            "alpha": st.floats(0, 2),
            "batch_size": st.integers(1, 64),
        }
    ),
)
SITUATIONS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "train_pairs": _rows(TRAIN, 12),
        "test_pairs": _rows(TEST, 5),
        "rates": st.lists(st.floats(1e-4, 1), min_size=1, max_size=3),
        "weighting": st.sampled_from(["relative", "absolute", "uniform"]),
        "tight": st.booleans(),
        "method": st.sampled_from(["tracin", "margin", "fisher"]),
        "loss": LOSSES,
    }
)
ENGINE_NAMES = {"bins": "ghm_bins", "alpha": "ghm_alpha"}


def in_little_memory(data, model, paths, **options):
    """The table in about the least memory, with tiles of one or two items."""
    memory = 4000
    while True:
        try:
            return compute_influence(data, model, paths, memory=memory, **options)
        except MemoryBudgetError:
            memory = memory * 5 // 4


def assert_close(got, want, scale):
    """Within 1e-10 of the largest value; ``scale`` allows for rounding if all values nearly cancel."""
    assert got.shape == want.shape
    assert np.abs(got - want).max(initial=0) <= 1e-10 * np.abs(want).max(initial=0) + 1e-14 * scale


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6)
@given(situation=SITUATIONS)
def test_scores_equal_a_loop_over_pairs(name, situation):
    build, kind = MODELS[name]
    model = build()
    seed = situation["seed"]
    data = make_data(kind, seed, TRAIN, TEST, situation["train_pairs"], situation["test_pairs"])
    with tempfile.TemporaryDirectory() as folder:
        paths = make_checkpoints(model, Path(folder), situation["rates"], seed)
        method = situation["method"]
        scores, self_influence, sample = oracle.influence_of_files(
            data, model, paths, situation["weighting"], method=method, **situation["loss"]
        )
        compute = in_little_memory if situation["tight"] else compute_influence
        options = {ENGINE_NAMES.get(k, k): v for k, v in situation["loss"].items()}
        options |= {"method": method, "checkpoint_weights": situation["weighting"]}
        table = compute(data, model, paths, dtype="float64", device="cpu", **options)
    assert_close(table.scores, scores, self_influence.max())
    assert_close(table.self_influence, self_influence, self_influence.max())
    assert_close(table.sample_influence, sample, self_influence.max())


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("loss", ["standard", "logistic", "ghm", "capped"])
def test_float32_is_off_by_at_most_a_hundred_thousandth(name, loss, tmp_path):
    build, kind = SMOOTH[name]
    model = build()
    data = make_data(kind, seed=3)
    paths = make_checkpoints(model, tmp_path, seed=3)
    scores, self_influence, sample = oracle.influence_of_files(data, model, paths, loss=loss)
    table = compute_influence(data, model, paths, loss=loss, dtype="float32", device="cpu")
    assert table.scores.dtype == np.float64
    assert worst(table.scores, scores) < 1e-5
    assert worst(table.self_influence, self_influence) < 1e-5
    assert worst(table.sample_influence, sample) < 1e-5


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["linear", "two dimensions and BatchNorm", "changes its input in place", "embedding"])
def test_blocks_item_order_and_cache_change_nothing(name, cached, tmp_path):
    build, kind = SMOOTH[name]
    model = build()
    data = make_data(kind)
    paths = make_checkpoints(model, tmp_path)
    options = {"dtype": "float64", "loss": "logistic", "cache": tmp_path / "cache" if cached else None}
    want = compute_influence(data, model, paths, **options)
    order = np.array([3, 0, 5, 1, 4, 2])
    place = np.argsort(order)
    pairs = data.train_pairs
    moved = dataclasses.replace(
        data,
        train=Samples([data.train.ids[k] for k in order], data.train.inputs[order]),
        train_pairs=Pairs(place[pairs.first], place[pairs.second], pairs.target),
    )
    for table in (
        compute_influence(data, model, paths, **options),
        compute_influence(moved, model, paths, **options),
        in_little_memory(data, model, paths, **(options | {"cache": None})),
        in_little_memory(moved, model, paths, **(options | {"cache": None})),
    ):
        assert table.train_ids == want.train_ids
        assert worst(table.scores, want.scores) < 1e-13
        assert worst(table.self_influence, want.self_influence) < 1e-13
        by_item = dict(zip(table.sample_ids, table.sample_influence, strict=True))
        # rounding of the scores counts 50 times, because the measure divides by its temperature, 0.02
        assert worst(np.array([by_item[i] for i in want.sample_ids]), want.sample_influence) < 1e-12


@pytest.mark.parametrize("loss", ["standard", "logistic", "ghm", _lopsided])
def test_mirror_images_score_the_same_if_the_loss_is_symmetric(loss, tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    rows = [(i, j, 1 if i > j else -1) for i in range(TRAIN) for j in range(TRAIN) if i != j]
    data = make_data((6,), train_pairs=rows)
    table = compute_influence(data, model, make_checkpoints(model, tmp_path), loss=loss, dtype="float64")
    by_id = dict(zip(table.train_ids, table.scores, strict=True))
    self_influence = dict(zip(table.train_ids, table.self_influence, strict=True))
    pairs = [(f"t{i}_t{j}", f"t{j}_t{i}") for i, j, _ in rows if i > j]
    same = [
        worst(by_id[a], by_id[b]) < 1e-13 and abs(self_influence[a] - self_influence[b]) <= 1e-13 * self_influence[a]
        for a, b in pairs
    ]
    # a function that treats its two scores differently has no such symmetry
    assert same == [not callable(loss)] * len(pairs)


def test_influence_is_the_sum_over_checkpoints(tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path, rates=(0.2, 0.1, 0.4))
    options = {"dtype": "float64", "loss": "logistic", "checkpoint_weights": "absolute"}
    total = compute_influence(data, model, paths, **options)
    parts = [compute_influence(data, model, [path], **options) for path in paths]
    assert worst(sum(p.scores for p in parts), total.scores) < 1e-14
    assert worst(sum(p.self_influence for p in parts), total.self_influence) < 1e-14
    assert worst(sum(p.sample_influence for p in parts), total.sample_influence) < 1e-14
    # the scores are inner products of the gradients of all checkpoints, each times the root of its weight
    states, rates = oracle.read_checkpoints(paths)
    train, test = [], []
    for state, rate in zip(states, rates, strict=True):
        model.double().load_state_dict(state)
        for pairs, samples, rows in ((data.train_pairs, data.train, train), (data.test_pairs, data.test, test)):
            loss = oracle.pair_loss("logistic", 1.0)
            rows.append(
                torch.stack(
                    [rate**0.5 * oracle.pair_gradient(model, data, samples, p, loss) for p in oracle.rows(pairs)]
                )
            )
    assert worst(total.scores, (torch.cat(train, 1) @ torch.cat(test, 1).T).numpy()) < 1e-13


@pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")  # equal items are intended here
def test_pairs_whose_margin_is_met_score_exactly_zero(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    data = make_data((1,), train=4, test=3, train_pairs=[(1, 0, 1), (2, 1, 1), (0, 3, 1)], test_pairs=[(1, 0, 1)])
    data = dataclasses.replace(
        data,
        train=Samples(data.train.ids, torch.tensor([[0.0], [2.0], [5.0], [4.0]])),
        test=Samples(data.test.ids, torch.tensor([[0.0], [3.0], [1.0]])),
    )
    path = tmp_path / "model_epoch_1.pt"
    torch.save({"weight": torch.ones(1, 1)}, path)
    inactive = compute_influence(data, model, [path], checkpoint_weights="uniform")
    assert inactive.scores.tolist() == [[0.0]] * 3  # the test pair has no gradient
    assert inactive.self_influence.tolist() == [0.0, 0.0, 16.0]
    turned = dataclasses.replace(data, test_pairs=Pairs([0, 1], [1, 0], [1, 1]))
    active = compute_influence(turned, model, [path], checkpoint_weights="uniform")
    # only training pair t0_t3 is active: - (0 - 4) times - (0 - 3)
    assert active.scores.tolist() == [[0.0, 0.0], [0.0, 0.0], [12.0, 0.0]]


def test_the_users_model_and_inputs_are_unchanged(tmp_path):
    build, kind = MODELS["changes its input in place"]
    model = nn.Sequential(build(), nn.BatchNorm1d(1))
    paths = make_checkpoints(model, tmp_path)
    data = make_data(kind)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = data.train.inputs.clone(), data.test.inputs.clone()
    model.train()
    for dtype in ("float32", "float64"):
        compute_influence(data, model, paths, dtype=dtype)
    assert torch.equal(data.train.inputs, inputs[0])
    assert torch.equal(data.test.inputs, inputs[1])
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(p.grad is None for p in model.parameters())


class _Constants(nn.Module):
    def __init__(self, power=1, scale=1.0, shift=0.0, how=torch.tanh):
        super().__init__()
        self.how = how
        self.a = nn.Linear(6, 1)
        self.power = power
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.shift = torch.tensor(shift)

    def forward(self, x):
        return self.how(self.a(x) ** self.power * self.scale + self.shift)


def _first(model, x):
    return model(x)


def _cubed(model, x):
    return model(x) ** 3


@pytest.mark.parametrize(
    "change",
    [
        {"power": 3},
        {"scale": 2.0},
        {"shift": 0.5},
        {"how": torch.sigmoid},
        {"how": functools.partial(functional.leaky_relu, negative_slope=0.5)},
        {"score": _cubed},
    ],
)
def test_a_kept_kernel_is_not_used_for_a_model_with_another_calculation(change, tmp_path):
    """Both models have the same state dict and the same printed form."""
    data = dataclasses.replace(make_data((6,)), score=_first)
    paths = make_checkpoints(_Constants(), tmp_path)
    changed = dataclasses.replace(data, score=change.get("score", _first))
    model = _Constants(**{k: v for k, v in change.items() if k != "score"})
    options = ComputeOptions(cache=tmp_path / "cache")
    compute_scores(data, _Constants(), paths, options)
    assert compute_scores(data, _Constants(), paths, options).taken == [True, True]
    again = compute_scores(changed, model, paths, options)
    fresh = compute_influence(changed, model, paths)
    assert np.array_equal(again.scores.table().scores, fresh.scores)


CHECKS = 7  # passes that score three items twice alone and once together


@pytest.mark.parametrize(
    "name",
    [
        "linear",
        "ReLU in place",
        "positions added to numbers",
        "GroupNorm and LayerNorm",
        "a path that the data choose",  # items of the same branch run together
    ],
)
def test_the_model_runs_once_per_block_not_once_per_item(name, tmp_path):
    build, kind = MODELS[name]
    model = build()
    data = make_data(kind, train=40, test=20)
    paths = make_checkpoints(model, tmp_path, rates=(0.1,))
    runs = []

    def score(model, x):
        runs.append(1)
        return model(x)

    compute_influence(dataclasses.replace(data, score=score), model, paths)
    assert len(runs) < 10 + CHECKS


def test_a_models_digest_is_the_same_in_every_process():
    program = (
        "from small_models import MODELS\n"
        "from tracinctl.engine.fingerprint import model_digest\n"
        "print(*(model_digest(build(), build) for build, _ in MODELS.values()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(HELPERS)}

    def run(seed):
        return subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**environment, "PYTHONHASHSEED": seed},
        ).stdout.split()

    digests = run("1")
    assert digests == run("2")
    assert len(set(digests)) == len(MODELS)
