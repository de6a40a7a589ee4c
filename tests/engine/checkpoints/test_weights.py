"""Weights of checkpoints: the rate of the last step, by group, against loops and real schedulers."""

from __future__ import annotations

import copy
import json
import math
import warnings

import numpy as np
import oracle
import pytest
import torch
from safetensors.torch import save_file
from small_models import learning_rate, make_checkpoints, make_data, worst
from torch import nn
from torch.optim import lr_scheduler

from tracinctl import TracInCP, compute_influence
from tracinctl.engine.checkpoints.files import CheckpointSource
from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.checkpoints.schedule import rate_after
from tracinctl.engine.checkpoints.weights import checkpoint_weights, group_scales, learning_rates
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.errors import CheckpointError, CheckpointWarning, UsageError


def build():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))


# From rates to weights


def test_relative_weights_are_learning_rates_over_their_mean():
    names = ["a", "b"]
    assert checkpoint_weights([0.1, 0.3], names, "relative") == (pytest.approx([0.5, 1.5]), [])
    assert checkpoint_weights([0.1, 0.3], names, "absolute") == ([0.1, 0.3], [])
    assert checkpoint_weights([0.1, 0.3], names, "uniform") == ([1.0, 1.0], [])
    assert checkpoint_weights([0.1, None], names, "relative") == ([1.0, 1.0], [])
    with pytest.raises(CheckpointError, match="checkpoint b has no learning rate"):
        checkpoint_weights([0.1, None], names, "absolute")


@pytest.mark.parametrize("weighting", ["relative", "absolute"])
def test_a_checkpoint_of_weight_0_is_named(weighting):
    values, [note] = checkpoint_weights([0.1, 0.0], ["a", "b"], weighting)
    assert values[1] == 0
    assert note == "checkpoints with learning rate 0 add nothing to the scores: b"
    values, [note] = checkpoint_weights([0.0, 0.0], ["a", "b"], "relative")
    assert values == [1, 1]
    assert "all zero" in note


@pytest.mark.parametrize("own", [[1], [1, 2, 3], [1, -1], [1, math.nan], [1, math.inf], [0, 0]])
def test_the_callers_weights_are_checked(own):
    with pytest.raises(UsageError, match="`checkpoint_weights`"):
        checkpoint_weights([0.1, 0.2], ["a", "b"], own)


# The rate of the last step

SCHEDULERS = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, gamma=0.1),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 5, 9]),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.7),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 10, eta_min=1e-4),
}


def scheduled(make, steps, folder, groups=False):
    """Train with a scheduler and save after each step; return the files and the rates of the steps."""
    model = build()
    parameters = [{"params": model[0].parameters(), "lr": 0.02}, {"params": model[2].parameters()}] if groups else None
    optimizer = torch.optim.SGD(parameters or model.parameters(), lr=0.1)
    scheduler = make(optimizer)
    paths, taken = [], []
    for step in range(1, steps + 1):
        taken.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
        paths.append(folder / f"model_epoch_{step}.pt")
        torch.save(
            {
                "model_state_dict": model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "scheduler_state_dict": scheduler.state_dict(),
            },
            paths[-1],
        )
    return paths, taken


@pytest.mark.parametrize("groups", [False, True], ids=["one group", "two groups"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_rate_before_the_schedulers_step_is_the_one_of_the_step(name, groups, tmp_path):
    paths, taken = scheduled(SCHEDULERS[name], 10, tmp_path, groups)
    for path, rates in zip(paths, taken, strict=True):
        found = load_checkpoint(path).record.rates
        assert list(found.by_group) == pytest.approx(rates)
        assert learning_rate(path) == pytest.approx(max(rates))


def test_a_custom_decay_to_zero_is_interpolated_between_checkpoints(tmp_path):
    paths, taken = scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 - k / 10), 10, tmp_path)
    rates = [load_checkpoint(path).record.rates for path in paths]
    assert rates[-1].saved == pytest.approx(0)
    assert learning_rates(rates) == pytest.approx([rate for [rate] in taken])
    assert learning_rates(rates[4::5]) == pytest.approx([0.06, 0.01])
    assert learning_rates(rates[-1:]) == [None]


