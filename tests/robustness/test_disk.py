"""A disk that breaks during reading or writing: one error that names the file and the reason, and no loss."""

from __future__ import annotations

import errno
import os
import sys
import time

import pytest
from crash_projects import contents, leftovers
from faults import CHECKPOINT, COMPUTE, EXCLUDE, PAIRS, SCORES, SWEEP, TRAIN, WAV

from tests.robustness.test_bad_input import computed, project  # noqa: F401  fixtures
from tracinctl.errors import TracinctlError
from tracinctl.files import locked, write_text_atomic

BROKEN = "Input/output error"


def assert_named(result, name, code):
    said = " ".join(result.err.split())
    assert result.code == code, said
    assert name in said
    assert BROKEN in said
    assert result.err.count("error: ") == 1
    assert "internal error" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="its file of memory is one that opens and cannot be read")
@pytest.mark.parametrize(
    ("path", "command", "code"),
    [
        (SCORES, SWEEP, 1),
        (SCORES, EXCLUDE, 1),
        (SCORES, ("plot", "--frequency", "500hz"), 1),
        ("metadata/plastic_500hz_metadata.json", COMPUTE, 1),
        (CHECKPOINT, COMPUTE, 1),
        (PAIRS, COMPUTE, 1),
        ("list.txt", TRAIN, 1),
        ("tracinctl.toml", SWEEP, 2),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_breaks_while_it_is_read_is_named(cli, project, path, command, code):  # noqa: F811  fixtures
    place = project / path
    place.unlink(missing_ok=True)
    place.symlink_to("/proc/self/mem")
    others = {name: data for name, data in contents_but(project, place).items() if "/cache/" not in name}
    assert_named(cli(*command), path.rpartition("/")[2], code)
    now = {name: data for name, data in contents_but(project, place).items() if "/cache/" not in name}
    assert now == others
    assert place.is_symlink()


def contents_but(project, place):  # noqa: F811  no fixture here
    """The files beside the broken file, which cannot be read."""
    target = place.readlink()
    place.unlink()
    found = contents(project)
    place.symlink_to(target)
    return found


def test_a_recording_that_breaks_while_it_is_read_is_named(cli, project, monkeypatch):  # noqa: F811  fixtures
    import soundfile

    class Broken(soundfile.SoundFile):
        def read(self, *arguments, **more):
            name = str(getattr(self.name, "name", self.name))
            if name.endswith(WAV):
                raise OSError(errno.EIO, os.strerror(errno.EIO), name)
            return super().read(*arguments, **more)

    monkeypatch.setattr(soundfile, "SoundFile", Broken)
    before = contents(project)
    result = cli(*COMPUTE)
    assert result.code == 1
    assert f"{WAV} cannot be read: {BROKEN}" in " ".join(result.err.split())
    assert contents(project) == before


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_file_that_cannot_be_flushed_replaces_nothing(tmp_path, monkeypatch, error):
    path = tmp_path / "list.txt"
    write_text_atomic(path, "old")

    def fail(handle):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TracinctlError, match=os.strerror(error)) as said:
        write_text_atomic(path, "new")
    assert str(path) in said.value.message
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_run_that_waits_for_a_slow_writer_says_so(tmp_path):
    begun = time.monotonic()
    path = tmp_path / "records.json"
    with (
        locked(path),
        pytest.raises(TracinctlError, match=r"cannot write .*records\.json: another process is writing it") as said,
        locked(path, wait=1),
    ):
        pass
    assert time.monotonic() - begun >= 1
    assert "Run the command again when it is done" in said.value.hint
