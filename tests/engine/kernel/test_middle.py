"""Products in float32 minus what all items have in common are as good as products in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import influence_of_files
from small_models import SMOOTH, make_checkpoints, make_data, worst

from tracinctl import compute_influence
from tracinctl.engine.gradients.uses import Dense, Outer, Touched
from tracinctl.engine.kernel import maker, middle
from tracinctl.engine.kernel.middle import LEAST_ROWS, Middle
from tracinctl.engine.kernel.products import Rows, inner_products
from tracinctl.engine.memory import block_sizes

MEMORY = {"GroupNorm and LayerNorm": 15_000, "transformer layer": 25_000}
"""Bytes for which a few rows fit at a time."""

ROWS, NUMBERS, TABLE = LEAST_ROWS + 20, 9000, (7, 3)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def features(common):
    """Gradients of a long parameter that are ``common`` times as long as their differences, and of three others."""
    random = torch.Generator().manual_seed(0)
    long = torch.randn(ROWS, NUMBERS, generator=random) + common * torch.randn(NUMBERS, generator=random)
    short, inputs, outputs = (torch.randn(ROWS, n, generator=random) for n in (5, 4, 3))
    numbers = torch.randint(0, TABLE[0], (ROWS, 2, 1), generator=random)
    table = torch.cat([numbers, torch.randn(ROWS, 2, TABLE[1], generator=random)], -1)
    return [Dense(long), Dense(short), Outer(inputs, outputs), Touched(table)]


def whole(features):
    """The same gradients as a float64 matrix."""
    long, short, outer, table = features
    product = torch.einsum("ij,ik->ijk", outer.inputs.double(), outer.outputs.double()).flatten(1)
    tables = torch.stack([Touched(item[None]).first(TABLE).flatten() for item in table.values])
    return torch.cat([long.values.double(), short.values.double(), product, tables.double()], 1).numpy()


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("scratch", [1 << 14, 1 << 22])
@pytest.mark.parametrize("common", [0, 30])
def test_rounding_is_small_beside_differences_of_items(common, scratch):
    gradients = whole(features(common))
    plain = Rows.of(features(common), differences=False)
    rows = plain.about(Middle.of(plain.parts))
    assert rows.middle.short == (True, False, False, False)
    # what is short beside the differences stays
    assert [m is not None for m in rows.middle.parts] == [common > 0, False, False, False]
    centred = gradients - gradients.mean(0)
    lengths = np.linalg.norm(centred, axis=1)
    true = gradients @ gradients.T
    for count in (70, ROWS):
        products = inner_products(rows[:count], rows, scratch, leading=True)
        assert (np.abs(products - true[:count]) / lengths[:count, None] / lengths).max() < 5e-7
    long_only = Rows((plain.parts[0],)).about(Middle((True,), rows.middle.parts[:1], rows.middle.squared_length))
    square = inner_products(long_only, long_only, scratch, leading=True)
    assert (square == square.T).all()
    # rows from another block, with sums of their own
    apart = Rows(((plain.parts[0][0][:9],),)).about(long_only.middle)
    products = inner_products(apart, long_only[9:], scratch)
    long = plain.parts[0][0].double().numpy()
    assert (np.abs(products - long[:9] @ long[9:].T) / lengths[:9, None] / lengths[9:]).max() < 5e-7


def test_blocks_of_rows_agree_on_what_is_in_common():
    values = torch.randn(ROWS, NUMBERS) + 1000 * torch.randn(NUMBERS)
    rows = Rows.of([Dense(values)], differences=False)
    vector = Middle.of(rows.parts)
    together, alone = rows.about(vector).along, rows[5:6].about(vector).along
    assert abs(float(together[5] - alone[0])) < 1e-13 * float(together[5])


@pytest.mark.parametrize("change", ["float64", "few rows", "short rows", "tiny", "huge", "nothing", "bfloat16"])
def test_products_stay_in_float64_where_float32_gains_nothing_or_is_not_precise(change):
    values = torch.randn(ROWS, NUMBERS)
    precision = torch.get_float32_matmul_precision()
    if change == "float64":
        values = values.double()
    elif change == "few rows":
        values = values[: LEAST_ROWS - 1]
    elif change == "short rows":
        values = values[:, :1000]
    elif change == "bfloat16":
        torch.set_float32_matmul_precision("medium")
    else:
        values *= {"tiny": 1e-20, "huge": 1e20, "nothing": 0.0}[change]
    try:
        assert Middle.of([(values,)]) is None
    finally:
        torch.set_float32_matmul_precision(precision)
    assert Middle.of([(torch.randn(ROWS, NUMBERS),)]) is not None


def test_an_item_with_a_long_gradient_does_not_make_others_less_precise():
    random = torch.Generator().manual_seed(1)
    values = torch.randn(ROWS, NUMBERS, generator=random) + 30 * torch.randn(NUMBERS, generator=random)
    values[0] *= 1000
    rows = Rows.of([Dense(values)], differences=False)
    rows = rows.about(Middle.of(rows.parts))
    assert rows.middle.parts[0] is not None
    products = inner_products(rows, rows, 1 << 22, leading=True)
    others = values[1:].double().numpy()
    assert np.abs(products[1:, 1:] - others @ others.T).max() < 5e-7 * NUMBERS


def test_one_item_with_huge_gradients_does_not_overflow():
    values = torch.randn(ROWS, NUMBERS)
    values[1] *= 1e25
    rows = Rows.of([Dense(values)], differences=False)
    rows = rows.about(Middle.of(rows.parts))
    products = inner_products(rows, rows, 1 << 22, leading=True)
    np.testing.assert_allclose(products, (values.double() @ values.double().T).numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["GroupNorm and LayerNorm", "transformer layer"])
def test_scores_with_all_items_at_once_and_in_tiles(name, tmp_path, monkeypatch):
    monkeypatch.setattr(middle, "LEAST_ROWS", 2)
    monkeypatch.setattr(middle, "_LEAST", 1)
    tiles, middles = [], []

    def sizes(*args, **options):
        tiles.append(block_sizes(*args, **options).tile)
        return block_sizes(*args, **options)

    def of(parts, usual=Middle.of):
        middles.append(usual(parts))
        return middles[-1]

    monkeypatch.setattr(maker, "block_sizes", sizes)
    monkeypatch.setattr(Middle, "of", staticmethod(of))
    build, kind = SMOOTH[name]
    torch.manual_seed(0)
    model, data = build(), make_data(kind, train=9, test=5)
    paths = make_checkpoints(model, tmp_path)
    want = influence_of_files(data, build(), paths, loss="logistic")
    for memory in (None, MEMORY[name]):
        table = compute_influence(data, build(), paths, loss="logistic", memory=memory)
        for got, true in zip((table.scores, table.self_influence, table.sample_influence), want, strict=True):
            assert worst(got, true) < 1e-5
    assert tiles[0] == 14
    assert 1 < tiles[1] < 14
    assert len(middles) == 2 * len(paths)
    assert any(part is not None for made in middles for part in made.parts)
