"""Unusual models of users: some work and equal plain autograd, others are refused with a reason and a hint."""

from __future__ import annotations

import copy
import dataclasses
import re
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from small_models import Model, make_checkpoints, make_data, worst
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from tracinctl import Samples, compute_influence
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.errors import ModelError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


def run_before(model):
    """Run the model once, so that its norms keep tensors of the last graph, as after training."""
    model(torch.randn(2, 6))
    return model


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 1)
        self.last = None

    def forward(self, x):
        self.last = self.a(x)
        return self.last


class Holds(nn.Module):
    def __init__(self, attribute):
        super().__init__()
        self.a = nn.Linear(6, 1)
        self.attribute = attribute

    def forward(self, x):
        return self.a(x)


def checkpointed(*, reentrant, behind_a_layer):
    def forward(m, x):
        x = m.stem(x) if behind_a_layer else x
        return m.b(checkpoint(lambda z: torch.tanh(m.a(z)), x, use_reentrant=reentrant))

    def plainly(m, x):
        return m.b(torch.tanh(m.a(m.stem(x) if behind_a_layer else x)))

    parts = {"stem": nn.Linear(6, 6), "a": nn.Linear(6, 5), "b": nn.Linear(5, 1)}
    return Model(forward, **parts), Model(plainly, **copy.deepcopy(parts))


def with_complex_weights(*, parameter):
    model = Model(lambda m, x: m.a((x.to(m.w.dtype) @ m.w).abs()), a=nn.Linear(4, 1))
    w = torch.randn(6, 4, dtype=torch.cfloat)
    if parameter:
        model.w = nn.Parameter(w)
    else:
        model.register_buffer("w", w, persistent=False)
    return model


WORKS = {
    "weight_norm": lambda: nn.Sequential(weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 1)),
    "weight_norm after a pass": lambda: run_before(nn.Sequential(weight_norm(nn.Linear(6, 5)), nn.Linear(5, 1))),
    "parametrised weight_norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 1)
    ),
    "spectral_norm": lambda: run_before(nn.Sequential(spectral_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 1))),
    "its last activation": lambda: run_before(Remembers()),
    "a lock": lambda: Holds(threading.Lock()),
    "a lock inside an object": lambda: Holds({"logger": [threading.Lock()]}),
    "a generator": lambda: Holds(k for k in range(3)),
    "an open file": lambda: Holds(Path(__file__).open()),  # noqa: SIM115  the model holds it open
    "torch.compile": lambda: torch.compile(nn.Linear(6, 1), backend="eager"),
    "DataParallel": lambda: nn.DataParallel(nn.Linear(6, 1)),
    "a sparse embedding": lambda: Model(
        lambda m, x: m.bag((x.abs() * 3).long().clamp(max=8)) + m.a(x),
        bag=nn.EmbeddingBag(9, 1, sparse=True),
        a=nn.Linear(6, 1),
    ),
    "a sparse function": lambda: Model(
        lambda m, x: nn.functional.embedding((x.abs() * 3).long().clamp(max=8), m.e.weight, sparse=True).sum(1),
        e=nn.Embedding(9, 1),
    ),
    "a checkpoint behind a layer": lambda: checkpointed(reentrant=True, behind_a_layer=True)[0],
    "a checkpoint that is not reentrant": lambda: checkpointed(reentrant=False, behind_a_layer=True)[0],
    "complex weights": lambda: with_complex_weights(parameter=True),
    "a complex buffer": lambda: with_complex_weights(parameter=False),
}


def checkpoints_of(model, folder):
    """Two checkpoints with different weights, of any type."""
    paths = []
    folder.mkdir()
    with torch.no_grad():
        for k, rate in enumerate((0.1, 0.05)):
            torch.manual_seed(k)
            for p in model.parameters():
                p.copy_(torch.randn_like(p) / 2)
            optimizer = torch.optim.SGD(model.parameters(), lr=rate)
            paths.append(folder / f"model_epoch_{k}.pt")
            torch.save(
                {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, paths[-1]
            )
    return paths


def build(name):
    torch.manual_seed(0)
    return WORKS[name]()


def pairwise(model, data, paths):
    """Scores under the logistic loss by plain autograd, one pair at a time, in the model's own precision."""
    loss = lambda s_i, s_j, y: nn.functional.softplus(-y * (s_i - s_j))  # noqa: E731

    def gradients(samples, pairs):
        rows = []
        for i, j, y in oracle.rows(pairs):
            s_i, s_j = (model(samples.inputs[k][None]).reshape(()) for k in (i, j))
            parameters = list(model.parameters())
            slopes = torch.autograd.grad(loss(s_i, s_j, y), parameters, allow_unused=True)
            parts = [torch.zeros_like(p) if s is None else s for s, p in zip(slopes, parameters, strict=True)]
            rows.append(torch.cat([real(part).flatten() for part in parts]).double())
        return torch.stack(rows)

    total = 0.0
    for path, weight in zip(paths, (4 / 3, 2 / 3), strict=True):
        model.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])
        train, test = gradients(data.train, data.train_pairs), gradients(data.test, data.test_pairs)
        total = total + weight * (train @ test.T).numpy()
    return total


