"""Bad input: for each fault, the exit code, a message that names file and item, and nothing written."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest
from crash_projects import SETTINGS, contents
from faults import FAULTS, MARKER, SCORES
from hostile import HOSTILE
from wav_trees import tone, tree, write


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A project with scores, at a path with spaces and letters of other alphabets."""
    import os

    from tracinctl.cli.app import app
    from tracinctl.cli.base import run

    folder = tmp_path_factory.mktemp("faults") / "Träcin προ 项目 [bold]"
    tree(folder / "data", takes=4)
    (folder / "tracinctl.toml").write_text(SETTINGS)
    here = os.getcwd()  # noqa: PTH109  to restore it with chdir
    os.chdir(folder)
    try:
        assert run(app, ["-q", "train", "--frequency", "500hz", "--epochs", "2"]) == 0
        assert run(app, ["-q", "compute", "--frequency", "500hz", "--margin", "9"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def project(computed, tmp_path, monkeypatch):
    folder = tmp_path / computed.name
    shutil.copytree(computed, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def little_memory():
    """Make every allocation beyond one more gibibyte fail."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.parametrize("fault", [*FAULTS, *HOSTILE], ids=str)
@pytest.mark.usefixtures("little_memory")
def test_a_fault_is_named_and_nothing_is_written(cli, project, fault):
    fault.make(project)
    before = contents(project)
    result = cli(*fault.arguments)
    said = " ".join(result.err.split())
    assert result.code == fault.code, said
    for text in fault.said:
        assert text in said
    assert result.err.count("error: ") == 1
    assert "Traceback" not in said
    assert "\x1b" not in result.err
    assert "internal error" not in said
    assert not (project / MARKER).exists()
    after = {name: data for name, data in contents(project).items() if "/cache/" not in name}
    assert after == {name: data for name, data in before.items() if "/cache/" not in name}


def test_recordings_of_different_lengths_are_compared(cli, project):
    write(project / "data/deg036/plastic/plastic_deg036_500hz_02.wav", tone(1500))
    result = cli("compute", "--frequency", "500hz", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)[0]["train_pairs"]


@pytest.mark.parametrize(
    ("start", "end_of_line", "end"),
    [("", "\n", "\n"), ("\ufeff", "\r\n", "\r\n"), ("", "\r", ""), ("\ufeff", "\n", "")],
)
def test_a_list_may_come_from_any_editor_and_name_pairs_and_items(cli, project, start, end_of_line, end):
    lines = (project / "checkpoints/plastic_500hz/pairs.csv").read_text().splitlines()[1:]
    _, one, other, _ = lines[0].split(",")
    _, item, *_ = lines[-1].split(",")
    ids = ["# mine", f"{one}_{other}", "", f"  {item}  ", "nobody"]
    (project / "list.txt").write_bytes((start + end_of_line.join(ids) + end).encode())
    result = cli("train", "--frequency", "500hz", "--exclusions-file", "list.txt", "--epochs", "1", "--json")
    assert result.code == 0, result.err
    (found,) = json.loads(result.out)
    assert found["left_out_pairs"] == [f"{one}_{other}"]
    assert found["unknown_ids"] == ["nobody"]
    assert "nobody" in result.err


def test_a_project_at_any_path_works(cli, project):
    result = cli("exclude", "--frequency", "500hz", "--min-occurrences", "1", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)[0]["file"] == str(project / SCORES)
