"""Missing permissions are named, also if the tests run as root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

import pytest
from crash_projects import contents
from faults import CHECKPOINT, COMPUTE, EXCLUDE, PAIRS, SCORES, SWEEP, TRAIN, WAV

from tests.robustness.test_bad_input import computed, project  # noqa: F401  fixtures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="rights are laid down as Linux has it")
EVERYTHING = (1 << 1) | (1 << 2)  # to write and to read regardless of permissions


class Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class Rights(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


FORCED = (*TRAIN[:3], "--force")


@contextlib.contextmanager
def as_anybody():
    """Take the rights that override permissions from this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    head, rights = Head(0x20080522, 0), (Rights * 2)()
    assert libc.capget(ctypes.byref(head), rights) == 0
    old = rights[0].effective
    rights[0].effective = old & ~EVERYTHING
    assert libc.capset(ctypes.byref(head), rights) == 0
    try:
        yield
    finally:
        rights[0].effective = old
        assert libc.capset(ctypes.byref(head), rights) == 0


@pytest.mark.parametrize(
    ("path", "mode", "command", "said", "code"),
    [
        (SCORES, 0, SWEEP, (SCORES, "Permission denied"), 1),
        (WAV, 0, COMPUTE, (WAV, "Permission denied"), 1),
        (CHECKPOINT, 0, COMPUTE, (CHECKPOINT, "Permission denied"), 1),
        (PAIRS, 0, COMPUTE, (PAIRS, "Permission denied"), 1),
        ("tracinctl.toml", 0, SWEEP, ("tracinctl.toml", "Permission denied"), 2),
        ("list.txt", 0, TRAIN, ("list.txt", "Permission denied"), 1),
        ("data/deg036/plastic", 0, COMPUTE, ("data/deg036/plastic", "Permission denied"), 1),
        ("checkpoints/plastic_500hz", 0, COMPUTE, ("checkpoints/plastic_500hz",), 1),
        ("metadata", 0o555, COMPUTE, ("cannot write", "metadata", "Permission denied"), 1),
        ("exclusions", 0o555, EXCLUDE, ("cannot write", "exclusions", "Permission denied"), 1),
        (
            "checkpoints/plastic_500hz",
            0o555,
            (*TRAIN[:3], "--force"),
            ("cannot write", "plastic_500hz", "Permission denied"),
            1,
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_missing_permission_is_named_and_nothing_is_written(cli, project, path, mode, command, said, code):  # noqa: F811  fixtures
    place = project / path
    (project / "exclusions").mkdir()
    if not place.exists():
        place.write_text("")
    before = contents(project)
    kept = place.stat().st_mode
    os.chmod(place, mode)  # noqa: PTH101  octal digits, as for chmod
    try:
        with as_anybody():
            result = cli(*command)
    finally:
        place.chmod(kept)
    message = " ".join(result.err.split())
    assert result.code == code, message
    for text in said:
        assert text in message
    assert result.err.count("error: ") == 1
    assert "internal error" not in message
    after = {name: data for name, data in contents(project).items() if "/cache/" not in name}
    assert after == {name: data for name, data in before.items() if "/cache/" not in name}
