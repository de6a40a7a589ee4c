"""Small models of every kind, with inputs that fit them, pairs, and checkpoints of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.checkpoints.weights import learning_rates


class Model(nn.Module):
    """Layers by name, and a function of (layers, x) as ``forward``."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.how = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args, **kwargs):
        return self.how(self, *args, **kwargs)


@dataclass
class Output:
    logits: Any


def _ends_in(*layers, width):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 1))


def _frozen():
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return model


def _tied():
    model = Model(
        lambda m, x: m.o(torch.tanh(m.d(torch.tanh(m.e(x)).mean(1)))),
        e=nn.Embedding(9, 8),
        d=nn.Linear(8, 9, bias=False),
        o=nn.Linear(9, 1),
    )
    model.d.weight = model.e.weight
    return model


def _in_place(m, x):
    x -= x.mean(1, keepdim=True)
    return m.a(x.tanh_())


def _weight_normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 1))


def _attention(m, x):
    h = x.reshape(-1, 3, 4)
    return m.o(torch.tanh(m.attend(h, h, h, need_weights=False)[0]).mean(1))


def _each(score, m, x):
    return torch.cat([score(m, row) for row in x.split(1)])


def _steps(m, x):
    for _ in range(int((x > 0.5).sum()) + 1):
        x = torch.tanh(m.a(x))
    if float(x.detach().sum()) > 1 and x.detach().max().item() > 0:
        x = x + m.b(x).sum(1, keepdim=True)
    return m.o(x)


def _masked(m, tokens, mask):
    h = torch.tanh(m.e(tokens)) * mask.unsqueeze(-1)
    return Output(m.o(h.sum(1) / (1 + mask.sum(1, keepdim=True))))


