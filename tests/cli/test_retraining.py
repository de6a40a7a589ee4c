"""``workflow --retrain`` from the command line, on a small project of recordings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from command_line import CommandLine
from wav_trees import SETTINGS, retrainable

from tracinctl.retraining.builtin_trainer import RankerTrainer
from tracinctl.scores.files.exclusion_list import read_exclusion_list

LIST = "exclusions/plastic_500hz_excluded_pairs.txt"


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    retrainable(tmp_path)
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


def test_the_list_is_chosen_by_one_half_and_judged_by_the_other(cli, tmp_path):
    """42 recordings, 13 held out: 7 score and 6 judge, the fewest possible."""
    assert cli("train").code == 0
    run = cli.json("workflow", "--retrain", "--repeats", "2", "--at-once", "1", "--report", "report.md")[0]
    judged = run["retraining"]
    division = judged["division"]
    assert (len(division["scoring"]), len(division["judging"])) == (7, 6)
    judges = set(division["judging"])
    assert judged["seeds"] == [43, 44], "other seeds than that of the checkpoints"
    assert "judge" in (tmp_path / "report.md").read_text()
    assert f"{len(judges)} judge" in (tmp_path / "report.md").read_text()
    again = cli("workflow", "--retrain", "--repeats", "2", "--at-once", "1")
    assert "finished earlier" in again.err or run["excluded"] == 0
    assert judged["verdict"].capitalize() in again.out
    assert "list - everything" in again.out or run["excluded"] == 0


def test_every_kind_of_rule_is_tried_and_shown(cli, monkeypatch):
    monkeypatch.setattr("tracinctl.scores.exclusion.OUTLIER", 0.0)  # so that some items stand out

    def margins(_train, data, _seed, *, loss):
        assert loss == "capped"
        return np.linspace(-1, 9, len(data.train_pairs))  # so that a tenth is not fitted

    monkeypatch.setattr("tracinctl.project.retrain.mean_margins", margins)
    cli("train")
    choice = cli.json("workflow", "--retrain", "--repeats", "1", "--at-once", "1")[0]["retraining"]["choice"]
    rules = {rule["rule"]: rule for rule in choice["rules"]}
    assert {"nothing", "pairs of items that stand out", "not fitted", "everything, capped loss"} <= set(rules)
    assert rules["pairs of items that stand out"]["left_out"] > 0
    assert rules["not fitted"]["left_out"] > 0
    shown = cli("workflow", "--retrain", "--repeats", "1", "--at-once", "1").out
    assert all(name in shown for name in rules)


@pytest.mark.parametrize(("best", "trains_on"), [("cuda:1", "cuda:1"), ("cpu", "cpu"), ("mps", "cpu")])
def test_a_cuda_device_trains_many_rankers_in_one_call(cli, monkeypatch, best, trains_on):
    cli("train")
    made = []

    def trainer(data, division, settings, device):
        made.append(RankerTrainer(data, division, settings, device))
        return dataclasses.replace(made[-1], device="cpu")

    monkeypatch.setattr("tracinctl.project.retrain.choose_device", lambda _name: torch.device(best))
    monkeypatch.setattr("tracinctl.project.retrain.RankerTrainer", trainer)
    assert cli("workflow", "--retrain", "--repeats", "1", "--at-once", "1", "--device", "cpu").code == 0
    assert made[0].device == trains_on
    assert (made[0].together > 1) == (trains_on != "cpu")


def test_nothing_is_left_out_if_no_list_is_better_and_the_list_has_the_training_command(cli, tmp_path):
    cli("train")
    few = cli("workflow", "--retrain", "--repeats", "1", "--at-once", "1", "--threshold", "90%")
    assert few.code == 0, few.err
    written = (tmp_path / "exclusions" / "plastic_500hz_excluded_pairs.txt").read_text().splitlines()
    if "Leave nothing out; stop after" in few.out:
        assert "rule: nothing" in "".join(written)
        assert all(line.startswith("#") for line in written)
    else:
        assert "Cannot tell" in few.out
        assert f"# excluded: {sum(not line.startswith('#') for line in written)} ids" in written[0]
    assert "which list?" in few.out
    assert max(map(len, few.out.splitlines())) <= 80
    assert any(line.startswith("# train with: tracinctl train") and "--epochs" in line for line in written)


def test_a_custom_model_needs_a_training_command(cli):
    refused = cli("workflow", "--retrain", "--model", "my:model")
    assert refused.code == 2
    assert "[train]" in refused.err


def test_retraining_keeps_the_scores_and_names_the_replaced_list(cli, tmp_path):
    cli("train")
    assert cli("workflow", "--min-occurrences", "1").code == 0
    files = [path for path in (tmp_path / "metadata").iterdir() if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    listed = read_exclusion_list(tmp_path / LIST)
    [run] = cli.json("workflow", "--retrain", "--repeats", "2", "--at-once", "1", "--min-occurrences", "1")
    assert {path: path.read_bytes() for path in files} == before
    now = read_exclusion_list(tmp_path / LIST)
    assert run["replaced"] == listed.summary != now.summary
    assert len(now.ids) == run["excluded"] == run["retraining"]["choice"]["left_out"]
    assert now.rule == run["retraining"]["choice"]["chosen"]
    assert now.is_own
    assert not now.edited


def test_a_list_edited_by_hand_is_refused_before_any_training(cli, tmp_path):
    cli("train")
    assert cli("workflow", "--min-occurrences", "1").code == 0
    head = [line for line in (tmp_path / LIST).read_text().splitlines() if line.startswith(("# rule", "# ids"))]
    (tmp_path / LIST).write_text("\n".join(["# excluded: 1 id", *head, "by hand"]) + "\n")
    edited = (tmp_path / LIST).read_bytes()
    refused = cli("workflow", "--retrain", "--repeats", "1")
    assert refused.code == 2
    assert "edited by hand" in refused.err
    assert "--force" in refused.err
    assert (tmp_path / LIST).read_bytes() == edited
    assert not (tmp_path / ".tracinctl" / "retraining").exists()


def test_scores_without_checkpoints_can_be_judged_and_evaluate_only_writes_no_list(cli, tmp_path):
    cli("train")
    assert cli("compute").code == 0
    for path in (tmp_path / "checkpoints" / "plastic_500hz").glob("*.pt"):
        path.unlink()
    [run] = cli.json("workflow", "--retrain", "--repeats", "1", "--at-once", "1", "--evaluate-only")
    assert run["retraining"]["choice"]["rules"]
    assert not (tmp_path / LIST).exists()


def test_the_training_command_of_the_settings_is_run(cli, tmp_path):
    cli("train")
    (tmp_path / "own.py").write_text(
        "import csv, json, random, sys\n"
        "excluded, pairs, metrics, seed = sys.argv[1:]\n"
        "random.seed(seed + open(excluded).read())\n"
        "names = {n for row in csv.DictReader(open(pairs)) for n in (row['id1'], row['id2'])}\n"
        "json.dump({'scores': {n: random.random() for n in sorted(names)}}, open(metrics, 'w'))\n"
    )
    import sys

    command = f"'{sys.executable}' own.py {{exclusions_file}} {{judging_pairs_file}} {{metrics_file}} {{seed}}"
    (tmp_path / "tracinctl.toml").write_text(SETTINGS + f'command = "{command}"\n')
    [run] = cli.json("workflow", "--retrain", "--repeats", "2", "--threshold", "90%", "--max-exclusions", "40")
    judged = run["retraining"]
    assert [arm["name"] for arm in judged["arms"]] == ["everything", "without the list", "without as many at random"]
    assert judged["differences"][0]["accuracy"]["item_standard_error"] > 0
    (tmp_path / "tracinctl.toml").write_text(SETTINGS + 'command = "python own.py"\n')
    assert cli("workflow", "--retrain").code == 2


def test_sweep_chooses_among_its_thresholds(cli):
    cli("train")
    assert cli("compute").code == 0
    arguments = ("--thresholds", "0,-1000", "--retrain", "--repeats", "2", "--at-once", "1")
    done = cli("sweep", *arguments)
    assert done.code == 0, done.err
    assert "which list?" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    judged = cli.json("sweep", *arguments)[0]["retraining"]
    assert {rule["rule"] for rule in judged["choice"]["rules"]} <= {"nothing", "threshold 0", "threshold -1000"}
