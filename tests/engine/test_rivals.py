"""captum and dattri compute the same scores if they are set up for the same task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import SMOOTH, make_checkpoints, make_data, worst
from torch import nn

from tracinctl import compute_influence

pytestmark = [
    # dattri imports torch's deprecated scripting
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

MODELS = ["linear", "two dimensions and BatchNorm", "GroupNorm and LayerNorm", "dropout", "a layer used twice"]
RATES = (0.3, 0.1, 0.2)


class PairScores(nn.Module):
    """Scores of both items of each pair, (pairs, 2), so that a pair is one example for the rivals."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x1, x2):
        return torch.stack([self.model(x1).reshape(-1), self.model(x2).reshape(-1)], 1)


def losses(scores, target):
    return nn.functional.margin_ranking_loss(scores[:, 0], scores[:, 1], target, margin=1.0, reduction="none")


losses.reduction = "none"  # captum reads this and warns without it


def tensors(samples, pairs):
    x = samples.inputs.double()
    return x[pairs.first], x[pairs.second], torch.from_numpy(pairs.target).double()


def loader(samples, pairs, batch):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors(samples, pairs)), batch_size=batch)


@pytest.fixture(params=MODELS)
def case(request, tmp_path):
    build, kind = SMOOTH[request.param]
    model = build()
    data = make_data(kind)
    paths = make_checkpoints(model, tmp_path, RATES)
    table = compute_influence(data, model, paths, dtype="float64", checkpoint_weights="absolute")
    assert np.abs(table.scores).max() > 0
    return data, model.double(), paths, table


def test_captum_agrees_sample_by_sample(case):
    from captum.influence import TracInCP

    data, model, paths, table = case

    def load(pairs, path):
        content = torch.load(path, weights_only=True)
        pairs.model.load_state_dict(content["model_state_dict"])
        # captum never calls this; in training mode dropout is random, and BatchNorm uses the batch's statistics and
        # changes the checkpoint's
        pairs.eval()
        return content["optimizer_state_dict"]["param_groups"][0]["lr"]

    tracin = TracInCP(
        PairScores(model),
        loader(data.train, data.train_pairs, 4),
        [str(p) for p in paths],
        checkpoints_load_func=load,
        # one loss and one backward pass per pair; the faster way (True) has formulas for some layers only, is off by
        # as much as the scores themselves with GroupNorm, and fails with padding="same"
        loss_fn=losses,
        sample_wise_grads_per_batch=False,
    )
    scores = tracin.influence(tensors(data.test, data.test_pairs)).detach().numpy().T
    assert worst(scores, table.scores) < 1e-12
    self_influence = tracin.self_influence(loader(data.train, data.train_pairs, 4)).detach().numpy()
    assert worst(self_influence, table.self_influence) < 1e-12
    # both of its intermediate quantities are multiplied by the learning rate, so the weight must be its root
    tracin.checkpoints_load_func = lambda pairs, path: load(pairs, path) ** 0.5
    train = tracin.compute_intermediate_quantities(loader(data.train, data.train_pairs, 4))
    test = tracin.compute_intermediate_quantities(loader(data.test, data.test_pairs, 4))
    assert worst((train @ test.T).detach().numpy(), table.scores) < 1e-12


def test_dattri_without_projection_agrees(case):
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    data, model, paths, table = case
    pairs = PairScores(model)

    def loss(parameters, example):
        x1, x2, y = example
        scores = torch.func.functional_call(pairs, parameters, (x1.unsqueeze(0), x2.unsqueeze(0)))
        return losses(scores, y.unsqueeze(0)).sum()

    def load(pairs, path):
        pairs.model.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])
        return pairs.eval()

    def attribute():
        task = AttributionTask(loss, pairs, [str(p) for p in paths], checkpoints_load_func=load)
        attributor = TracInAttributor(task, weight_list=torch.tensor(RATES), normalized_grad=False)
        # it projects gradients to 512 random dimensions by default, even with `projector_kwargs=None`; the projection
        # can only be removed afterwards
        assert attributor.projector_kwargs["proj_dim"] == 512
        attributor.projector_kwargs = None
        batches = loader(data.train, data.train_pairs, 4), loader(data.test, data.test_pairs, 4)
        return attributor.attribute(*batches).numpy(), attributor.self_attribute(batches[0]).numpy()

    scores, self_influence = attribute()
    # its sums are float32 for gradients of any dtype
    assert scores.dtype == np.float32
    assert worst(scores, table.scores) < 1e-6
    assert worst(self_influence, table.self_influence) < 1e-6
