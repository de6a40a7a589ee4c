"""Inner products of gradients in short forms equal those of whole gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tracinctl.engine.gradients.uses import Dense, Outer, Touched
from tracinctl.engine.gradients.uses import differences as differences_of
from tracinctl.engine.kernel import table_products
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
    """The same gradients as a matrix, one row per item, or per difference of an item and the next one."""
    dense, outer, touched = features
    table = torch.stack([Touched(item[None]).first(TABLE).flatten() for item in touched.values])
    product = torch.einsum("ij,ik->ijk", outer.inputs, outer.outputs).flatten(1)
    gradient = torch.cat([dense.values, product, table], dim=1)
    return (gradient[::2] - gradient[1::2] if differences else gradient).numpy()


# the smallest pieces, and one piece for everything
@pytest.mark.parametrize("scratch", [1, 1 << 20])
@pytest.mark.parametrize("differences", [False, True])
def test_products_of_rows_equal_those_of_whole_gradients(features, differences, scratch):
    want = whole(features, differences=differences)
    rows = Rows.of(differences_of(features) if differences else features, differences=differences)
    first, second = np.indices((len(want), len(want))).reshape(2, -1)
    np.testing.assert_allclose(row_products(rows, first, second, scratch), (want @ want.T).ravel(), rtol=1e-12)
    np.testing.assert_allclose(squared_lengths(rows, scratch), (want**2).sum(1), rtol=1e-12)
    for count in (2, len(want)):
        leading = inner_products(rows[:count], rows, scratch, leading=True)
        np.testing.assert_allclose(leading, want[:count] @ want.T, rtol=1e-12)
        assert differences or (leading[:, :count] == leading[:, :count].T).all()


@pytest.mark.parametrize("rows", [1, 15, 70])
@pytest.mark.parametrize("scratch", [1, 1 << 20])
def test_symmetric_products_in_blocks_of_rows(rows, scratch):
    values = torch.randn(rows + 9, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    both = Rows.of([Dense(values)], differences=False)
    leading = inner_products(both[:rows], both, scratch, leading=True)
    np.testing.assert_allclose(leading, (values[:rows] @ values.T).numpy(), rtol=1e-12, atol=1e-12)
    assert (leading[:, :rows] == leading[:, :rows].T).all()


@pytest.mark.parametrize("crowded", [0, 2, 1 << 30], ids=["one by one", "some as matrices", "all as matrices"])
@pytest.mark.parametrize("scratch", [1, 1 << 20])
def test_table_rows_used_by_few_or_many_items(monkeypatch, crowded, scratch):
    monkeypatch.setattr(table_products, "_CROWDED", crowded)
    random = torch.Generator().manual_seed(1)
    numbers = torch.randint(0, 40, (ITEMS, 6, 1), generator=random) ** 2 // 40  # low numbers are frequent
    values = torch.randn(ITEMS, 6, 5, generator=random, dtype=torch.float64)
    features = [Touched(torch.cat([numbers, values], -1))]
    tables = torch.stack([Touched(item[None]).first((40, 5)).flatten() for item in features[0].values]).numpy()
    rows = Rows.of(features, differences=False)
    np.testing.assert_allclose(
        inner_products(rows[:3], rows[2:], scratch), tables[:3] @ tables[2:].T, rtol=1e-12, atol=1e-12
    )


def test_items_without_a_common_table_row_have_product_zero():
    uses = [Touched(torch.tensor([[[number, 1.0, 2.0]]])) for number in (3.0, 5.0)]
    third, fifth = (Rows.of([touched], differences=False) for touched in uses)
    assert inner_products(third, fifth, 1 << 20).tolist() == [[0.0]]
    assert inner_products(third, third, 1 << 20).tolist() == [[5.0]]


@pytest.mark.parametrize("positions", [1, 3, 9])
@pytest.mark.parametrize("scratch", [1, 1 << 20])
def test_squared_lengths_of_table_rows(positions, scratch):
    random = torch.Generator().manual_seed(2)
    numbers = torch.randint(0, 4, (ITEMS, positions, 1), generator=random)
    values = torch.randn(ITEMS, positions, 5, generator=random, dtype=torch.float64)
    touched = Touched(torch.cat([numbers, values], -1))
    want = [Touched(item[None]).first((4, 5)).square().sum().item() for item in touched.values]
    lengths = squared_lengths(Rows.of([touched], differences=False), scratch)
    np.testing.assert_allclose(lengths, want, rtol=1e-12)
