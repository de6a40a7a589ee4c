"""Training in a project replaces neither checkpoints in use nor their pairs without ``force``."""

from __future__ import annotations

import dataclasses

import pytest
from trained_project import make_trained

from tracinctl.errors import TrainingError, UsageError
from tracinctl.project.compute import compute_project_scores
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.settings import ComputeSettings, SourceSettings
from tracinctl.project.target import Target
from tracinctl.project.train import train_project_ranker
from tracinctl.training.options import TrainSettings

ORIGIN = SourceSettings(n_fft=64, hop=64)
SAME = TrainSettings(epochs=2, checkpoint_interval=1)
OTHER = TrainSettings(epochs=1, checkpoint_interval=1)


@pytest.fixture
def target(tmp_path):
    project = load_project(load_settings(make_trained(tmp_path) / "tracinctl.toml"))
    return Target(project, "plastic", "500hz")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_checkpoints_in_use_by_scores_are_not_replaced(target):
    train_project_ranker(target, ORIGIN, OTHER)
    train_project_ranker(target, ORIGIN, SAME)
    compute_project_scores(target, ComputeSettings(origin=ORIGIN))
    before = files(target.own_checkpoints)
    with pytest.raises(TrainingError, match=r"but plastic_500hz_influence_metadata\.json was made from them"):
        train_project_ranker(target, ORIGIN, OTHER)
    assert files(target.own_checkpoints) == before
    assert train_project_ranker(target, ORIGIN, SAME).result.went_on_from == 2
    outcome = train_project_ranker(target, ORIGIN, OTHER, force=True)
    assert files(target.own_checkpoints) != before
    assert outcome.to_json()["untrained_accuracy"] is not None


def test_training_does_not_replace_the_folders_pairs_with_others(target):
    pairs_file = target.pairs_file
    lines = pairs_file.read_text().splitlines(keepends=True)
    another_file = target.project.root / "other.csv"
    another_file.write_text("".join(lines[:2] + lines[3:]))
    origin = dataclasses.replace(ORIGIN, pairs_file=another_file)
    with pytest.raises(UsageError, match=r"pairs\.csv, which holds other pairs than .*other\.csv"):
        train_project_ranker(target, origin, SAME)
    assert pairs_file.read_text() == "".join(lines)
    another_file.write_bytes("".join(lines).replace("\n", "\r\n").encode())
    train_project_ranker(target, origin, SAME)
    another_file.write_text("".join(lines[:2] + lines[3:]))
    train_project_ranker(target, origin, SAME, force=True)
    assert len(pairs_file.read_text().splitlines()) == len(lines) - 1


def test_other_columns_of_the_pairs_are_kept(target):
    pairs_file = target.pairs_file
    first, *lines = pairs_file.read_text().splitlines()
    pairs_file.write_text("\n".join([f"{first},annotator", *(f"{line},anna" for line in lines)]) + "\n")
    train_project_ranker(target, ORIGIN, OTHER)
    assert pairs_file.read_text().splitlines()[0] == f"{first},annotator"
    assert all(line.endswith(",anna") for line in pairs_file.read_text().splitlines()[1:])