def test_a_schedule_with_patience_has_the_saved_rate(tmp_path):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5)
    scheduler.step(1.0)
    states = {"optimizer_state_dict": optimizer.state_dict(), "scheduler_state_dict": scheduler.state_dict()}
    torch.save({"model_state_dict": model.state_dict(), **states}, tmp_path / "x.pt")
    assert learning_rate(tmp_path / "x.pt") == 0.1


def test_rates_between_known_steps_are_on_lines():
    points = {10: 0.4, 20: 0.2, 30: 0.0}
    assert [rate_after(points, k) for k in (9, 10, 15, 29)] == pytest.approx([0.42, 0.4, 0.3, 0.02])
    assert rate_after({30: 0.0}, 29) is None
    assert rate_after({30: 0.2}, 29) == 0.2
    assert rate_after({}, 3) is None


def trainer_folders(folder, logs, steps=(10, 20, 30), schedulers=False):
    """Folders like those of a Trainer, with rates logged by step."""
    folders = []
    for step in steps:
        place = folder / f"checkpoint-{step}"
        place.mkdir()
        save_file({k: v.contiguous() for k, v in build().state_dict().items()}, place / "model.safetensors")
        log = [{"step": s, "learning_rate": rate} for s, rate in logs.items() if s <= step]
        (place / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": log}))
        if schedulers:
            after = {"_last_lr": [3e-5 * (30 - step) / 30], "base_lrs": [3e-5], "last_epoch": step}
            torch.save(after, place / "scheduler.pt")
        folders.append(place)
    return folders


@pytest.mark.parametrize("schedulers", [False, True])
@pytest.mark.parametrize("late", [0, 1], ids=["rates of the next step", "rates of the step"])
def test_both_ways_of_logging_give_the_rate_of_the_step(late, schedulers, tmp_path):
    logs = {step: 3e-5 * (30 - step + late) / 30 for step in (10, 20, 30)}
    folders = trainer_folders(tmp_path, logs, schedulers=schedulers)
    found = learning_rates([load_checkpoint(path).record.rates for path in folders])
    assert found == pytest.approx([2.1e-5, 1.1e-5, 1e-6])


def test_without_a_log_the_schedulers_of_all_checkpoints_give_the_rates(tmp_path):
    folders = trainer_folders(tmp_path, {}, schedulers=True)
    found = learning_rates([load_checkpoint(path).record.rates for path in folders])
    assert found == pytest.approx([2.1e-5, 1.1e-5, 1e-6])


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant_with_warmup"])
def test_a_trainers_last_checkpoint_alone_has_the_rate_of_its_step(kind, tmp_path):
    """The arguments beside it and the schedule are the library's own."""
    from transformers import TrainingArguments, get_scheduler

    arguments = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=0.01, max_steps=10, warmup_steps=3, lr_scheduler_type=kind, use_cpu=True
    )
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=3, num_training_steps=10)
    for step in range(1, 11):
        taken = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
        place = tmp_path / f"checkpoint-{step}"
        place.mkdir()
        save_file(model.state_dict(), place / "model.safetensors")
        torch.save(arguments, place / "training_args.bin")
        torch.save(scheduler.state_dict(), place / "scheduler.pt")
        state = {"global_step": step, "max_steps": 10, "log_history": []}
        (place / "trainer_state.json").write_text(json.dumps(state))
        assert learning_rate(place) == pytest.approx(taken, abs=1e-12)


def test_accelerates_folders_have_their_rate(tmp_path):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    taken = []
    for step in range(4):
        model(torch.ones(2, 6)).sum().backward()
        taken.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        accelerator.save_state(tmp_path / f"step_{step}")
    found = [learning_rate(tmp_path / f"step_{step}") for step in range(4)]
    assert found == pytest.approx(taken) == [0.1, 0.1, 0.05, 0.05]


# Parameter groups


