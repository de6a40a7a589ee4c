"""A review of a project: the cards agree with the scores, the items and the rankers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_project import build_model, load, make_project

from tracinctl.data.item_texts import items_file
from tracinctl.engine.options import EngineOptions, LossOptions
from tracinctl.errors import DataError, ReviewError, UsageError
from tracinctl.project.compute import compute_project_scores
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.doubts import read_doubts, write_doubts
from tracinctl.project.review import open_review
from tracinctl.project.settings import ComputeSettings, ReviewSettings, SourceSettings
from tracinctl.project.sources import load_data
from tracinctl.project.target import Target
from tracinctl.scores.files.open import open_scores

COMPUTE = ComputeSettings(origin=SourceSettings(n_fft=64, hop=64))


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Score a project of a user's own source under the logistic loss; return its target and settings."""

    def make(module, code="", *, checkpoints=1, folder=tmp_path, **origin):
        make_project(folder, checkpoints)
        if code:
            (folder / f"{module}.py").write_text(code)
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(str(folder))
        target = Target(load_project(load_settings(Path("tracinctl.toml"))), "b", "a")
        origin = SourceSettings(source=f"{module}:load", model="shared_project:build_model", **origin)
        compute = ComputeSettings(origin=origin, engine=EngineOptions(loss=LossOptions(loss="logistic")))
        compute_project_scores(target, compute)
        return target, compute

    return make


@pytest.fixture(scope="module")
def recordings(trained, tmp_path_factory):
    """A trained project with scores and some flipped comparisons; tests do not change it."""
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
    compute_project_scores(target, COMPUTE)
    return target


def rows_of(target):
    source = open_scores(target.score_file)
    return dict(zip(source.train_ids, np.concatenate([block for _, block in source.blocks()]), strict=True)), source


def test_suspects_hurt_in_total_and_the_most_harmful_come_first(recordings):
    rows, _ = rows_of(recordings)
    review = open_review(recordings, COMPUTE, ReviewSettings(order="harm", who="Anna"))
    want = sorted((name for name in rows if rows[name].sum() < 0), key=lambda name: (rows[name].sum(), name))
    assert [suspect.id for suspect in review.suspects] == want
    assert review.suspects[0].suspicion == pytest.approx(-rows[want[0]].sum())
    assert review.decisions.name == "plastic_500hz_review.csv"


def test_the_card_of_a_recording_pair(recordings):
    rows, source = rows_of(recordings)
    review = open_review(recordings, COMPUTE, ReviewSettings())
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


def test_items_have_the_scores_of_the_checkpoints(scored):
    """The strip and the losses come from each item alone, at each checkpoint."""
    target, compute = scored("shared_project", checkpoints=2)
    review = open_review(target, compute, ReviewSettings())
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


def test_a_source_may_describe_its_items(scored):
    code = "from shared_project import load\n\n\ndef describe(item):\n    return f'text of {item}'\n"
    review = open_review(*scored("described_items", code), ReviewSettings(order="error"))
    assert review.item("item3").text == "text of item3"
    chances = [suspect.suspicion for suspect in review.suspects]
    assert chances == sorted(chances, reverse=True)
    assert all(chance > 0.5 for chance in chances)


@pytest.mark.parametrize("source", ["texts", "pairs.csv", "data/votes.csv", "nowhere"])
def test_text_items_show_their_text_without_a_describe_function(tmp_path, scored, source):
    """The text comes from the source's ``Samples``, or from the file that an import of the pairs wrote."""
    texts = "texts=[f'text of {name}' for name in data.train.ids]" if source == "texts" else ""
    code = (
        "from dataclasses import replace\nimport shared_project\n\n\ndef load(frequency, material):\n"
        "    data = shared_project.load(frequency, material)\n"
        f"    return replace(data, train=replace(data.train, {texts}))\n"
    )
    pairs_file = Path(source) if source.startswith("data") else None
    # a new name, because a module is loaded only once
    target, compute = scored(tmp_path.name, code, pairs_file=pairs_file)
    if source.endswith(".csv"):
        Path("data").mkdir()
        rows = [{"id": f"item{k}", "prompt": "Well?", "text": f"text of item{k}"} for k in range(20)]
        items_file(Path(source)).write_text("\n".join(map(json.dumps, rows)))
    review = open_review(target, compute, ReviewSettings())
    shown = {"texts": "text of item3", "nowhere": ""}.get(source, "Well?\n\ntext of item3")
    assert review.item("item3").text == shown


