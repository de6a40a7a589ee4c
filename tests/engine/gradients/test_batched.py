"""Gradients of blocks of items equal those of plain autograd, and are kept in short forms."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import MODELS, OF_BATCHES, Model, make_inputs
from torch import nn

from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Dense, Outer, Taps
from tracinctl.engine.kernel.products import Rows, inner_products, squared_lengths
from tracinctl.errors import ModelError


def plain(model, inputs):
    """One gradient per item by plain autograd, (items, parameters)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(model(x[None]).sum(), trained, allow_unused=True) for x in inputs]
    zero = [torch.zeros_like(p) for p in trained]
    return torch.stack(
        [torch.cat([(z if g is None else g).flatten() for g, z in zip(row, zero, strict=True)]) for row in rows]
    )


def _products(first, second):
    rows, columns = (Rows.of(features, differences=False) for features in (first, second))
    return inner_products(rows, columns, 1 << 20)


def assert_products_agree(model, *blocks):
    """Check the products within and between blocks, each of its own item shape."""
    gradients = ItemGradients(model)
    for block in blocks:
        gradients.prepare(block)
    features = [gradients(block)[0] for block in blocks]
    exact = [plain(model, block) for block in blocks]
    for k, m in itertools.product(range(len(blocks)), repeat=2):
        products = torch.from_numpy(_products(features[k], features[m]))
        assert torch.allclose(products, exact[k] @ exact[m].T, rtol=1e-11, atol=1e-12)
    return features


def numbers(features):
    return sum(t[0].numel() for f in features for t in ((f.inputs, f.outputs) if isinstance(f, Outer) else (f.values,)))


SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=40)
@given(
    first=SIDES,
    second=SIDES,
    kernel=SIDES.map(lambda k: tuple(min(5, side) for side in k)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
    twice=st.booleans(),
)
def test_a_kernel_wider_than_its_input_is_kept_where_they_overlap(
    first, second, kernel, stride, padding, dilation, groups, twice
):
    sides = list(zip(first, second, kernel, padding, dilation, strict=True))
    if any(min(a, b) + 2 * p < d * (k - 1) + 1 for a, b, k, p, d in sides):
        return
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, kernel, stride, padding, dilation, groups).double()
    turned = [conv, nn.Tanh(), nn.AdaptiveAvgPool2d(first), conv] if twice else [conv]
    model = nn.Sequential(*turned, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)).double()
    assert_products_agree(model, *(torch.randn(3, 2, *size).double() for size in (first, second)))


def test_parts_of_a_kernel_that_only_meet_padding_take_no_memory():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)).double()
    [narrow] = assert_products_agree(model, torch.randn(3, 2, 6, 1).double())
    narrow, wide = assert_products_agree(model, torch.randn(3, 2, 6, 1).double(), torch.randn(3, 2, 6, 2).double())
    assert numbers(narrow) == numbers(wide) == 4 * 2 * 9 + 4 + 4 + 1
    [narrow] = assert_products_agree(model, torch.randn(3, 2, 6, 1).double())
    assert numbers(narrow) == 4 * 2 * 3 + 4 + 4 + 1


def test_a_wide_linear_map_at_one_position_is_kept_as_an_outer_product():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 1)).double()
    [features] = assert_products_agree(model, torch.randn(5, 40).double())
    assert numbers(features) == 40 + 30 + 30 + 30 + 1


def test_a_map_used_at_one_position_or_several_is_kept_whole():
    torch.manual_seed(0)
    model = Model(lambda m, x: m.b(torch.tanh(m.a(x)).mean(1)), a=nn.Linear(40, 30), b=nn.Linear(30, 1)).double()
    assert_products_agree(model, torch.randn(3, 1, 40).double(), torch.randn(3, 2, 40).double())


