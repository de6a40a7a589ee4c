"""Disks without locks, permissions or flushing, a missing folder, an unknown home: continue, or give a hint."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine
from places import ROOT

from tracinctl import files
from tracinctl.demo.make import DemoSize, make_demo
from tracinctl.errors import DiskWarning, TracinctlError
from tracinctl.files import locked, write_text_atomic
from tracinctl.retraining.run_folder import clear_left_over, run_folder


def refuses(number):
    def operation(*_, **__):
        raise OSError(number, os.strerror(number))

    return operation


@pytest.fixture(autouse=True)
def no_disk_warned_of(monkeypatch):
    monkeypatch.setattr(files, "_warned_of", set())


def write_under_lock(path, *texts):
    for text in texts:
        with locked(path, wait=0):
            write_text_atomic(path, text)


@pytest.mark.parametrize(
    ("owner", "name", "number", "said"),
    [
        (fcntl, "flock", errno.ENOLCK, "lock files"),
        (fcntl, "flock", errno.ENOSYS, "lock files"),
        (os, "fsync", errno.EINVAL, "flush files"),
        (Path, "chmod", errno.EPERM, "keep permissions"),
    ],
)
def test_a_disk_that_lacks_an_operation_gets_files_and_one_warning(tmp_path, monkeypatch, owner, name, number, said):
    path = tmp_path / "list.txt"
    path.write_text("old")
    path.chmod(0o600)
    monkeypatch.setattr(owner, name, refuses(number))
    with pytest.warns(DiskWarning, match=said) as warned:
        write_under_lock(path, "new", "newer")
    assert len(warned) == 1
    assert str(tmp_path) in str(warned[0].message)
    assert path.read_text() == "newer"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_demo_is_made_on_a_disk_without_locks(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", refuses(number))
    with pytest.warns(DiskWarning, match="lock files") as warned:
        make_demo(tmp_path / "demo", ["500hz"], size=DemoSize((5, 2), 30, 0.25, 1, 1))
    assert len(warned) == 1
    assert (tmp_path / "demo" / "tracinctl.toml").is_file()


def two_runs(work):
    with run_folder(work, "a") as (first, lock):
        with run_folder(work, "b") as (second, _):
            assert first != second
        assert lock is None
        assert clear_left_over(work) == [], "it is unknown whether their owners live"
        assert first.is_dir()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_trainings_by_a_command_run_on_a_disk_without_locks(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", refuses(number))
    with pytest.warns(DiskWarning, match="lock files") as warned:
        two_runs(tmp_path)
    assert len(warned) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fsync"])
def test_a_disk_that_fails_is_an_error(tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, name, refuses(errno.EIO))
    with pytest.raises(TracinctlError, match="Input/output error"):
        write_under_lock(tmp_path / "list.txt", "new")
    assert not (tmp_path / "list.txt").exists()


def test_a_lock_of_another_run_is_respected(tmp_path):
    path = tmp_path / "list.txt"
    with locked(path), pytest.raises(TracinctlError, match="another process"):
        write_under_lock(path, "new")


@pytest.mark.parametrize("arguments", [("sweep",), ("--config={}/tracinctl.toml", "sweep")])
def test_a_missing_current_folder_is_named(tmp_path, monkeypatch, capsys, arguments):
    (tmp_path / "tracinctl.toml").touch()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    result = CommandLine(capsys)(*(argument.format(tmp_path) for argument in arguments))
    assert result.code == 2
    assert "the current folder no longer exists" in result.err
    assert "Change to another folder" in result.err


@pytest.mark.parametrize("arguments", [("sweep", "--metadata-file=~/s.json"), ("--config=~/t.toml", "sweep")])
def test_a_tilde_is_the_home_folder_and_an_unknown_one_is_named(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert "home/" in CommandLine(capsys)(*arguments).err

    def unknown(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    result = CommandLine(capsys)(*arguments)
    assert result.code == 2
    assert "Set HOME" in result.err


@pytest.mark.parametrize("path", [r"C:\data", r"C:\Users\anna", r"\\server\share"])
def test_a_toml_path_with_backslashes_needs_single_quotes(tmp_path, monkeypatch, capsys, path):
    monkeypatch.chdir(tmp_path)
    Path("tracinctl.toml").write_text(f'data_root = "{path}"\n')
    result = CommandLine(capsys)("sweep")
    assert result.code == 2
    assert "in single quotes" in result.err


def test_a_tilde_in_the_settings_without_a_known_home_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tracinctl.toml").write_text('data_root = "~nobody-of-this-name/data"\n')
    result = CommandLine(capsys)("sweep")
    assert result.code == 2
    assert "'~nobody-of-this-name/data' is unknown" in result.err
    assert "Set HOME" in result.err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_from_the_start_is_replaced(tmp_path, closed):
    (tmp_path / "m_f_influence_metadata.json").write_text('{"a_b": {"tracin_influence_c_d": -1.0}}')
    command = f"exec '{sys.executable}' -m tracinctl exclude --metadata-file m_f_influence_metadata.json"
    done = subprocess.run(
        ["bash", "-c", f"{command} --output-file list.txt {closed}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "a_b" in (tmp_path / "list.txt").read_text().splitlines()
    assert "Traceback" not in done.stderr
    if closed == "2>&-":
        assert "list.txt" in done.stdout
