"""Rows, ids, weights and kept kernels of the engine, its refusals, and the classes of the old module.

``test_compute`` compares scores of any model and loss with the oracle.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import oracle
import pytest
import torch
from small_models import Model, make_checkpoints, make_data, worst
from torch import nn
from torch.nn import functional

from tracinctl import Pairs, RankingData, RankingTracInCP, Samples, TracInCP, compute_influence
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.errors import CheckpointError, DataError, LossError, ModelError, NonFiniteError

RATES = (0.1, 0.05, 0.2)


@pytest.fixture
def linear(tmp_path):
    """Data, a model with one hidden layer, and its checkpoints."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    return make_data((6,), train=7, test=5), model, make_checkpoints(model, tmp_path, RATES)


def with_train(data, pairs):
    return dataclasses.replace(data, train_pairs=pairs)


def repeated(pairs):
    """The pairs, then the same pairs with the opposite target, then the pairs again."""
    return Pairs(
        *(np.concatenate([getattr(pairs, n)] * 3) for n in ("first", "second")),
        np.concatenate([pairs.target, -pairs.target, pairs.target]),
    )


@pytest.mark.parametrize("loss", ["standard", "logistic", "ghm", "capped"])
def test_rows_are_the_callers_pairs_in_their_order(linear, loss):
    data, model, paths = linear
    data = RankingData(data.train, repeated(data.train_pairs), data.test, repeated(data.test_pairs))
    scores, self_influence, sample = oracle.influence_of_files(data, model, paths, loss=loss)
    table = compute_influence(data, model, paths, loss=loss, dtype="float64")
    assert table.scores.shape == (len(data.train_pairs), len(data.test_pairs))
    assert worst(table.scores, scores) < 1e-10
    assert worst(table.self_influence, self_influence) < 1e-10
    assert worst(table.sample_influence, sample) < 1e-10


def test_repeated_pairs_are_numbered(linear):
    data, model, paths = linear
    pairs = Pairs([0, 1, 0, 0], [1, 0, 1, 1], [1, -1, -1, 1])
    table = compute_influence(with_train(data, pairs), model, paths)
    assert list(table.train_ids) == ["t0_t1", "t1_t0", "t0_t1#2", "t0_t1#3"]
    assert table.train_items[2] == ("t0", "t1")


def test_pairs_may_have_their_own_ids(linear):
    data, model, paths = linear
    pairs = Pairs([0, 0], [1, 1], [1, -1], ids=["ann-7", "bob-2"])
    table = compute_influence(with_train(data, pairs), model, paths)
    assert list(table.train_ids) == ["ann-7", "bob-2"]


def test_two_pairs_with_one_id_are_an_error_that_names_it(linear):
    data, model, paths = linear
    train = Samples(["a", "b_c", "a_b", "c", *"def"], data.train.inputs)
    pairs = Pairs([0, 2], [1, 3], [1, 1])
    with pytest.raises(DataError, match="two different pairs have the id a_b_c"):
        compute_influence(RankingData(train, pairs, data.test, data.test_pairs), model, paths)


def test_repeated_pairs_are_right_if_rows_are_pairs(linear, monkeypatch):
    data, model, paths = linear
    pairs = repeated(Pairs([0, 2, 4], [1, 3, 5], [1, -1, 1]))
    data = RankingData(data.train, pairs, data.test, repeated(data.test_pairs.take(np.arange(2))))
    want = compute_influence(data, model, paths, dtype="float64")
    monkeypatch.setattr("tracinctl.engine.kernel.layout.COMPLETE", 4)
    monkeypatch.setattr("tracinctl.engine.kernel.layout._ONCE", 9.0)
    result = compute_scores(data, model, paths, ComputeOptions(dtype="float64"))
    assert result.scores.provenance["item_view"] == "own pairs"
    table = result.scores.table()
    assert worst(table.scores, want.scores) < 1e-12
    assert worst(table.self_influence, want.self_influence) < 1e-12


@pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")  # equal items are intended here
def test_self_influence_is_the_diagonal_of_train_on_train(linear):
    data, model, paths = linear
    on_itself = RankingData(
        data.train,
        data.train_pairs,
        Samples([f"copy {i}" for i in data.train.ids], data.train.inputs),
        data.train_pairs,
    )
    table = compute_influence(on_itself, model, paths, dtype="float64")
    assert worst(table.self_influence, np.diagonal(table.scores)) < 1e-12


def test_items_of_different_shapes_work_together(tmp_path):
    model = Model(lambda m, x: m.b(torch.tanh(m.a(x)).mean(1)), a=nn.Linear(3, 4), b=nn.Linear(4, 1))
    train = Samples(["a", "b", "c"], [torch.randn(n, 3) for n in (2, 5, 2)])
    test = Samples(["d", "e"], [torch.randn(n, 3) for n in (1, 5)])
    data = RankingData(train, Pairs([0, 1, 2], [1, 2, 0], [1, 1, -1]), test, Pairs([0], [1], [1]))
    paths = make_checkpoints(model, tmp_path)
    scores, _, _ = oracle.influence_of_files(data, model, paths, loss="logistic")
    assert worst(compute_influence(data, model, paths, loss="logistic", dtype="float64").scores, scores) < 1e-10


def test_cached_kernels_serve_any_margin_loss_and_pairs(linear, tmp_path):
    data, model, paths = linear
    options = ComputeOptions(cache=tmp_path / "cache")
    cold = compute_scores(data, model, paths, options)
    assert cold.gradients_computed == 3 * (7 + 5)
    fewer = RankingData(data.train, data.train_pairs, data.test, data.test_pairs.take(np.array([0, 1])))
    for loss in ("logistic", "standard"):
        again = compute_influence(fewer, model, paths, loss=loss, margin=0.3, cache=tmp_path / "cache")
        fresh = compute_influence(fewer, model, paths, loss=loss, margin=0.3)
        assert np.array_equal(again.scores, fresh.scores)
    assert compute_scores(fewer, model, paths, options).gradients_computed == 0
    assert compute_scores(data, model, paths[1:], options).gradients_computed == 0


def test_a_changed_item_model_or_checkpoint_is_computed_again(linear, tmp_path):
    data, model, paths = linear
    options = ComputeOptions(cache=tmp_path / "cache")
    compute_scores(data, model, paths, options)
    content = torch.load(paths[0], weights_only=True)
    content["model_state_dict"]["0.bias"] += 1
    torch.save(content, paths[0])
    assert compute_scores(data, model, paths, options).taken == [False, True, True]
    model[0].bias.requires_grad_(False)
    assert compute_scores(data, model, paths, options).taken == [False] * 3
    model[0].bias.requires_grad_(True)
    data.train.inputs[0] += 1
    assert compute_scores(data, model, paths, options).taken == [False] * 3


def test_layers_limit_the_gradients_to_their_parameters(linear):
    data, model, paths = linear
    of_all_layers = compute_influence(data, model, paths, dtype="float64").scores
    parts = [compute_influence(data, model, paths, dtype="float64", layers=[p]).scores for p in ("0.*", "2.*")]
    assert worst(parts[0] + parts[1], of_all_layers) < 1e-12
    for p in model[0].parameters():
        p.requires_grad_(False)
    assert worst(compute_influence(data, model, paths, dtype="float64").scores, parts[1]) < 1e-12


def test_weights_of_checkpoints(linear):
    data, model, paths = linear
    per = compute_influence(data, model, paths, checkpoint_weights="uniform", per_checkpoint=True, dtype="float64")
    assert worst(per.per_checkpoint.sum(0), per.scores) < 1e-12
    absolute = compute_influence(data, model, paths, checkpoint_weights="absolute", dtype="float64")
    want = sum(rate * part for rate, part in zip(RATES, per.per_checkpoint, strict=True))
    assert worst(absolute.scores, want) < 1e-12


