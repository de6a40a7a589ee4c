"""``sweep --retrain``: the lists of several thresholds, the choice among them, and what judges the choice."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.cli.test_retrain import cli  # noqa: F401 - a fixture
from tests.retraining.test_trial import DATA, DIVISION, LISTED, Pretended
from tracinctl.errors import TrainingError
from tracinctl.plots.differences import interval_lines
from tracinctl.retraining.sweep import judge_sweep
from tracinctl.retraining.trainer import Trained
from tracinctl.retraining.trial import RetrainSettings
from tracinctl.retraining.wording import choice_words, division_of_sweep, threshold_rows
from tracinctl.scores.source import SomeColumns
from tracinctl.scores.table import InfluenceTable

LISTS = {"0": LISTED, "-5": LISTED[:3], "-99": []}


def judged(trainer, folder, **more):
    return judge_sweep(trainer, DATA, DIVISION, LISTS, RetrainSettings(**more), folder)


def test_the_best_threshold_is_chosen_by_some_and_judged_by_others(tmp_path):
    found = judged(Pretended(harm=3.0), tmp_path / "kept")
    assert found.chosen.threshold == "0"
    parts = [set(DIVISION.scoring), set(found.choosing), set(found.confirming)]
    assert set.union(*parts) == set(DATA.test.ids)
    assert sum(map(len, parts)) == len(DATA.test), "nobody has two parts"
    assert found.confirmed.mean > 0
    assert [row.left_out for row in found.rows] == [20, 3, 0]
    assert found.rows[2].difference.mean == 0
    assert "Chosen: threshold 0." in choice_words(found)
    assert f"{len(found.confirming)} judge the choice" in division_of_sweep(found)
    assert [row[0] for row in threshold_rows(found)] == ["everything", "* 0", "-5", "-99"]
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["chosen"] == "0"


def test_the_choice_and_its_judgement_do_not_look_at_each_others_items(tmp_path):
    base = judged(Pretended(harm=3.0), tmp_path / "base")

    @dataclasses.dataclass(frozen=True)
    class Meddled(Pretended):
        items: tuple = ()

        def train_one(self, training):
            trained = super().train_one(training)
            return Trained({k: (-v,) if k in self.items else (v,) for k, (v,) in trained.scores.items()})

    by = judged(Meddled(harm=3.0, items=tuple(base.confirming)), tmp_path / "confirming")
    for one, two in zip(base.rows, by.rows, strict=True):
        assert np.array_equal(one.accuracy, two.accuracy)
    assert by.confirmed.mean != base.confirmed.mean
    by = judged(Meddled(harm=3.0, items=tuple(base.choosing)), tmp_path / "choosing")
    assert by.chosen is None or by.chosen.threshold != "0" or by.confirmed == base.confirmed


def test_where_no_list_is_better_nothing_is_chosen(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Harmed(Pretended):
        def train_one(self, training):
            trained = super().train_one(training)
            return trained if not training.exclusions else Trained({k: (-v,) for k, (v,) in trained.scores.items()})

    found = judged(Harmed(), tmp_path / "kept")
    assert (found.chosen, found.confirmed, found.judgement.verdict) == (None, None, "no difference seen")
    assert "no threshold" in choice_words(found)


def test_accuracies_without_items_cannot_be_divided(tmp_path):
    with pytest.raises(TrainingError, match="two groups"):
        judged(Pretended(plain=True), tmp_path / "kept")


def test_scores_of_some_columns_are_those_of_the_table():
    scores = np.arange(12.0).reshape(3, 4)
    some = SomeColumns(InfluenceTable(list("abc"), list("wxyz"), scores), ["y", "w", "not there"])
    assert some.test_ids == ["w", "y"]
    assert np.array_equal(np.concatenate([block for _, block in some.blocks()]), scores[:, [0, 2]])


def test_the_picture_marks_zero_difference_and_interval():
    rows = [("0", 0.1, 0.05, 0.2), ("-5", -0.02, -0.1, 0.1), ("-9", 0.0, float("-inf"), 1.0)]
    lines = [line.plain for line in interval_lines(rows, 60)]
    assert len(lines) == 2, "what is not finite has no place"
    assert max(map(len, lines)) <= 60
    assert len({line.index("┊") for line in lines}) == 1
    assert lines[0].index("┊") < lines[0].index("├") < lines[0].index("●") < lines[0].index("┤")
    assert interval_lines([], 60) == []


def test_it_runs_from_the_command_line(cli):  # noqa: F811 - the fixture
    cli("train")
    assert cli("compute").code == 0
    arguments = ("--thresholds", "0,-1000", "--retrain", "--repeats", "2", "--at-once", "1")
    done = cli("sweep", *arguments)
    assert done.code == 0, done.err
    assert "score influence and make the lists" in " ".join(done.out.split())
    assert "Chosen: " in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert "retraining" in json.loads(cli("sweep", *arguments, "--json").out)[0]
