"""Projected gradients: right on average, the same in every process, in little memory, with a reported error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import MODELS, make_checkpoints, make_data, make_inputs, worst
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tracinctl import Pairs, RankingData, Samples, compute_influence
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.gradients import projection
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.kernel.products import Rows, inner_products
from tracinctl.errors import MemoryBudgetError, UsageError

SEEDS = 60
KINDS = [
    *("linear", "one dimension", "two dimensions and BatchNorm", "three dimensions", "GroupNorm and LayerNorm"),
    *("embedding", "attention", "shared weights", "a layer used twice", "a weight used in a layer, and transposed"),
    *("bilinear", "recurrent", "layers that do not count", "a path that the data choose"),
]


def double(inputs):
    if isinstance(inputs, dict):
        return {k: double(v) for k, v in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs


def products(model, inputs, projection=None):
    features, _ = ItemGradients(model, projection=projection)(inputs)
    rows = Rows.of(features, differences=False)
    return inner_products(rows, rows, 1 << 20)


def model_and_inputs(name):
    build, kind = MODELS[name]
    torch.manual_seed(0)
    return build().double(), double(make_inputs(kind, 4, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", KINDS)
def test_projected_products_are_right_on_average_and_exact_without_compression(name):
    model, inputs = model_and_inputs(name)
    exact = products(model, inputs)
    assert worst(products(model, inputs, Projection(10**6)), exact) < 1e-12
    projected = np.array([products(model, inputs, Projection(6, seed)) for seed in range(SEEDS)])
    error = projected.std(0) / np.sqrt(SEEDS)
    # seeds are fixed; the largest of ten independent normal deviates is above 4.5 once in 15,000 tests
    assert (np.abs(projected.mean(0) - exact) < 4.5 * error + 1e-9 * np.abs(exact).max()).all()


@pytest.mark.parametrize("height", [4, 1])
def test_formulas_give_the_projection_of_whole_gradients(height):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, groups=2, padding=1)  # at height 1, most of its kernel meets only padding
    model = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.Linear(6 * height * 5, 1))
    inputs = torch.randn(3, 4, height, 5, dtype=torch.float64)
    model.double()
    fast = ItemGradients(model, projection=Projection(12))
    fast.prepare(inputs)
    assert len(fast._ways) == 2, "no way was refused by the comparison with plain autograd"


@pytest.mark.parametrize("padding", [None, 0])
def test_gradients_of_an_embedding_are_projected_by_used_row(padding):
    torch.manual_seed(0)
    body = [nn.Embedding(9, 4, padding_idx=padding), nn.Tanh(), nn.Flatten(), nn.Linear(5 * 4, 1)]
    model = nn.Sequential(*body).double()
    fast = ItemGradients(model, projection=Projection(12))
    fast.prepare(torch.tensor([[0, 3, 3, 8, 0]]))
    assert len(fast._ways) == 1, "no way was refused by the comparison with plain autograd"


class Largest(TorchDispatchMode):
    """Record the size of the largest tensor."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.most = max(self.most, result.untyped_storage().nbytes() // result.element_size())
        return result


