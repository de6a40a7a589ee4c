"""The user's own training program: how it is called, what is read back, and messages about failures."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from tests.retraining.test_trial import DATA, DIVISION, LISTED
from tracinctl.errors import TrainingError, UsageError
from tracinctl.retraining.command_trainer import METRICS_FILE, CommandTrainer, check_command
from tracinctl.retraining.trainer import Training
from tracinctl.retraining.trial import RetrainSettings, retrain

PROGRAM = """
import argparse, csv, json, random
parser = argparse.ArgumentParser()
for name in ("frequency", "exclusions", "seed", "metrics", "pairs", "as"):
    parser.add_argument(f"--{name}", default="")
given = vars(parser.parse_args())
ids = [line for line in open(given["exclusions"]).read().splitlines() if not line.startswith("#")]
names = {name for row in csv.DictReader(open(given["pairs"])) for name in (row["id1"], row["id2"])}
random.seed(given["seed"] + str(len(ids)))
noise = 0.5 if ids else 4.0
scores = {name: int(name[1:]) % 4 + random.gauss(0, noise) for name in sorted(names)}
print("trained", given["frequency"], "without", len(ids))
content = {
    "scores": {"scores": scores},
    "means": {"accuracy": 0.9 - noise / 10 + random.random() / 100, "loss": 1.0},
    "few": {"scores": {}},
    "percent": {"accuracy": 93.0, "loss": 1.0},
    "nothing": None,
}[given["as"]]
if given["as"] == "nothing":
    raise SystemExit(3)