def grouped(folder, rates, momentum=0.0, order=("0", "2"), names=False):
    """Checkpoints of an optimizer with a group for each of two layers; rates are by checkpoint and group."""
    model, paths = build(), []
    for epoch, group_rates in enumerate(rates, 1):
        groups = []
        for layer, rate in zip(order, group_rates, strict=True):
            parameters = list(getattr(model, layer).named_parameters(layer))
            groups.append({"params": parameters if names else [p for _, p in parameters], "lr": rate})
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum)
        model(torch.randn(4, 6)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        paths.append(folder / f"model_epoch_{epoch}.pt")
        torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, paths[-1])
    return paths


def rows(pairs):
    return zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True)


def looped(data, paths, rates, loss="logistic"):
    """Influence by a loop over pairs and checkpoints; a checkpoint's rates are by parameter."""
    function = oracle.pair_loss(loss, 1.0)
    total, own = 0.0, 0.0
    for path, by_name in zip(paths, rates, strict=True):
        model = build().double().eval()
        model.load_state_dict(torch.load(path)["model_state_dict"])
        scale = torch.cat(
            [
                torch.full((p.numel(),), by_name[n.split(".")[0]], dtype=torch.float64)
                for n, p in model.named_parameters()
            ]
        )
        left, right = (
            torch.stack([oracle.pair_gradient(model, data, samples, pair, function) for pair in rows(pairs)])
            for samples, pairs in ((data.train, data.train_pairs), (data.test, data.test_pairs))
        )
        total = total + (left * scale) @ right.T
        own = own + (left * scale * left).sum(1)
    return total.numpy(), own.numpy()


RATES = [(0.0, 0.1), (0.02, 0.05), (0.001, 0.05)]


@pytest.fixture
def vectors():
    return make_data((6,))


@pytest.mark.parametrize("momentum", [0.0, 0.9], ids=["without state", "with state"])
@pytest.mark.parametrize(("order", "names"), [(("0", "2"), False), (("2", "0"), True)], ids=["in order", "named"])
def test_each_groups_gradients_count_by_its_own_rate(order, names, momentum, vectors, tmp_path):
    rates = [(a, b) if order == ("0", "2") else (b, a) for a, b in RATES]
    paths = grouped(tmp_path, rates, momentum, order, names)
    by_name = [dict(zip(("0", "2"), pair, strict=True)) for pair in RATES]
    want, own = looped(vectors, paths, by_name)
    with pytest.warns(CheckpointWarning, match=r"differ by parameter group .*count by its own rate"):
        table = compute_influence(
            vectors, build(), paths, loss="logistic", dtype="float64", checkpoint_weights="absolute"
        )
    assert worst(table.scores, want) < 1e-10
    assert worst(table.self_influence, own) < 1e-10
    with pytest.warns(CheckpointWarning):
        relative = compute_influence(vectors, build(), paths, loss="logistic", dtype="float64")
    mean = np.mean([max(pair) for pair in RATES])
    assert worst(relative.scores, want / mean) < 1e-10
    assert [c["group_rates"] for c in table.provenance["checkpoints"]] == [list(pair) for pair in rates]


def test_interleaved_groups_are_matched_by_shapes(vectors, tmp_path):
    paths = grouped(tmp_path, [(b, a) for a, b in RATES], 0.9, ("2", "0"))
    want, _ = looped(vectors, paths, [dict(zip(("0", "2"), pair, strict=True)) for pair in RATES])
    with pytest.warns(CheckpointWarning, match="count by its own rate"):
        table = compute_influence(
            vectors, build(), paths, loss="logistic", dtype="float64", checkpoint_weights="absolute"
        )
    assert worst(table.scores, want) < 1e-10


def test_groups_of_weights_and_biases_are_matched_by_shapes():
    model = build()
    biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
    weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
    optimizer = torch.optim.AdamW([{"params": weights, "lr": 0.1}, {"params": biases, "lr": 0.025}])
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    content = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    scales = group_scales(model, load_checkpoint(CheckpointSource("x", content)).record.rates).by_name
    assert scales == {n: 1.0 if n.endswith("weight") else 0.5 for n, _ in model.named_parameters()}


