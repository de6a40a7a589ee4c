"""Gradients that are computed where they are held, and those that are copied there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import Model, make_checkpoints, make_data, worst
from torch import nn

from tracinctl import compute_influence
from tracinctl.engine import memory
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Dense, Outer
from tracinctl.engine.kernel import maker
from tracinctl.engine.kernel.feature_blocks import places_in, put
from tracinctl.engine.kernel.products import Rows
from tracinctl.engine.memory import Budget, Measured, block_sizes

MIB = 1 << 20


@pytest.mark.parametrize("rows", [[2, 3, 4], [4, 0, 2]], ids=["in a row", "scattered"])
def test_blocks_are_put_at_their_rows(rows):
    features = [Dense(torch.randn(3, 2)), Outer(torch.randn(3, 4), torch.randn(3, 5))]
    held = put(features, [], np.array(rows), 6)
    assert torch.equal(held[0].values[rows], features[0].values)
    assert torch.equal(held[1].inputs[rows], features[1].inputs)
    assert torch.equal(held[1].outputs[rows], features[1].outputs)
    assert len(places_in(held, np.array(rows))) == (2 if rows == [2, 3, 4] else 0)


def test_gradients_of_linear_layers_are_computed_in_given_places():
    torch.manual_seed(0)
    # the second layer is used twice, and a layer at one position is kept as an outer product
    first, twice, last = nn.Linear(100, 100), nn.Linear(100, 100), nn.Linear(100, 1)
    model = nn.Sequential(first, nn.Tanh(), twice, nn.Tanh(), twice, last, nn.Flatten(1), nn.AdaptiveAvgPool1d(1))
    gradients, x = ItemGradients(model), torch.randn(5, 3, 100)
    features, scores = gradients(x)
    assert gradients.placed_bytes == 4 * 100 * 100
    room = Rows(tuple((torch.full((9, part.values.shape[1]), torch.nan),) for part in features))
    again, same = gradients(x, room.places(slice(2, 7)))
    there = [new.values.data_ptr() == part[0][2:7].data_ptr() for new, part in zip(again, room.parts, strict=True)]
    assert there == [True, False, False]
    room.put(2, Rows.of(again, differences=False))
    for old, part in zip(features, room.parts, strict=True):
        torch.testing.assert_close(part[0][2:7], old.values)
        assert part[0][[0, 1, 7, 8]].isnan().all(), "other rows"
    assert torch.equal(scores, same)
    other = [torch.empty(5, 7)]
    assert torch.equal(gradients(x, other)[0][0].values, features[0].values), "places of another form are left"


def test_each_gradient_is_computed_once_if_all_fit():
    needs = Measured(row=13 * MIB, items_a_row=1, work=25 * MIB, per_item=8 * MIB, placed=13 * MIB)
    sizes = block_sizes(Budget(4096 * MIB), 280, 280, needs)
    assert sizes.tile == 280
    used = 280 * 13 * MIB + sizes.scratch + sizes.block * (25 + 13) * MIB + 16 * 280 * sizes.inside
    assert used <= Budget(4096 * MIB).gradients_once
    assert block_sizes(Budget(4096 * MIB), 300, 300, needs).tile < 280, "then they do not fit"
    assert block_sizes(Budget(4096 * MIB), 281, 280, needs).tile < 280, "another row meets them in chunks"


def test_passes_are_larger_if_their_gradients_are_computed_in_place():
    needs = Measured(row=13 * MIB, items_a_row=1, work=25 * MIB, per_item=8 * MIB, placed=13 * MIB)
    budget = Budget(4096 * MIB)
    copied, placed = (block_sizes(budget, 280, 280, needs, in_place=in_place) for in_place in (False, True))
    assert placed.block > 2 * copied.block
    assert copied.first == copied.block
    assert placed.first == copied.first, "the first pass has no place yet"
    beside = placed.scratch + 16 * 280 * placed.inside + 13 * MIB
    assert 280 * 13 * MIB + beside + placed.block * (25 - 13) * MIB <= budget.gradients_once
    assert 280 * 13 * MIB + beside + placed.first * (25 + 13) * MIB <= budget.gradients_once


def test_items_that_take_different_branches_are_computed_in_given_places():
    torch.manual_seed(0)
    model = Model(_branching, a=nn.Linear(100, 100), b=nn.Linear(100, 100), o=nn.Linear(100, 1)).double()
    gradients, x = ItemGradients(model), torch.randn(6, 3, 100, dtype=torch.float64)
    x[:, 0, 0] = torch.tensor([1, -1, -1, 1, 1, -1])
    gradients.prepare(x)
    features, scores = gradients(x)
    held = Rows(tuple((torch.full((8, part.values.shape[1]), torch.nan).double(),) for part in features))
    again, same = gradients(x, held.places(slice(1, 7)))
    there = [new.values.data_ptr() == part[0][1:7].data_ptr() for new, part in zip(again, held.parts, strict=True)]
    assert there.count(True) >= 1
    for old, new, part in zip(features, again, held.parts, strict=True):
        torch.testing.assert_close(new.values, old.values, rtol=1e-12, atol=1e-14)
        assert part[0][[0, 7]].isnan().all(), "other rows"
    torch.testing.assert_close(scores, same)


def _branching(m, x):
    h = torch.tanh(m.a(x))
    return m.o((torch.tanh(m.b(h)) if x[0, 0, 0] > 0 else torch.sigmoid(m.b(h))).mean(1))


@pytest.mark.parametrize("small", [False, True])
def test_later_checkpoints_compute_all_gradients_where_earlier_ones_were(monkeypatch, tmp_path, small):
    model = nn.Sequential(nn.Linear(100, 100), nn.Tanh(), nn.Linear(100, 1), nn.Flatten(1), nn.AdaptiveAvgPool1d(1))
    data, paths = make_data((3, 100), train=10, test=3), make_checkpoints(model, tmp_path, scale=0.1)
    want = compute_influence(data, model, paths, loss="logistic", dtype="float64")
    monkeypatch.setattr(memory, "_PASS_BYTES", 20_000)
    if small:
        monkeypatch.setattr(maker, "block_sizes", lambda *a, **k: replace(block_sizes(*a, **k), first=1))
    given = []
    usual = ItemGradients.__call__

    def called(self, inputs, places=(), **options):
        given.append((len(inputs), len(places)))
        return usual(self, inputs, places, **options)

    monkeypatch.setattr(ItemGradients, "__call__", called)
    table = compute_influence(data, model, paths, loss="logistic")
    assert worst(table.scores, want.scores) < 1e-5
    passes = [places > 0 for items, places in given if items > 1]
    assert len(passes) > 3
    assert passes.count(False) == (0 if small else 1), "only the first pass has no place, and it may have to be small"
    assert passes[0] == small


def test_short_gradients_meet_each_other_in_large_pieces():
    needs = Measured(row=80, items_a_row=1, work=1000, per_item=100)
    assert block_sizes(Budget(1024 * MIB), 2000, 2000, needs).inside >= 128