# name: (how to build it, shape of an item or the kind of its input)
SMOOTH = {
    "linear": (lambda: nn.Linear(6, 1), (6,)),
    "linear without bias": (lambda: nn.Linear(6, 1, bias=False), (6,)),
    "one dimension": (
        lambda: _ends_in(nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), nn.Tanh(), width=12),
        (2, 6),
    ),
    "two dimensions and BatchNorm": (
        lambda: _ends_in(
            nn.Conv2d(1, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(4, 2, 3, padding="same", groups=2, dilation=2),
            nn.Softplus(),
            width=4,
        ),
        (1, 6, 5),
    ),
    "three dimensions": (
        lambda: _ends_in(nn.Conv3d(1, 2, 2, stride=(1, 2, 1)), nn.Softplus(), nn.AdaptiveAvgPool3d(1), width=2),
        (1, 3, 4, 3),
    ),
    "circular padding": (
        lambda: _ends_in(nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular", bias=False), nn.Tanh(), width=12),
        (2, 6),
    ),
    "transposed convolution": (lambda: _ends_in(nn.ConvTranspose1d(2, 2, 3), nn.Tanh(), width=16), (2, 6)),
    "GroupNorm and LayerNorm": (
        lambda: _ends_in(
            nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.LayerNorm(16), nn.Softplus(), width=16
        ),
        (2, 6),
    ),
    "LayerNorm over two axes": (
        lambda: nn.Sequential(nn.LayerNorm((2, 6)), nn.Linear(6, 1), nn.Flatten(), nn.Tanh(), nn.Linear(2, 1)),
        (2, 6),
    ),
    "InstanceNorm and RMSNorm": (
        lambda: _ends_in(nn.InstanceNorm1d(2, affine=True), nn.Conv1d(2, 3, 3), nn.RMSNorm(4), nn.Tanh(), width=12),
        (2, 6),
    ),
    "normalises each item": (
        lambda: Model(
            lambda m, x: m.b(torch.tanh(m.a((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)))),
            a=nn.Linear(6, 5),
            b=nn.Linear(5, 1),
        ),
        (6,),
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Tanh(), nn.Dropout(0.9), nn.Linear(5, 1)),
        (6,),
    ),
    "embedding": (
        lambda: Model(
            lambda m, x: m.o(torch.tanh(m.e(x) + m.p(torch.arange(5))).mean(1)),
            e=nn.Embedding(9, 4, padding_idx=0),
            p=nn.Embedding(5, 4),
            o=nn.Linear(4, 1),
        ),
        "tokens",
    ),
    "positions added to numbers": (
        lambda: Model(
            lambda m, x: m.o(torch.tanh(m.a(x.reshape(-1, 3, 2) + m.p(torch.arange(3)))).mean(1)),
            p=nn.Embedding(3, 2),
            a=nn.Linear(2, 3),
            o=nn.Linear(3, 1),
        ),
        (6,),
    ),
    "inputs by name, output with logits": (
        lambda: Model(_masked, e=nn.Embedding(9, 4), o=nn.Linear(4, 1)),
        "tokens and mask",
    ),
    "attention": (
        lambda: Model(_attention, attend=nn.MultiheadAttention(4, 2, batch_first=True), o=nn.Linear(4, 1)),
        (12,),
    ),
    "transformer layer": (
        lambda: Model(
            lambda m, x: m.o(m.layer(m.e(x)).mean(1)),
            e=nn.Embedding(9, 4),
            layer=nn.TransformerEncoderLayer(4, 2, 6, dropout=0.3, batch_first=True, activation="gelu"),
            o=nn.Linear(4, 1),
        ),
        "tokens",
    ),
    "recurrent": (
        lambda: Model(
            lambda m, x: m.o(m.body(x.reshape(-1, 3, 2))[0][:, -1]),
            body=nn.GRU(2, 3, batch_first=True),
            o=nn.Linear(3, 1),
        ),
        (6,),
    ),
    "frozen parameters": (_frozen, (6,)),
    "shared weights": (_tied, "tokens"),
    "a layer used twice": (
        lambda: Model(lambda m, x: m.o(m.a(torch.tanh(m.a(x)))).squeeze(1), a=nn.Linear(6, 6), o=nn.Linear(6, 1)),
        (6,),
    ),
    "a layer in two places": (
        lambda: nn.Sequential(*(2 * [nn.Linear(6, 6), nn.Tanh()]), nn.Linear(6, 1)),
        (6,),
    ),
    "a weight used in a layer and in a function": (
        lambda: Model(
            lambda m, x: m.o(torch.tanh(functional.linear(m.a(x), m.a.weight))), a=nn.Linear(6, 6), o=nn.Linear(6, 1)
        ),
        (6,),
    ),
    "a weight used in a layer, and transposed": (
        lambda: Model(
            lambda m, x: m.o(torch.tanh(m.a(x))) + 0.003 * torch.tanh(x @ m.a.weight.T).sum(1, keepdim=True),
            a=nn.Linear(6, 5),
            o=nn.Linear(5, 1),
        ),
        (6,),
    ),
    "a weight times itself": (
        lambda: Model(
            lambda m, x: (
                m.o(torch.tanh(x)) + 0.01 * (x @ functional.linear(m.a.weight, m.a.weight)).sum(1, keepdim=True)
            ),
            a=nn.Linear(6, 6, bias=False),
            o=nn.Linear(6, 1),
        ),
        (6,),
    ),
    "elementwise scales": (
        lambda: Model(
            lambda m, x: m.o(torch.tanh(m.a(x) * m.s) * m.t) + m.s.norm(),
            a=nn.Linear(6, 4),
            s=nn.Parameter(torch.ones(4)),
            t=nn.Parameter(torch.tensor(1.0)),
            o=nn.Linear(4, 1),
        ),
        (6,),
    ),
    "a weight under a norm of its own": (_weight_normed, (6,)),
    "bilinear": (lambda: Model(lambda m, x: m.b(x, torch.tanh(x)), b=nn.Bilinear(6, 6, 1)), (6,)),
    "layers that do not count": (
        lambda: Model(
            lambda m, x: (m.seen(x), m.a(x))[1], a=nn.Linear(6, 1), seen=nn.Linear(6, 3), never=nn.Linear(3, 3)
        ),
        (6,),
    ),
    "changes its input in place": (lambda: Model(_in_place, a=nn.Linear(6, 1)), (6,)),
}

