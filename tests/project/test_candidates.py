"""The candidates of a choice: which pairs they list, and how training pairs judge them."""

from __future__ import annotations

import numpy as np
import pytest
from shared_project import load, make_project

from tests.retraining.test_crossfit import IDS, MIRRORED
from tests.retraining.test_unseen import Noise
from tracinctl import InfluenceTable
from tracinctl.engine.options import METHODS, EngineOptions
from tracinctl.progress import no_progress
from tracinctl.project.candidates import item_candidates, scores_by_method, with_unseen
from tracinctl.project.config import Settings, load_project
from tracinctl.project.settings import ComputeSettings, SourceSettings
from tracinctl.project.target import Target
from tracinctl.retraining.choice import Candidate
from tracinctl.retraining.crossfit import cross_fit
from tracinctl.retraining.judging import divide_held_out
from tracinctl.retraining.unseen import unseen_gains

NAMES = MIRRORED.train_pairs.row_ids(IDS)


def table(sample_influence):
    ids = IDS if sample_influence is not None else ()
    scores = np.zeros((len(NAMES), 1))
    return InfluenceTable(NAMES, ["test"], scores, sample_ids=ids, sample_influence=sample_influence)


def test_the_pairs_of_items_that_stand_out_are_listed_once_each_and_no_other():
    influence = np.linspace(1, 2, len(IDS))
    influence[[2, 9]] = 50, 60
    (candidate,) = item_candidates(MIRRORED, table(influence))
    bad = {IDS[2], IDS[9]}
    pairs = zip(NAMES, MIRRORED.train_pairs.first, MIRRORED.train_pairs.second, strict=True)
    assert list(candidate.ids) == [name for name, i, j in pairs if {IDS[i], IDS[j]} & bad]
    assert candidate.halves == (candidate.ids, candidate.ids), "held-out pairs have no part in this measure"
    assert candidate.unseen is None


def test_without_the_item_measure_or_items_that_stand_out_nothing_is_listed():
    assert item_candidates(MIRRORED, table(None)) == []
    (candidate,) = item_candidates(MIRRORED, table(np.ones(len(IDS))))
    assert candidate.ids == ()


def test_a_rule_has_the_gain_of_leaving_out_what_is_not_fitted_in_proportion_to_its_length():
    train = Noise()
    fold = cross_fit(train, MIRRORED, 3, rankers=8, loss="capped")
    gains = unseen_gains(train, MIRRORED, fold)
    size = round(gains.left_out * len(NAMES) / 2)
    lists = [Candidate(str(length), ids=NAMES[:length]) for length in (0, size, 3 * size)]
    judged = with_unseen([*lists, Candidate("capped", loss="capped")], Noise(), MIRRORED, fold)
    nothing, half, many, under_loss = (candidate.unseen for candidate in judged)
    assert (nothing.mean, nothing.error) == (0, 0)
    share = size / (gains.left_out * len(NAMES))
    assert half.mean == pytest.approx(share * gains.fitted.mean)
    assert half.error == pytest.approx(share * gains.fitted.error)
    assert (many, under_loss) == (gains.fitted, gains.of_loss)


def test_every_method_scores_by_the_users_function_of_the_output(tmp_path, monkeypatch):
    make_project(tmp_path, 1)
    (tmp_path / "output_score.py").write_text("def twice(output):\n    return 2 * output\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    origin = SourceSettings(source="shared_project:load", model="shared_project:build_model")
    compute = ComputeSettings(origin=origin, engine=EngineOptions(score="output_score:twice"))
    target, data = Target(load_project(Settings()), "b", "a"), load("a", "b")
    sources = scores_by_method(target, compute, data, divide_held_out(data, 0), table(None), no_progress)
    assert {*sources} == {*METHODS}
