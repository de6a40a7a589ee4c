"""Terminals and file systems of other machines, as far as this one can imitate them."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import CommandLine
from crash_projects import SETTINGS, leftovers
from score_tables import table
from wav_trees import tree

from tracinctl import files
from tracinctl.cli.output.streams import ERRORS, let_streams_write_anything
from tracinctl.engine.kernel import array_file
from tracinctl.engine.kernel.cache import KernelCache
from tracinctl.errors import TracinctlError, UsageError
from tracinctl.files import clear_leftovers, write_text_atomic
from tracinctl.project import target
from tracinctl.scores.files.open import write_scores

OLD = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    scores = np.random.default_rng(0).standard_normal((60, 8))
    items = [(f"m_deg{k % 3:03}_f_{k}", f"m_deg{k % 2:03}_f_{k + 1}") for k in range(60)]
    write_scores(table(scores, train_items=items), folder / "metadata" / "m_f_influence_metadata.json")
    return folder


@pytest.mark.parametrize("encoding", OLD, ids=lambda each: next(iter(each.values())))
def test_an_old_terminal_gets_pictures_in_its_own_letters(encoding, project):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    program = "import sys; from tracinctl.cli.app import app; from tracinctl.cli.base import run\n"
    program += "for line in ('--help', 'sweep', 'plot overview', 'plot sweep', 'plot heatmap', 'plot top',"
    program += " 'exclude --dry-run', 'swep', 'plot top --test-pair \\u4e2d'): run(app, line.split())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment | encoding, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    assert b"error:" in done.stderr
    assert b"#####" in done.stdout, "bars"
    assert b"\\u" not in done.stdout
    assert b"\\u4e2d" in done.stderr


def test_drawing_characters_are_replaced_by_letters_or_escaped():
    let_streams_write_anything()
    drawn = "├─█▌▏┊▸ ⡇⠀ é \u4e2d"
    written = drawn.encode("ascii", ERRORS)
    assert written == rb"+-##.|> *  \xe9 \u4e2d"
    assert codecs.lookup_error(ERRORS)
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", ERRORS)


@pytest.fixture
def windows(monkeypatch):
    """Take the branches for Windows: no locks on temporary files, no flush of folders, its rules for names."""
    for module in (files, array_file):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), "name": "nt"}))
    monkeypatch.setattr(target, "_WINDOWS", True)
    monkeypatch.delattr(files, "fcntl", raising=False)


@pytest.mark.usefixtures("windows")
def test_windows_writes_complete_files_beside_other_writers(tmp_path):
    path = tmp_path / "sub" / "list.txt"
    write_text_atomic(path, "one\n")
    other = path.with_name(".list.txt.tracinctl-abc.tmp.txt")  # it is unknown whether its writer lives
    other.write_text("")
    write_text_atomic(path, "two\n")
    clear_leftovers(path.parent)
    assert path.read_bytes() == b"two\n"
    assert leftovers(tmp_path) == [other.name]


def held_open(path):
    """Whether this process has the file, or one in the folder, open or mapped."""
    path = os.path.realpath(path)
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    mapped = [line.partition("/") for line in Path("/proc/self/maps").read_text().splitlines()]
    held += [f"/{where}" for _, _, where in mapped if where]
    return any(link == path or link.startswith(f"{path}/") for link in held)


@pytest.fixture
def open_files_stay(monkeypatch):
    """As on Windows, refuse to move, remove or replace an open file."""

    def strictly(change):
        def changed(*paths, **more):
            for path in paths:
                if not more and held_open(path):
                    raise PermissionError(13, "The process cannot access the file", str(path))
            return change(*paths, **more)

        return changed

    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, strictly(getattr(os, name)))
    for name in ("pread", "preadv", "fork"):
        monkeypatch.delattr(os, name)


ONLY = ("--frequency", "500hz")
VOTES = (*ONLY, "--min-occurrences", "1")
WORK = (
    ("train", *ONLY),
    ("train", *ONLY, "--seed", "7"),
    ("compute", *ONLY, "--save-per-checkpoint"),
    ("compute", *ONLY, "--margin", "9", "--format", "parquet", "--save-per-checkpoint"),
    ("compute", *ONLY, "--margin", "9", "--dtype", "float64", "--prune-cache", "--format", "json"),
    ("sweep", *ONLY),
    ("exclude", *VOTES, "--update-metadata"),
    ("exclude", *VOTES, "--update-metadata"),
    ("plot", "overview", *ONLY, "--output", "a.svg"),
    ("workflow", "--frequencies", "500hz", "--report", "report.html"),
)
DEMO = (("demo", "new", "--frequencies", "500hz"),)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("windows", "open_files_stay")
@pytest.mark.parametrize("commands", [WORK, pytest.param(DEMO, marks=pytest.mark.nightly)], ids=["work", "demo"])
def test_commands_close_files_before_they_move_or_replace_them(tmp_path, monkeypatch, capsys, commands):
    tree(tmp_path / "data", takes=4)
    (tmp_path / "tracinctl.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(capsys)
    for command in commands:
        result = cli(*command)
        assert result.code == 0, f"{command}: {result.err}"
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("windows")
def test_a_file_that_another_program_has_open_stays_unchanged_on_windows(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    write_text_atomic(path, "old")

    def held(self, target):
        raise PermissionError(13, "Access is denied", str(self), 5, str(target))

    monkeypatch.setattr(Path, "replace", held)
    with pytest.raises(TracinctlError, match=r"cannot write .*scores\.json: Access is denied") as said:
        write_text_atomic(path, "new")
    assert "Close it in other programs" in said.value.hint
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_kernel_that_another_run_has_open_is_not_pruned(tmp_path, monkeypatch):
    kernels = [tmp_path / "v1-a" / "k.kernel", tmp_path / "v1-b" / "k.kernel"]
    for kernel in kernels:
        kernel.parent.mkdir()
        kernel.write_bytes(b"123")
    remove = Path.unlink

    def held(self, *more, **others):
        if self == kernels[0]:
            raise PermissionError(13, "The process cannot access the file", str(self))
        remove(self, *more, **others)

    monkeypatch.setattr(Path, "unlink", held)
    assert KernelCache(tmp_path).prune(()) == 3
    assert [kernel.exists() for kernel in kernels] == [True, False]


NOT_THERE = ["C:", "a:b", "a?", "a*", 'a"', "<a", "a>", "a|b", "a.", "a "]


@pytest.mark.parametrize("name", NOT_THERE)
def test_names_that_windows_forbids_are_refused_only_there(name, monkeypatch):
    assert target.file_name_part(name, "1hz") == f"{name}_1hz"
    monkeypatch.setattr(target, "_WINDOWS", True)
    for material, frequency in ((name, "1hz"), ("box", name)):
        with pytest.raises(UsageError, match="cannot be part of a file name"):
            target.file_name_part(material, frequency)
    assert target.file_name_part("con", "500.5 hz") == "con_500.5 hz"  # only the complete name of a device is forbidden
