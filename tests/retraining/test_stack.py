"""A stack of rankers: each equals the ranker that ``train_ranker`` trains alone, in one call or one after another."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.retraining.test_trial import DATA, DIVISION
from tracinctl import Pairs, RankingData, Samples
from tracinctl.retraining import stacked_model
from tracinctl.retraining.stack import Member, train_stack
from tracinctl.training.models import build_ranker
from tracinctl.training.ranker import TrainSettings, score_items, train_ranker

SETTINGS = TrainSettings(epochs=3, batch_size=32, patience=0)
CLOSE = {"rtol": 0, "atol": 1e-4}  # Adam divides gradients by their size, so rounding grows by each step
STEERING = DATA.test_pairs.take(DIVISION.rows(DATA, "scoring"))
MEMBERS = [
    Member(DATA.train_pairs.take(np.arange(count)), STEERING, 10 + count, decay)
    for count, decay in ((96, 1e-5), (40, 0.1), (17, 0.01))
]


@pytest.fixture
def double():
    """In float64, rounding does not grow into a visible difference."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def alone(member, settings, train, test):
    data = RankingData(train, member.pairs, test, member.steering)
    own = dataclasses.replace(settings, seed=member.seed, weight_decay=member.weight_decay)
    return score_items(train_ranker(data, own, None).model, test.inputs)


def in_double(samples):
    return Samples(samples.ids, samples.inputs.double(), samples.labels)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("loss", ["standard", "logistic", "ghm"])
def test_a_stack_trains_each_ranker_as_training_alone_does(monkeypatch, grouped, loss):
    monkeypatch.setattr(stacked_model, "pays", lambda *_: grouped)
    train, test = in_double(DATA.train), in_double(DATA.test)
    settings = dataclasses.replace(SETTINGS, loss_type=loss)
    scores = train_stack(build_ranker, train.inputs, test.inputs, MEMBERS, settings, [1, 3])
    assert scores.shape == (3, 2, len(DATA.test))
    for member, own in zip(MEMBERS, scores, strict=True):
        for stop, values in zip((1, 3), own, strict=True):
            expected = alone(member, dataclasses.replace(settings, epochs=stop), train, test)
            torch.testing.assert_close(values, expected, **CLOSE)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("grouped", [False, True])
def test_a_stack_of_several_losses_trains_each_ranker_under_its_own(monkeypatch, grouped):
    monkeypatch.setattr(stacked_model, "pays", lambda *_: grouped)
    train, test = in_double(DATA.train), in_double(DATA.test)
    losses = ["logistic", None, "logistic"]
    members = [dataclasses.replace(member, loss=loss) for member, loss in zip(MEMBERS, losses, strict=True)]
    scores = train_stack(build_ranker, train.inputs, test.inputs, members, SETTINGS, [3])
    for member, own in zip(members, scores, strict=True):
        settings = dataclasses.replace(SETTINGS, loss_type=member.loss or SETTINGS.loss_type)
        torch.testing.assert_close(own[0], alone(member, settings, train, test), **CLOSE)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("change", [{"seed": 7}, {"weight_decay": 0.02}, {"pairs": MEMBERS[2].pairs}])
def test_seed_weight_decay_and_pairs_change_a_rankers_scores(change):
    members = [MEMBERS[1], dataclasses.replace(MEMBERS[1], **change)]
    one, other = train_stack(
        build_ranker, in_double(DATA.train).inputs, in_double(DATA.test).inputs, members, SETTINGS, [3]
    )
    assert (one - other).abs().max() > 30 * CLOSE["atol"]


@pytest.mark.usefixtures("double")
def test_items_of_different_shapes_are_scored_in_separate_batches():
    train, test = (
        Samples(part.ids, [x[:, :, : 6 + k % 2] for k, x in enumerate(part.inputs.double())], part.labels)
        for part in (DATA.train, DATA.test)
    )
    scores = train_stack(build_ranker, train.inputs, test.inputs, MEMBERS[:2], SETTINGS, [3])
    for member, own in zip(MEMBERS, scores, strict=False):
        torch.testing.assert_close(own[0], alone(member, SETTINGS, train, test), **CLOSE)


class Perceptron(nn.Module):
    """A user's model with layers, a buffer and a function."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return self.scale * self.layers(x).squeeze(-1)


@pytest.mark.usefixtures("double")
def test_a_stack_of_a_users_model_equals_training_with_torchs_adam():
    random = np.random.default_rng(0)
    inputs = torch.from_numpy(random.normal(size=(30, 6)))
    # every item is in a pair, as the batch statistics below are of all items
    first, second = (np.concatenate([own, random.choice(own, 35)]) for own in (np.arange(15), np.arange(15, 30)))
    pairs = Pairs(first, second, random.choice([-1, 1], 50))
    none = Pairs(*np.zeros((3, 0), dtype=int))
    settings = TrainSettings(epochs=3, batch_size=50, weight_decay=0.03, patience=9)
    members = [Member(pairs, none, seed, 0.03) for seed in (1, 2)]
    scores = train_stack(Perceptron, inputs, inputs, members, settings, [3])[:, 0]
    for member, own in zip(members, scores, strict=True):
        torch.manual_seed(member.seed)
        model = Perceptron()
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=0.03)
        for _ in range(3):
            s = model(inputs)
            margin = torch.from_numpy(pairs.target) * (s[pairs.first] - s[pairs.second])
            optimizer.zero_grad()
            (1 - margin).clamp(min=0).mean().backward()
            optimizer.step()
        torch.testing.assert_close(own, model.eval()(inputs).detach(), rtol=1e-9, atol=1e-11)


def test_a_capped_loss_has_no_gradient_far_on_the_wrong_side():
    from tracinctl.retraining.stacked_loss import StackedLoss

    loss = StackedLoss(TrainSettings(margin=0.5, loss_type="capped"))
    s_i = torch.tensor([-30.0, -0.2, 0.2, 3.0], requires_grad=True)
    values = loss.values(s_i, torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(values, torch.tensor([30.5, 0.7, 0.3, 0.0]).tanh())
    values.sum().backward()
    slopes = [0.0, -1 / np.cosh(0.7) ** 2, -1 / np.cosh(0.3) ** 2, 0.0]
    torch.testing.assert_close(s_i.grad, torch.tensor(slopes, dtype=torch.float32))