KINKED = {
    "ReLU in place": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(inplace=True), nn.Linear(5, 1)),
        (6,),
    ),
    "pooling": (lambda: _ends_in(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), width=12), (1, 6, 6)),
    "a path that the data choose": (
        lambda: Model(
            lambda m, x: _each(lambda m, x: m.a(x) if x.sum() > 0 else torch.tanh(m.b(x)), m, x),
            a=nn.Linear(6, 1),
            b=nn.Linear(6, 1),
        ),
        (6,),
    ),
    "as many steps as the item says": (
        lambda: Model(
            lambda m, x: torch.cat([_steps(m, row) for row in x.split(1)]),
            a=nn.Linear(6, 6),
            b=nn.Linear(6, 3),
            o=nn.Linear(6, 1),
        ),
        (6,),
    ),
    "a path that few items take": (
        lambda: Model(
            lambda m, x: m.a(x) + (torch.relu(x[:, :1] - 0.5) * torch.tanh(x @ m.b.weight.T)).sum(1, keepdim=True),
            a=nn.Linear(6, 1),
            b=nn.Linear(6, 4, bias=False),
        ),
        (6,),
    ),
}

MODELS = SMOOTH | KINKED

OF_BATCHES = {
    "normalises over its batch": (
        lambda: Model(
            lambda m, x: m.b(torch.tanh(m.a((x - x.mean()) / x.std()))), a=nn.Linear(6, 5), b=nn.Linear(5, 1)
        ),
        (6,),
    ),
    "BatchNorm without statistics": (
        lambda: _ends_in(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Tanh(), width=12),
        (2, 6),
    ),
    "a decision over its batch": (
        lambda: Model(lambda m, x: m.a(x) if x.sum() > 0 else torch.tanh(m.b(x)), a=nn.Linear(6, 1), b=nn.Linear(6, 1)),
        (6,),
    ),
}
"""Models whose score of an item depends on the other items in the batch."""


def make_inputs(kind, items, generator):
    if kind in ("tokens", "tokens and mask"):
        tokens = torch.randint(0, 9, (items, 5), generator=generator)
        if kind == "tokens":
            return tokens
        return {"tokens": tokens, "mask": (torch.rand(items, 5, generator=generator) < 0.7).float()}
    return torch.randn(items, *kind, generator=generator)


def make_data(kind, seed=0, train=6, test=4, train_pairs=None, test_pairs=None):
    """Data of this many items; by default every pair of items once, with targets of both signs."""
    generator = torch.Generator().manual_seed(seed)

    def side(items, rows, letter):
        if rows is None:
            rows = [(i, j, 1 if (i * j) % 3 else -1) for i in range(items) for j in range(i)]
        first, second, target = np.array(rows).reshape(-1, 3).T
        return Samples([f"{letter}{k}" for k in range(items)], make_inputs(kind, items, generator)), Pairs(
            first, second, target
        )

    return RankingData(*side(train, train_pairs, "t"), *side(test, test_pairs, "h"))


def make_checkpoints(model, folder, rates=(0.1, 0.05), seed=0, scale=0.5):
    """Write checkpoints with different weights, buffers and learning rates; return their paths."""
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with torch.no_grad():
        for k, rate in enumerate(rates):
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * scale)
            for name, buffer in model.named_buffers():
                if buffer.is_floating_point():
                    buffer.copy_(torch.rand(buffer.shape, generator=generator) + (0.5 if "var" in name else 0.0))
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)
            path = folder / f"model_epoch_{5 * (k + 1)}.pt"
            torch.save(
                {
                    "model_state_dict": model.state_dict(),
                    "optimizer_state_dict": optimizer.state_dict(),
                    "epoch": 5 * (k + 1),
                },
                path,
            )
            paths.append(path)
    return paths


def worst(got, want):
    """Largest error as a share of the largest true value."""
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-300))


def learning_rate(checkpoint):
    """The rate of the step that led to a checkpoint, by its own records alone."""
    return learning_rates([load_checkpoint(checkpoint).record.rates])[0]
