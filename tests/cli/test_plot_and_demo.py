"""``plot`` and ``demo`` from the command line."""

import json
import re
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from command_line import write_score_file

from tracinctl.cli.app import Commands
from tracinctl.demo.make import DemoResult, DemoSet
from tracinctl.plots.views import VIEWS

ITEMS = [f"box_deg{angle:03}_1hz_{take:02}" for angle in (0, 36, 72) for take in range(3)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = [f"{a}_{b}" for a in ITEMS for b in ITEMS if a[:10] < b[:10]]
    scores = np.random.default_rng(0).normal(0, 10, (len(ids), 4))
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", scores, train_ids=ids)
    return tmp_path


def test_the_command_knows_every_view():
    view = next(param for param in Commands()["plot"].params if param.name == "view")
    assert tuple(view.type.choices) == VIEWS


@pytest.mark.parametrize("view", ["overview", "distribution", "sweep", "heatmap", "top"])
def test_a_view_in_a_pipe_fits_explains_signs_and_has_no_colour(cli, project, view):
    result = cli("plot", view)
    assert result.code == 0, result.err
    assert "box 1hz" in result.out
    assert "ositive = helpful, negative = harmful" in result.out
    assert "\x1b" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_overview_is_the_view_without_a_name(cli, project):
    assert cli("plot").out == cli("plot", "overview").out


def test_one_held_out_pair_shows_its_proponents_and_opponents(cli, project):
    everything = json.loads((project / "metadata" / "box_1hz_influence_metadata.json").read_text())
    test_pair = next(iter(next(iter(everything.values())))).removeprefix("tracin_influence_")
    scores = {name: row[f"tracin_influence_{test_pair}"] for name, row in everything.items()}
    out = cli("plot", "top", "--test-pair", test_pair, "--top", "1").out
    assert min(scores, key=scores.get) in out
    assert max(scores, key=scores.get) in out
    result = cli("plot", "top", "--test-pair", test_pair + "x")
    assert result.code == 2
    assert test_pair in result.err


def test_a_test_pair_selects_its_score_file(cli, project):
    scores = [[-3.0, 4.0]]
    write_score_file(project / "metadata" / "box_2hz_influence_metadata.json", scores, ["a_b"], ["only_here", "too"])
    result = cli("plot", "top", "--test-pair", "only_here")
    assert result.code == 0, result.err
    assert "box 2hz" in result.out
    assert "box 1hz" not in result.out
    assert "-3" in result.out
    assert "Did you mean only_here?" in cli("plot", "top", "--test-pair", "only_her").err


def test_a_training_pair_or_a_pair_in_the_opposite_order_is_named_as_such(cli, project):
    scores = [[-3.0, 4.0], [1.0, 2.0]]
    files = [project / "metadata" / f"box_{n}hz_influence_metadata.json" for n in (2, 3)]
    for number, path in enumerate(files):
        write_score_file(
            path, scores, [f"m_0_m_{number}1", f"m_2_m_{number}3"], [f"m_8_m_{number}9", f"m_6_m_{number}7"]
        )
    trained = cli("plot", "top", "--test-pair", "m_0_m_11")
    assert trained.code == 2
    assert "'m_0_m_11' is a training pair" in trained.err
    assert "for example m_8_m_19" in trained.err
    turned = cli("plot", "top", "--metadata-file", str(files[0]), "--test-pair", "m_7_m_6")
    assert turned.code == 2
    assert "opposite order" not in turned.err, "m_7 is a different item"
    turned = cli("plot", "top", "--metadata-file", str(files[0]), "--test-pair", "m_07_m_6")
    assert "The scores have it in the opposite order: m_6_m_07" in turned.err


@pytest.mark.parametrize(("ending", "begin"), [(".txt", "box 1hz"), (".svg", "<svg"), (".html", "<!DOCTYPE html>")])
def test_a_picture_is_written_to_a_file(cli, project, ending, begin):
    result = cli("-q", "plot", "top", "--output", f"top{ending}")
    assert result.code == 0, result.err
    assert result.out == f"top{ending}\n"
    text = Path(f"top{ending}").read_text(encoding="utf-8")
    assert text.startswith(begin)


def test_a_picture_of_an_unknown_kind_or_of_two_files_is_refused(cli, project):
    result = cli("plot", "--output", "top.png")
    assert result.code == 2
    assert ".svg" in result.err
    assert not Path("top.png").exists()
    write_score_file(project / "metadata" / "box_2hz_influence_metadata.json", [[1.0]])
    result = cli("plot", "--output", "top.svg")
    assert result.code == 2
    assert "--frequency 1hz" in result.err


def test_a_view_without_its_scores_names_the_command_for_them(cli, project):
    result = cli("plot", "checkpoints")
    assert result.code == 1
    assert "tracinctl compute --save-per-checkpoint" in result.err
    result = cli("plot", "self")
    assert result.code == 1
    assert "tracinctl compute" in result.err


def test_scores_of_checkpoints_are_drawn_from_their_file(cli, project):
    path = project / "metadata" / "box_1hz_influence_metadata.json"
    content = json.loads(path.read_text())
    split = {
        name: {f"{key}_model_epoch_{n}.pt": value * n / 12 for key, value in row.items() for n in (2, 10)}
        for name, row in content.items()
    }
    beside = project / "metadata" / "box_1hz_per_checkpoint_influence_metadata.json"
    beside.write_text(json.dumps(split))
    result = cli("plot", "checkpoints")
    assert result.code == 0, result.err
    sizes = {
        name: float(re.search(rf"{name}\.pt +([\d.]+)", result.out)[1]) for name in ("model_epoch_2", "model_epoch_10")
    }
    assert sizes["model_epoch_10"] == pytest.approx(5 * sizes["model_epoch_2"], rel=0.02)
    del split[next(iter(split))]
    beside.write_text(json.dumps(split))
    result = cli("plot", "checkpoints")
    assert result.code == 1
    assert "does not belong to these scores" in result.err


def test_demo_reports_planted_errors_and_the_next_command(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []

    def made(directory, frequencies, seed, *, progress):
        calls.append((directory, frequencies, seed))
        trained = [DemoSet("plastic", name, 270, 150, 2, 0.9) for name in frequencies]
        return DemoResult(directory.absolute(), [*trained, DemoSet("metal", "500hz", 36)])

    monkeypatch.setattr("tracinctl.demo.make.make_demo", made)
    result = cli("demo", "my project", "--frequencies", "500hz,1000hz", "--seed", "7")
    assert calls == [(Path("my project"), ["500hz", "1000hz"], 7)]
    assert "300 flipped comparisons" in result.out
    assert "Next: cd 'my project' && tracinctl workflow --frequencies 500hz,1000hz" in result.out
    assert "576 recordings, 300 flipped comparisons, 4 recordings with a wrong angle" in result.out
    assert result.out.count("held-out accuracy 90.0%") == 2
    sets = cli.json("demo", "x")
    assert [(entry["material"], entry["frequency"], entry["planted_items"]) for entry in sets] == [
        ("plastic", "500hz", 2),
        ("plastic", "1000hz", 2),
        ("metal", "500hz", 0),
    ]
    assert cli("-q", "demo", "x").out == f"{tmp_path / 'x'}\n"


def test_demo_refuses_a_folder_that_is_not_empty(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").touch()
    result = cli("demo", ".")
    assert (result.code, result.out) == (2, "")
    assert "not an empty folder" in result.err
    assert sorted(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
    assert cli("demo").code == 2, "the folder is required"


@pytest.mark.parametrize("typed_as", ["NFC", "NFD"])
@pytest.mark.parametrize("written_as", ["NFC", "NFD"])
def test_pairs_and_materials_are_found_in_any_unicode_form(cli, project, written_as, typed_as):
    pairs = ["m\u00e9tal_1_m\u00e9tal_2", "m\u00e9tal_7_m\u00e9tal_8"]
    train, test = (normalize(written_as, pair) for pair in pairs)
    file = project / "metadata" / "m\u00e9tal_3hz_influence_metadata.json"
    write_score_file(file, [[-1.0]], [train], [test])
    typed = [normalize(typed_as, name) for name in (*pairs, "m\u00e9tal")]
    for arguments in (
        ["plot", "top", "--train-pair", typed[0], "--metadata-file", str(file)],
        ["plot", "top", "--test-pair", typed[1], "--metadata-file", str(file)],
        ["status", "--material", typed[2]],
    ):
        result = cli(*arguments)
        assert result.code == 0, result.err
