"""Files that are complete or absent: written beside their place, flushed to disk, renamed over.

What a crash leaves: the old file as it was or the new one whole, never something between, and at worst a hidden
temporary file beside it, which the next write to the same place clears away. Renaming also replaces a symbolic link
by a file of its own, so nothing is written outside the folder that was named.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from tracinctl.errors import TracinctlError

_KEPT_SUFFIX = 20  # of a path's ending, which some writers choose their format by


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; on a clean exit it is flushed to disk and renamed to ``path``.

    On any error the temporary file is removed, and a file that was at ``path`` before stays as it was. Missing folders
    are made. A file that is replaced hands on its permissions.

    Raises:
        TracinctlError: the place cannot be written; the path and the reason are named.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        _make_folder(path)
        if path.is_dir():
            raise TracinctlError(f"cannot write {path}: it is a folder", hint="Name a file in it.")
        _clear_leftovers(path)
        temporary = _create_beside(path)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        _hand_on_permissions(path, temporary)
        temporary.replace(path)
        temporary = None
        _flush_folder(path.parent)
    except OSError as error:
        raise TracinctlError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        wrong = next((each for each in path.parents if each.exists() and not each.is_dir()), path.parent)
        raise TracinctlError(f"cannot write {path}: {wrong} is a file, not a folder") from error


def _mark(path: Path) -> str:
    """What the names of temporary files for ``path`` begin with: short, as names of files have a limit in bytes."""
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32]
    name = path.name.encode()[:60].decode(errors="ignore")
    return f".{name}.{host}-"


def _create_beside(path: Path) -> Path:
    suffix = path.suffix if len(path.suffix) <= _KEPT_SUFFIX else ""
    while True:
        temporary = path.with_name(f"{_mark(path)}{os.getpid()}-{secrets.token_hex(4)}.tmp{suffix}")
        try:
            # made here, and by the system's own rule, so that it gets the permissions that any new file would get
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary


def _hand_on_permissions(path: Path, temporary: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            temporary.chmod(stat.S_IMODE(mode))


def _clear_leftovers(path: Path) -> None:
    """Remove temporary files for ``path`` that a process of this machine left when it was killed."""
    if os.name != "posix":
        return  # elsewhere there is no harmless way to ask whether a process lives
    mark = _mark(path)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            number = entry.name.removeprefix(mark).partition("-")[0]
            if entry.name.startswith(mark) and ".tmp" in entry.name and number.isdecimal() and not _lives(int(number)):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _flush_folder(folder: Path) -> None:
    """Make a rename last, which on POSIX is a change of the folder; where that cannot be flushed, nothing is lost."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, completely or not at all.

    Raises:
        TracinctlError: the place cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 with Unix line ends, completely or not at all.

    Raises:
        TracinctlError: the place cannot be written, or the text holds what UTF-8 cannot.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TracinctlError(
            f"cannot write {path}: the text holds {text[error.start]!r}, which UTF-8 has not"
        ) from error
    write_bytes_atomic(path, data)
