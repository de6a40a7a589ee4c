"""Gradients of pairs that are computed together are the differences of their items' gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import MODELS, make_inputs
from torch import nn

from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.gradients.uses import Dense, differences
from tracinctl.engine.kernel.products import Rows, inner_products

PAIRS = 3


def double(inputs):
    if isinstance(inputs, dict):
        return {name: double(values) for name, values in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs


def products(features):
    rows = Rows.of(features, differences=True)
    assert len(rows) == PAIRS
    return inner_products(rows, rows, 1 << 20, exact=False)


@pytest.mark.parametrize("projection", [None, Projection(6)], ids=["exact", "projected"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_pairs_are_differences_of_items(name, projection):
    build, kind = MODELS[name]
    torch.manual_seed(0)
    model, inputs = build().double(), double(make_inputs(kind, 2 * PAIRS, torch.Generator().manual_seed(0)))
    gradients = ItemGradients(model, projection=projection, layers=["*"])
    items, scores = gradients(inputs)
    pairs, of_pairs = gradients(inputs, paired=True)
    assert torch.equal(scores, of_pairs)
    want = products(differences(items))
    np.testing.assert_allclose(products(pairs), want, atol=1e-12 * np.abs(want).max())


def test_a_block_of_pairs_makes_no_gradient_of_single_items():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    gradients = ItemGradients(model)
    gradients.prepare(torch.randn(1, 7, 4).mean(1))
    model = nn.Sequential(
        nn.Conv1d(2, 30, 3), nn.Tanh(), nn.Conv1d(30, 400, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(1)
    )
    x = torch.randn(2 * PAIRS, 2, 9)
    model(x)
    features, _ = ItemGradients(model)(x, paired=True)
    assert {len(feature.values) for feature in features if isinstance(feature, Dense)} == {PAIRS}


@pytest.mark.parametrize("lengths", [(9, 6), (6, 9), (9, 9)])
def test_padding_inside_a_pair_is_skipped_without_a_change(lengths):
    torch.manual_seed(0)

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(600, 900)
            self.outer = nn.Linear(900, 1)

        def forward(self, x):
            live = (x != 0).any(-1, keepdim=True)
            return (self.outer(torch.tanh(self.inner(x))) * live).sum(1) / live.sum(1)

    x = torch.randn(2 * PAIRS, 9, 600)
    for k in range(PAIRS):
        for side, length in enumerate(lengths):
            x[2 * k + side, length:] = 0
    gradients = ItemGradients(Mean())
    want = products(differences(gradients(x)[0]))
    np.testing.assert_allclose(products(gradients(x, paired=True)[0]), want, atol=1e-6 * np.abs(want).max())
