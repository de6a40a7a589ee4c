"""Blocks of items in models that branch on their data, or whose tensors have a shape that depends on it."""

from __future__ import annotations

import pytest
import torch
from small_models import Model
from torch import nn

from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Dense

ITEMS = torch.tensor([[0, 3, 5, 2], [3, 3, 0, 0], [4, 0, 1, 5], [1, 2, 0, 5], [5, 5, 5, 5]])
"""Tokens; 0 is padding, at any place. Two items have no padding."""


def _assigned(m, x):
    h = 2 * m.e(x)
    h[x == 0] = 0.5
    return m.o(torch.tanh(h).sum(1))


def _moved(m, x):
    h = torch.tanh(m.e(x))
    front = torch.zeros_like(h)
    front[:, : (x != 0).sum()] = h[x != 0]
    return m.o(front[:, 0] + front[:, 1])


def _made(m, x):
    length = (x != 0).sum()
    h = torch.tanh(m.e(x)).narrow(1, 0, length) * torch.arange(length).view(1, length, 1)
    return m.o(h.sum(1) + h.new_ones((1, length)).sum())


MODELS = {
    "tokens chosen by a mask": lambda m, x: m.o(torch.tanh(m.e(x))[x != 0].mean(0, keepdim=True)),
    "last token by places": lambda m, x: m.o(torch.tanh(m.e(x))[:, (x[0] != 0).nonzero()[-1, 0]]),
    "places as a tuple": lambda m, x: m.o(torch.tanh(m.e(x))[(x > 2).nonzero(as_tuple=True)].sum(0, keepdim=True)),
    "different tokens": lambda m, x: m.o(torch.tanh(m.e(x.unique())).mean(0, keepdim=True)),
    "counts of different tokens": lambda m, x: (
        m.o(m.e(x.unique(return_counts=True)[0])) * x.unique(return_counts=True)[1].unsqueeze(1)
    ).sum(0),
    "runs of tokens": lambda m, x: m.o(torch.tanh(m.e(torch.unique_consecutive(x))).mean(0, keepdim=True)),
    "assigned by a mask": _assigned,
    "a slice up to a number in a tensor": lambda m, x: m.o(torch.tanh(m.e(x))[:, : (x != 0).sum()].sum(1)),
    "moved to the front": _moved,
    "sizes in tensors": _made,
    "rows of a weight chosen by a mask": lambda m, x: m.o(
        torch.tanh(m.e.weight[(torch.arange(6) == x.T).any(0)]).mean(0)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_each_item_alone(name):
    torch.manual_seed(0)
    model = Model(MODELS[name], e=nn.Embedding(6, 3), o=nn.Linear(3, 1)).double()
    gradients = ItemGradients(model)
    gradients.prepare(ITEMS)
    features, scores = gradients(ITEMS)
    assert gradients.way == "in blocks"
    rows = torch.cat([feature.values for feature in features if isinstance(feature, Dense)], 1)
    for row, item, score in zip(rows, ITEMS, scores, strict=True):
        alone = model(item[None].clone()).sum()
        want = torch.cat([g.flatten() for g in torch.autograd.grad(alone, list(model.parameters()))])
        assert torch.allclose(row, want, rtol=1e-11, atol=1e-13)
        assert torch.allclose(score, alone.detach(), rtol=1e-12)
