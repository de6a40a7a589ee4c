"""Atomic writes: files that belong together are replaced together or not at all."""

import fcntl
import os
from pathlib import Path

import pytest

from tracinctl.errors import TracinctlError
from tracinctl.files import atomic_path, atomic_paths, locked


def written(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def write_both(one, two):
    with atomic_paths(one, two) as (a, b):
        a.write_text("new")
        b.write_text("new")


def test_files_that_belong_together_are_replaced_together(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "deep" / "two.txt"
    with atomic_paths(one, two) as (a, b):
        a.write_text("1")
        b.write_text("2")
        assert not one.exists()
        assert not two.exists()
    assert (one.read_text(), two.read_text()) == ("1", "2")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one.txt"]


def test_if_one_file_cannot_be_finished_both_stay_unchanged(tmp_path, monkeypatch):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("old 1")
    two.write_text("old 2")
    flushed = []

    def fail_at_the_second(handle):
        flushed.append(handle)
        if len(flushed) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail_at_the_second)
    with pytest.raises(TracinctlError, match="No space left on device"):
        write_both(one, two)
    assert written(tmp_path) == {"one.txt": "old 1", "two.txt": "old 2"}


def test_only_a_file_is_replaced(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(TracinctlError, match="it is a device or a pipe, not a file"), atomic_path(fifo):
        pass
    assert fifo.is_fifo()
    with pytest.raises(TracinctlError, match="it is a folder"), atomic_path(tmp_path):
        pass
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    with atomic_path(link) as temporary:
        temporary.write_text("mine")
    assert link.read_text() == "mine"
    assert not link.is_symlink()
    assert not Path("nowhere").exists()


def test_a_lock_leaves_no_file(tmp_path):
    path = tmp_path / "list.txt"
    with locked(path):
        assert list(written(tmp_path)) == [".list.txt.lock"]
    assert written(tmp_path) == {}


def test_a_lock_file_that_its_holder_has_just_removed_is_made_again(tmp_path, monkeypatch):
    path, lock = tmp_path / "list.txt", tmp_path / ".list.txt.lock"
    take, taken = fcntl.flock, []

    def remove_first(handle, how):
        if not taken:
            lock.unlink()
        taken.append(how)
        take(handle, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with locked(path, wait=0):
        assert lock.exists()
        with pytest.raises(TracinctlError, match="another process is writing it"), locked(path, wait=0):
            pass
    assert len(taken) == 3
    assert written(tmp_path) == {}


def test_a_waiting_run_gets_the_lock_when_it_is_released(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    first = locked(path)
    first.__enter__()
    monkeypatch.setattr("time.sleep", lambda _: first.__exit__(None, None, None))
    with locked(path):
        assert list(written(tmp_path)) == [".list.txt.lock"]
    assert written(tmp_path) == {}
