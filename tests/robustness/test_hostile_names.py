"""Hostile ids, names and links: shown escaped, and never used to write elsewhere."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re

import pytest
from command_line import write_score_file

NASTY = [
    "\x1b[31mred\x1b[0m",
    "[bold]b[/bold][link=http://x]",
    "<script>alert(1)</script>",
    "../../../etc/passwd",
    "/etc/passwd",
    "a\x07\x9b2J\x7f",
    "\u202eabc\u2066",
    "`rm -rf`$(x)",
    "| a | b |",
    "'\"&amp;",
    "x" * 300,
]
CONTROL = {chr(c) for c in [*range(32), *range(127, 160)]} - {"\n"} | set("\u202e\u2066")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with scores of hostile ids."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tracinctl.toml").write_text('material = "box"\nfrequencies = ["1hz"]\n')
    monkeypatch.chdir(folder)
    train = [f"box_{name}_1hz_{k}_box_b_1hz_{k}" for k, name in enumerate(NASTY)]
    test = [f"box_{name}_1hz_9{k}_box_b_1hz_9{k}" for k, name in enumerate(NASTY)]
    scores = [[-1.0 - row - column for column in range(len(test))] for row in range(len(train))]
    write_score_file(folder / "metadata/box_1hz_influence_metadata.json", scores, train, test)
    return folder


COMMANDS = [
    ["sweep", "--top", "20"],
    ["exclude", "--dry-run"],
    ["exclude", "--update-metadata"],
    ["workflow", "--plot", "top"],
    *(["plot", view, "--top", "20"] for view in ("overview", "distribution", "sweep", "heatmap", "top", "self")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_ids_are_shown_escaped_and_used_in_no_path(cli, project, command):
    frequency = "--frequencies" if command[0] == "workflow" else "--frequency"
    result = cli(*command, frequency, "1hz")
    assert result.code in {0, 1}
    assert "internal error" not in result.err
    assert not CONTROL & set(result.out + result.err)
    assert sorted(p.name for p in project.parent.iterdir()) == ["project"]
    listed = project / "exclusions/box_1hz_excluded_pairs.txt"
    if listed.exists():
        lines = listed.read_text(encoding="utf-8").split("\n")
        assert [line for line in lines if "etc/passwd" in line] == [
            line for line in lines if line.startswith("box_") and "etc/passwd" in line
        ]


@pytest.mark.parametrize("ending", ["html", "md"])
def test_a_report_contains_no_code_from_an_id(cli, project, ending):
    result = cli("workflow", "--frequencies", "1hz", "--report", f"report.{ending}")
    assert result.code == 0, result.err
    text = (project / f"report.{ending}").read_text(encoding="utf-8")
    running = text
    if ending == "md":  # text in fenced blocks and code spans is not interpreted
        running = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", "".join(text.split("\n```")[::2]))
    assert "<script>alert" not in running
    assert "[link=http" in html.unescape(text)
    assert not (CONTROL - {"\t"}) & set(text)


@pytest.mark.parametrize("ending", ["svg", "html", "txt"])
def test_a_picture_contains_no_code_from_an_id(cli, project, ending):
    result = cli("plot", "top", "--frequency", "1hz", "--top", "20", "--output", f"top.{ending}")
    assert result.code == 0, result.err
    text = (project / f"top.{ending}").read_text(encoding="utf-8")
    assert "<script>alert" not in text or ending == "txt"
    assert not CONTROL & set(text)


def test_an_id_of_two_lines_never_becomes_two_lines_of_a_list(cli, project):
    ids = [f"box_a\nbox_c_1hz_{k}_box_b_1hz_{k}" for k in range(3)]
    path = project / "metadata/box_1hz_influence_metadata.json"
    write_score_file(path, [[-1.0] * 3] * 3, ids)
    result = cli("exclude", "--frequency", "1hz")
    assert result.code == 1
    assert "an exclusion list cannot contain the id" in result.err
    assert not (project / "exclusions").exists()


def test_a_link_is_replaced_and_its_target_stays_unchanged(cli, project):
    outside = project.parent / "outside.txt"
    outside.write_text("mine")
    lists = project / "exclusions"
    lists.mkdir()
    (lists / "box_1hz_excluded_pairs.txt").symlink_to(outside)
    assert cli("exclude", "--frequency", "1hz").code == 0
    assert outside.read_text() == "mine"
    assert not (lists / "box_1hz_excluded_pairs.txt").is_symlink()


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays_unchanged(cli, project):
    outside = project.parent / "outside.txt"
    outside.write_text("mine")
    (project / "metadata/.box_1hz_metadata.json.lock").symlink_to(outside)
    result = cli("exclude", "--frequency", "1hz", "--update-metadata")
    assert result.code == 1
    assert "is a symbolic link" in result.err
    assert outside.read_text() == "mine"


def test_a_hostile_sidecar_is_an_error_that_names_it(cli, project):
    path = project / "metadata/box_1hz_influence_metadata.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = project / "metadata/box_1hz_influence_provenance.json"
    for text in ("[" * 100_000, json.dumps({"scores_sha256": digest, "train_items": 3}), "9" * 5000, "\x00"):
        beside.write_text(text)
        refused = cli("sweep", "--frequency", "1hz", "--json")
        assert refused.code == 1
        assert f"{beside.name} is damaged" in " ".join(refused.err.split())
    beside.unlink()
    os.mkfifo(beside)
    assert "is a pipe or a device" in " ".join(cli("sweep", "--frequency", "1hz", "--json").err.split())
    beside.unlink()
    beside.symlink_to("nowhere")
    assert beside.name in cli("sweep", "--frequency", "1hz", "--json").err
    beside.unlink()
    assert cli("sweep", "--frequency", "1hz", "--json").code == 0
