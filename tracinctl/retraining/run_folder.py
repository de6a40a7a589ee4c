"""The folder of a run of a user's training command, which no other run shares.

Two files in it are locked: ``owner`` by the process that started the command, ``command`` by the command and everything
that it starts, which inherit the lock. A folder without a living owner is a leftover: the next run ends its processes
and removes it. So a command outlives tracinctl at most until the next run, even if both processes of tracinctl are
killed together.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tracinctl.files import disk_cannot

try:
    import fcntl
except ImportError:  # Windows has no such locks; folders are still separate, but leftovers stay
    fcntl = None  # type: ignore[assignment]


@contextmanager
def run_folder(work: Path, key: str) -> Iterator[tuple[Path, int | None]]:
    """A new folder in ``work``, which is removed after success and kept for inspection after a failure.

    Yields the folder and a file descriptor for the command to inherit, which is None if the system has no locks.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f"run-{key}-", dir=work))
    owner, command = _lock(path / "owner"), _lock(path / "command")
    if owner is not None and hasattr(os, "getpgid"):
        (path / "group").write_text(str(os.getpgid(0)), encoding="ascii")
    try:
        yield path, command
        shutil.rmtree(path, ignore_errors=True)
    finally:
        for lock in (owner, command):
            if lock is not None:
                os.close(lock)


def clear_left_over(work: Path) -> list[Path]:
    """End commands whose tracinctl is gone, remove their folders and return these."""
    gone = []
    for path in sorted(work.glob("run-*")) if fcntl is not None else ():
        owner = _lock(path / "owner")
        if owner is None:
            continue
        command = _lock(path / "command")
        if command is None:
            _end(path / "group")
        else:
            os.close(command)
        shutil.rmtree(path, ignore_errors=True)
        os.close(owner)
        gone.append(path)
    return gone


def _end(group: Path) -> None:
    with suppress(OSError, ValueError):
        number = int(group.read_text(encoding="ascii"))
        if number != os.getpgid(0):
            os.killpg(number, signal.SIGKILL)


def _lock(path: Path) -> int | None:
    """An open file descriptor with the file's lock; None if another process has it or the disk lacks locks."""
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor is not None:
            os.close(descriptor)
            disk_cannot("lock files", path.parent.parent, error)
        return None
    return descriptor
