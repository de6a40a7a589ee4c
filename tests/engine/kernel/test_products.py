"""Inner products of gradients that are kept as factors: those of the gradients themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tracinctl.engine.gradients.uses import Dense, Outer, Touched
from tracinctl.engine.kernel.products import Rows, inner_products, row_products, squared_lengths

ITEMS = 12


TABLE = (9, 3)


@pytest.fixture
def features():
    """Gradients of three parameters: one dense, one as an outer product, one as four rows of a table."""
    random = torch.Generator().manual_seed(0)
    dense, inputs, outputs = (torch.randn(ITEMS, n, generator=random, dtype=torch.float64) for n in (5, 4, 3))
    numbers = torch.randint(0, TABLE[0], (ITEMS, 4, 1), generator=random)
    rows = torch.randn(ITEMS, 4, TABLE[1], generator=random, dtype=torch.float64)
    return [Dense(dense), Outer(inputs, outputs), Touched(torch.cat([numbers, rows], -1))]


def whole(features, *, differences):
    """The same as a matrix, one row an item or a difference of items."""
    dense, outer, touched = features
    table = torch.stack([Touched(one[None]).first(TABLE).flatten() for one in touched.values])
    product = torch.einsum("ij,ik->ijk", outer.inputs, outer.outputs).flatten(1)
    gradient = torch.cat([dense.values, product, table], dim=1)
    return (gradient[: ITEMS // 2] - gradient[ITEMS // 2 :] if differences else gradient).numpy()


# so little that every piece is as small as it may be, and more than enough
@pytest.mark.parametrize("scratch", [1, 1 << 20])
@pytest.mark.parametrize("differences", [False, True])
def test_products_of_rows_are_those_of_whole_gradients(features, differences, scratch):
    want = whole(features, differences=differences)
    rows = Rows.of(features, differences=differences)
    first, second = np.indices((len(want), len(want))).reshape(2, -1)
    np.testing.assert_allclose(row_products(rows, first, second, scratch), (want @ want.T).ravel(), rtol=1e-12)
    np.testing.assert_allclose(squared_lengths(rows, scratch), (want**2).sum(1), rtol=1e-12)
    for count in (2, len(want)):
        leading = inner_products(rows[:count], rows, scratch, leading=True)
        np.testing.assert_allclose(leading, want[:count] @ want.T, rtol=1e-12)
        assert differences or (leading[:, :count] == leading[:, :count].T).all()
