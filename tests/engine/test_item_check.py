"""An item's score must depend on the item only: equal when computed again, alone, or with other items."""

from __future__ import annotations

import dataclasses

import oracle
import pytest
import torch
from small_models import MODELS, OF_BATCHES, Model, make_checkpoints, make_data, worst
from torch import nn
from torch.nn import functional

from tracinctl import Samples, compute_influence
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.item_check import check_items
from tracinctl.engine.items import Items
from tracinctl.errors import DataError, ModelError


class Noise(nn.Module):
    def forward(self, x):
        return x + 1e-4 * torch.randn_like(x)


RANDOM = {
    "functional dropout": lambda: Model(lambda m, x: m.a(functional.dropout(x, 0.1)), a=nn.Linear(6, 1)),
    "noise": lambda: nn.Sequential(nn.Linear(6, 5), Noise(), nn.Linear(5, 1)),
    "random weights": lambda: Model(lambda m, x: functional.linear(x, m.a.weight * torch.rand(6)), a=nn.Linear(6, 1)),
    "a counter": lambda: Model(lambda m, x: m.a(x) * next(m.count), a=nn.Linear(6, 1)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RANDOM)
def test_a_random_score_is_refused_with_the_items_id(name, dtype, tmp_path):
    model = RANDOM[name]()
    if name == "a counter":
        model.count = iter(range(1, 100))
    with pytest.raises(ModelError, match=r"item [th]\d: the model gives the score .*, and then") as caught:
        compute_influence(make_data((6,)), model, make_checkpoints(model, tmp_path), dtype=dtype)
    assert "eval() mode" in caught.value.hint


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_BATCHES)
def test_a_score_that_depends_on_other_items_is_refused_unless_items_run_alone(name, dtype, tmp_path):
    build, kind = OF_BATCHES[name]
    model, data = build(), make_data(kind)
    paths = make_checkpoints(model, tmp_path)
    with pytest.raises(ModelError, match=r"item [th]\d: the model gives the score .* alone, and .* in a batch"):
        compute_influence(data, model, paths, dtype=dtype)
    alone = dataclasses.replace(data, score=lambda model, x: torch.cat([model(row) for row in x.split(1)]))
    scores = oracle.influence_of_files(data, model, paths, loss="logistic")[0]
    separate = compute_influence(alone, model, paths, loss="logistic", dtype=dtype).scores
    assert worst(separate, scores) < (1e-5 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_no_other_model_of_the_tests_is_refused(name, dtype):
    build, kind = MODELS[name]
    data = make_data(kind)
    items = Items([data.train, data.test])
    for seed in range(3):
        torch.manual_seed(seed)
        check_items(ItemGradients(build().to(dtype)), items, torch.device("cpu"), dtype)


def test_rounding_in_a_deep_model_is_allowed():
    torch.manual_seed(0)
    layers = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU())]
    model = nn.Sequential(*layers, nn.Linear(64, 1))
    items = Items([Samples([str(k) for k in range(40)], torch.randn(40, 64))])
    check_items(ItemGradients(model), items, torch.device("cpu"), torch.float32)


class Augments(torch.utils.data.Dataset):
    """Adds noise to each item when it is read, as augmentation does."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index] + 0.01 * torch.randn(6)


def test_a_dataset_with_augmentation_is_refused_with_the_items_id(tmp_path):
    model, data = nn.Linear(6, 1), make_data((6,))
    data = dataclasses.replace(data, test=Samples(data.test.ids, Augments(data.test.inputs)))
    with pytest.raises(DataError, match="item h0 differs when it is read again"):
        compute_influence(data, model, make_checkpoints(model, tmp_path))


def test_a_kept_kernel_does_not_hide_a_random_score(tmp_path):
    """The model becomes random after the kernels were made."""
    noisy = []
    model = Model(lambda m, x: m.a(functional.dropout(x, 0.5, training=bool(noisy))), a=nn.Linear(6, 1))
    data, paths = make_data((6,)), make_checkpoints(model, tmp_path / "checkpoints")
    options = ComputeOptions(cache=tmp_path / "cache")
    compute_scores(data, model, paths, options)
    noisy.append(True)
    with pytest.raises(ModelError, match=r"the model gives the score .*, and then "):
        compute_scores(data, model, paths, options)
