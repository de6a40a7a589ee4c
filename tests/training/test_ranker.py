"""Training the built-in ranker: its pairs, its files, and interruptions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_project import PROJECT, needs_reference
from small_models import learning_rate

from tracinctl.data.leave_out import leave_out
from tracinctl.data.loading import load_recordings
from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.data.pairs_file import read_pairs_file
from tracinctl.data.split import every_pair
from tracinctl.engine.checkpoints.files import MOVING
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.checkpoints.record import notes_on_training
from tracinctl.errors import CheckpointError, LossError, TrainingError, UsageError
from tracinctl.training import ranker as training
from tracinctl.training.models import build_ranker
from tracinctl.training.ranker import TrainSettings, pair_accuracy, score_items, train_ranker

QUICK = TrainSettings(epochs=5, checkpoint_interval=2, batch_size=8, learning_rate=0.01)


def _items(names, labels, seed):
    """Items whose level in the upper half rises with the label."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(len(labels), 1, 33, 17))
    inputs[:, :, 16:] += 0.8 * np.asarray(labels)[:, None, None, None]
    return Samples(names, torch.tensor(inputs, dtype=torch.float32), np.asarray(labels, dtype=float))


@pytest.fixture(scope="module")
def data():
    train = _items([f"t{k}" for k in range(12)], [k % 4 for k in range(12)], 0)
    test = _items([f"h{k}" for k in range(8)], [k % 4 for k in range(8)], 1)
    return RankingData(train, every_pair(train.labels), test, every_pair(test.labels))


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_it_learns_to_rank_held_out_items(data):
    result = train_ranker(data, dataclasses.replace(QUICK, epochs=20), None)
    assert result.checkpoints == []
    assert result.held_out_accuracy > 0.9
    assert result.held_out_accuracy == pair_accuracy(score_items(result.model, data.test.inputs), data.test_pairs)


def test_checkpoints_are_written_every_interval_and_at_the_end(data, tmp_path):
    result = train_ranker(data, QUICK, tmp_path)
    assert [p.name for p in result.checkpoints] == ["model_epoch_2.pt", "model_epoch_4.pt", "model_epoch_5.pt"]
    assert result.checkpoints == list_checkpoints(tmp_path)
    content = torch.load(result.checkpoints[-1], weights_only=True)
    assert content["epoch"] == 5
    assert content["val_accuracy"] == pytest.approx(100 * result.held_out_accuracy)
    assert content["val_loss_main"] == pytest.approx(result.held_out_loss)
    assert content["train_loss_main"] == pytest.approx(result.train_loss)
    assert content["args"]["learning_rate"] == 0.01
    assert content["optimizer_state_dict"]["param_groups"][0]["lr"] == learning_rate(result.checkpoints[-1])
    assert content["scheduler_state_dict"]["factor"] == 0.5
    model = build_ranker()
    model.load_state_dict(content["model_state_dict"])
    assert torch.equal(score_items(model, data.test.inputs), score_items(result.model, data.test.inputs))


@needs_reference
def test_checkpoints_have_the_keys_of_users_checkpoints(data, tmp_path):
    theirs = torch.load(PROJECT / "checkpoints" / "plastic_500hz" / "model_epoch_5.pt", weights_only=True)
    ours = torch.load(train_ranker(data, QUICK, tmp_path).checkpoints[0], weights_only=True)
    assert set(theirs) == set(ours)
    assert list(theirs["model_state_dict"]) == list(ours["model_state_dict"])
    assert set(theirs["optimizer_state_dict"]["param_groups"][0]) == set(
        ours["optimizer_state_dict"]["param_groups"][0]
    )
    for name in ("epochs", "checkpoint_interval", "seed", "loss_type", "margin", "learning_rate", "batch_size"):
        assert type(theirs["args"][name]) is type(ours["args"][name])