def test_items_are_ordered_by_item_level_influence_and_show_their_pairs(recordings):
    rows, source = rows_of(recordings)
    review = open_review(recordings, COMPUTE, ReviewSettings(by="item"))
    influence = dict(zip(source.sample_ids, source.sample_influence, strict=True))
    want = sorted(influence, key=lambda name: (-influence[name], name))
    assert [suspect.id for suspect in review.suspects] == want
    name = want[0]
    assert review.suspects[0].items == (name,)
    card, reasons = review.card(name), dict(review.card(name).reasons)
    mine = {pair: rows[pair].sum() for pair, of in zip(source.train_ids, source.train_items, strict=True) if name in of}
    assert card.claim == f"{name}, {len(mine)} comparisons"
    assert reasons["item-level influence"] == pytest.approx(influence[name])
    assert reasons["total influence on held-out pairs"] == pytest.approx(sum(mine.values()))
    assert [pair for pair, _ in card.pairs] == sorted(mine, key=lambda pair: mine[pair])[:40]
    assert card.more_pairs == max(0, len(mine) - 40)
    assert name in card.strips


@pytest.fixture
def crowd(scored):
    """A project whose pairs have annotators; two of three comparisons are by Ann."""
    return scored(
        "crowd",
        "from dataclasses import replace\n\nimport numpy as np\nimport shared_project\n\n\n"
        "def load(frequency, material):\n    data = shared_project.load(frequency, material)\n"
        "    who = np.array(['Ann', 'Bob', 'Ann'] * len(data.train_pairs))[: len(data.train_pairs)]\n"
        "    pairs = replace(data.train_pairs, groups={'annotator': who})\n"
        "    return replace(data, train_pairs=pairs)\n",
    )


def test_annotators_are_reviewed_as_groups_of_their_pairs(crowd):
    target, compute = crowd
    rows, source = rows_of(target)
    review = open_review(target, compute, ReviewSettings(by="annotator"))
    totals = {"annotator:Ann": 0.0, "annotator:Bob": 0.0}
    for name, who in zip(source.train_ids, source.groups["annotator"], strict=True):
        totals[f"annotator:{who}"] += rows[name].sum()
    assert [suspect.id for suspect in review.suspects] == sorted(totals, key=totals.get)
    for suspect in review.suspects:
        reasons = dict(review.card(suspect.id).reasons)
        assert suspect.items == ()
        assert reasons["total influence on held-out pairs"] == pytest.approx(totals[suspect.id])
    assert {suspect.annotator for suspect in open_review(target, compute, ReviewSettings()).suspects} <= {"Ann", "Bob"}


def test_an_unknown_column_is_refused(crowd):
    with pytest.raises(UsageError, match="no column 'anotator'") as error:
        open_review(*crowd, ReviewSettings(by="anotator"))
    assert error.value.hint == "Did you mean annotator?"


def test_a_card_shows_out_of_fold_doubts_until_the_outcome_changes(recordings):
    review = open_review(recordings, COMPUTE, ReviewSettings())
    name = "rankers trained without it that rank it the other way"
    assert name not in dict(review.card(review.suspects[0].id).reasons)
    data = load_data(recordings, COMPUTE.origin)
    shares = np.linspace(0, 1, len(data.train_pairs))
    write_doubts(recordings, data, shares)
    try:
        review = open_review(recordings, COMPUTE, ReviewSettings())
        place = data.train_pairs.row_ids(data.train.ids).index(review.suspects[0].id)
        assert dict(review.card(review.suspects[0].id).reasons)[name] == f"{shares[place]:.0%}"
        turned = replace(data, train_pairs=replace(data.train_pairs, target=-data.train_pairs.target))
        assert np.isnan(read_doubts(recordings, turned)).all()
        recordings.doubts_file.write_text("id,target,share\nx")
        assert np.isnan(read_doubts(recordings, data)).all()
    finally:
        recordings.doubts_file.unlink()


@pytest.mark.parametrize("ending", [".png", ".wav"])
def test_pictures_and_sounds_must_be_in_the_projects_folders(tmp_path, scored, ending):
    project, outside = tmp_path / "project", tmp_path / "outside"
    for folder in (project, outside):
        folder.mkdir()
        (folder / f"shown{ending}").write_bytes(b"")
    code = (
        "from pathlib import Path\n\nfrom shared_project import load\n\n\n"
        f"def describe(item):\n    return Path('{project}' if item == 'item3' else '{outside}') / 'shown{ending}'\n"
    )
    # a new name, because a module is loaded only once
    target, compute = scored(f"shows_{ending[1:]}", code, folder=project)
    review = open_review(target, compute, ReviewSettings(order="error"))
    view = review.item("item3")
    path = view.picture or view.sound
    assert (view.picture is None) == (ending == ".wav")
    assert review.file(path) == (project / f"shown{ending}").resolve()
    view = review.item("item4")
    with pytest.raises(DataError, match="is outside the project's folders"):
        review.file(view.picture or view.sound)


def test_scores_of_other_pairs_are_refused(recordings):
    pairs_file = recordings.pairs_file.with_name("other.csv")
    other_pairs = ComputeSettings(origin=SourceSettings(n_fft=64, hop=64, seed=7, pairs_file=pairs_file))
    text = recordings.pairs_file.read_text().splitlines()
    pairs_file.write_text("\n".join(line for k, line in enumerate(text) if k % 3 != 1) + "\n")
    with pytest.raises(ReviewError, match="scored pairs are not among the training pairs"):
        open_review(recordings, other_pairs, ReviewSettings())