def test_groups_of_unknown_parameters_count_by_their_mean_rate(vectors, tmp_path):
    [path] = grouped(tmp_path, [(0.1, 0.3)])
    content = torch.load(path)
    content["optimizer_state_dict"]["param_groups"][0]["params"] = [0]  # three of the model's four parameters
    torch.save(content, path)
    with pytest.warns(CheckpointWarning, match="the parameters of the groups are unknown"):
        table = compute_influence(vectors, build(), [path], loss="logistic", checkpoint_weights="absolute")
    assert table.provenance["checkpoints"][0]["weight"] == pytest.approx((0.1 + 2 * 0.3) / 3)


def test_uniform_and_given_weights_ignore_groups(vectors, tmp_path):
    paths = grouped(tmp_path, RATES)
    ones = [{"0": 1.0, "2": 1.0}] * 3
    want, _ = looped(vectors, paths, ones)
    options = {"loss": "logistic", "dtype": "float64"}
    assert (
        worst(compute_influence(vectors, build(), paths, **options, checkpoint_weights="uniform").scores, want) < 1e-10
    )
    want, _ = looped(vectors, paths, [{"0": w, "2": w} for w in (2.0, 1.0, 0.5)])
    table = compute_influence(vectors, build(), paths, **options, checkpoint_weights=[2, 1, 0.5])
    assert worst(table.scores, want) < 1e-10
    assert table.provenance["checkpoint_weights"] == [2, 1, 0.5]
    with pytest.raises(UsageError, match="has 2 numbers for 3 checkpoints"):
        compute_influence(vectors, build(), paths, checkpoint_weights=[1, 2])


def test_kernels_of_other_rates_are_not_reused(vectors, tmp_path):
    paths = grouped(tmp_path, RATES)

    def taken(weighting):
        options = ComputeOptions(cache=tmp_path / "cache", checkpoint_weights=weighting)
        return compute_scores(vectors, build(), paths, options).taken

    assert taken("relative") == [False] * 3
    assert taken("absolute") == [True] * 3
    assert taken("uniform") == [False] * 3


@pytest.mark.parametrize("projection_dim", [None, 4])
@pytest.mark.parametrize("fast", [True, False])
def test_both_ways_of_computing_gradients_use_the_groups(fast, projection_dim, vectors, tmp_path, monkeypatch):
    from tracinctl.engine.gradients.items import ItemGradients

    paths = grouped(tmp_path, RATES)
    options = {"loss": "logistic", "dtype": "float64", "projection_dim": projection_dim}
    with pytest.warns(CheckpointWarning):
        usual = compute_influence(vectors, build(), paths, **options)
    if not fast:
        monkeypatch.setattr(ItemGradients, "_serves", lambda self, first: False)
    with pytest.warns(CheckpointWarning):
        table = compute_influence(vectors, build(), paths, **options)
    assert worst(table.scores, usual.scores) < 1e-10


# Copies


