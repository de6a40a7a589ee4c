"""The slow, obviously right version: a loop over pairs with autograd in float64, one item at a time.

It shares nothing with the engine: it reads checkpoints itself, takes the losses from torch, and differentiates each
pair's loss as a whole, so it assumes neither A K B^T nor any derivative by a score.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn


def logistic(s_i, s_j, y, margin=0.0, smoothing=0.0):
    """Of conservative DPO and trl's reward trainer; a tie is the mean of both outcomes."""
    if not y.any():
        return (logistic(s_i, s_j, y + 1) + logistic(s_i, s_j, y - 1)) / 2
    z = y * (s_i - s_j) - margin
    return -(1 - smoothing) * nn.functional.logsigmoid(z) - smoothing * nn.functional.logsigmoid(-z)


def pair_loss(name, margin, row_margin=None, smoothing=0.0, centring=0.0):
    """The loss of one pair as a function of (s_i, s_j, y), each of shape (1,); a function is its own."""
    if callable(name):
        return name
    if name == "logistic":
        named = functools.partial(logistic, margin=row_margin or 0.0, smoothing=smoothing)
    elif name == "capped":
        named = functools.partial(capped, margin=margin if row_margin is None else row_margin)
    else:
        named = nn.MarginRankingLoss(margin=margin if row_margin is None else row_margin, reduction="none")
    return lambda s_i, s_j, y: named(s_i, s_j, y) + centring * (s_i + s_j) ** 2


def capped(s_i, s_j, y, margin):
    """The margin loss, limited smoothly to two margins."""
    return 2 * margin * torch.tanh(torch.relu(margin - y * (s_i - s_j)) / (2 * margin))


def pair_losses(pairs, name, margin, **options):
    """The loss of each row."""
    margins = [None] * len(pairs) if pairs.margin is None else pairs.margin.tolist()
    return [pair_loss(name, margin, row_margin, **options) for row_margin in margins]


def item(samples, index):
    """A copy of one item with a leading dimension of 1, in float64."""
    inputs = samples.inputs
    value = {k: v[index] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[index]

    def alone(tensor):
        tensor = torch.as_tensor(tensor).detach().clone()
        return (tensor.double() if tensor.is_floating_point() else tensor).unsqueeze(0)

    return {k: alone(v) for k, v in value.items()} if isinstance(value, Mapping) else alone(value)


def score(model, data, samples, index):
    x = item(samples, index)
    ask = data.score or (lambda model, x: model(**x) if isinstance(x, Mapping) else model(x))
    value = ask(model, x)
    return getattr(value, "logits", value).reshape(1)


def gradient(model, value):
    """Gradient of one value by all trainable parameters, shape (parameters,); zero if it does not depend on them."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = (
        torch.autograd.grad(value.sum(), parameters, allow_unused=True)
        if value.requires_grad
        else [None] * len(parameters)
    )
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, slopes, strict=True)]
    )


def pair_gradient(model, data, samples, pair, loss, weight=1.0):
    i, j, y = pair
    s_i, s_j = score(model, data, samples, i), score(model, data, samples, j)
    return gradient(model, weight * loss(s_i, s_j, torch.tensor([float(y)], dtype=torch.float64)))


def disagreement(model, data, pairs):
    """Negative log-likelihood of each item's pairs at the score of a similar item, by loops over items and pairs."""
    items = range(len(data.train))
    scores = np.array([score(model, data, data.train, k).item() for k in items])
    result = np.zeros(len(items))
    if scores.std() <= 1e-9 * np.abs(scores).max():
        return result
    scores = scores / scores.std()
    directions = torch.stack([gradient(model, score(model, data, data.train, k)) for k in items])
    lengths = directions.norm(dim=1)
    directions = directions - directions.mean(0)
    flat = directions.norm(dim=1) <= 1e-5 * (lengths**2).mean().sqrt()

    def shortfall(item, value):
        """Mean loss of the item's pairs if it had this score."""
        losses = []
        for i, j, y in pairs:
            if item in (i, j) and i != j and y:
                difference = (value - scores[j]) if item == i else (scores[i] - value)
                losses.append(max(0.0, 0.25 - y * difference))
        return np.mean(losses) if losses else 0.0

    for k in items:
        losses = [shortfall(k, scores[m]) for m in items]
        likelihood, total = 0.0, 0.0
        for m in items:
            if m != k:
                no_direction = bool(flat[k] or flat[m])
                cosine = 0.0 if no_direction else torch.cosine_similarity(directions[k], directions[m], dim=0).item()
                weight = math.exp(10 * cosine)
                total += weight
                likelihood += weight * math.exp(-(losses[m] - min(losses)) / 0.02)
        result[k] = -math.log(likelihood / total)
    return result


def occur_once(*sides):
    """Whether items occur in little more than one pair: at most three quarters as many pairs as items in pairs."""
    items = sum(len({item for i, j, _ in pairs for item in (i, j)}) for pairs in sides)
    return sum(map(len, sides)) <= 0.75 * items


def disagreement_of_pairs(model, data, pairs):
    """Mean over each item's pairs of the squared negative log-likelihood of their labels, by loops over pairs."""
    used = sorted({item for i, j, _ in pairs for item in (i, j)})
    scores = {k: score(model, data, data.train, k).item() for k in used}
    spread = np.std(list(scores.values()))
    result = np.zeros(len(data.train))
    if spread <= 1e-9 * max(map(abs, scores.values())):
        return result
    gradients = {k: gradient(model, score(model, data, data.train, k)) for k in used}
    distinct = sorted({(i, j) for i, j, _ in pairs})
    directions = {(i, j): gradients[i] - gradients[j] for i, j in distinct}
    mean = np.mean([d.square().sum().item() for d in directions.values()])
    margins = {(i, j): (scores[i] - scores[j]) / spread for i, j in distinct}
    values = {k: [] for k in used}
    for i, j, y in pairs:
        if i == j or not y:
            continue
        value = math.log(1 + math.exp(-2 * y * margins[i, j]))
        likelihood, total = 0.0, 0.0
        for other in distinct:
            both = [directions[pair] for pair in ((i, j), other)]
            flat = any(d.square().sum() <= 1e-10 * mean for d in both)
            cosine = 0.0 if flat else torch.cosine_similarity(*both, dim=0).item()
            for sign in (1, -1):
                if other != (i, j):
                    weight = math.exp(10 * sign * cosine)
                    total += weight
                    likelihood += weight * math.exp(-max(0.0, 0.25 - y * sign * margins[other]) / 0.02)
        if total:
            value -= math.log(likelihood / total)
        values[i].append(value**2)
        values[j].append(value**2)
    for k, some in values.items():
        result[k] = np.mean(some) if some else 0.0
    return result


def ghm_weights(model, data, pairs, margin, bins, alpha, batch_size, margins=None):
    """max(1, N_bin B / N) ** -alpha of each training pair, bins counted one pair at a time; 1 for ties."""
    place = []
    for k, (i, j, y) in enumerate(pairs):
        with torch.no_grad():
            difference = score(model, data, data.train, i) - score(model, data, data.train, j)
        g = torch.sigmoid((margin if margins is None else margins[k]) - y * difference).item()
        place.append(next(k for k in range(bins) if g * bins < k + 1 or k == bins - 1) if y else None)
    total = sum(p is not None for p in place)
    return [1.0 if p is None else max(1.0, place.count(p) * batch_size / total) ** -alpha for p in place]


def rows(pairs):
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True))


