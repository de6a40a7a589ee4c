"""What ``status`` says after each step, and what it finds out of date."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine

from tracinctl.review.decisions import Decision, record

NAME = "plastic_500hz"


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture
def status(cli):
    def ask():
        result = cli("status", "--frequency", "500hz", "--json")
        assert result.code == 0, result.err
        [said] = json.loads(result.out)
        return said

    return ask


def test_each_step_is_seen_and_names_the_next(project, cli, status):
    said = status()
    assert said["recordings"] == 12
    assert said["checkpoints"].startswith("2 checkpoints")
    assert (said["scores"], said["list"], said["out_of_date"]) == (None, None, [])
    assert said["next"] == "tracinctl compute --material plastic --frequency 500hz"
    assert cli("compute", "--frequency", "500hz", "--margin", "3").code == 0
    said = status()
    assert "margin 3" in said["scores"]
    assert said["next"].startswith("tracinctl exclude")
    assert cli("exclude", "--frequency", "500hz").code == 0
    said = status()
    assert "edited" not in said["list"]
    assert said["out_of_date"] == []
    text = cli("status", "--frequency", "500hz").out
    assert text.splitlines()[0] == "plastic 500hz"
    assert "margin 3" in text


def test_a_list_of_other_scores_and_an_edited_list_are_seen(project, cli, status):
    assert cli("compute", "--frequency", "500hz").code == 0
    assert cli("exclude", "--frequency", "500hz", "--min-occurrences", "1").code == 0
    assert status()["out_of_date"] == []
    assert cli("compute", "--frequency", "500hz", "--margin", "3").code == 0
    assert status()["out_of_date"] == ["list: the scores were made again since"]
    assert cli("exclude", "--frequency", "500hz", "--min-occurrences", "1").code == 0
    path = project / "exclusions" / f"{NAME}_excluded_pairs.txt"
    head = [line for line in path.read_text().splitlines() if line.startswith("#") and "excluded:" not in line]
    path.write_text("\n".join([*head, "by hand"]) + "\n")
    said = status()
    assert "1 id, edited by hand" in said["list"]
    assert said["out_of_date"] == []


def test_changed_checkpoints_make_the_scores_out_of_date(project, cli, status):
    assert cli("compute", "--frequency", "500hz").code == 0
    last = max((project / "checkpoints" / NAME).glob("*.pt"))
    last.rename(last.with_name("model_epoch_9.pt"))
    reasons = status()["out_of_date"]
    assert any("removed: model_epoch_2.pt" in reason for reason in reasons)
    assert any("added: model_epoch_9.pt" in reason for reason in reasons)
    assert status()["next"].startswith("tracinctl compute")


def test_decisions_and_what_cannot_be_read_are_said(project, cli, status):
    record(project / "reviews" / f"{NAME}_review.csv", [Decision("a_b", "keep")])
    (project / "exclusions").mkdir(exist_ok=True)
    (project / "exclusions" / f"{NAME}_excluded_pairs.txt").write_bytes(b"\xff\xfe")
    said = status()
    assert said["decisions"] == "1 decision by people: 0 left out, 1 kept, 0 turned round"
    assert said["list"] == "cannot be read"
    assert "not UTF-8" in said["out_of_date"][0]


def test_an_empty_folder_names_the_demo(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    result = cli("status")
    assert result.code == 1
    assert "tracinctl demo" in result.err


def test_asking_changes_no_file_of_the_project(project, cli, status):
    assert cli("compute", "--frequency", "500hz").code == 0

    def files():
        return {
            path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".tracinctl" not in path.parts
        }

    before = files()
    status()
    assert files() == before