class Counts(nn.Module):
    """Takes another path from call ``at`` on."""

    def __init__(self, at):
        super().__init__()
        self.a = nn.Linear(40, 30)
        self.b = nn.Linear(30, 1)
        self.calls, self.at = 0, at

    def forward(self, x):
        self.calls += 1
        x = torch.stack([x, x], 1).mean(1) if self.calls < self.at else torch.stack([x, x], 1)
        return self.b(torch.tanh(self.a(x))).flatten(1).mean(1)


def test_a_model_that_changes_its_path_from_call_to_call_is_an_error():
    gradients = ItemGradients(Counts(at=4))
    items = torch.randn(3, 40)
    gradients.prepare(items)
    gradients(items)
    with pytest.raises(ModelError, match="differently than before"):
        gradients(items)


@pytest.mark.parametrize("in_passing", [False, True])
def test_a_path_that_depends_on_the_state_is_checked_at_each_checkpoint(in_passing):
    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(40, 30)
            self.b = nn.Linear(30, 1)
            self.register_buffer("wide", torch.tensor(0))

        def forward(self, x):
            x = torch.stack([x, 2 * x], 1) if self.wide else x.unsqueeze(1)
            return self.b(torch.tanh(self.a(x)).mean(1))

    torch.manual_seed(0)
    model = Switched().double()
    gradients = ItemGradients(model)
    items = torch.randn(3, 40).double()
    for wide in (0, 1, 0):
        model.wide.fill_(wide)
        if not (in_passing and gradients.prepare_in_passing()):
            gradients.prepare(items)
        features, _ = gradients(items)
        true = plain(model, items)
        assert torch.allclose(torch.from_numpy(_products(features, features)), true @ true.T, rtol=1e-12)


def test_a_new_state_is_checked_in_passing_if_one_pass_shows_everything():
    torch.manual_seed(0)
    model, items = nn.Linear(4, 1), torch.randn(3, 4)
    gradients = ItemGradients(model)
    assert not gradients.prepare_in_passing(), "no way was chosen yet"
    gradients.prepare(items)
    assert gradients.prepare_in_passing()
    shown = []
    gradients._ways[0].learn = lambda *_: shown.append(1)
    gradients(items)
    assert not shown
    gradients.prepare = shown.append
    gradients.prepare_in_passing()
    gradients._trusted.clear()
    gradients(items)
    assert len(shown) == 1, "the parameters are used in an unknown way"


def test_a_branching_model_is_checked_before_each_state():
    model = Model(lambda m, x: m.a(x) if x.sum() > 0 else m.a(2 * x), a=nn.Linear(4, 1))
    gradients = ItemGradients(model)
    gradients.prepare(torch.ones(3, 4))
    assert gradients._ways
    assert not gradients.prepare_in_passing()


def test_if_a_way_fails_at_a_later_shape_another_serves_all_shapes():
    class InPlaceIfLong(nn.Module):
        """Changes a layer's output in place for items longer than 1."""

        def __init__(self):
            super().__init__()
            self.a = nn.Conv1d(1, 2, 3, padding=1)
            self.b = nn.Linear(2, 1)

        def forward(self, x):
            h = self.a(x)
            return self.b((h.tanh_() if x.shape[-1] > 1 else torch.tanh(h)).mean(-1))

    torch.manual_seed(0)
    assert_products_agree(InPlaceIfLong().double(), torch.randn(3, 1, 1).double(), torch.randn(3, 1, 5).double())


def test_a_change_in_place_that_keeps_the_first_items_values():
    class Clamped(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).clamp_(max=1.0))

    torch.manual_seed(0)
    model = Clamped(nn.Linear(3, 4), nn.Linear(4, 1)).double()
    items = torch.randn(4, 3, dtype=torch.float64) * torch.tensor([[0.01], [9.0], [9.0], [9.0]])
    assert model[0](items[0]).max() < 1.0 < model[0](items[1]).max()
    assert_products_agree(model, items)


