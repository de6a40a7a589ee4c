"""The oracle against torch.func and against computations by hand."""

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
def test_it_agrees_with_jacobians_of_all_losses(perceptron, loss):
    data, model, paths = perceptron
    states, rates = oracle.read_checkpoints(paths)
    assert rates == [0.3, 0.1]
    model = model.double()
    want, want_own = 0.0, 0.0
    for single, rate in zip(states, rates, strict=True):
        state = {name: value.double() for name, value in single.items()}

        def losses(state, samples, pairs):
            s = torch.func.functional_call(model, state, (samples.inputs.double(),))[:, 0]
            z = torch.from_numpy(pairs.target) * (s[pairs.first] - s[pairs.second])
            return torch.relu(1 - z) if loss == "standard" else torch.log1p(torch.exp(-z))

        def jacobian(samples, pairs, state=state, losses=losses):
            by_parameter = torch.func.jacrev(losses)(state, samples, pairs)
            return torch.cat([j.flatten(1) for j in by_parameter.values()], 1)

        train, test = jacobian(data.train, data.train_pairs), jacobian(data.test, data.test_pairs)
        want = want + rate * (train @ test.T).numpy()
        want_own = want_own + rate * (train * train).sum(1).numpy()
    scores, self_influence, _ = oracle.influence_of_files(data, model, paths, "absolute", loss=loss)
    assert worst(scores, want) < 1e-14
    assert worst(self_influence, want_own) < 1e-14


def test_it_agrees_with_a_linear_model_computed_by_hand(tmp_path):
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
    scores, self_influence, sample = oracle.influence(data, model, [state], [10.0])
    assert scores.tolist() == [[10 * (1 - 3)], [10 * (-1 - 6)], [-10 * (2 + 3)]]
    assert self_influence.tolist() == [20.0, 50.0, 50.0]
    # equal scores give no item-level influence
    assert sample.tolist() == [0.0, 0.0, 0.0]


def test_item_level_influence_agrees_with_a_linear_model_computed_by_hand():
    model = nn.Linear(2, 1, bias=False)
    # the pairs rank item 0 above 1, 0 above 2, and 1 above 2
    data = make_data((2,), train=3, test=2, train_pairs=[(0, 1, 1), (0, 2, 1), (2, 1, -1)], test_pairs=[(0, 1, 1)])
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, inputs=x))
    _, _, sample = oracle.influence(data, model, [{"weight": torch.tensor([[1.0, 0.0]])}], [10.0])
    # Scores 1, 0, 2 over their standard deviation sqrt(2/3) are a, 0, 2a with a = sqrt(3/2).
    # Gradients are the inputs; minus their mean (1, 1) they are (0, -1), (-1, 0), (1, 1). Items 0 and 1 have the cosine
    # 0 and the weight exp(0) = 1; item 2 has the cosine -1/sqrt(2) to both and the weight exp(-10/sqrt(2)) = w.
    w = np.exp(-np.sqrt(50))
    # Mean loss max(0, 1/4 - y difference) of an item's two pairs if it had the score of item 0, 1 or 2:
    #   item 0, ranked above 0 and above 2a:    at a: (0 + 1/4 + a) / 2       at 0: (1/4 + 1/4 + 2a) / 2
    #                                           at 2a: (0 + 1/4) / 2, the least
    #   item 1, ranked below a and above 2a:    at a: (1/4 + 1/4 + a) / 2     at 0: (0 + 1/4 + 2a) / 2
    #                                           at 2a: (1/4 + a + 1/4) / 2
    #   item 2, ranked below a and below 0:     at a: (1/4 + 1/4 + a) / 2     at 0: (0 + 1/4) / 2, the least
    #                                           at 2a: (1/4 + a + 1/4 + 2a) / 2
    # A neighbour's weight is multiplied by exp(-(loss - least loss) / 0.02).
    a = np.sqrt(1.5)
    # item 0: the loss at neighbour 1 is 1/8 + a above that at neighbour 2
    first = -np.log((np.exp(-(1 / 8 + a) / 0.02) + w) / (1 + w))
    # item 1: both neighbours have the same loss, which is the least, so the result is 0
    # item 2: the loss at neighbour 0 is 1/8 + a/2 above that at neighbour 1, and both have the weight w
    last = -np.log((np.exp(-(1 / 8 + a / 2) / 0.02) + 1) / 2)
    assert sample == pytest.approx([10 * first, 0.0, 10 * last], rel=1e-12, abs=1e-12)
    # nearly sqrt(50), because the only agreeing neighbour is dissimilar, and log 2, because one of two neighbours
    # agrees
    assert sample == pytest.approx([10 * np.sqrt(50), 0.0, 10 * np.log(2)], rel=1e-3, abs=1e-12)


def test_gradient_density_weights_agree_with_a_count_by_hand(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    data = make_data((1,), train=3, test=2, train_pairs=[(0, 1, 1), (1, 0, -1), (2, 0, 1), (2, 1, -1)])
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, inputs=torch.tensor([[0.0], [1.0], [3.0]])))
    with torch.no_grad():
        model.weight.fill_(1.0)
    # g = sigmoid(1 - y (s_i - s_j)): 0.88, 0.88, 0.12, 0.95, in bins 4, 4, 0 and 4 of five
    weights = oracle.ghm_weights(model.double(), data, oracle.rows(data.train_pairs), 1.0, 5, 0.5, 2)
    assert weights == pytest.approx([1.5**-0.5] * 2 + [1.0] + [1.5**-0.5])


def test_it_does_not_depend_on_the_order_of_a_pair(perceptron):
    data, model, paths = perceptron
    pairs = data.train_pairs
    mirrored = dataclasses.replace(data, train_pairs=Pairs(pairs.second, pairs.first, -pairs.target))
    for loss in ("standard", "logistic", "ghm"):
        tables = oracle.influence_of_files(data, model, paths, loss=loss)
        mirrors = oracle.influence_of_files(mirrored, model, paths, loss=loss)
        assert [np.array_equal(a, b) or worst(a, b) < 1e-15 for a, b in zip(tables, mirrors, strict=True)] == [True] * 3


def test_self_influence_is_influence_on_itself(perceptron):
    data, model, paths = perceptron
    same = dataclasses.replace(data, test=data.train, test_pairs=data.train_pairs)
    scores, self_influence, _ = oracle.influence_of_files(same, model, paths, loss="logistic")
    assert worst(np.diagonal(scores), self_influence) < 1e-15


def test_it_runs_no_code_from_a_checkpoint(tmp_path):
    torch.save({"model_state_dict": print}, tmp_path / "c.pt")
    with pytest.raises(Exception, match="weights_only"):
        oracle.read_checkpoints([tmp_path / "c.pt"])
