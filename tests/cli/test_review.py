"""``review`` and ``--review`` from the command line, on a small project of recordings."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from places import ROOT
from trained_project import turn_round

from tracinctl.review.decisions import Decision, record


@pytest.fixture
def scored(project, cli):
    """A project with scores of one frequency and some flipped comparisons."""
    turn_round(project / "checkpoints" / "plastic_500hz" / "pairs.csv")
    assert cli("compute", "--frequency", "500hz").code == 0
    return project


def test_the_page_is_served_until_interrupted(scored):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}
    command = [sys.executable, "-m", "tracinctl", "review", "--frequency", "500hz", "--no-browser", "--who", "Anna"]
    with subprocess.Popen(
        command, cwd=scored, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", address)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.partition("?")[0])  # noqa: S310 - an address of this machine
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"<!doctype html>" in opener.open(address).read()
        suspects = json.loads(opener.open(address.partition("?")[0] + "suspects").read())
        assert suspects["who"] == "Anna"
        assert suspects["suspects"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""
    assert "reviews/plastic_500hz_review.csv" in err
    assert "Traceback" not in err
    port = address.partition("/?")[0].rpartition(":")[2]
    assert f"ssh -L {port}:127.0.0.1:{port} HOST" in err


def test_another_persons_file_is_merged_and_disagreement_is_shown(scored, cli):
    record(scored / "reviews/plastic_500hz_review.csv", [Decision("p", "keep", who="Anna")])
    record(scored / "bens.csv", [Decision("p", "turn", who="Ben"), Decision("q", "leave_out", who="Ben")])
    result = cli("review", "--frequency", "500hz", "--merge", "bens.csv")
    assert result.code == 0
    counts = "1 left out, 0 kept, 0 turned round, 1 disputed and ignored"
    assert result.out.splitlines() == [
        f"reviews/plastic_500hz_review.csv: 2 decisions by people: {counts}",
        "  p  Anna: keep, Ben: turn round",
    ]
    missing = cli("review", "--frequency", "500hz", "--merge", "none.csv")
    assert missing.code == 2
    assert "`--merge`" in missing.err or "--merge" in missing.err


def test_several_frequencies_are_refused_with_an_example(scored, cli):
    assert cli("compute", "--frequency", "1000hz").code == 0
    result = cli("review", "--no-browser")
    assert result.code == 2
    assert "tracinctl review --frequency 500hz" in result.err


def test_without_the_extra_packages_the_error_says_how_to_install_them(scored, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = cli("review", "--frequency", "500hz", "--no-browser")
    assert result.code == 1
    assert "pip install 'tracinctl[review]'" in result.err


@pytest.mark.parametrize("command", ["exclude", "train"])
def test_without_decisions_the_error_says_how_to_make_them(scored, cli, command):
    result = cli(command, "--frequency", "500hz", "--review")
    assert result.code == 2
    assert "tracinctl review --material plastic --frequency 500hz" in result.err


def test_decisions_change_the_list_and_the_training(scored, cli):
    listed = cli.json("exclude", "--frequency", "500hz", "--dry-run")
    ids = (listed[0] if isinstance(listed, list) else listed)["excluded"]
    every = [line.split(",") for line in (scored / "checkpoints/plastic_500hz/pairs.csv").read_text().splitlines()[1:]]
    names = [f"{row[1]}_{row[2]}" for row in every if row[0] == "train"]
    turned, out = names[0], next(name for name in names[1:] if name not in ids)
    record(scored / "reviews/plastic_500hz_review.csv", [Decision(turned, "turn"), Decision(out, "leave_out")])
    result = cli("exclude", "--frequency", "500hz", "--review")
    assert result.code == 0
    text = (scored / "exclusions/plastic_500hz_excluded_pairs.txt").read_text()
    assert out in text.splitlines()
    assert turned not in text.splitlines()
    assert "# review: 2 decisions by people: 1 left out, 0 kept, 1 turned round" in text
    assert cli("train", "--frequency", "500hz", "--review").code == 0
    trained = [
        line.split(",") for line in (scored / "checkpoints/retrained/plastic_500hz/pairs.csv").read_text().splitlines()
    ]
    after = {f"{row[1]}_{row[2]}": row[3] for row in trained[1:]}
    before = {f"{row[1]}_{row[2]}": row[3] for row in every}
    assert out not in after
    assert after[turned] == str(-int(before[turned]))