def test_attention_is_traced_as_linear_maps():
    model = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(40, 1)
    ).double()
    items = torch.randn(3, 5, 8, dtype=torch.float64)
    assert_products_agree(model.eval(), items)
    gradients = ItemGradients(model)
    gradients.prepare(items)
    gradients(items)
    assert not gradients._ways[0]._copied, "no copy of a weight per item, which is slow"


@pytest.mark.parametrize("count", [3, 1024, 5000])
def test_float32_products_are_accurate_relative_to_the_lengths(count):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, count, generator=generator) + 1.0
    rows = Rows.of([Dense(values)], differences=False)
    true = (values.double() @ values.double().T).numpy()
    lengths = true.diagonal()
    allowed = 1e-6 * (lengths[:, None] * lengths) ** 0.5
    assert (abs(inner_products(rows, rows, 1 << 20, exact=False) - true) <= allowed).all()
    assert squared_lengths(rows, 1 << 20, exact=False) == pytest.approx(lengths, rel=1e-6)


def test_joined_taps_cover_the_places_of_both():
    assert Taps(((0, 1), (2, 3))) | Taps(((1, 3), (0, 1))) == Taps(((0, 3), (0, 3)))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_fast_way_is_trusted_by_its_relative_error(size):
    model = nn.Linear(3, 1)
    gradients = ItemGradients(model)
    row, score = size * torch.tensor([1.0, -2.0, 3.0, 1.0]), torch.tensor([0.5])
    for error, trusted in ((1e-6, True), (1e-2, False)):
        computed = {"weight": (1 + error) * row[:3], "bias": row[3:]}
        assert gradients._agrees(computed, score, [Dense(row[None])], score) is trusted


ITEM_BY_ITEM = {"recurrent", "changes its input in place"}
"""Models without a formula: a loop inside torch, and an input that the model overwrites."""


@pytest.mark.parametrize("name", MODELS | OF_BATCHES)
def test_only_two_models_need_one_item_at_a_time(name):
    build, kind = (MODELS | OF_BATCHES)[name]
    torch.manual_seed(0)
    model, inputs = build(), make_inputs(kind, 4, torch.Generator().manual_seed(0))
    gradients = ItemGradients(model)
    gradients.prepare(inputs)
    assert (not gradients._ways) is (name in ITEM_BY_ITEM)


@pytest.mark.parametrize(("weight", "bias"), [(True, False), (False, True), (False, False)])
def test_a_norm_may_have_only_a_scale_or_only_a_shift(weight, bias):
    def forward(m, x):
        scale, shift = m.scale.weight[0] if weight else None, m.shift.weight[0] if bias else None
        return m.out(nn.functional.layer_norm(x, (6,), scale, shift))

    model = Model(forward, scale=nn.Linear(6, 1), shift=nn.Linear(6, 1), out=nn.Linear(6, 1))
    gradients = ItemGradients(model)
    gradients.prepare(torch.randn(3, 6))
    assert gradients._ways