def test_without_learning_rates_relative_is_uniform_and_absolute_fails(linear, tmp_path):
    data, model, paths = linear
    path = tmp_path / "bare.pt"
    torch.save(torch.load(paths[0])["model_state_dict"], path)
    result = compute_scores(data, model, [path], ComputeOptions())
    assert [checkpoint.weight for checkpoint in result.checkpoints] == [1.0]
    assert result.scores.provenance["checkpoints"][0]["learning_rate"] is None, "diagnoses report the unknown rate"
    with pytest.raises(CheckpointError, match="learning rate"):
        compute_scores(data, model, [path], ComputeOptions(checkpoint_weights="absolute"))


def test_checkpoints_are_in_natural_order(tmp_path):
    for n in (10, 2, 1):
        (tmp_path / f"model_epoch_{n}.pt").write_bytes(b"x")
    (tmp_path / "other.pt").write_bytes(b"x")
    assert [p.name for p in list_checkpoints(tmp_path)] == [f"model_epoch_{n}.pt" for n in (1, 2, 10)]


def test_a_checkpoint_of_another_model_names_the_keys(linear, tmp_path):
    data, model, _ = linear
    path = tmp_path / "other.pt"
    torch.save({"0.weight": torch.zeros(2, 2), "0.bias": torch.zeros(5), "9.bias": torch.zeros(1)}, path)
    with pytest.raises(
        CheckpointError, match=r"missing: 2\.weight, 2\.bias; unexpected: 9\.bias; wrong shape: 0\.weight"
    ):
        compute_influence(data, model, [path])


def test_a_gradient_that_is_not_finite_names_checkpoint_and_item(linear):
    data, model, paths = linear
    data.train.inputs[3] = float("inf")
    with pytest.raises(NonFiniteError, match=r"model_epoch_5.pt.*t3"):
        compute_influence(data, model, paths)


def test_the_class_of_the_old_module_gives_the_same_scores(linear):
    data, model, paths = linear
    table = compute_influence(data, model, paths)
    x, ids, p = data.train.inputs, data.train.ids, data.train_pairs
    dataset = [(x[i], x[j], y, 0, 0, ids[i], ids[j]) for i, j, y in zip(p.first, p.second, p.target, strict=True)]
    i, j, y = data.test_pairs.first[2], data.test_pairs.second[2], data.test_pairs.target[2]
    tracin = RankingTracInCP(model, paths, loss_type="standard")
    scores = tracin.compute_influence_for_pair(dataset, data.test.inputs[i], data.test.inputs[j], y)
    column = list(table.test_ids).index(f"h{i}_h{j}")
    assert list(scores) == list(table.train_ids)
    assert worst(np.array(list(scores.values())), table.scores[:, column]) < 1e-6


def test_single_examples_under_any_loss(tmp_path):
    model = nn.Linear(3, 1)
    paths = make_checkpoints(model, tmp_path, RATES)
    states, rates = oracle.read_checkpoints(paths)
    x, y = torch.randn(4, 3), torch.randn(4, 1)
    tx, ty = torch.randn(2, 3), torch.randn(2, 1)
    tracin = TracInCP(model, paths, nn.MSELoss(), dtype="float64")
    scores = tracin.compute_influence([(x[k], y[k], f"e{k}") for k in range(4)], tx, ty)
    want = np.zeros((4, 2))
    for state, weight in zip(states, oracle.weights(rates, "relative"), strict=True):
        w, b = state["weight"].double()[0], state["bias"].double()
        err, terr = 2 * (x.double() @ w + b - y[:, 0]), 2 * (tx.double() @ w + b - ty[:, 0])
        want += weight * (err[:, None] * terr[None] * (x.double() @ tx.double().T + 1)).numpy()
    assert worst(np.array([scores[f"e{k}"] for k in range(4)]), want) < 1e-10
    self_influence = tracin.compute_self_influence([(x[k], y[k], f"e{k}") for k in range(4)])
    assert min(self_influence.values()) > 0
    tracin.save_influence_scores(self_influence, tmp_path / "scores.json", "tracin_self_influence")
    tracin.save_influence_scores(self_influence, tmp_path / "scores.json", "again")
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["e1"] == {"tracin_self_influence": self_influence["e1"], "again": self_influence["e1"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, (*rows[0][:2], 0.5, *rows[0][3:])], "`target` must be whole numbers"),
        (lambda rows: [*rows, (rows[0][0] + 1, *rows[0][1:])], "item t. has two different inputs"),
        (lambda rows: [("text", *rows[0][1:])], "item t. cannot be read"),
        (lambda rows: [], "there are no training pairs"),
    ],
)
def test_the_class_of_the_old_module_refuses_ambiguous_rows(linear, change, message):
    data, model, paths = linear
    x, ids, p = data.train.inputs, data.train.ids, data.train_pairs
    rows = [(x[i], x[j], y, 0, 0, ids[i], ids[j]) for i, j, y in zip(p.first, p.second, p.target, strict=True)]
    tracin = RankingTracInCP(model, paths)
    with pytest.raises(DataError, match=message):
        tracin.compute_influence_for_pair(change(rows), data.test.inputs[0], data.test.inputs[1], 1)
    with pytest.raises(DataError, match="`test_x1` has 2 items"):
        tracin.compute_influence_for_pair(rows, data.test.inputs[:2], data.test.inputs[2:3], 1)