json.dump(content, open(given["metrics"], "w"))
"""


def trainer(folder, form="scores", command=None, metrics_file=METRICS_FILE):
    root = folder / "my project"
    root.mkdir(exist_ok=True)
    (root / "train.py").write_text(PROGRAM)
    command = command or (
        f"'{sys.executable}' train.py --frequency {{frequency}} --exclusions {{exclusions_file}} --seed {{seed}} "
        f"--metrics {{metrics_file}} --pairs {{judging_pairs_file}} --as {form}"
    )
    return CommandTrainer(DATA, DIVISION, command, metrics_file, root, root / "work", "plastic", "500 hz")


def test_a_commands_scores_are_judged_like_the_built_in_rankers(tmp_path):
    own = trainer(tmp_path)
    result = retrain(own, DATA, DIVISION, LISTED, RetrainSettings(repeats=3), own.work / "kept")
    assert result.judgement.verdict == "helped"
    assert result.comparisons[0].accuracy.item_standard_error > 0
    assert len(list((own.work / "kept").glob("*.json"))) == 9
    assert not list(own.work.glob("run-*")), "the folder of a successful run is removed"


def test_means_give_a_verdict_only_if_the_command_knows_the_judging_pairs(tmp_path):
    own = trainer(tmp_path, "means")
    assert own.knows_judges
    for trusted, verdict in ((True, "helped"), (False, "cannot tell")):
        result = retrain(
            own, DATA, DIVISION, LISTED, RetrainSettings(), own.work / "kept", trust_means=trusted
        )  # fmt: skip
        assert result.judgement.verdict == verdict
    assert "those may have chosen the list" in result.judgement.why


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("few", "no number for"),
        ("percent", "an accuracy that is not from 0 to 1"),
        ("nothing", "ended with exit code 3"),
    ],
)
def test_unusable_metrics_and_failures_are_explained(tmp_path, form, said):
    own = trainer(tmp_path, form)
    with pytest.raises(TrainingError, match=said) as caught:
        own.train([Training("x", 1, 7, ("t0_t1",))], lambda *_: None)
    assert caught.value.hint
    if form == "nothing":
        assert "trained 500 hz without 1" in caught.value.message, "the end of the log is shown"
        assert "log.txt" in caught.value.hint


def test_metrics_of_an_earlier_run_are_not_used(tmp_path):
    own = trainer(tmp_path, command="true {exclusions_file}", metrics_file="metrics.json")
    (own.root / "metrics.json").write_text('{"accuracy": 1, "loss": 0}')
    with pytest.raises(TrainingError, match="wrote no readable metrics") as caught:
        own.train([Training("x", 1, 7, ())], lambda *_: None)
    assert "It printed nothing" in caught.value.message


def test_the_command_runs_without_a_shell(tmp_path):
    own = trainer(tmp_path, command="touch {exclusions_file} ; touch $HOME/made *")
    with pytest.raises(TrainingError):
        own.train([Training("x", 1, 7, ())], lambda *_: None)
    assert {"$HOME", ";", "*", "touch"} & {path.name for path in own.root.iterdir()} == {";", "*", "touch"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python train.py", "does not use the exclusion list"),
        ("python {exclusion_file}", "no placeholder {exclusion_file}"),
        ("python {exclusions_file} 'x", "cannot be read"),
    ],
)
def test_an_impossible_command_is_refused_before_any_work(command, said):
    with pytest.raises(UsageError) as caught:
        check_command(command)
    assert said in caught.value.message
    assert caught.value.hint


def test_an_edited_program_is_run_again(tmp_path):
    own = trainer(tmp_path)
    training = Training("x", 1, 7, ())
    key = own.key(training)
    assert dataclasses.replace(own).key(training) == key
    (own.root / "train.py").write_text(PROGRAM + "\n# better\n")
    assert own.key(training) != key


def test_equal_repeats_of_a_command_cannot_be_judged(tmp_path):
    command = trainer(tmp_path).command.replace("{seed}", "1")
    own = trainer(tmp_path, command=command)
    result = retrain(own, DATA, DIVISION, LISTED, RetrainSettings(repeats=2), own.work / "kept")
    assert result.judgement.verdict == "cannot tell"
    assert "{seed}" in result.judgement.why


def test_a_program_may_give_scores_at_each_of_its_checkpoints(tmp_path):
    own = trainer(tmp_path, command="true {exclusions_file}")
    scores = dict.fromkeys((*DIVISION.judging, *DIVISION.scoring), 0.5)
    trained = own._trained({"stops": {"10": scores, "2": dict.fromkeys(scores, -1.0)}})
    assert trained.stops == (2, 10), "in numerical order"
    assert set(trained.scores) == set(scores)
    assert trained.scores[DIVISION.judging[0]] == (-1.0, 0.5)
    with pytest.raises(ValueError, match="no number for"):
        own._trained({"stops": {"2": scores, "10": {}}})
    with pytest.raises(TrainingError, match="no scores at epoch 5") as caught:
        trained.scores_at(5, DIVISION.judging)
    assert "the same epochs" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "it is a list, not an object"),
        ({}, "no number for 'accuracy'"),
        ({"accuracy": 0.9}, "no number for 'loss'"),
        ({"accuracy": None, "loss": 1}, "None for 'accuracy' is not a finite number"),
        ({"accuracy": "0.9", "loss": 1}, "'0.9' for 'accuracy' is not a finite number"),
        ({"accuracy": 0.9, "loss": float("nan")}, "nan for 'loss' is not a finite number"),
        ({"scores": None}, "scores must be numbers by item id"),
        ({"scores": [1, 2]}, "scores must be numbers by item id"),
        ({"stops": {}}, "scores by epoch"),
        ({"stops": []}, "scores by epoch"),
        ({"stops": {"last": {}}}, "scores by epoch"),
        ({"stops": {"1": 3}}, "scores must be numbers by item id"),
    ],
)
def test_metrics_of_another_form_are_refused_in_words(tmp_path, content, said):
    own = trainer(tmp_path, command="true {exclusions_file}")
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TrainingError, match="cannot be used: ") as caught:
        own._read(path, tmp_path / "log.txt")
    assert said in caught.value.message


def test_trainings_with_one_metrics_file_run_one_at_a_time():
    from tracinctl.project.retrain import ProjectRetraining

    notes = []
    how = RetrainSettings(at_once=4)
    shared = ProjectRetraining(how, command="x {exclusions_file}", metrics_file="metrics.json")
    assert shared.at_once(lambda state: notes.append(state.note)) == 1
    assert "{output_dir}" in notes[0]
    own = ProjectRetraining(how, command="x {exclusions_file}")
    assert own.at_once(lambda state: notes.append(state.note)) == 4
    assert len(notes) == 1
