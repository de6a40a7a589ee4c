"""Gradients that are computed where they are held, and those that are copied there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Dense, Outer
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


def test_each_gradient_is_computed_once_if_all_fit():
    needs = Measured(row=13 * MIB, items_a_row=1, work=25 * MIB, per_item=8 * MIB, placed=13 * MIB)
    sizes = block_sizes(Budget(4096 * MIB), 280, 280, needs)
    assert sizes.tile == 280
    used = 280 * 13 * MIB + sizes.scratch + sizes.block * (25 + 13) * MIB + 16 * 280 * sizes.inside
    assert used <= Budget(4096 * MIB).gradients_once
    assert block_sizes(Budget(4096 * MIB), 300, 300, needs).tile < 280, "then they do not fit"
    assert block_sizes(Budget(4096 * MIB), 281, 280, needs).tile < 280, "another row meets them in chunks"


def test_short_gradients_meet_each_other_in_large_pieces():
    needs = Measured(row=80, items_a_row=1, work=1000, per_item=100)
    assert block_sizes(Budget(1024 * MIB), 2000, 2000, needs).inside >= 128
