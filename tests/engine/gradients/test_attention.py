"""Attention of a block of items in one call: the gradients of plain autograd, whatever depends on the item."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tracinctl.engine.gradients import attention
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.kernel.products import Rows, inner_products

ITEMS, POSITIONS, WIDTH, HEADS = 6, 5, 8, 2


def heads(x):
    """(items, positions, numbers) to (items, heads, positions, numbers of a head)."""
    return x.unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)


class Attends(nn.Module):
    """One layer of attention and a score; ``how`` attends from query, key and value."""

    def __init__(self, how, key_width=WIDTH):
        super().__init__()
        self.query, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)
        self.key, self.value = nn.Linear(WIDTH, key_width), nn.Linear(WIDTH, key_width)
        self.learned = nn.Parameter(torch.randn(POSITIONS, WIDTH))
        self.register_buffer("fixed", torch.randn(POSITIONS, WIDTH))
        self.how = how

    def forward(self, x):
        parts = self.how(self, x)
        return self.out(parts.transpose(1, 2).flatten(2).tanh()).sum((1, 2))


def plain(model, x, **more):
    return functional.scaled_dot_product_attention(
        heads(model.query(x)), heads(model.key(x)), heads(model.value(x)), **more
    )


def hidden_by_item(model, x):
    return plain(model, x, attn_mask=(x[:, None, None, :, 0] > -1) | (torch.arange(POSITIONS) < 1))


def added_by_item(model, x):
    return plain(model, x, attn_mask=(x @ x.transpose(1, 2))[:, None])


def learned_queries(model, x):
    query = heads(model.query(model.learned[None]))
    return functional.scaled_dot_product_attention(query, heads(model.key(x)), heads(model.value(x)))


def no_item(model, x):
    part = heads(model.fixed[None])
    return functional.scaled_dot_product_attention(part, part, part) * heads(model.value(x))


def three_dimensions(model, x):
    parts = (part(x)[0].unflatten(-1, (HEADS, -1)).transpose(0, 1) for part in (model.query, model.key, model.value))
    return functional.scaled_dot_product_attention(*parts)[None]


WAYS = {
    "plain": plain,
    "causal": lambda model, x: plain(model, x, is_causal=True),
    "scale": lambda model, x: plain(model, x, scale=0.3),
    "a common mask": lambda model, x: plain(model, x, attn_mask=(torch.arange(POSITIONS) < POSITIONS - 1)[None]),
    "a mask of each item": hidden_by_item,
    "numbers added for each item": added_by_item,
    "queries of no item": learned_queries,
    "of no item": no_item,
    "three dimensions": three_dimensions,
}


@pytest.fixture
def together(monkeypatch):
    """How often attention was computed for all items of a block."""
    monkeypatch.setattr(attention, "_LONG", 1)
    calls = []
    rule = attention._Attention.vmap

    def watched(info, in_dims, *inputs):
        calls.append(info.batch_size)
        return rule(info, in_dims, *inputs)

    monkeypatch.setattr(attention._Attention, "vmap", staticmethod(watched))
    return calls


def assert_gradients_agree(model):
    """Inner products of a block's gradients are those of plain autograd on one item at a time."""
    model, x = model.double(), torch.randn(ITEMS, POSITIONS, WIDTH, dtype=torch.float64)
    gradients = ItemGradients(model)
    rows = Rows.of(gradients(x)[0], differences=False)
    assert gradients.way == "in blocks"
    used = [
        p
        for name, p in model.named_parameters()
        if torch.autograd.grad(model(x).sum(), p, allow_unused=True)[0] is not None
    ]
    true = torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(model(item[None]), used)]) for item in x])
    np.testing.assert_allclose(inner_products(rows, rows, 1 << 20), true @ true.T, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", list(WAYS))
def test_gradients_through_short_attention(name):
    torch.manual_seed(0)
    assert_gradients_agree(Attends(WAYS[name]))


@pytest.mark.parametrize("name", list(WAYS))
def test_gradients_through_attention(name, together):
    torch.manual_seed(0)
    assert_gradients_agree(Attends(WAYS[name]))
    assert (ITEMS in together) == (name != "of no item")


def test_fewer_heads_of_keys_than_of_queries(together):
    torch.manual_seed(0)
    assert_gradients_agree(Attends(lambda model, x: plain(model, x, enable_gqa=True), key_width=WIDTH // HEADS))
    assert ITEMS in together


def test_an_encoder_layer_attends_for_all_items_of_a_block(together):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, dropout=0.0, batch_first=True)
    assert_gradients_agree(nn.Sequential(layer, nn.Linear(WIDTH, 1), nn.Flatten(1), nn.AdaptiveAvgPool1d(1)))
    assert ITEMS in together
