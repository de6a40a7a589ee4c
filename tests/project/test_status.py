"""``status`` after each step, and with files that are out of date."""

from __future__ import annotations

import pytest
from command_line import write_score_file

from tracinctl.review.decisions import Decision, record

NAME = "plastic_500hz"


def load_checkpoint(path):
    """The held-out accuracy in a checkpoint, in per cent."""
    import torch

    return torch.load(path, weights_only=True)["val_accuracy"]


@pytest.fixture
def status(cli):
    return lambda: cli.json("status", "--frequency", "500hz")[0]


def test_status_shows_each_step_and_the_next_command(project, cli, status):
    state = status()
    assert state["recordings"] == 12
    assert state["checkpoints"]["number"] == 2
    assert 0 <= state["checkpoints"]["held_out_accuracy"] <= 1
    assert 0 <= state["checkpoints"]["untrained_accuracy"] <= 1
    assert (state["scores"], state["list"], state["out_of_date"]) == (None, None, [])
    assert state["next"] == "tracinctl compute --material plastic --frequency 500hz"
    assert cli("compute", "--frequency", "500hz", "--margin", "3").code == 0
    state = status()
    assert (state["scores"]["margin"], state["scores"]["loss"], state["scores"]["checkpoints"]) == (3.0, "standard", 2)
    assert state["next"].startswith("tracinctl exclude")
    assert cli("exclude", "--frequency", "500hz").code == 0
    state = status()
    assert state["list"]["edited"] is False
    assert state["out_of_date"] == []
    text = cli("status", "--frequency", "500hz").out
    assert text.splitlines()[0] == "plastic 500hz"
    assert "margin 3" in text
    trained = load_checkpoint(project / "checkpoints" / NAME / "model_epoch_2.pt")
    assert f"held-out accuracy {trained:.1f}%" in text


@pytest.mark.parametrize(
    ("score", "following"),
    [(-1.0, f"your training command with exclusions/{NAME}_excluded_pairs.txt"), (1.0, "tracinctl sweep ")],
)
def test_a_folder_of_scores_alone_is_trained_by_another_program(tmp_path, monkeypatch, cli, score, following):
    monkeypatch.chdir(tmp_path)
    write_score_file(tmp_path / f"metadata/{NAME}_influence_metadata.json", [[score]])
    assert cli.json("status")[0]["next"] == "tracinctl exclude --material plastic --frequency 500hz"
    assert cli("exclude", "--frequency", "500hz").code == 0
    assert cli.json("status")[0]["next"].startswith(following)


def test_new_recordings_that_no_pair_has_are_counted(project, cli):
    def shown():
        return cli("status", "--frequency", "500hz").out.splitlines()[1].split("  ")[-1].strip()

    assert shown() == "12 recordings"
    one = next(project.glob("data/*/plastic/*_500hz_00.wav"))
    one.with_name(one.name.replace("_00.wav", "_70.wav")).write_bytes(one.read_bytes())
    assert shown() == "13 recordings, 1 in no pair"


def test_changed_settings_of_the_file_are_reported(project, cli, status):
    assert cli("compute", "--frequency", "500hz", "--margin", "3").code == 0
    assert status()["out_of_date"] == [], "a flag is no setting of the file"
    path = project / "tracinctl.toml"
    path.write_text(path.read_text().replace("n_fft = 64", "n_fft = 128") + "\n[compute]\nmargin = 2\n")
    said = status()
    assert said["out_of_date"] == [
        "scores: made with margin 3, but the settings say 2",
        "scores: made with n_fft 64, but the settings say 128",
    ]
    assert said["next"] == "tracinctl compute --material plastic --frequency 500hz"
    assert cli("compute", "--frequency", "500hz").code == 0
    assert status()["out_of_date"] == []


def test_with_an_own_training_command_the_next_step_is_that_command(project, cli, status):
    assert cli("workflow", "--frequencies", "500hz", "--min-occurrences", "1").code == 0
    assert status()["next"].startswith("tracinctl train ")
    path = project / "tracinctl.toml"
    path.write_text(path.read_text() + "command = 'python train.py {exclusions_file}'\n")
    assert status()["next"] == f"your training command with exclusions/{NAME}_excluded_pairs.txt"