class Viewed(nn.Module):
    """Views an image as one row, so its channels must come first."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3)
        self.pool = nn.MaxPool2d(2)
        self.score = nn.Linear(12, 1)

    def forward(self, x):
        return self.score(self.pool(self.convolution(x)).view(len(x), -1))


class Flattened(Viewed):
    def forward(self, x):
        return self.score(self.pool(self.convolution(x)).flatten(1))


@pytest.mark.parametrize(("kind", "ways"), [(Flattened, 2), (Viewed, 1)])
def test_channels_are_last_if_the_model_allows_it(kind, ways):
    torch.manual_seed(0)
    model = kind().double()
    inputs = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    [features] = assert_products_agree(model, inputs)
    gradients = ItemGradients(model)
    gradients.prepare(inputs)
    assert len(gradients._ways) == ways
    assert len(Rows.of(features, differences=False)) == len(inputs)


class Tables(nn.Module):
    """A table of users and one of items, as in Bayesian personalised ranking."""

    def __init__(self, padding=None):
        super().__init__()
        self.users = nn.Embedding(80, 16, padding_idx=padding)
        self.things = nn.Embedding(100, 16)

    def forward(self, ids):
        return (self.users(ids[:, 0]) * self.things(ids[:, 1])).sum(-1)


@pytest.mark.parametrize("padding", [None, 3])
def test_gradients_of_a_table_are_kept_by_used_row(padding):
    torch.manual_seed(0)
    ids = torch.tensor([[3, 5], [3, 7], [1, 5], [39, 59], [3, 5]])
    [features] = assert_products_agree(Tables(padding).double(), ids)
    assert numbers(features) == 2 * (1 + 16), "one row of 16 numbers and its number per table"


class Text(nn.Module):
    """Looks up the tokens twice, or looks them up once and uses the table as a linear map too."""

    def __init__(self, kind, *, scored=False):
        super().__init__()
        self.table = nn.Embedding(400, 6, padding_idx=0) if kind == "embedding" else nn.EmbeddingBag(400, 6, mode=kind)
        self.score = nn.Linear(6, 1)
        self.scored = scored

    def forward(self, ids):
        if isinstance(self.table, nn.EmbeddingBag):
            return self.score(torch.tanh(self.table(ids)))
        rows = self.table(ids)
        if self.scored:
            return torch.tanh(rows @ self.table.weight.T).mean((1, 2))
        return self.score(torch.tanh(rows).mean(1) + self.table(ids[:, :1])[:, 0])


TOKENS = [torch.tensor([[7, 7, 9], [9, 0, 7], [5, 6, 8]]), torch.tensor([[7, 199, 5, 5], [0, 0, 0, 1]])]
"""Two blocks of different length; some tokens repeat within an item, and some are padding."""


@pytest.mark.parametrize(("kind", "positions"), [("embedding", 5), ("sum", 4), ("mean", 4)])
def test_an_item_may_use_several_rows_of_a_table(kind, positions):
    torch.manual_seed(0)
    features = assert_products_agree(Text(kind).double(), *TOKENS)
    assert [numbers(block) for block in features] == [positions * (1 + 6) + 6 + 1] * 2, "only the used rows of 400"


@pytest.mark.parametrize(("rows", "positions"), [(400, 5), (200, None)])
def test_a_small_table_is_kept_whole_if_a_block_uses_all_its_rows(rows, positions):
    torch.manual_seed(0)
    model = Text("embedding").double()
    model.table = nn.Embedding(rows, 6, padding_idx=0).double()
    features = assert_products_agree(model, *TOKENS)
    table = rows * 6 if positions is None else positions * (1 + 6)
    assert [numbers(block) for block in features] == [table + 6 + 1] * 2


def test_a_table_that_is_also_a_linear_map_is_kept_whole():
    torch.manual_seed(0)
    features = assert_products_agree(Text("embedding", scored=True).double(), *TOKENS)
    assert all(numbers(block) >= 400 * 6 for block in features)


def test_bags_by_maximum_or_with_padding_are_right():
    for options in ({"mode": "max"}, {"mode": "sum", "padding_idx": 7}):
        torch.manual_seed(0)
        model = Text("sum").double()
        model.table = nn.EmbeddingBag(400, 6, **options).double()
        assert_products_agree(model, *TOKENS)


def test_a_way_is_compared_with_plain_autograd_once_for_all_states(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 1))
    gradients, items = ItemGradients(model), torch.randn(2, 1, 6, 6)
    compared = []
    plainly = ItemGradients._one_at_a_time
    monkeypatch.setattr(ItemGradients, "_one_at_a_time", lambda *args: compared.append(1) or plainly(*args))
    for scale in (1.0, 2.0, 3.0):
        model[1].running_mean.fill_(scale)
        if scale == 1 or not gradients.prepare_in_passing():
            gradients.prepare(items)
        [features], _ = gradients(items)
        want = plain(model, items)
        assert torch.allclose(features.values.norm(dim=1), want.norm(dim=1), rtol=1e-5), "gradients of this state"
    assert len(compared) == 1
