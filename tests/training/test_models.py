"""The built-in rankers."""

from __future__ import annotations

import json

import pytest
import torch
from reference_project import PROJECT, needs_reference
from torch import nn

from tracinctl.data.loading import load_recordings
from tracinctl.errors import ModelError
from tracinctl.training.models import HalvingPool, architecture_of, build_ranker

SHAPES = [(1, 1025, 47), (1, 1025, 188), (1, 257, 47)]


@pytest.mark.parametrize(("architecture", "parameters", "tensors"), [("small", 5733, 18), ("wide", 422337, 32)])
def test_rankers_have_the_parameters_and_keys_of_users_checkpoints(architecture, parameters, tensors):
    model = build_ranker(architecture)
    state = model.state_dict()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(state) == tensors
    assert next(iter(state)) == "features.0.weight"
    assert {"features.1.running_mean", "features.4.weight", "features.5.num_batches_tracked"} < set(state)
    assert list(state)[-4:] == ["classifier.0.weight", "classifier.0.bias", "classifier.2.weight", "classifier.2.bias"]
    assert architecture_of(state) == architecture


@pytest.mark.parametrize("architecture", ["small", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_items_score_does_not_depend_on_its_neighbours(architecture, shape):
    torch.manual_seed(0)
    model = build_ranker(architecture).double().eval()
    items = torch.randn(3, *shape, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.2]).view(3, 1, 1, 1) - 30
    together = model(items)
    assert together.shape == (3,)
    alone = torch.cat([model(item[None]) for item in items])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)
    assert together.std() > 1e-6


def test_scores_ignore_offset_and_gain_only_with_normalising():
    torch.manual_seed(0)
    item = torch.randn(1, 1, 129, 17)
    blind, seeing = build_ranker(normalise=True).eval(), build_ranker(normalise=False).eval()
    assert torch.allclose(blind(item), blind(3 * item - 40), atol=1e-4)
    assert not torch.allclose(seeing(item), seeing(3 * item - 40), atol=1e-4)


@pytest.mark.parametrize("architecture", ["small", "wide"])
def test_vmap_computes_gradients_per_item(architecture):
    torch.manual_seed(0)
    model = build_ranker(architecture).double().eval()
    items = torch.randn(3, 1, 129, 17, dtype=torch.float64)
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def score(weights, item):
        return torch.func.functional_call(model, weights, (item[None],)).squeeze()

    each = torch.func.vmap(torch.func.grad(score), in_dims=(None, 0))(parameters, items)
    model(items[1:2]).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(each[name][1], parameter.grad, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (7, 2), (64, 3)])
def test_pooling_equals_max_pooling_on_sides_above_one(shape):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *shape)
    assert torch.equal(HalvingPool()(x), nn.MaxPool2d(2, 2)(x))


def test_pooling_keeps_a_side_of_one():
    x = torch.arange(4.0).view(1, 1, 4, 1)
    assert HalvingPool()(x).flatten().tolist() == [1.0, 3.0]
    assert HalvingPool()(x[:, :, :1]).flatten().tolist() == [0.0]


def test_errors_on_other_state_dicts_and_names_name_the_difference():
    state = dict(build_ranker().state_dict())
    state["classifier.2.weight"] = torch.zeros(2, 10)
    with pytest.raises(ModelError, match=r"'small'.*classifier\.2\.weight.*\(1, 10\).*\(2, 10\)"):
        architecture_of(state)
    del state["classifier.2.weight"]
    with pytest.raises(ModelError, match="does not exist"):
        architecture_of(state)
    with pytest.raises(ModelError, match="fits no built-in ranker"):
        architecture_of({})
    with pytest.raises(ModelError, match="'large'"):
        build_ranker("large")


@needs_reference
def test_users_checkpoints_give_the_scores_of_their_own_code():
    wanted = json.loads((PROJECT / "what_their_code_sees.json").read_text())["item_scores"]
    data = load_recordings(PROJECT / "data", "plastic", "500hz")
    for epoch in (5, 10, 15, 20):
        name = f"model_epoch_{epoch}.pt"
        state = torch.load(PROJECT / "checkpoints" / "plastic_500hz" / name, weights_only=True)["model_state_dict"]
        model = build_ranker(architecture_of(state))
        model.load_state_dict(state)
        model.double().eval()
        for samples in (data.train, data.test):
            with torch.no_grad():
                scores = model(samples.inputs.double())
            for item, score in zip(samples.ids, scores.tolist(), strict=True):
                assert score == pytest.approx(wanted[item][name], rel=1e-4)
