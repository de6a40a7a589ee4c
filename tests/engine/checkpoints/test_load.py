"""Checkpoints of torch, safetensors, Lightning and Hugging Face, each written by its own library."""

from __future__ import annotations

import json
import shutil
import warnings

import own_ranker
import pytest
import torch
from safetensors.torch import save_model
from small_models import learning_rate, make_checkpoints
from torch import nn

from tracinctl.engine.checkpoints.files import checkpoint_digest
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.engine.checkpoints.load import apply_checkpoint, load_checkpoint
from tracinctl.errors import CheckpointError


def build():
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))


@pytest.fixture
def trained(tmp_path):
    """A model, and the file of its state."""
    model = build()
    [path] = make_checkpoints(model, tmp_path / "plain", rates=(0.25,))
    return model, path


def loads_as(path, model):
    """Whether a new model with the checkpoint's state equals the model."""
    fresh = build()
    apply_checkpoint(fresh, load_checkpoint(path))
    return all(torch.equal(value, model.state_dict()[name]) for name, value in fresh.state_dict().items())


WRAPPED = {
    "a name of one's own": lambda m: {"net": m.state_dict(), "epoch": 3},
    "DataParallel": lambda m: nn.DataParallel(m).state_dict(),
    "compiled": lambda m: torch.compile(m, backend="eager").state_dict(),
    "compiled in DataParallel": lambda m: nn.DataParallel(torch.compile(m, backend="eager")).state_dict(),
    "DataParallel, compiled": lambda m: torch.compile(nn.DataParallel(m), backend="eager").state_dict(),
    "with one layer compiled": lambda m: nn.Sequential(
        torch.compile(m[0], backend="eager"), *list(m.children())[1:]
    ).state_dict(),
    "part of something": lambda m: nn.ModuleDict(
        {"ranker": nn.ModuleDict({"net": m}), "loss": nn.Linear(2, 2)}
    ).state_dict(),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapper_prefixes_are_removed(how, trained, tmp_path):
    model, _ = trained
    torch.save(WRAPPED[how](model), tmp_path / "x.pt")
    assert loads_as(tmp_path / "x.pt", model)


def test_a_wrapped_model_takes_a_bare_state(trained):
    _, path = trained
    for wrap in (nn.DataParallel, lambda m: torch.compile(m, backend="eager")):
        wrapped = wrap(build())
        apply_checkpoint(wrapped, load_checkpoint(path))
        assert torch.equal(next(wrapped.parameters()), load_checkpoint(path).state["0.weight"])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens)).mean((1, 2))


