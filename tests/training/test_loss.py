"""Weights, margins and ties of training rows, compared with a loop over pairs and explicit losses."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from oracle import pair_loss

from tests.training.test_ranker import QUICK, _items
from tracinctl.data.pairs import Pairs, RankingData
from tracinctl.errors import TrainingError
from tracinctl.retraining.stack import Member, train_stack
from tracinctl.training.loss import joined, trained_rows
from tracinctl.training.models import build_ranker
from tracinctl.training.ranker import pair_accuracy, score_items, train_ranker

RANDOM = np.random.default_rng(3)
ROWS = 20
FIRST = RANDOM.integers(0, 6, ROWS)
SECOND = RANDOM.integers(6, 12, ROWS)
COLUMNS = {"weight": RANDOM.uniform(0, 3, ROWS), "margin": RANDOM.uniform(0, 2, ROWS)}
NONE = Pairs(*np.zeros((3, 0), dtype=int))


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def crowd(**columns):
    """Comparisons with ties and the given columns."""
    target = np.random.default_rng(4).choice([-1, 0, 1], ROWS)
    return Pairs(FIRST, SECOND, target, ties=True, **columns)


def items(names, seed):
    samples = _items(names, [k % 4 for k in range(len(names))], seed)
    return dataclasses.replace(samples, inputs=samples.inputs.double())


def by_hand(train, pairs, settings):
    """Train with Adam on the mean of weighted losses, computed one pair at a time; each batch has all rows."""
    torch.manual_seed(settings.seed)
    model = build_ranker(settings.architecture, settings.normalise)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    used = [k for k in range(len(pairs)) if settings.loss_type == "logistic" or pairs.target[k]]
    wanted = sorted({*pairs.first[used].tolist(), *pairs.second[used].tolist()})
    for _ in range(settings.epochs):
        model.train()
        scores = dict(zip(wanted, model(train.inputs[wanted]), strict=True))
        losses = []
        for k in used:
            margin = None if pairs.margin is None else float(pairs.margin[k])
            loss = pair_loss(settings.loss_type, settings.margin, margin)
            y = torch.tensor([float(pairs.target[k])])
            value = loss(scores[pairs.first[k]].reshape(1), scores[pairs.second[k]].reshape(1), y)
            losses.append(value * (1.0 if pairs.weight is None else pairs.weight[k]))
        optimizer.zero_grad()
        (sum(losses) / len(losses)).sum().backward()
        optimizer.step()
    return model.eval()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("loss", ["standard", "logistic", "capped"])
@pytest.mark.parametrize("names", [(), ("weight",), ("margin",), ("weight", "margin")])
def test_ranker_and_stack_train_like_a_loop_over_pairs(loss, names):
    pairs = crowd(**{name: COLUMNS[name] for name in names})
    train, test = items([f"t{k}" for k in range(12)], 0), items(["h0", "h1"], 1)
    settings = dataclasses.replace(QUICK, epochs=3, batch_size=ROWS, loss_type=loss, patience=9)
    expected = score_items(by_hand(train, pairs, settings), test.inputs)
    result = train_ranker(RankingData(train, pairs, test, NONE), settings, None)
    torch.testing.assert_close(score_items(result.model, test.inputs), expected, rtol=1e-7, atol=1e-8)
    assert result.ties_left_out == (0 if loss == "logistic" else (pairs.target == 0).sum())
    member = Member(pairs, NONE, settings.seed, settings.weight_decay)
    plain = dataclasses.replace(member, pairs=crowd())
    scores = train_stack(build_ranker, train.inputs, test.inputs, [member, plain], settings, [3])
    torch.testing.assert_close(scores[0, 0], expected, rtol=1e-6, atol=1e-7)
    alone = score_items(by_hand(train, crowd(), settings), test.inputs)
    torch.testing.assert_close(scores[1, 0], alone, rtol=1e-6, atol=1e-7)
    assert bool(names) != torch.allclose(expected, alone, atol=1e-5), "the columns change the result"


@pytest.mark.usefixtures("double")
def test_ghm_counts_the_density_of_rows_by_their_own_margins_and_without_ties():
    from tracinctl.training.loss import ghm_weights

    pairs, scores = crowd(**COLUMNS), torch.from_numpy(RANDOM.normal(size=12))
    s_i, s_j, y = scores[pairs.first], scores[pairs.second], torch.from_numpy(pairs.target).double()
    found = ghm_weights(s_i, s_j, y, dataclasses.replace(QUICK, loss_type="ghm"), torch.from_numpy(pairs.margin))
    bins = {}
    for k in np.flatnonzero(pairs.target):
        g = 1 / (1 + math.exp(-(pairs.margin[k] - pairs.target[k] * float(s_i[k] - s_j[k]))))
        bins.setdefault(min(int(g * 10), 9), []).append(k)
    expected = np.ones(ROWS)
    for rows in bins.values():
        expected[rows] = max(1, len(rows)) ** -QUICK.ghm_alpha
    np.testing.assert_allclose(found.numpy(), expected)


def test_other_weights_or_margins_are_another_run(tmp_path):
    train, test = _items([f"t{k}" for k in range(12)], [0] * 12, 0), _items(["h0", "h1"], [0, 1], 1)
    settings = dataclasses.replace(QUICK, epochs=1)
    train_ranker(RankingData(train, crowd(), test, NONE), settings, tmp_path)
    with pytest.raises(TrainingError):
        train_ranker(RankingData(train, crowd(**COLUMNS), test, NONE), settings, tmp_path, in_use="scores")


def test_the_margin_loss_refuses_ties_alone():
    train, test = _items(["a", "b"], [0, 1], 0), _items(["h0", "h1"], [0, 1], 1)
    with pytest.raises(TrainingError, match="all 1 training pairs are ties"):
        train_ranker(RankingData(train, Pairs([0], [1], [0], ties=True), test, NONE), QUICK, None)


def test_accuracy_ignores_ties():
    pairs = Pairs([0, 0, 1], [1, 2, 2], [1, 0, -1])
    assert pair_accuracy(torch.tensor([1.0, 0.0, 0.5]), pairs) == 1.0
    assert pair_accuracy(torch.tensor([1.0, 0.0, 0.5]), pairs.take([1])) is None


def test_joined_pairs_keep_weights_and_margins():
    own = Pairs([0], [1], [1], weight=[2.0])
    both = joined(own, Pairs([0], [1], [0], margin=[0.5], ties=True), 2, dataclasses.replace(QUICK, margin=3.0))
    assert (both.first.tolist(), both.second.tolist(), both.target.tolist()) == ([0, 2], [1, 3], [1, 0])
    assert (both.weight.tolist(), both.margin.tolist()) == ([2.0, 1.0], [3.0, 0.5])
    assert trained_rows(both, QUICK).target.tolist() == [1]