def real(gradient):
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient.to_dense()


def inside(model):
    """The module inside wrappers."""
    return model.module if isinstance(model, nn.DataParallel) else getattr(model, "_orig_mod", model)


@pytest.mark.parametrize("name", WORKS)
def test_an_unusual_model_works_and_stays_unchanged(name, tmp_path):
    model, data = build(name), make_data((6,))
    paths = checkpoints_of(inside(model), tmp_path / "checkpoints")
    before = {key: value.clone() for key, value in inside(model).state_dict().items()}
    scores = compute_influence(data, model, paths, loss="logistic").scores
    plain = checkpointed(reentrant=True, behind_a_layer=True)[1] if "checkpoint" in name else inside(build(name))
    assert worst(scores, pairwise(plain.eval(), data, paths)) < 1e-4
    assert all(torch.equal(value, before[key]) for key, value in inside(model).state_dict().items())
    for holder in (model, plain):
        if hasattr(attribute := getattr(holder, "attribute", None), "fileno"):
            attribute.close()


def test_a_reentrant_checkpoint_right_after_the_input_has_a_gradient(tmp_path):
    model, plain = checkpointed(reentrant=True, behind_a_layer=False)
    data, paths = make_data((6,)), checkpoints_of(model, tmp_path / "checkpoints")
    scores = compute_influence(data, model, paths, loss="logistic").scores
    assert worst(scores, pairwise(plain, data, paths)) < 1e-4
    assert "NoCheckpoint" not in torch.utils.checkpoint.CheckpointFunction.__name__, "torch's function is restored"