def test_outdated_and_edited_lists_are_reported(project, cli, status):
    assert cli("compute", "--frequency", "500hz").code == 0
    assert cli("exclude", "--frequency", "500hz", "--min-occurrences", "1").code == 0
    assert status()["out_of_date"] == []
    assert cli("compute", "--frequency", "500hz", "--margin", "3").code == 0
    assert status()["out_of_date"] == ["list: the scores were made again since"]
    assert cli("exclude", "--frequency", "500hz", "--min-occurrences", "1").code == 0
    path = project / "exclusions" / f"{NAME}_excluded_pairs.txt"
    head = [line for line in path.read_text().splitlines() if line.startswith("#") and "excluded:" not in line]
    path.write_text("\n".join([*head, "by hand"]) + "\n")
    state = status()
    assert (state["list"]["ids"], state["list"]["edited"]) == (1, True)
    assert state["out_of_date"] == []
    assert "1 id, edited by hand" in cli("status", "--frequency", "500hz").out
    assert cli("compute", "--frequency", "500hz", "--margin", "2").code == 0
    assert status()["next"].endswith("--dry-run"), "a list that a person edited is only shown first"


def test_changed_checkpoints_make_the_scores_out_of_date(project, cli, status):
    assert cli("compute", "--frequency", "500hz").code == 0
    last = max((project / "checkpoints" / NAME).glob("*.pt"))
    last.rename(last.with_name("model_epoch_9.pt"))
    reasons = status()["out_of_date"]
    assert any("removed: model_epoch_2.pt" in reason for reason in reasons)
    assert any("added: model_epoch_9.pt" in reason for reason in reasons)
    assert status()["next"].startswith("tracinctl compute")


def test_decisions_and_unreadable_files_are_reported(project, cli, status):
    record(project / "reviews" / f"{NAME}_review.csv", [Decision("a_b", "keep")])
    (project / "exclusions").mkdir(exist_ok=True)
    (project / "exclusions" / f"{NAME}_excluded_pairs.txt").write_bytes(b"\xff\xfe")
    state = status()
    assert state["decisions"] == {
        **dict.fromkeys(("left_out", "turned", "relabelled", "disputed"), 0),
        "kept": 1,
        "readable": True,
    }
    assert state["list"]["readable"] is False
    text = cli("status", "--frequency", "500hz").out
    assert "1 decision by people: 0 left out, 1 kept, 0 turned round" in text
    assert "cannot be read" in text
    assert "not UTF-8" in state["out_of_date"][0]


def test_an_empty_folder_names_the_demo(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    result = cli("status")
    assert result.code == 1
    assert "tracinctl demo" in result.err


def test_status_changes_no_file(project, cli, status):
    assert cli("compute", "--frequency", "500hz").code == 0

    def files():
        return {
            path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".tracinctl" not in path.parts
        }

    before = files()
    status()
    assert files() == before


def test_status_shows_each_round_and_leads_to_the_next(project, cli, status):
    rule = ("--min-occurrences", "1", "--max-exclusions", "4")
    assert cli("workflow", "--frequency", "500hz", *rule).code == 0
    list_1 = f"exclusions/{NAME}_excluded_pairs.txt"
    train = f"tracinctl train --material plastic --frequency 500hz --exclusions-file {list_1}"
    assert status()["next"] == train
    assert cli(*train.split()[1:]).code == 0
    state = status()
    assert [round_state["round"] for round_state in state["rounds"]] == [1, 2]
    assert state["rounds"][1]["pairs"]["train"] < state["pairs"]["train"]
    assert (state["rounds"][1]["scores"], state["rounds"][1]["list"]) == (None, None)
    workflow = "tracinctl workflow --material plastic --frequency 500hz --checkpoint-dir checkpoints/retrained"
    assert state["next"] == workflow
    assert cli(*workflow.split()[1:], *rule).code == 0
    state = status()
    assert state["rounds"][1]["list"]["ids"] > state["list"]["ids"] == 4
    assert state["next"].endswith(f"--exclusions-file exclusions/retrained/{NAME}_excluded_pairs.txt")
    text = cli("status", "--frequency", "500hz").out
    assert text.index("round 1") < text.index("round 2")
    assert cli("exclude", "--frequency", "500hz", "--min-occurrences", "1", "--max-exclusions", "2").code == 0
    state = status()
    assert state["rounds"][1]["out_of_date"] == ["checkpoints: the list of round 1 changed since they were trained"]
    assert state["next"] == f"{train} --force"
    assert cli(*train.split()[1:], "--force").code == 0
    stale = status()["rounds"][1]["out_of_date"]
    assert [reason.partition(":")[0] for reason in stale] == ["scores", "scores"], "checkpoints and pairs changed"


def test_a_checkpoint_of_another_program_has_no_accuracy(project, status):
    import torch

    folder = project / "checkpoints" / NAME
    for content in (b"broken", None):
        path = folder / "model_epoch_3.pt"
        if content is None:
            torch.save({"model_state_dict": {"w": torch.zeros(2)}, "val_accuracy": "good", "args": {}}, path)
        else:
            path.write_bytes(content)
        checkpoints = status()["checkpoints"]
        assert (checkpoints["number"], checkpoints["held_out_accuracy"], checkpoints["untrained_accuracy"]) == (
            3,
            None,
            None,
        )
