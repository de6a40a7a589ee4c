"""Why a pair is listed: each figure compared with the scores and checkpoints."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
from command_line import CommandLine
from score_tables import InBlocks, table

from tests.project.test_review import COMPUTE, recordings, rows_of  # noqa: F401 - a fixture
from tracinctl.errors import UsageError
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.explain import explain_pair, files_with
from tracinctl.project.selection import ScoreFile
from tracinctl.project.target import Target
from tracinctl.scores.effects import opposed_pairs
from tracinctl.scores.files.open import write_scores


def test_an_explanation_agrees_with_the_scores(recordings):  # noqa: F811 - the fixture
    rows, source = rows_of(recordings)
    name = min(rows, key=lambda key: rows[key].sum())
    explanation = explain_pair(recordings, COMPUTE, name)
    row = rows[name]
    assert explanation.total == pytest.approx(row.sum())
    assert explanation.votes == (row < 0).sum()
    assert [score for _, score in explanation.card.hurts] == pytest.approx(sorted(row[row < 0])[:5])
    assert [score for _, score in explanation.helps] == pytest.approx(sorted(row[row > 0], reverse=True)[:5])
    assert len(explanation.card.losses) > 1
    cosine = {
        pair: row @ gradient / np.linalg.norm(row) / np.linalg.norm(gradient)
        for pair, gradient in rows.items()
        if gradient.any()
    }
    want = sorted(cosine, key=cosine.get)[:5]
    assert [value for _, value in explanation.opposed] == pytest.approx(
        [cosine[pair] for pair in want if cosine[pair] < 0]
    )
    plain = explanation.to_json()
    assert plain["pair"] == name
    assert [entry["checkpoint"] for entry in plain["losses"]] == [point for point, _ in explanation.card.losses]
    assert any("--retrain" in text for text in explanation.missing)
    assert source.train_ids


def test_an_unknown_pair_is_refused_with_the_nearest_id(recordings):  # noqa: F811 - the fixture
    rows, source = rows_of(recordings)
    name = next(iter(rows))
    with pytest.raises(UsageError, match="no training pair") as error:
        explain_pair(recordings, COMPUTE, f"{name}x")
    assert "Did you mean" in error.value.hint
    with pytest.raises(UsageError, match="no training pair") as error:
        explain_pair(recordings, COMPUTE, "?")
    assert error.value.hint == f"An example is {source.train_ids[0]}."
    with pytest.raises(UsageError, match="is a held-out pair"):
        explain_pair(recordings, COMPUTE, source.test_ids[0])


def test_opposed_pairs_have_the_lowest_negative_cosines():
    source = table([[1.0, 2.0], [-2.0, -4.0], [0.0, 0.0], [-1.0, 0.5], [3.0, 6.0], [-1.0, 0.0]])
    slow = InBlocks(source, 4)
    opposed = opposed_pairs(slow, 0)
    assert [name for name, _ in opposed] == [source.train_ids[1], source.train_ids[5]]
    assert [value for _, value in opposed] == pytest.approx([-1.0, -1 / 5**0.5])
    assert slow.readings == 2


def test_the_command_prints_text_and_json(recordings, capsys, monkeypatch):  # noqa: F811 - the fixture
    rows, _ = rows_of(recordings)
    name = min(rows, key=lambda key: rows[key].sum())
    monkeypatch.chdir(recordings.project.root)
    cli = CommandLine(capsys)
    result = cli("explain", name)
    assert result.code == 0, result.err
    assert "Its loss at each checkpoint" in result.out
    assert "contradict it most" in result.out
    assert json.loads(cli("explain", name, "--json").out)[0]["total"] == pytest.approx(rows[name].sum())
    assert cli("explain", name + "x").code == 2


def test_a_pair_of_one_of_several_frequencies_is_found_in_its_scores(tmp_path):
    project = load_project(load_settings(None), tmp_path)
    files = []
    for frequency in ("500hz", "1000hz"):
        target = Target(project, "box", frequency)
        scores = table([[1.0, -1.0]], train_items=[("x", f"{frequency}_y")])
        target.score_file.parent.mkdir(exist_ok=True)
        write_scores(scores, target.score_file)
        files.append(ScoreFile(target.score_file, target))
    assert files_with("x_1000hz_y", files) == files[1:]
    assert files_with("anything", files[:1]) == files[:1], "one file is not read twice"
    with pytest.raises(UsageError, match="in the scores of box 500hz, box 1000hz") as error:
        files_with("x_1000hz_z", files)
    assert error.value.hint == "Did you mean x_1000hz_y?"
    with pytest.raises(UsageError, match="no training pair") as error:
        files_with("nothing like it", files)
    assert error.value.hint == "An example is x_500hz_y."


@pytest.mark.parametrize("command", ["explain", "review"])
def test_changed_recordings_are_reported(recordings, tmp_path, capsys, monkeypatch, command):  # noqa: F811
    folder = shutil.copytree(recordings.project.root, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tracinctl.review.serving.serve_review", lambda *_: None)
    arguments = [command, *([next(iter(rows_of(recordings)[0]))] if command == "explain" else ["--no-browser"])]
    cli = CommandLine(capsys)
    assert "since these scores were made" not in cli(*arguments).err
    path = next(folder.glob("data/*/plastic/*_500hz_*.wav"))
    sound, rate = soundfile.read(path)
    soundfile.write(path, sound * 0.5, rate)
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert f"since these scores were made, recording changed: {path.stem}" in result.err
