"""The oracle itself, against torch.func and against what can be worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracle
import pytest
import torch
from small_models import make_checkpoints, make_data, worst
from torch import nn

from tracinctl import Pairs


@pytest.fixture
def perceptron(tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    return make_data((6,)), model, make_checkpoints(model, tmp_path, rates=(0.3, 0.1))


@pytest.mark.parametrize("loss", ["standard", "logistic"])
def test_it_agrees_with_jacobians_of_all_losses_at_once(perceptron, loss):
    data, model, paths = perceptron
    states, rates = oracle.read_checkpoints(paths)
    assert rates == [0.3, 0.1]
    model = model.double()
    want, own = 0.0, 0.0
    for single, rate in zip(states, rates, strict=True):
        state = {name: value.double() for name, value in single.items()}

        def losses(state, samples, pairs):
            s = torch.func.functional_call(model, state, (samples.inputs.double(),))[:, 0]
            z = torch.from_numpy(pairs.target) * (s[pairs.first] - s[pairs.second])
            return torch.relu(1 - z) if loss == "standard" else torch.log1p(torch.exp(-z))

        def jacobian(samples, pairs, state=state, losses=losses):
            found = torch.func.jacrev(losses)(state, samples, pairs)
            return torch.cat([j.flatten(1) for j in found.values()], 1)

        left, right = jacobian(data.train, data.train_pairs), jacobian(data.test, data.test_pairs)
        want = want + rate * (left @ right.T).numpy()
        own = own + rate * (left * left).sum(1).numpy()
    scores, found, _ = oracle.influence_of_files(data, model, paths, "absolute", loss=loss)
    assert worst(scores, want) < 1e-14
    assert worst(found, own) < 1e-14


def test_it_agrees_with_a_linear_model_worked_out_by_hand(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    pairs = [(0, 1, 1), (0, 2, 1), (2, 1, -1)]
    data = make_data((2,), train=3, test=2, train_pairs=pairs, test_pairs=[(0, 1, 1)])
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    data = dataclasses.replace(
        data,
        train=dataclasses.replace(data.train, inputs=x),
        test=dataclasses.replace(data.test, inputs=torch.tensor([[1.0, 3.0], [0.0, 0.0]])),
    )
    torch.save({"model_state_dict": {"weight": torch.zeros(1, 2)}, "optimizer_state_dict": {}}, tmp_path / "c.pt")
    state = torch.load(tmp_path / "c.pt", weights_only=True)["model_state_dict"]
    # all scores are zero, so all losses are 1 and their gradients -y (x_i - x_j)
    scores, own, sample = oracle.influence(data, model, [state], [10.0])
    assert scores.tolist() == [[10 * (1 - 3)], [10 * (-1 - 6)], [-10 * (2 + 3)]]
    assert own.tolist() == [20.0, 50.0, 50.0]
    # under any mean of scores that are zero the loss of every pair is still 1
    assert sample.tolist() == [10.0, 10.0, 10.0]


def test_gradient_density_weights_are_counted_right(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    data = make_data((1,), train=3, test=2, train_pairs=[(0, 1, 1), (1, 0, -1), (2, 0, 1), (2, 1, -1)])
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, inputs=torch.tensor([[0.0], [1.0], [3.0]])))
    with torch.no_grad():
        model.weight.fill_(1.0)
    # g = sigmoid(1 - y (s_i - s_j)): 0.88, 0.88, 0.12, 0.95, in bins 4, 4, 0 and 4 of five
    found = oracle.ghm_weights(model.double(), data, oracle.unique(data.train_pairs), 1.0, 5, 0.5, 2)
    assert found == pytest.approx([1.5**-0.5] * 2 + [1.0] + [1.5**-0.5])


def test_it_knows_nothing_of_the_order_of_a_pair(perceptron):
    data, model, paths = perceptron
    pairs = data.train_pairs
    other = dataclasses.replace(data, train_pairs=Pairs(pairs.second, pairs.first, -pairs.target))
    for loss in ("standard", "logistic", "ghm"):
        one = oracle.influence_of_files(data, model, paths, loss=loss)
        two = oracle.influence_of_files(other, model, paths, loss=loss)
        assert [np.array_equal(a, b) or worst(a, b) < 1e-15 for a, b in zip(one, two, strict=True)] == [True] * 3


def test_self_influence_is_influence_on_itself(perceptron):
    data, model, paths = perceptron
    same = dataclasses.replace(data, test=data.train, test_pairs=data.train_pairs)
    scores, own, _ = oracle.influence_of_files(same, model, paths, loss="logistic")
    assert worst(np.diagonal(scores), own) < 1e-15


def test_it_runs_no_code_of_a_checkpoint(tmp_path):
    torch.save({"model_state_dict": print}, tmp_path / "c.pt")
    with pytest.raises(Exception, match="weights_only"):
        oracle.read_checkpoints([tmp_path / "c.pt"])
