"""Folders of checkpoints: what the libraries write is read, or refused by name with a hint."""

from __future__ import annotations

import json
import os
import warnings

import numpy as np
import pytest
import torch
from small_models import learning_rate, make_checkpoints, make_data, worst
from torch import nn

from tracinctl import compute_influence
from tracinctl.engine.checkpoints.files import checkpoint_digest, is_checkpoint
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.engine.checkpoints.load import apply_checkpoint, load_checkpoint
from tracinctl.errors import CheckpointError, CheckpointWarning, UsageError


class Base(nn.Module):
    """A base model for adapters, the same each time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Linear(6, 5)
        self.head = nn.Linear(5, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def adapters(folder, rates=(0.1, 0.1)):
    """Save adapters of the base model with peft; return the folders and the complete models."""
    from peft import LoraConfig, get_peft_model

    paths, models = [], []
    for k in range(len(rates)):
        generator = torch.Generator().manual_seed(k)
        model = get_peft_model(Base(), LoraConfig(r=2, target_modules=["body"], modules_to_save=["head"]))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
        paths.append(folder / f"checkpoint-{k + 1}")
        model.save_pretrained(paths[-1])
        models.append(model)
    return paths, models


def test_adapters_of_peft_score_as_the_complete_models(tmp_path):
    data = make_data((6,))
    paths, models = adapters(tmp_path)
    assert list_checkpoints(tmp_path, "checkpoint-") == paths
    states = [model.state_dict() for model in models]
    options = {"loss": "logistic", "dtype": "float64", "checkpoint_weights": "uniform"}
    want = compute_influence(data, models[0], states, **options)
    for model in (Base(), models[1]):
        table = compute_influence(data, model, paths, **options)
        assert worst(table.scores, want.scores) < 1e-10
        assert np.abs(table.scores).max() > 0


def test_the_kernel_of_an_adapter_depends_on_its_base_model(tmp_path):
    data = make_data((6,))
    paths, _ = adapters(tmp_path, (0.1,))
    options = {"loss": "logistic", "checkpoint_weights": "uniform", "cache": tmp_path / "cache"}
    one = compute_influence(data, Base(), paths, **options)
    other = Base()
    with torch.no_grad():
        other.body.weight.mul_(2)
    assert not np.allclose(compute_influence(data, other, paths, **options).scores, one.scores)
    assert np.array_equal(compute_influence(data, Base(), paths, **options).scores, one.scores)


def test_an_adapter_of_another_model_or_beside_whole_checkpoints_is_refused(tmp_path):
    data = make_data((6,))
    paths, _ = adapters(tmp_path, (0.1,))
    with pytest.raises(CheckpointError, match=r"is an adapter, but .* is not"):
        compute_influence(data, Base(), [*paths, *make_checkpoints(Base(), tmp_path / "whole")])
    torch.save({"base_model.model.other.weight": torch.ones(2)}, paths[0] / "adapter_model.bin")
    (paths[0] / "adapter_model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"does not fit the model's adapter: missing: .*unexpected: base_model\.model\.other"
    ):
        compute_influence(data, Base(), paths)


def test_a_folder_of_several_modules_fits_the_model_of_sentence_transformers(tmp_path):
    with warnings.catch_warnings(action="ignore"):
        pytest.importorskip("sentence_transformers")
        from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb")
    config = BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path / "bert")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    with warnings.catch_warnings(action="ignore"):
        transformer = models.Transformer(str(tmp_path / "bert"))
        dense = models.Dense(8, 1)
        model = SentenceTransformer(modules=[transformer, models.Pooling(8), dense], device="cpu")
        model.save(str(tmp_path / "saved"))
        fresh = SentenceTransformer(
            modules=[models.Transformer(str(tmp_path / "bert")), models.Pooling(8), models.Dense(8, 1)], device="cpu"
        )
    assert is_checkpoint(tmp_path / "saved")
    apply_checkpoint(fresh, load_checkpoint(tmp_path / "saved"))
    for name, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def sharded(folder):
    from torch.distributed import checkpoint

    checkpoint.save(Base().state_dict(), checkpoint_id=str(folder), no_dist=True)


def of_deepspeed(folder):
    (folder / "global_step3").mkdir(parents=True)
    (folder / "latest").write_text("global_step3")
    (folder / "zero_to_fp32.py").write_text("")


def of_several_models(folder):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    accelerator.prepare(Base())
    accelerator.prepare(Base())
    accelerator.save_state(folder)


def of_another_library(folder):
    folder.mkdir()
    (folder / "tf_model.h5").write_bytes(b"\x89HDF")


REFUSED = {
    "a sharded checkpoint of torch.distributed": (sharded, "dcp_to_torch"),
    "a checkpoint of DeepSpeed": (of_deepspeed, "zero_to_fp32"),
    "the weights of several models": (of_several_models, "model_1.safetensors"),
    "weights of TensorFlow": (of_another_library, "save_pretrained"),
    "no weights": (lambda folder: folder.mkdir(), "model.safetensors"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", REFUSED)
def test_folders_that_cannot_be_read_are_named_with_what_to_do(what, tmp_path):
    make, way_out = REFUSED[what]
    make(tmp_path / "checkpoint-3")
    with pytest.raises(CheckpointError, match=what) as caught:
        load_checkpoint(tmp_path / "checkpoint-3")
    assert "checkpoint-3" in str(caught.value)
    assert way_out in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_the_hint_about_a_sharded_checkpoint_works(tmp_path):
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    sharded(tmp_path / "checkpoint-3")
    assert is_checkpoint(tmp_path / "checkpoint-3")
    dcp_to_torch_save(tmp_path / "checkpoint-3", tmp_path / "joined.pt")
    assert torch.equal(load_checkpoint(tmp_path / "joined.pt").state["body.weight"], Base().body.weight)


def test_a_list_of_modules_that_points_out_of_its_folder_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "modules.json").write_text(json.dumps([{"name": "0", "path": "../y"}]))
    with pytest.raises(CheckpointError, match=r"names '\.\./y'"):
        load_checkpoint(tmp_path / "x")


# Other files in the folder


def test_a_broken_link_a_pipe_and_an_unreadable_folder_are_named(tmp_path):
    make_checkpoints(Base(), tmp_path)
    (tmp_path / "model_epoch_7.pt").symlink_to("gone.pt")
    with pytest.raises(CheckpointError, match=r"model_epoch_7\.pt is a link to a file that does not exist"):
        list_checkpoints(tmp_path)
    (tmp_path / "model_epoch_7.pt").unlink()
    os.mkfifo(tmp_path / "model_epoch_7.pt")
    with pytest.raises(CheckpointError, match=r"model_epoch_7\.pt is a device or a pipe"):
        list_checkpoints(tmp_path)
    (tmp_path / "model_epoch_7.pt").unlink()
    (tmp_path / "other_7.pt").symlink_to("gone.pt")
    assert len(list_checkpoints(tmp_path)) == 2, "files with another prefix are ignored"


def test_two_trainings_under_two_endings_are_an_error_that_names_both(tmp_path):
    paths = make_checkpoints(Base(), tmp_path)
    make_checkpoints(Base(), tmp_path / "other", seed=1)
    theirs = (tmp_path / "other" / "model_epoch_5.pt").rename(tmp_path / "model_epoch_5.pth")
    with pytest.raises(CheckpointError, match=r"two trainings: model_epoch_5\.pt and model_epoch_5\.pth"):
        list_checkpoints(tmp_path)
    theirs.write_bytes(paths[0].read_bytes())
    assert len(list_checkpoints(tmp_path)) == 3, "a copy under another ending is listed, and counts once later"


def test_the_endings_of_torchs_own_examples_are_listed(tmp_path):
    for name in ("checkpoint_1.pth.tar", "checkpoint_2.pth.tar", "checkpoint_3.tar", "checkpoint.txt"):
        torch.save({"state_dict": Base().state_dict()}, tmp_path / name)
    assert [path.name for path in list_checkpoints(tmp_path, "checkpoint_")] == [
        "checkpoint_1.pth.tar",
        "checkpoint_2.pth.tar",
    ]


def test_a_folder_without_checkpoints_says_what_it_has(tmp_path):
    (tmp_path / "model_epoch_5.pkl").touch()
    with pytest.raises(CheckpointError, match=r"model_epoch_5\.pkl does not have the ending") as caught:
        list_checkpoints(tmp_path)
    assert ".safetensors" in caught.value.hint
    trainer = tmp_path / "out" / "checkpoint-500"
    trainer.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt"):
        (trainer / name).touch()
    with pytest.raises(CheckpointError, match="is a checkpoint itself") as caught:
        list_checkpoints(trainer)
    assert caught.value.hint == f"Give `checkpoint_dir` {tmp_path / 'out'} and `checkpoint_prefix` checkpoint-"


def test_a_checkpoint_outside_a_list_and_a_folder_of_checkpoints_are_named(tmp_path):
    paths = make_checkpoints(Base(), tmp_path)
    for alone, kind in ((paths[0], "path"), (str(paths[0]), "path"), (Base().state_dict(), "state dict")):
        with pytest.raises(UsageError, match=f"`checkpoints` is a {kind}, not a list"):
            compute_influence(make_data((6,)), Base(), alone)
    with pytest.raises(CheckpointError, match="is a folder of checkpoints, not a checkpoint") as caught:
        load_checkpoint(tmp_path)
    assert str(min(paths)) in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        ({"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}, "the state of an optimizer", "checkpoint_prefix"),
        ({"net": {"a": torch.ones(1)}, "ema": {"a": torch.ones(1)}}, "several states of models: 'net', 'ema'", "alone"),
        ({"epoch": 3}, "no state of a model", "model_state_dict"),
        ({"a": torch.ones(1), "epoch": 3}, "'epoch' among its weights, which is not a tensor but a int", "beside them"),
    ],
)
def test_a_file_without_one_state_of_a_model_says_what_it_holds(tmp_path, content, said, hint):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=said) as caught:
        load_checkpoint(tmp_path / "x.pt")
    assert hint in caught.value.hint


# Names that do not fit


class WithBuffers(nn.Module):
    def __init__(self, *, positions=True, cache=False):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 1)
        if positions:
            self.register_buffer("position_ids", torch.arange(4))
        if cache:
            self.register_buffer("inv_freq", torch.ones(3), persistent=False)

    def forward(self, x):
        return self.out(self.norm(x))


def test_buffers_that_a_model_makes_itself_may_be_missing_or_extra(tmp_path):
    state = WithBuffers().state_dict()
    for name in ("norm.num_batches_tracked", "position_ids"):
        del state[name]
    torch.save(state, tmp_path / "x.pt")
    notes = apply_checkpoint(WithBuffers(), load_checkpoint(tmp_path / "x.pt"))
    assert notes == [
        "checkpoint x.pt lacks buffers that the model makes itself: position_ids, norm.num_batches_tracked"
    ]
    torch.save(WithBuffers().state_dict() | {"inv_freq": torch.ones(3)}, tmp_path / "x.pt")
    notes = apply_checkpoint(WithBuffers(positions=False, cache=True), load_checkpoint(tmp_path / "x.pt"))
    assert notes == ["checkpoint x.pt has buffers that the model does not have: position_ids, inv_freq"]


def test_statistics_and_weights_may_not_be_missing(tmp_path):
    for name in ("norm.running_mean", "out.bias"):
        state = WithBuffers().state_dict()
        del state[name]
        torch.save(state, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=f"missing: {name}$"):
            apply_checkpoint(WithBuffers(), load_checkpoint(tmp_path / "x.pt"))


def test_ignore_keys_choose_the_state(tmp_path):
    data = make_data((6,))
    model, average = Base(), Base()
    [path] = make_checkpoints(model, tmp_path, rates=(0.1,))
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.mul_(3)
    both = {f"net.{k}": v for k, v in model.state_dict().items()} | {
        f"ema.{k}": v for k, v in average.state_dict().items()
    }
    torch.save(both, tmp_path / "both.pt")
    options = {"checkpoint_weights": "uniform", "loss": "logistic"}
    with pytest.raises(CheckpointError, match="several states that fit") as caught:
        compute_influence(data, Base(), [tmp_path / "both.pt"], **options)
    assert "ignore_keys" in caught.value.hint
    table = compute_influence(data, Base(), [tmp_path / "both.pt"], ignore_keys=["ema.*"], **options)
    assert np.array_equal(table.scores, compute_influence(data, Base(), [path], **options).scores)
    with pytest.raises(CheckpointError, match="ignore_keys leaves no weights"):
        compute_influence(data, Base(), [path], ignore_keys=["*"], **options)


def test_digests_of_folders_change_with_the_files_of_the_rate(tmp_path):
    from safetensors.torch import save_file

    save_file(Base().state_dict(), tmp_path / "model.safetensors")
    before = checkpoint_digest(tmp_path)
    torch.save({"_last_lr": [0.1]}, tmp_path / "scheduler.pt")
    assert checkpoint_digest(tmp_path) != before


def test_an_unknown_rate_is_noted(tmp_path):
    paths, _ = adapters(tmp_path, (0.1,))
    with pytest.warns(CheckpointWarning, match="is unknown"):
        compute_influence(make_data((6,)), Base(), paths)


def test_the_names_of_the_older_weight_norm_fit_the_newer_one(tmp_path):
    from torch.nn.utils.parametrizations import weight_norm

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = weight_norm(nn.Linear(3, 2))

    theirs = {f"model.conv.{name}": value for name, value in Normed().conv.state_dict().items()}
    for end, number in (("g", 0), ("v", 1)):
        theirs[f"model.conv.weight_{end}"] = theirs.pop(f"model.conv.parametrizations.weight.original{number}") + 1
    torch.save(theirs, tmp_path / "x.pt")
    model = Normed()
    apply_checkpoint(model, load_checkpoint(tmp_path / "x.pt"))
    assert torch.equal(model.conv.parametrizations.weight.original0, theirs["model.conv.weight_g"])
    assert torch.equal(model.conv.parametrizations.weight.original1, theirs["model.conv.weight_v"])
    alone = weight_norm(nn.Linear(3, 2))
    torch.save({name.removeprefix("model.conv."): value for name, value in theirs.items()}, tmp_path / "y.pt")
    apply_checkpoint(alone, load_checkpoint(tmp_path / "y.pt"))
    assert torch.equal(alone.parametrizations.weight.original0, theirs["model.conv.weight_g"])


def test_wrappers_of_parts_of_a_model_change_no_weight(tmp_path):
    state = Base().state_dict()
    for part in ("_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_orig_mod"):
        torch.save({name.replace(".", f".{part}.", 1): value for name, value in state.items()}, tmp_path / "x.pt")
        model = Base()
        nn.init.zeros_(model.body.weight)
        apply_checkpoint(model, load_checkpoint(tmp_path / "x.pt"))
        assert torch.equal(model.body.weight, state["body.weight"])


@pytest.mark.parametrize(
    "optimizers",
    [
        {"optimizer": {"body": {"param_groups": [{"lr": 0.5}]}, "head": {"param_groups": [{"lr": 0.25}]}}},
        {"optimizers": [{"param_groups": [{"lr": 0.5}]}]},
        {"opt_state": {"param_groups": [{"lr": 0.5}]}},
        {"last_optimizer_state": {"param_groups": [{"lr": 0.5}]}},
    ],
    ids=lambda content: next(iter(content)),
)
def test_rates_are_found_under_the_usual_names_of_optimizers(tmp_path, optimizers):
    torch.save({"model": Base().state_dict(), **optimizers}, tmp_path / "x.pt")
    assert learning_rate(tmp_path / "x.pt") == 0.5