def test_shared_weights_may_be_saved_once(tmp_path):
    model, fresh = Tied(), Tied()
    save_model(model, str(tmp_path / "x.safetensors"))
    assert len(load_checkpoint(tmp_path / "x.safetensors").state) == 1
    apply_checkpoint(fresh, load_checkpoint(tmp_path / "x.safetensors"))
    assert torch.equal(fresh.head.weight, model.embed.weight)
    torch.save({"state_dict": {f"net.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "x.pt")
    apply_checkpoint(fresh, load_checkpoint(tmp_path / "x.pt"))
    torch.save({"embed.weight": torch.ones(7, 4), "head.weight": torch.zeros(7, 4)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"different weights embed\.weight and head\.weight"):
        apply_checkpoint(fresh, load_checkpoint(tmp_path / "x.pt"))


def test_a_mismatch_names_the_first_keys_of_each_kind(tmp_path):
    torch.save({**{f"more.{k}": torch.ones(1) for k in range(5)}, "0.weight": torch.ones(4, 6)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as caught:
        apply_checkpoint(build(), load_checkpoint(tmp_path / "x.pt"))
    said = str(caught.value)
    assert "missing: 0.bias, 1.weight, 1.bias and 4 more" in said
    assert "unexpected: more.0, more.1, more.2 and 2 more" in said
    assert "wrong shape: 0.weight is (4, 6), but the model has (5, 6)" in said


def test_a_mismatch_under_a_prefix_uses_the_models_names(trained, tmp_path):
    model, _ = trained
    state = {f"module.{k}": v for k, v in model.state_dict().items() if k != "3.bias"}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"does not fit the model: missing: 3\.bias$"):
        apply_checkpoint(build(), load_checkpoint(tmp_path / "x.pt"))


def test_two_states_that_fit_are_an_error(trained, tmp_path):
    model, _ = trained
    torch.save(nn.ModuleDict({"online": model, "average": build()}).state_dict(), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"under 'online\.', 'average\.'"):
        apply_checkpoint(build(), load_checkpoint(tmp_path / "x.pt"))


@pytest.fixture(scope="module")
def lightning_file(tmp_path_factory):
    """A checkpoint written by Lightning's trainer, and its model."""
    with warnings.catch_warnings(action="ignore"):  # Lightning warns about workers, loggers and its own libraries
        import pytorch_lightning as lightning

        class Ranker(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = build()
                self.margin = nn.Linear(1, 1)

            def training_step(self, batch, _):
                return nn.functional.softplus(self.margin(self.model(batch[0]) - self.model(batch[1]))).mean()

            def configure_optimizers(self):
                return torch.optim.AdamW(self.parameters(), lr=0.03)

        folder = tmp_path_factory.mktemp("lightning")
        torch.manual_seed(0)
        pairs = torch.utils.data.TensorDataset(torch.randn(8, 6), torch.randn(8, 6))
        ranker = Ranker()
        trainer = lightning.Trainer(
            max_steps=2,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(ranker, torch.utils.data.DataLoader(pairs, batch_size=4))
        trainer.save_checkpoint(folder / "epoch=0-step=2.ckpt")
    return folder / "epoch=0-step=2.ckpt", ranker.model


def test_lightning(lightning_file):
    path, model = lightning_file
    assert loads_as(path, model)
    assert learning_rate(path) == 0.03


@pytest.fixture(scope="module")
def trainer_folder(tmp_path_factory):
    """The folders of Hugging Face's trainer, checkpoint-5 and checkpoint-10, and its final model."""
    folder = tmp_path_factory.mktemp("trainer")
    with warnings.catch_warnings(action="ignore"):  # the trainer warns about pinned memory and its own libraries
        model = own_ranker.train(folder)
    return folder, model


@pytest.fixture
def folder(trainer_folder, tmp_path):
    """A copy of one of the trainer's checkpoints, for damage."""
    shutil.copytree(trainer_folder[0] / "checkpoint-10", tmp_path / "checkpoint-10")
    return tmp_path / "checkpoint-10"


def same(path, model):
    fresh = own_ranker.build()
    apply_checkpoint(fresh, load_checkpoint(path))
    return all(torch.equal(value, model.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_a_trainers_folders_are_checkpoints_in_natural_order(trainer_folder):
    where, model = trainer_folder
    found = list_checkpoints(where, "checkpoint-")
    assert [path.name for path in found] == ["checkpoint-5", "checkpoint-10"]
    assert same(found[1], model)
    assert not same(found[0], model)
    # linear decay over ten steps: the rate of the step that led to the checkpoint
    assert [learning_rate(path) for path in found] == pytest.approx([0.006, 0.001])
    with pytest.raises(CheckpointError) as caught:
        list_checkpoints(where)
    assert "it has checkpoint-5, checkpoint-10" in str(caught.value)
    assert "`checkpoint_prefix` checkpoint-" in caught.value.hint


def unlogged(folder):
    """Remove the entries of a folder's own step from its log."""
    state = json.loads((folder / "trainer_state.json").read_text())
    state["log_history"] = [entry for entry in state["log_history"] if entry["step"] < state["global_step"]]
    (folder / "trainer_state.json").write_text(json.dumps(state))


def test_an_unlogged_rate_of_a_step_comes_from_other_files(folder):
    unlogged(folder)
    assert learning_rate(folder) == pytest.approx(0.001), "the rate comes from the trainer's arguments"
    (folder / "training_args.bin").unlink()
    # a line through the logged rates and the scheduler's next one, which is 0
    assert learning_rate(folder) == pytest.approx(0.001)
    (folder / "scheduler.pt").unlink()
    assert learning_rate(folder) == pytest.approx(0.001), "the optimizer has the same rate"
    (folder / "optimizer.pt").unlink()
    assert learning_rate(folder) == pytest.approx(0.001), "the line continues"
    (folder / "trainer_state.json").unlink()
    assert learning_rate(folder) is None


def test_an_unexplained_rate_of_zero_is_unknown(folder):
    for name in ("training_args.bin", "trainer_state.json"):
        (folder / name).unlink()
    assert learning_rate(folder) is None
    torch.save({"_last_lr": [0.5, 0.25]}, folder / "scheduler.pt")
    assert learning_rate(folder) == 0.5


def test_logged_values_that_are_no_rates_are_ignored(folder):
    state = json.loads((folder / "trainer_state.json").read_text())
    rate = learning_rate(folder)
    last = state["log_history"][-1]["step"]
    state["log_history"] += [
        {"learning_rate": 7.0},
        {"learning_rate": 7.0, "step": str(last)},
        {"learning_rate": "7.0", "step": last},
        {"learning_rate": None, "step": last},
        {"loss": 7.0, "step": last},
        "7.0",
    ]
    (folder / "trainer_state.json").write_text(json.dumps(state))
    assert learning_rate(folder) == rate


def test_weights_in_several_files(trainer_folder, tmp_path):
    _, model = trainer_folder
    model.save_pretrained(tmp_path / "final", max_shard_size="1KB")
    assert len(list((tmp_path / "final").glob("model-*.safetensors"))) > 2
    assert same(tmp_path / "final", model)
    before = checkpoint_digest(tmp_path / "final")
    assert before == load_checkpoint(tmp_path / "final").digest
    shard = sorted((tmp_path / "final").glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    assert checkpoint_digest(tmp_path / "final") != before
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"names '{shard.name}', which is not a file of weights in its folder"):
        load_checkpoint(tmp_path / "final")


def test_weights_of_older_trainers(trainer_folder, tmp_path):
    _, model = trainer_folder
    names = list(model.state_dict())
    parts = {"pytorch_model-00001-of-00002.bin": names[:3], "pytorch_model-00002-of-00002.bin": names[3:]}
    (tmp_path / "old").mkdir()
    for file, some in parts.items():
        torch.save({name: model.state_dict()[name] for name in some}, tmp_path / "old" / file)
    where = {name: file for file, some in parts.items() for name in some}
    (tmp_path / "old/pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    assert same(tmp_path / "old", model)
    (tmp_path / "older").mkdir()
    torch.save(model.state_dict(), tmp_path / "older/pytorch_model.bin")
    assert same(tmp_path / "older", model)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/secret.bin", "sub/x.bin", "..", "x.py", 3, "a\\b.bin", ""]
)
def test_an_index_that_points_out_of_its_folder_is_refused(name, folder):
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"score.weight": name}}))
    with pytest.raises(CheckpointError, match="which is not a file of weights in its folder"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "\x00"])
def test_a_broken_index_is_an_error(text, folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"is not an index of weights"):
        load_checkpoint(folder)


def test_code_in_a_folders_weights_is_not_run(folder):
    class Evil:
        def __reduce__(self):
            return (open, (str(folder / "ran"), "w"))

    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="asks to run code"):
        load_checkpoint(folder)
    torch.save(Evil(), folder / "scheduler.pt")
    torch.save({"score.weight": torch.ones(1)}, folder / "pytorch_model.bin")
    load_checkpoint(folder)
    assert not (folder / "ran").exists()