def test_a_copy_under_another_name_counts_once_with_a_note(vectors, tmp_path):
    model = build()
    paths = make_checkpoints(model, tmp_path, rates=(0.1, 0.1, 0.1))
    best, last, saved = (tmp_path / f"model_epoch_{name}.pt" for name in ("best", "last", "saved"))
    best.write_bytes(paths[1].read_bytes())
    last.symlink_to(paths[2].name)
    content = torch.load(paths[0])
    torch.save({"state_dict": content["model_state_dict"], "epoch": 99}, saved)  # other bytes, but the same weights
    want = compute_influence(vectors, model, paths)
    with pytest.warns(CheckpointWarning) as said:
        table = compute_influence(vectors, model, [*paths, best, last, saved])
    assert np.array_equal(table.scores, want.scores)
    assert [c["name"] for c in table.provenance["checkpoints"]] == [path.name for path in paths]
    assert [str(w.message) for w in said] == [
        f"model_epoch_{name}.pt has the same weights as {path.name}, so it counts once"
        for name, path in (("best", paths[1]), ("last", paths[2]), ("saved", paths[0]))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twice = compute_influence(vectors, model, [*paths, best], checkpoint_weights=[1, 1, 1, 1])
    assert not np.allclose(twice.scores, want.scores), "given weights are used for copies too"


# States in memory, and warnings of the API


def test_states_in_memory_score_as_their_files(vectors, tmp_path):
    model = build()
    paths = make_checkpoints(model, tmp_path)
    contents = [torch.load(path) for path in paths]
    want = compute_influence(vectors, model, paths)
    assert np.array_equal(compute_influence(vectors, model, contents).scores, want.scores)
    bare = [copy.deepcopy(content["model_state_dict"]) for content in contents]
    table = compute_influence(
        vectors, model, bare, checkpoint_weights=[c["weight"] for c in want.provenance["checkpoints"]]
    )
    assert np.array_equal(table.scores, want.scores)
    assert [c["name"] for c in table.provenance["checkpoints"]] == ["state 1", "state 2"]


def test_the_api_warns_about_unexpected_weights(vectors, tmp_path):
    model = build()
    paths = make_checkpoints(model, tmp_path, rates=(0.1, 0.0))
    with pytest.warns(CheckpointWarning, match=r"learning rate 0 .*: model_epoch_10\.pt"):
        compute_influence(vectors, model, paths)
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    with pytest.warns(CheckpointWarning, match=r"the learning rate of 1 of 1 checkpoint .* is unknown"):
        compute_influence(vectors, model, [tmp_path / "bare.pt"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"loss_type": "ghm", "margin": 1.0}, "trained with the loss ghm, but the scores use standard"),
        ({"loss_type": "standard", "margin": 9.0}, "trained with margin 9, but the scores use margin 1"),
        ({"margin": 9}, "trained with margin 9"),
        ({"epochs": 40}, r"training ended early: the last checkpoint, model_epoch_10\.pt, is from epoch 10 of 40"),
    ],
)
def test_the_training_recorded_in_a_checkpoint_is_compared(args, said, vectors, tmp_path):
    import argparse

    model = build()
    paths = make_checkpoints(model, tmp_path, rates=(0.1, 0.1))
    for how in (dict, argparse.Namespace):
        for path in paths:
            torch.save(torch.load(path, weights_only=False) | {"args": how(**args)}, path)
        with pytest.warns(CheckpointWarning, match=said):
            compute_influence(vectors, model, paths)


@pytest.mark.parametrize(
    "args", [{"loss_type": "standard", "margin": 1.0, "epochs": 10}, {"epochs": 11}, {}, {"loss": "mse"}]
)
def test_a_training_that_fits_has_no_note(args, vectors, tmp_path):
    model = build()
    paths = make_checkpoints(model, tmp_path, rates=(0.1, 0.1))
    for path in paths:
        torch.save(torch.load(path) | {"args": args}, path)
    compute_influence(vectors, model, paths)


def test_single_examples_count_by_groups_too(tmp_path):
    paths = grouped(tmp_path, RATES)
    inputs, targets = torch.randn(4, 6), torch.randn(4, 1)
    tracin = TracInCP(build(), paths, nn.functional.mse_loss, checkpoint_weights="absolute", dtype="float64")
    with pytest.warns(CheckpointWarning, match="count by its own rate"):
        found = tracin.compute_influence([(inputs[k], targets[k], k) for k in range(3)], inputs[3:], targets[3:])
    want = np.zeros(3)
    for path, rates in zip(paths, RATES, strict=True):
        model = build().double()
        model.load_state_dict(torch.load(path)["model_state_dict"])
        for layer, rate in zip((model[0], model[2]), rates, strict=True):
            slopes = []
            for x, y in zip(inputs.double(), targets.double(), strict=True):
                loss = nn.functional.mse_loss(model(x[None]), y[None])
                slopes.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(layer.parameters()))]))
            want += rate * torch.stack([slopes[k] @ slopes[3] for k in range(3)]).numpy()
    assert worst(np.array([found[str(k)][0] for k in range(3)]), want) < 1e-10