def test_the_learning_rate_is_halved_when_the_held_out_loss_stops_falling(data, tmp_path):
    held_out = data.test_pairs
    turned = Pairs(held_out.first, held_out.second, -held_out.target)
    noise = RankingData(data.train, data.train_pairs, data.test, turned)
    result = train_ranker(noise, dataclasses.replace(QUICK, epochs=12, checkpoint_interval=1, patience=1), tmp_path)
    rates = [learning_rate(p) for p in result.checkpoints]
    assert rates[0] == 0.01
    assert rates[-1] < 0.01
    assert {np.log2(0.01 / rate) for rate in rates} <= set(range(12))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data, tmp_path):
    torch.manual_seed(1)
    train_ranker(data, QUICK, tmp_path / "a")
    before = torch.get_rng_state()
    train_ranker(data, QUICK, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), before)
    train_ranker(data, dataclasses.replace(QUICK, seed=7), tmp_path / "c")
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    assert _bytes(tmp_path / "a")["model_epoch_2.pt"] != _bytes(tmp_path / "c")["model_epoch_2.pt"]


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_an_interrupted_run_continues_to_the_same_bytes(data, tmp_path, stop_after):
    def stop(report):
        if report.done == stop_after and report.inner_done == 2:
            raise KeyboardInterrupt

    whole = train_ranker(data, QUICK, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_ranker(data, QUICK, tmp_path / "parts", progress=stop)
    epochs = []
    result = train_ranker(data, QUICK, tmp_path / "parts", progress=lambda r: epochs.append(r.done))
    assert min(epochs) == stop_after // 2 * 2
    assert _bytes(tmp_path / "parts") == _bytes(tmp_path / "whole")
    assert [p.name for p in result.checkpoints] == [p.name for p in whole.checkpoints]
    assert result.held_out_loss == whole.held_out_loss


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    first = train_ranker(data, QUICK, tmp_path)
    reports = []
    again = train_ranker(data, QUICK, tmp_path, progress=reports.append)
    assert reports == []
    assert again.checkpoints == first.checkpoints
    assert again.held_out_accuracy == pytest.approx(first.held_out_accuracy)


def test_checkpoints_of_another_run_are_replaced(data, tmp_path):
    train_ranker(data, dataclasses.replace(QUICK, epochs=9), tmp_path / "again")
    result = train_ranker(data, QUICK, tmp_path / "again")
    assert list_checkpoints(tmp_path / "again") == result.checkpoints
    train_ranker(data, QUICK, tmp_path / "fresh")
    assert _bytes(tmp_path / "fresh") == _bytes(tmp_path / "again")


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_mixture_of_two_runs_is_refused_until_the_next_run_finishes(data, tmp_path, monkeypatch, moved):
    """If a run ends while it replaces other checkpoints, readers refuse the mixture, and the next run finishes."""
    folder = tmp_path / "again"
    train_ranker(data, dataclasses.replace(QUICK, epochs=9), folder)
    before = {path.name for path in folder.iterdir()}
    move, place = Path.replace, []

    def die(self, target):
        if MOVING in self.parent.name:
            place.append(self)
            if len(place) > moved:
                raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        train_ranker(data, QUICK, folder)
    monkeypatch.undo()
    assert before <= {path.name for path in folder.iterdir()}, "nothing is lost"
    with pytest.raises(CheckpointError, match="may have checkpoints of two trainings") as error:
        list_checkpoints(folder)
    assert "tracinctl train" in error.value.hint
    reports = []
    result = train_ranker(data, QUICK, folder, progress=reports.append)
    assert reports == [], "nothing is trained again"
    assert list_checkpoints(folder) == result.checkpoints
    train_ranker(data, QUICK, tmp_path / "fresh")
    assert _bytes(tmp_path / "fresh") == _bytes(folder)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_checkpoints_of_another_program_are_not_replaced(data, tmp_path, content):
    theirs = tmp_path / "model_epoch_5.pt"
    if content is None:
        torch.save({"epoch": 5, "model_state_dict": build_ranker().state_dict(), "args": {"epochs": 5}}, theirs)
    else:
        theirs.write_bytes(content)
    before = _bytes(tmp_path)
    with pytest.raises(TrainingError, match=r"another training program.*model_epoch_5\.pt") as caught:
        train_ranker(data, QUICK, tmp_path)
    assert caught.value.hint
    assert _bytes(tmp_path) == before


def test_checkpoints_in_use_are_not_replaced_by_another_run(data, tmp_path):
    folder = tmp_path / "checkpoints" / "a"
    first = train_ranker(data, QUICK, folder)
    before = _bytes(folder)
    with pytest.raises(
        TrainingError, match=r"would replace the checkpoints in .*scores\.json was made from them"
    ) as caught:
        train_ranker(data, dataclasses.replace(QUICK, seed=3), folder, in_use="scores.json")
    assert str(tmp_path / "checkpoints-again") in caught.value.hint
    assert _bytes(folder) == before
    again = train_ranker(data, QUICK, folder, in_use="scores.json")
    assert again.checkpoints == first.checkpoints, "the same run replaces nothing"
    assert again.went_on_from == 5


def test_the_accuracy_before_and_after_training_is_kept(data, tmp_path):
    result = train_ranker(data, QUICK, tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(QUICK.seed)
        fresh = build_ranker()
    before = pair_accuracy(score_items(fresh, data.test.inputs), data.test_pairs)
    assert result.untrained_accuracy == before != result.held_out_accuracy
    for path in result.checkpoints:
        assert torch.load(path, weights_only=True)["args"]["untrained_accuracy"] == before
    assert result.went_on_from == 0


def test_changed_code_of_a_users_loss_is_another_run(data, tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType("tests_changing_loss")
    monkeypatch.setitem(sys.modules, "tests_changing_loss", module)
    settings = dataclasses.replace(QUICK, loss_type="tests_changing_loss:own")
    module.own = lambda s_i, s_j, y: (1 - y * (s_i - s_j)) ** 2
    first = train_ranker(data, settings, tmp_path)
    assert train_ranker(data, settings, tmp_path).went_on_from == 5
    module.own = lambda s_i, s_j, y: (2 - y * (s_i - s_j)) ** 2
    changed = train_ranker(data, settings, tmp_path)
    assert changed.went_on_from == 0
    assert changed.held_out_loss != first.held_out_loss


def test_the_last_checkpoint_shows_that_training_stopped_early(data, tmp_path):
    def stop(report):
        if report.done == 2 and report.inner_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_ranker(data, QUICK, tmp_path, progress=stop)
    record = load_checkpoint(list_checkpoints(tmp_path)[-1]).record
    assert (record.unit, record.done, record.planned) == ("epoch", 2, 5)
    [note] = notes_on_training(["model_epoch_2.pt"], [record], "standard", 1.0)
    assert note == "training ended early: the last checkpoint, model_epoch_2.pt, is from epoch 2 of 5"


def _seen_pairs(data, monkeypatch, **keywords):
    """Train, and return the result with all items that the model scored and all pairs of training steps."""
    seen_items, seen_pairs = set(), set()
    forward, take = training.score_rows, Pairs.take

    def watch_items(model, inputs, rows):
        if inputs is data.train.inputs:
            seen_items.update(data.train.ids[k] for k in rows)
        return forward(model, inputs, rows)

    def watch_pairs(self, rows):
        batch = take(self, rows)
        if np.asarray(rows).dtype != bool:
            seen_pairs.update(batch.row_ids(data.train.ids))
        return batch

    monkeypatch.setattr(training, "score_rows", watch_items)
    monkeypatch.setattr(Pairs, "take", watch_pairs)
    result = train_ranker(data, QUICK, None, **keywords)
    return result, seen_items, seen_pairs


def test_excluded_pairs_and_items_are_never_trained_on(data, monkeypatch):
    ids = data.train_pairs.row_ids(data.train.ids)
    exclusions = [ids[3], "t5", "nobody", "h2", "h0_h1", "t1_t0", ids[3]]
    result, items, pairs = _seen_pairs(data, monkeypatch, exclusions=exclusions)
    wanted = {k for k in ids if k != ids[3] and "t5" not in k.split("_")}
    assert pairs == wanted
    assert items == {f"t{k}" for k in range(12)} - {"t5"}
    assert result.left.pair_ids == [ids[3]]
    assert result.left.item_ids == ["t5"]
    assert result.left.unknown == ["nobody", "t1_t0"]
    assert result.left.held_out == ["h2", "h0_h1"]
    assert result.left.rows_left_out == len(ids) - len(wanted)
    assert result.left.pairs.row_ids(data.train.ids) == [k for k in ids if k in wanted]


def test_a_list_of_other_data_is_refused_before_the_training(data, tmp_path):
    with pytest.raises(TrainingError, match=r"no line of the exclusion list is the id .* for example 'u1_u2'"):
        train_ranker(data, QUICK, tmp_path / "out", exclusions=["u1_u2", "u3"])
    assert not (tmp_path / "out").exists()
    held_out = train_ranker(data, QUICK, None, exclusions=["h2"])
    assert held_out.left.held_out == ["h2"], "held-out ids are reported after training"


def test_without_exclusions_every_pair_is_trained_on(data, monkeypatch):
    result, items, pairs = _seen_pairs(data, monkeypatch)
    assert pairs == set(data.train_pairs.row_ids(data.train.ids))
    assert items == set(data.train.ids)
    assert (result.left.rows_left_out, result.left.unknown) == (0, [])


def test_a_listed_pair_is_left_out_with_its_repeats_but_not_its_mirror_image():
    samples = Samples(["a", "b", "c"], torch.zeros(3, 1, 2, 2), np.arange(3.0))
    pairs = Pairs([0, 1, 0, 1], [1, 0, 1, 2], [-1, 1, -1, -1])
    left = leave_out(RankingData(samples, pairs, Samples([], []), Pairs([], [], [])), ["a_b"])
    assert left.pairs.row_ids(samples.ids) == ["b_a", "b_c"]
    assert left.rows == 4


def test_the_pairs_file_contains_the_pairs_trained_on(data, tmp_path):
    ids = data.train_pairs.row_ids(data.train.ids)
    result = train_ranker(data, QUICK, tmp_path, exclusions=ids[:10])
    train, held_out = read_pairs_file(tmp_path / "pairs.csv").pairs(data.train.ids, data.test.ids)
    assert train.row_ids(data.train.ids) == ids[10:] == result.left.pairs.row_ids(data.train.ids)
    assert held_out.target.tolist() == data.test_pairs.target.tolist()


def test_a_list_that_leaves_no_pair_is_refused_and_writes_nothing(data, tmp_path):
    with pytest.raises(TrainingError, match=r"leaves none of the") as caught:
        train_ranker(data, QUICK, tmp_path / "out", exclusions=data.train.ids)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()
    with pytest.raises(TrainingError, match="no training pairs"):
        train_ranker(RankingData(data.train, Pairs([], [], []), data.test, data.test_pairs), QUICK, None)


@pytest.mark.parametrize("loss", ["logistic", "ghm", "capped", "tests_own_loss:squared"])
def test_every_loss_trains_to_different_weights(data, monkeypatch, loss):
    import sys
    import types

    module = types.ModuleType("tests_own_loss")
    module.squared = lambda s_i, s_j, y: (1 - y * (s_i - s_j)) ** 2
    monkeypatch.setitem(sys.modules, "tests_own_loss", module)
    settings = dataclasses.replace(QUICK, epochs=15, loss_type=loss)
    result = train_ranker(data, settings, None)
    standard = train_ranker(data, dataclasses.replace(settings, loss_type="standard"), None)
    assert result.held_out_accuracy > 0.8
    scores = [score_items(r.model, data.test.inputs) for r in (result, standard)]
    assert not torch.allclose(*scores)


def test_an_unknown_or_unfit_loss_is_named(data, monkeypatch):
    with pytest.raises(LossError, match="hinge"):
        train_ranker(data, dataclasses.replace(QUICK, loss_type="hinge"), None)
    with pytest.raises(LossError, match="one value per pair"):
        train_ranker(data, dataclasses.replace(QUICK, loss_type="torch.nn.functional:margin_ranking_loss"), None)


def test_the_first_loss_is_about_the_margin(data):
    losses = [
        train_ranker(data, dataclasses.replace(QUICK, epochs=1, margin=margin, batch_size=1000), None).train_loss
        for margin in (0.0, 1.0, 10.0)
    ]
    # the scores of an untrained ranker are nearly equal, so the mean loss is about the margin
    assert losses == pytest.approx([0, 1, 10], abs=0.2)


def test_diverging_training_says_when_and_what_to_do(data, tmp_path):
    broken = dataclasses.replace(data.train, inputs=data.train.inputs * torch.nan)
    with pytest.raises(TrainingError, match="epoch 1, batch 1") as caught:
        train_ranker(RankingData(broken, data.train_pairs, data.test, data.test_pairs), QUICK, tmp_path)
    assert "`learning_rate`" in caught.value.hint
    assert not list(tmp_path.glob("*.pt"))


def test_items_of_different_length_are_trained_together(data):
    inputs = [x if k % 3 else torch.cat([x, x], dim=-1) for k, x in enumerate(data.train.inputs)]
    mixed = RankingData(dataclasses.replace(data.train, inputs=inputs), data.train_pairs, data.test, data.test_pairs)
    result = train_ranker(mixed, dataclasses.replace(QUICK, epochs=15), None)
    scores = score_items(result.model, inputs)
    alone = torch.cat([score_items(result.model, [x]) for x in inputs])
    assert torch.allclose(scores, alone, atol=1e-5)
    assert pair_accuracy(scores, data.train_pairs) > 0.9


def test_without_held_out_pairs_held_out_measures_are_missing(data, tmp_path):
    none = RankingData(data.train, data.train_pairs, data.test, Pairs([], [], []))
    result = train_ranker(none, QUICK, tmp_path)
    assert (result.held_out_accuracy, result.held_out_loss) == (None, None)
    assert torch.load(result.checkpoints[-1], weights_only=True)["val_accuracy"] is None


def test_progress_counts_batches_within_epochs(data):
    reports = []
    train_ranker(data, QUICK, None, progress=reports.append)
    batches = -(-len(data.train_pairs) // 8)
    assert [(r.done, r.inner_done) for r in reports[: batches + 1]] == [(0, k + 1) for k in range(batches)] + [(1, 0)]
    assert (reports[-1].done, reports[-1].total, reports[-1].unit) == (5, 5, "epochs")
    assert "held-out accuracy" in reports[-1].note


@pytest.mark.parametrize(
    "change",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"margin": -1.0}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        TrainSettings(**change)


@needs_reference
def test_the_users_recordings_train_the_small_ranker(tmp_path):
    data = load_recordings(PROJECT / "data", "plastic", "500hz", pairs="drawn")
    result = train_ranker(data, dataclasses.replace(QUICK, epochs=1, batch_size=32), tmp_path)
    assert len(result.left.pairs) == 579
    assert (tmp_path / "pairs.csv").read_text() == (PROJECT / "pairs.csv").read_text()