def influence(
    data,
    model,
    states,
    weights,
    loss="standard",
    margin=1.0,
    bins=10,
    alpha=0.75,
    batch_size=32,
    method="tracin",
    **options,
):
    """Scores (train pairs, test pairs), self-influence (train pairs,), item-level influence (train items,)."""
    model = copy.deepcopy(model).double().eval()
    of_train = pair_losses(data.train_pairs, loss, margin, **options)
    of_test = pair_losses(data.test_pairs, loss, margin, **options)
    train, test = rows(data.train_pairs), rows(data.test_pairs)
    scores = np.zeros((len(train), len(test)))
    self_influence = np.zeros(len(train))
    sample = np.zeros(len(data.train))
    of_difference = not callable(loss) and not options.get("centring")
    view = disagreement_of_pairs if of_difference and occur_once(train, test) else disagreement
    for state, weight in zip(states, weights, strict=True):
        model.load_state_dict(state)
        w = [1.0] * len(train)
        if loss == "ghm":
            w = ghm_weights(model, data, train, margin, bins, alpha, batch_size, data.train_pairs.margin)
        if data.train_pairs.weight is not None:
            w = w * data.train_pairs.weight
        left = [pair_gradient(model, data, data.train, *row) for row in zip(train, of_train, w, strict=True)]
        if method != "tracin":
            of_test = [lambda s_i, s_j, y: -y * (s_i - s_j)] * len(test)
        right = [pair_gradient(model, data, data.test, *row) for row in zip(test, of_test, strict=True)]
        through = torch.eye(len(left[0]), dtype=torch.float64)
        if method == "fisher":
            fisher = sum(torch.outer(a, a) for a in left) / len(left)
            if fisher.any():
                damping = 10 * fisher.trace() / len(data.train)
                through = damping * torch.linalg.inv(damping * through + fisher)
        for row, a in enumerate(left):
            self_influence[row] += weight * (a @ through @ a).item()
            for column, b in enumerate(right):
                scores[row, column] += weight * (a @ through @ b).item()
        sample += weight * view(model, data, train)
    return scores, self_influence, sample


def read_checkpoints(paths):
    """States and learning rates, tensors only."""
    contents = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    rates = [content["optimizer_state_dict"]["param_groups"][0]["lr"] for content in contents]
    return [content["model_state_dict"] for content in contents], rates


def weights(rates, weighting):
    return {"relative": np.array(rates) / np.mean(rates), "absolute": rates, "uniform": [1.0] * len(rates)}[weighting]


def influence_of_files(data, model, paths, weighting="relative", **loss):
    """As ``influence``, with states and weights from checkpoint files."""
    states, rates = read_checkpoints(paths)
    return influence(data, model, states, weights(rates, weighting), **loss)
