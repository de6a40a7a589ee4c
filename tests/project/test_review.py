"""A review of a project: the cards say what the scores, the items and the rankers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shared_project import build_model, load, make_project

from tracinctl.engine.options import EngineOptions, LossOptions
from tracinctl.errors import ReviewError
from tracinctl.project.compute import compute_project_scores
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.review import open_review
from tracinctl.project.settings import ComputeSettings, ReviewSettings, SourceSettings
from tracinctl.project.target import Target
from tracinctl.scores.files.open import open_scores

ORIGIN = SourceSettings(n_fft=64, hop=64)

LOGISTIC = EngineOptions(loss=LossOptions(loss="logistic"))


@pytest.fixture(scope="module")
def recordings(trained, tmp_path_factory):
    """A trained project with scores, some comparisons of which are the wrong way round; not to be changed."""
    import shutil

    folder = tmp_path_factory.mktemp("reviewed") / "project"
    shutil.copytree(trained, folder)
    target = Target(load_project(load_settings(folder / "tracinctl.toml")), "plastic", "500hz")
    lines = target.pairs_file.read_text().splitlines()
    flip = {"1": "-1", "-1": "1"}
    for k in range(1, len(lines) - 1, 3):
        head, _, outcome = lines[k].rpartition(",")
        lines[k] = f"{head},{flip[outcome]}"
    target.pairs_file.write_text("\n".join(lines) + "\n")
    compute_project_scores(target, ComputeSettings(origin=ORIGIN))
    return target


def rows_of(target):
    source = open_scores(target.score_file)
    return dict(zip(source.train_ids, np.concatenate([block for _, block in source.blocks()]), strict=True)), source


def test_suspects_are_the_pairs_that_hurt_the_most_harmful_first(recordings):
    rows, _ = rows_of(recordings)
    review = open_review(recordings, ORIGIN, ReviewSettings(order="harm", who="Anna"))
    want = sorted((name for name in rows if rows[name].sum() < 0), key=lambda name: (rows[name].sum(), name))
    assert [suspect.id for suspect in review.suspects] == want
    assert review.suspects[0].suspicion == pytest.approx(-rows[want[0]].sum())
    assert review.decisions.name == "plastic_500hz_review.csv"


def test_the_card_of_a_recording_pair(recordings):
    rows, source = rows_of(recordings)
    review = open_review(recordings, ORIGIN, ReviewSettings())
    suspect = review.suspects[0]
    card = review.card(suspect.id)
    winner, loser = suspect.items
    angles = [int(item.split("_")[1].removeprefix("deg")) for item in (winner, loser)]
    line = next(line for line in recordings.pairs_file.read_text().splitlines() if suspect.id in line.replace(",", "_"))
    first, outcome = line.split(",")[1], line.split(",")[3]
    assert (winner == first) == (outcome == "1")
    assert card.claim == f"{winner} ranks above {loser}"
    assert suspect.classes == tuple(f"deg{angle:03}" for angle in angles)
    row = rows[suspect.id]
    assert dict(card.reasons)["total influence on held-out pairs"] == pytest.approx(row.sum())
    assert dict(card.reasons)["held-out pairs that it hurts"].startswith(f"{(row < 0).sum():,} of ")
    order = np.argsort(row, kind="stable")[:5]
    assert [name for name, _ in card.hurts] == [source.test_ids[k] for k in order if row[k] < 0]
    assert len(card.losses) == 2
    for item in (winner, loser):
        view = review.item(item)
        assert view.sound is not None
        assert view.sound.is_file()
        assert all(f"ranks above {item}" != text for _, text in card.comparisons[item])
        assert card.comparisons[item]


def test_items_are_scored_as_the_checkpoints_score_them(tmp_path, monkeypatch):
    """The strip and the losses come from each item by itself, at each checkpoint."""
    make_project(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    target = Target(load_project(load_settings(Path("tracinctl.toml"))), "b", "a")
    origin = SourceSettings(source="shared_project:load", model="shared_project:build_model")
    compute_project_scores(
        target, ComputeSettings(origin=origin, engine=EngineOptions(loss=LossOptions(loss="logistic")))
    )
    review = open_review(target, origin, ReviewSettings())
    data, suspect = load("a", "b"), review.suspects[0]
    card = review.card(suspect.id)
    place = {name: k for k, name in enumerate(data.train.ids)}
    for (name, loss), path in zip(card.losses, sorted(target.checkpoints.iterdir()), strict=True):
        model = build_model().eval()
        model.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            scores = [float(model(data.train.inputs[place[item]][None])) for item in suspect.items]
        assert name == path.name
        assert loss == pytest.approx(np.log1p(np.exp(scores[1] - scores[0])), rel=1e-5)
    strip = card.strips[suspect.items[0]]
    assert strip.score == pytest.approx(scores[0], rel=1e-5)
    assert len(strip.others) == len(data.train) - 1
    assert strip.low <= min(strip.score, *strip.others)
    assert strip.high >= max(strip.score, *strip.others)


def test_a_source_may_describe_its_items(tmp_path, monkeypatch):
    make_project(tmp_path, 1)
    (tmp_path / "described_items.py").write_text(
        "from shared_project import load\n\n\ndef describe(item):\n    return f'text of {item}'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    target = Target(load_project(load_settings(Path("tracinctl.toml"))), "b", "a")
    origin = SourceSettings(source="described_items:load", model="shared_project:build_model")
    compute_project_scores(
        target, ComputeSettings(origin=origin, engine=EngineOptions(loss=LossOptions(loss="logistic")))
    )
    review = open_review(target, origin, ReviewSettings(order="error"))
    assert review.item("item3").text == "text of item3"
    chances = [suspect.suspicion for suspect in review.suspects]
    assert chances == sorted(chances, reverse=True)
    assert all(chance > 0.5 for chance in chances)


def test_scores_of_other_pairs_are_refused(recordings):
    other = SourceSettings(n_fft=64, hop=64, seed=7, pairs_file=recordings.pairs_file.with_name("other.csv"))
    text = recordings.pairs_file.read_text().splitlines()
    other.pairs_file.write_text("\n".join(line for k, line in enumerate(text) if k % 3 != 1) + "\n")
    with pytest.raises(ReviewError, match="scored pairs are not among the training pairs"):
        open_review(recordings, other, ReviewSettings())
