"""The slow, obviously right version: a loop over pairs with autograd in float64, one item at a time."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch.nn import functional


def derivative_free_loss(name, margin):
    def standard(s_i, s_j, y):
        return functional.margin_ranking_loss(s_i, s_j, y, margin=margin, reduction="none")

    def logistic(s_i, s_j, y):
        return functional.softplus(-y * (s_i - s_j))

    return {"standard": standard, "ghm": standard, "logistic": logistic}.get(name, name)


def item(samples, index):
    value = torch.as_tensor(samples.inputs[index])
    return (value.double() if value.is_floating_point() else value).unsqueeze(0)


def score(model, samples, index):
    return model(item(samples, index)).reshape(1)


def pair_gradient(model, samples, pair, loss, weight=1.0):
    i, j, y = pair
    value = loss(score(model, samples, i), score(model, samples, j), torch.tensor([float(y)], dtype=torch.float64))
    wanted = [p for p in model.parameters() if p.requires_grad]
    if not value.requires_grad:
        return torch.zeros(sum(p.numel() for p in wanted), dtype=torch.float64)
    slopes = torch.autograd.grad(weight * value.sum(), wanted, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(wanted, slopes, strict=True)])


def ghm_weight(model, samples, pairs, margin, bins, alpha, batch_size):
    with torch.no_grad():
        norm = [
            torch.sigmoid(margin - y * (score(model, samples, i) - score(model, samples, j))).item()
            for i, j, y in pairs
        ]
    place = [min(int(g * bins), bins - 1) for g in norm]
    return [max(1.0, place.count(p) * batch_size / len(pairs)) ** -alpha for p in place]


def unique(pairs):
    rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True)
    return list(dict.fromkeys(rows))


def influence(data, model, states, weights, loss="standard", margin=1.0, bins=10, alpha=0.75, batch_size=32):
    """Scores (train pairs, test pairs), self-influence (train pairs,), item-level influence (train items,)."""
    model = copy.deepcopy(model).double().eval()
    function = derivative_free_loss(loss, margin)
    train, test = unique(data.train_pairs), unique(data.test_pairs)
    scores = np.zeros((len(train), len(test)))
    own = np.zeros(len(train))
    sample = np.zeros(len(data.train))
    for state, weight in zip(states, weights, strict=True):
        model.load_state_dict(state)
        w = [1.0] * len(train)
        if loss == "ghm":
            w = ghm_weight(model, data.train, train, margin, bins, alpha, batch_size)
        left = torch.stack([pair_gradient(model, data.train, p, function, v) for p, v in zip(train, w, strict=True)])
        right = torch.stack([pair_gradient(model, data.test, p, function) for p in test])
        scores += weight * (left @ right.T).numpy()
        own += weight * (left * left).sum(1).numpy()
        pull = np.zeros(len(data.train))
        for (i, j, y), v in zip(train, w, strict=True):
            s = [score(model, data.train, k).detach().requires_grad_() for k in (i, j)]
            value = function(s[0], s[1], torch.tensor([float(y)], dtype=torch.float64))
            slopes = torch.autograd.grad(v * value.sum(), s, allow_unused=True) if value.requires_grad else (None, None)
            for k, slope in zip((i, j), slopes, strict=True):
                pull[k] += 0.0 if slope is None else slope.item()
        for k in range(len(data.train)):
            slopes = torch.autograd.grad(
                score(model, data.train, k).sum(), [p for p in model.parameters() if p.requires_grad], allow_unused=True
            )
            sample[k] += weight * pull[k] ** 2 * sum(float((g * g).sum()) for g in slopes if g is not None)
    return scores, own, sample