def test_projection_never_makes_the_gradient_of_a_linear_or_convolution_layer():
    torch.manual_seed(0)
    positions = 2
    body = [nn.Conv1d(48, 48, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(48 * positions, 300), nn.Tanh()]
    model = nn.Sequential(*body, nn.Unflatten(1, (positions, -1)), nn.Linear(300 // positions, 300), nn.Flatten())
    model.append(nn.Linear(300 * positions, 1))
    inputs = torch.randn(20, 48, positions)
    largest = {}
    for way in (Projection(64), None):
        gradients = ItemGradients(model, projection=way)
        gradients.prepare(inputs)
        with Largest() as tensors:
            gradients(inputs)
        largest[way] = tensors.most
    assert largest[None] >= 20 * 48 * 48 * 3, "exact gradients are this large"
    # the largest weight is this large; all items share it
    assert largest[Projection(64)] <= 300 * 300


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_at_most_the_requested_numbers_are_kept_per_parameter(dim):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    features, _ = ItemGradients(model, projection=Projection(dim))(torch.randn(3, 64))
    numbers = sum(tensor.shape[-1] for part in Rows.of(features, differences=False).parts for tensor in part)
    assert numbers <= dim * len(list(model.parameters()))


def test_numbers_depend_on_the_seed_and_not_on_the_order():
    model, inputs = model_and_inputs("one dimension")
    all_items = products(model, inputs, Projection(6, 1))
    assert np.array_equal(all_items, products(model, inputs, Projection(6, 1)))
    assert worst(products(model, inputs[1:], Projection(6, 1)), all_items[1:, 1:]) < 1e-13
    assert worst(products(model, inputs, Projection(6, 2)), all_items) > 1e-3


def test_random_numbers_are_the_same_in_every_process():
    draw = Projection(9, 7)._draw("a.weight", (6, 4), torch.device("cpu"))
    assert (draw.rows * draw.row_signs).tolist() == [-5, -3, 5, 8, -4, 8]
    assert (draw.columns * draw.column_signs).tolist() == [1, 8, -4, 0]


@pytest.mark.parametrize("name", ["one dimension", "two dimensions and BatchNorm", "attention", "embedding"])
def test_projecting_by_rows_equals_projecting_by_positions(name, monkeypatch):
    model, inputs = model_and_inputs(name)
    by_price = {}
    for price in (0, 10**9):
        monkeypatch.setattr(projection, "_TRANSFORMED", price)
        monkeypatch.setattr(projection, "_AT_ONCE", 50)
        by_price[price] = products(model, inputs, Projection(7))
        fast = ItemGradients(model, projection=Projection(7))
        fast.prepare(inputs)
        assert fast._ways, "a fast way works"
    monkeypatch.undo()
    assert worst(by_price[0], products(model, inputs, Projection(7))) < 1e-12
    assert worst(by_price[10**9], by_price[0]) < 1e-12


@pytest.mark.parametrize("positions", [1, 3, 40])
def test_the_error_falls_with_the_root_of_the_kept_numbers(positions):
    """An ideal projection to N numbers has the variance (|u|^2 |v|^2 + (u v)^2) / N."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 40, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(40 * positions, 1)).double()
    for p in model[3].parameters():
        p.requires_grad_(False)
    inputs = torch.randn(6, positions, 40, dtype=torch.float64)
    exact = products(model, inputs)
    lengths = np.diagonal(exact)
    ideal = np.outer(lengths, lengths) + exact**2
    for dim in (16, 64):
        off = [(products(model, inputs, Projection(dim, seed)) - exact) ** 2 * dim / ideal for seed in range(40)]
        assert 0.3 < np.mean(off) < 3.0


def large(width, folder, items=40):
    torch.manual_seed(0)
    layers = [nn.Linear(24, width), nn.Tanh()]
    for _ in range(6):
        layers += [nn.Linear(width, width), nn.Tanh()]
    body = nn.Sequential(*layers)
    model = nn.Sequential(body, nn.Linear(width, 1), nn.Flatten(1), nn.AdaptiveAvgPool1d(1))  # mean over positions
    generator = torch.Generator().manual_seed(1)

    def side(count, letter):
        inputs = torch.randn(count, 3, 24, generator=generator)
        first, second = np.triu_indices(count, 1)
        target = np.where((first + second) % 3, 1, -1)
        return Samples([f"{letter}{k}" for k in range(count)], inputs), Pairs(first, second, target)

    path = folder / "model_epoch_1.pt"
    torch.save(model.state_dict(), path)
    return RankingData(*side(items, "t"), *side(items // 4, "h")), model, [path]


def test_the_error_is_measured_and_reported(tmp_path):
    data, model, paths = large(32, tmp_path)
    options = {"loss": "logistic", "dtype": "float64"}
    exact = compute_influence(data, model, paths, **options).scores
    off = []
    for dim in (16, 256):
        projected = compute_influence(data, model, paths, projection_dim=dim, cache=tmp_path / "cache", **options)
        about = projected.provenance["projection"]
        assert about["dim"] == dim
        [error] = about["error"]
        off.append(error["root_mean_square"])
        true_error = np.sqrt(((projected.scores - exact) ** 2).mean() / (exact**2).mean())
        assert 0.3 < error["root_mean_square"] / true_error < 3
    assert off[1] < off[0] / 2.5, "about a quarter; few items give a rough estimate"
    assert error["correlation"] > 0.9
    result = compute_scores(
        data, model, paths, ComputeOptions(dtype="float64", projection_dim=256, cache=tmp_path / "cache")
    )
    assert result.gradients_computed == 0
    assert any(f"correlate {error['correlation']:.3f}" in note for note in result.notes), (
        "the error is kept with the kernel"
    )


def test_another_projection_is_another_kernel(tmp_path):
    build, kind = MODELS["one dimension"]
    model = build()
    data, paths = make_data(kind), make_checkpoints(model, tmp_path)

    def taken(**options):
        return compute_scores(data, model, paths, ComputeOptions(cache=tmp_path / "cache", **options)).taken

    assert taken() == [False, False]
    for options in ({"projection_dim": 8}, {"projection_dim": 9}, {"projection_dim": 8, "projection_seed": 1}):
        assert taken(**options) == [False, False]
        assert taken(**options) == [True, True]
    with pytest.raises(UsageError, match="projection_dim"):
        taken(projection_dim=0)


def test_the_error_for_a_large_model_names_enough_memory_and_a_projection_fits(tmp_path):
    data, model, paths = large(256, tmp_path, items=8)
    with pytest.raises(MemoryBudgetError, match="at least") as refused:
        compute_influence(data, model, paths, memory=6 << 20)
    assert "`projection_dim`" in refused.value.hint
    table = compute_influence(data, model, paths, memory=6 << 20, projection_dim=256)
    assert table.provenance["projection"]["error"] == [None], "exact gradients do not fit"
    needed = int(refused.value.hint.split("`memory` ")[1].split("MiB")[0])
    assert compute_influence(data, model, paths, memory=needed << 20).scores.shape == table.scores.shape