def test_a_model_with_lazy_layers_gets_its_shapes_from_an_item(tmp_path):
    data = make_data((6,))
    plain = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    paths = make_checkpoints(plain, tmp_path)
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.LazyLinear(1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Lazy modules are a new feature")
        assert np.array_equal(compute_influence(data, lazy, paths).scores, compute_influence(data, plain, paths).scores)
    assert lazy[0].has_uninitialized_params()


def test_float8_weights_are_read_as_numbers(tmp_path):
    data, model = make_data((6,)), nn.Linear(6, 1)
    small = {key: value.to(torch.float8_e4m3fn) for key, value in model.state_dict().items()}
    torch.save(small, tmp_path / "small.pt")
    torch.save({key: value.float() for key, value in small.items()}, tmp_path / "large.pt")
    model.weight = nn.Parameter(small["weight"], requires_grad=True)
    table = compute_influence(data, model, [tmp_path / "small.pt"], loss="logistic")
    want = compute_influence(data, nn.Linear(6, 1), [tmp_path / "large.pt"], loss="logistic")
    assert np.array_equal(table.scores, want.scores)


def test_accelerates_mixed_precision_is_removed(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # other tests use full precision
    data, net = make_data((6,)), nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    paths = make_checkpoints(net, tmp_path)
    plain = copy.deepcopy(net)
    model = accelerate.Accelerator(mixed_precision="bf16", cpu=True).prepare(net)
    x = data.train.inputs
    mixed = model(x)
    result = compute_scores(data, model, paths, ComputeOptions(dtype="float64"))
    table, want = result.scores.table(), compute_influence(data, plain, paths, dtype="float64")
    assert np.array_equal(table.scores, want.scores)
    assert "mixed precision was removed from the model for the computation" in result.notes
    assert table.provenance["removed"] == ["mixed precision"]
    assert torch.equal(model(x), mixed), "the user's model keeps mixed precision"
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def test_autocast_around_the_call_changes_nothing(tmp_path):
    data, model = make_data((6,)), nn.Linear(6, 1)
    paths = make_checkpoints(model, tmp_path)
    want = compute_influence(data, model, paths).scores
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(compute_influence(data, model, paths).scores, want)


@pytest.mark.parametrize("how", ["with", "decorator"])
def test_autocast_in_forward_does_not_change_the_precision(how, tmp_path):
    def forward(m, x):
        if how == "decorator":
            return m.b(torch.autocast("cpu", dtype=torch.bfloat16)(lambda x: torch.tanh(m.a(x)))(x).float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = torch.tanh(m.a(x))
        return m.b(h.float())

    parts = {"a": nn.Linear(6, 5), "b": nn.Linear(5, 1)}
    data, model = make_data((6,)), Model(forward, **parts)
    plain = Model(lambda m, x: m.b(torch.tanh(m.a(x))), **parts)
    paths = make_checkpoints(model, tmp_path)
    want = compute_influence(data, plain, paths, loss="logistic").scores
    assert np.array_equal(compute_influence(data, model, paths, loss="logistic").scores, want)
    with torch.no_grad():
        x = data.train.inputs
        assert not torch.equal(model(x), plain(x)), "autocast works again"


def test_a_model_wrapped_by_fabric_is_unwrapped(tmp_path):
    fabric = pytest.importorskip("lightning_fabric")
    data, net = make_data((6,)), nn.Linear(6, 1)
    paths = make_checkpoints(net, tmp_path)
    want = compute_influence(data, net, paths).scores
    model = fabric.Fabric(accelerator="cpu", precision="bf16-mixed").setup(net)
    assert np.array_equal(compute_influence(data, model, paths).scores, want)


class Breaks(nn.Module):
    """Fails on items whose first number is above a limit."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 1)

    def forward(self, x):
        score = self.a(x)
        if bool((x[:, 0] > 100).any()):
            raise ZeroDivisionError("no such angle\nsecond line")
        return score


SHORT = (torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) * 8000).short()


def with_train(inputs):
    data = make_data((6,))
    return dataclasses.replace(data, train=Samples(data.train.ids, inputs), test=Samples(data.test.ids, inputs[:4]))


def one_far(k):
    data = make_data((6,))
    data.train.inputs[k, 0] = 101.0
    return data


REFUSED = {
    "a class": (
        lambda: nn.Linear,
        make_data((6,)),
        "a type, not a torch.nn.Module",
        "call a class or a function first",
    ),
    "TorchScript": (lambda: torch.jit.script(nn.Linear(6, 1)), make_data((6,)), "TorchScript", "Python module"),
    "whole numbers": (lambda: nn.Linear(6, 1), with_train(SHORT), r"item t0: |on item t0", r"whole numbers .int16."),
    "two logits": (
        lambda: nn.Linear(6, 2),
        make_data((6,)),
        r"item t0: the model returned shape .1, 2.",
        "Give `score`",
    ),
    "a tuple": (
        lambda: Model(lambda m, x: (m.a(x), x), a=nn.Linear(6, 1)),
        make_data((6,)),
        "item t0: the model returned a tuple",
        "Give `score`",
    ),
    "a mapping": (
        lambda: Model(lambda m, x: {"reward": m.a(x)}, a=nn.Linear(6, 1)),
        make_data((6,)),
        "item t0: the model returned a dict",
        "Give `score`",
    ),
    "another shape": (lambda: nn.Linear(5, 1), make_data((6,)), "on item t0: RuntimeError", "leading dimension of 1"),
    "one item that fails": (
        Breaks,
        one_far(4),
        "the model failed on item t4: ZeroDivisionError: no such angle$",
        "eval",
    ),
    "a batch to normalise over": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 1)),
        make_data((6,)),
        "on item t0: ValueError: Expected more than 1 value per channel",
        "running statistics",
    ),
    "frozen weights": (
        lambda: nn.Linear(6, 1).requires_grad_(requires_grad=False),
        make_data((6,)),
        "no trainable parameter",
        "requires_grad",
    ),
    "a cast to another precision": (
        lambda: Model(lambda m, x: m.b(m.a(x.double()).float()), a=nn.Linear(6, 5).double(), b=nn.Linear(5, 1)),
        make_data((6,)),
        "on item t0: RuntimeError: mat1 and mat2 must have the same dtype",
        "give the `dtype` they give",
    ),
    "no gradient": (
        lambda: Model(lambda m, x: m.a(x)[:, 0].detach(), a=nn.Linear(6, 1)),
        make_data((6,)),
        "no gradient",
        "detach",
    ),
    "no tensor": (
        lambda: Model(lambda m, x: m.a(x).tolist(), a=nn.Linear(6, 1)),
        make_data((6,)),
        "returned a list",
        "torch's operations",
    ),
    "a shape of its own": (
        lambda: Model(lambda m, x: m.a(x).reshape(7, 1), a=nn.Linear(6, 1)),
        make_data((6,)),
        "on item t0: RuntimeError: shape '.7, 1.' is invalid",
        r"an input of \(1, 6\) float32",
    ),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:.*not supported in Python 3.14")
@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_model_is_refused_with_the_reason(name, tmp_path):
    build, data, message, hint = REFUSED[name]
    model = build()
    if isinstance(model, nn.Module):
        torch.save(model.state_dict(), tmp_path / "model_epoch_1.pt")
    with pytest.raises(ModelError, match=message) as caught:
        compute_influence(data, model, [tmp_path / "model_epoch_1.pt"])
    assert re.search(hint, caught.value.hint)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("forward", "score"),
    [
        (lambda m, x: m.b(torch.tanh(m.a(x))), lambda output: output[:, 1] - output[:, 0]),
        (lambda m, x: (x, m.b(torch.tanh(m.a(x)))), lambda output: output[1][:, 1] - output[1][:, 0]),
        (
            lambda m, x: {"rewards": m.b(torch.tanh(m.a(x)))},
            lambda output: output["rewards"] @ torch.tensor([-1.0, 1.0]),
        ),
    ],
)
def test_a_score_function_makes_one_score_of_the_output(forward, score, tmp_path):
    def build(how):
        torch.manual_seed(0)
        return Model(how, a=nn.Linear(6, 5), b=nn.Linear(5, 2))

    plain = build(lambda m, x: m.b(torch.tanh(m.a(x))) @ torch.tensor([-1.0, 1.0]))
    data, paths = make_data((6,)), make_checkpoints(plain, tmp_path)
    want = compute_influence(data, plain, paths, loss="logistic").scores
    assert worst(compute_influence(data, build(forward), paths, loss="logistic", score=score).scores, want) < 1e-6


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.b(torch.tanh(m.a(x))),
        lambda m, x: m.b(torch.tanh(m.a(x)))[:, None].expand(-1, 3, -1),
        lambda m, x: ("what", m.b(torch.tanh(m.a(x)))),
        lambda m, x: {"hidden": m.a(x), "pooled": m.b(torch.tanh(m.a(x)))[:, :1]},
        lambda m, x: SimpleNamespace(logits=m.b(torch.tanh(m.a(x)))),
    ],
)
def test_the_score_function_suggested_by_an_error_works(forward, tmp_path):
    data, model = make_data((6,)), Model(forward, a=nn.Linear(6, 5), b=nn.Linear(5, 2))
    paths = make_checkpoints(model, tmp_path)
    with pytest.raises(ModelError, match="one score per item") as caught:
        compute_influence(data, model, paths, loss="logistic")
    _, _, written = caught.value.hint.partition("lambda output: ")
    score = eval(f"lambda output: {written}")  # noqa: S307  the hint's own text
    assert compute_influence(data, model, paths, loss="logistic", score=score).scores.any()


def test_a_score_function_is_found_by_name_and_may_be_given_once(tmp_path, monkeypatch):
    (tmp_path / "scores_of_mine.py").write_text("def second(output):\n    return output[:, 1]\n")
    monkeypatch.syspath_prepend(tmp_path)
    model, data = nn.Linear(6, 2), make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    table = compute_influence(data, model, paths, loss="logistic", score="scores_of_mine:second")
    want = compute_influence(data, model, paths, loss="logistic", score=lambda output: output[:, 1])
    assert np.array_equal(table.scores, want.scores)
    with pytest.raises(UsageError, match="`score` and the score function of the data exclude each other"):
        compute_influence(
            dataclasses.replace(data, score=lambda model, x: model(x)[:, 0]), model, paths, score=lambda output: output
        )


def test_a_model_that_nobody_else_uses_is_not_copied(tmp_path):
    data, model = make_data((6,)), nn.Linear(6, 1)
    paths = make_checkpoints(model, tmp_path)
    want = compute_influence(data, model, paths).scores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracinctl.engine.own_model.copy.deepcopy", None)
        result = compute_scores(data, model, paths, ComputeOptions(own_model=True))
    assert np.array_equal(result.scores.table().scores, want)