def test_single_examples_of_classes_count_by_their_own_gradients(tmp_path):
    model = nn.Linear(3, 4)
    path, _ = make_checkpoints(model, tmp_path)
    x, y = torch.randn(5, 3), [0, 3, 2, 3, 1]
    rows = [(x[k], y[k], k) for k in range(4)]
    tracin = TracInCP(model, [path], functional.cross_entropy, checkpoint_weights="uniform", dtype="float64")
    found = tracin.compute_influence(rows, x[4:], torch.tensor(y[4:]))
    own = tracin.compute_self_influence(rows)
    model.load_state_dict(torch.load(path)["model_state_dict"])
    model.double()
    slopes = []
    for inputs, target in zip(x.double(), y, strict=True):
        loss = functional.cross_entropy(model(inputs[None]), torch.tensor([target]))
        slopes.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    products = torch.stack(slopes) @ torch.stack(slopes).T
    assert worst(np.array(list(found.values()))[:, 0], products[:4, 4].numpy()) < 1e-10
    assert worst(np.array(list(own.values())), products.diagonal()[:4].numpy()) < 1e-10


def test_unusable_single_examples_are_refused(tmp_path):
    model = nn.Linear(3, 1)
    paths = make_checkpoints(model, tmp_path)
    x, y = torch.randn(4, 3), torch.randn(4, 1)
    rows = [(x[k], y[k], f"e{k}") for k in range(4)]
    with pytest.raises(DataError, match=r"ids must be unique; 1 are not .e0."):
        TracInCP(model, paths, nn.MSELoss()).compute_self_influence([*rows, rows[0]])
    with pytest.raises(DataError, match="2 `test_inputs` but 1 `test_targets`"):
        TracInCP(model, paths, nn.MSELoss()).compute_influence(rows, x[:2], y[:1])
    with pytest.raises(ModelError, match="the model failed on item e2: RuntimeError"):
        TracInCP(model, paths, nn.MSELoss()).compute_self_influence([*rows[:2], (x[2, :2], y[2], "e2")])
    with pytest.raises(LossError, match=r"the loss of an example has shape \(1, 3\), not one value"):
        TracInCP(model, paths, lambda output, target: output.expand(1, 3) - target).compute_self_influence(rows)
    noisy = nn.Sequential(nn.Linear(3, 1), Drops())
    paths = make_checkpoints(noisy, tmp_path)
    with pytest.raises(ModelError, match=r"item e\d: the model gives the score [\d.]+, and then "):
        TracInCP(noisy, paths, nn.MSELoss()).compute_self_influence(rows)


class Drops(nn.Module):
    def forward(self, x):
        return functional.dropout(x.expand(-1, 50), 0.5).mean(1, keepdim=True)
