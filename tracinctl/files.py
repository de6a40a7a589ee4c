"""Files that are complete or absent: they are written beside their path, flushed to disk, and renamed.

After a crash, the path holds the old file or the whole new one. At worst a hidden temporary file stays beside it, which
the next write into the same folder removes. A writer locks its temporary file while it lives, and the operating system
releases the lock however the writer ends, so a temporary file that can be locked is a leftover. Renaming replaces a
symbolic link by a file, so nothing is written outside the given folder.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from tracinctl.errors import DiskWarning, TracinctlError

if sys.platform != "win32":
    import fcntl

_warned_of: set[tuple[str, int]] = set()  # operations that disks were found to lack
_UNKNOWN_TO_DISK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM}
_KEPT_SUFFIX = 20  # kept length of a path's ending, from which some writers choose their format
_POLL = 0.05  # seconds between two attempts to take a lock
_OURS = ".tracinctl-"  # part of the names of temporary files only

HEAD = 512  # bytes at the beginning that show a file's kind
_TAR_MARK = slice(257, 262)
_PAGE = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<!--")
_SHOWN = 40  # characters of a text to show
_UNPACK = "Unpack it and give the file inside."
_ITSELF = "Give the file itself."
_COPY = "Copy it again, because it was not written completely."
_KINDS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Run `git lfs pull` in its repository."),
    (b"\x1f\x8b", "packed by gzip", _UNPACK),
    (b"BZh", "packed by bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "packed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"%PDF", "a PDF document", _ITSELF),
    (b"\x89PNG", "a picture", _ITSELF),
)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; on a clean exit it is flushed to disk and renamed to ``path``.

    On any error the temporary file is removed, and an old file at ``path`` stays unchanged. Missing folders are made. A
    new file gets the permissions of the file that it replaces.

    Raises:
        TracinctlError: the path cannot be written; the message names it and the reason.
    """
    with atomic_paths(path) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_paths(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Like ``atomic_path``, for files that belong together: all are on the disk before the first is renamed."""
    try:
        with contextlib.ExitStack() as stack:
            for path in paths:
                _check_place(path)
            temporaries = tuple(stack.enter_context(_temporary_beside(path)) for path in paths)
            yield temporaries
            for path, temporary in zip(paths, temporaries, strict=True):
                with temporary.open("r+b") as file, _unless_disk_cannot("flush files", path):
                    os.fsync(file.fileno())
                _hand_on_permissions(path, temporary)
            for path, temporary in zip(paths, temporaries, strict=True):
                temporary.replace(path)
        for folder in {path.parent for path in paths}:
            _flush_folder(folder)
    except OSError as error:
        message = f"cannot write {paths[0]}: {error.strerror or error}"
        raise TracinctlError(message, hint=write_hint(error)) from error


@contextlib.contextmanager
def _unless_disk_cannot(operation: str, path: Path) -> Iterator[None]:
    """Continue with a warning if a disk, such as a network disk, lacks an operation that only adds safety."""
    try:
        yield
    except OSError as error:
        if not disk_cannot(operation, path.parent, error):
            raise


def disk_cannot(operation: str, folder: Path, error: OSError) -> bool:
    """Whether an error means that a disk lacks an operation; the first such error of a disk gives a warning."""
    if error.errno not in _UNKNOWN_TO_DISK:
        return False
    disk = (operation, folder.stat().st_dev)
    if disk not in _warned_of:
        _warned_of.add(disk)
        warnings.warn(
            f"the disk of {folder} cannot {operation} ({error.strerror}): files are written without this. "
            "Let only one run at a time write there",
            DiskWarning,
            stacklevel=2,
        )
    return True


def _check_place(path: Path) -> None:
    """Make the folder of a file to write, and remove the leftovers of killed runs; renaming would replace a device."""
    _make_folder(path)
    if path.is_dir():
        raise TracinctlError(f"cannot write {path}: it is a folder", hint="Give a file in it.")
    if path.exists() and not path.is_file():
        raise TracinctlError(f"cannot write {path}: it is a device or a pipe, not a file", hint="Give a file.")
    clear_leftovers(path.parent)


@contextlib.contextmanager
def locked(path: Path, *, wait: int = 120) -> Iterator[None]:
    """Lock ``path`` against other runs with a lock of the operating system, which ends with its process.

    Raises:
        TracinctlError: another process has held the lock for ``wait`` seconds, or the path cannot be written.
    """
    place = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            if place.is_symlink():
                raise TracinctlError(f"cannot write {path}: its lock {place} is a symbolic link", hint="Remove it.")
            stack.enter_context(lock_file(place, wait))
        except TimeoutError as error:
            raise TracinctlError(
                f"cannot write {path}: another process is writing it", hint="Run the command again when it is done."
            ) from error
        except OSError as error:
            raise TracinctlError(f"cannot write {path}: {error.strerror or error}", hint=write_hint(error)) from error
        yield


@contextlib.contextmanager
def lock_file(place: Path, wait: float) -> Iterator[None]:
    """Hold a lock file, and remove it afterwards; a waiting process then makes a new one.

    Raises:
        TimeoutError: another process has held it for ``wait`` seconds.
    """
    if sys.platform == "win32":
        from filelock import FileLock

        try:
            with FileLock(place, timeout=wait):
                yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps a file that another run has open
                place.unlink()
        return
    handle = _flock(place, wait)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            place.unlink()
        os.close(handle)


def _flock(place: Path, wait: float) -> int:
    """The open lock file, unlocked if the disk lacks locks."""
    end = time.monotonic() + wait
    while True:
        _make_folder(place)  # another run may have removed the empty folder
        with contextlib.ExitStack() as unless_locked:
            handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            unless_locked.callback(os.close, handle)
            try:
                with _unless_disk_cannot("lock files", place):
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError from None
                time.sleep(_POLL)
                continue
            if os.fstat(handle).st_nlink:  # else its holder removed it before it was locked here
                unless_locked.pop_all()
                return handle


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files in ``folder`` whose writers were killed."""
    if sys.platform == "win32":
        return  # on Windows a lock would keep the writer itself from writing
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and _OURS in entry.name and ".tmp" in entry.name:
                with contextlib.suppress(OSError):
                    handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        Path(entry.path).unlink()
                    finally:
                        os.close(handle)


def write_hint(error: OSError) -> str:
    """What to do about a file that cannot be written; empty if the reason is unknown."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Free space on the disk, or write to another place."
    if sys.platform == "win32" and isinstance(error, PermissionError):
        return "Close it in other programs, check its permissions, or write to another place."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return "Check its permissions, or write to another place."
    return ""


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        wrong = next((place for place in path.parents if place.exists() and not place.is_dir()), path.parent)
        raise TracinctlError(
            f"cannot write {path}: {wrong} is a file, not a folder",
            hint="Move the file away, or write to another place.",
        ) from error


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A new locked file beside ``path``, which is removed at the end unless it was renamed."""
    handle, temporary = _create_beside(path)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _create_beside(path: Path) -> tuple[int | None, Path]:
    suffix = path.suffix if len(path.suffix) <= _KEPT_SUFFIX else ""
    name = path.name.encode()[:60].decode(errors="ignore")  # file names have a limit in bytes
    again = False
    while True:
        temporary = path.with_name(f".{name}{_OURS}{os.urandom(6).hex()}.tmp{suffix}")
        try:
            # opened like any new file, so that it gets the default permissions
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        except FileNotFoundError:
            if again:
                raise
            again = True
            _make_folder(path)  # another run removed the empty folder
            continue
        if sys.platform == "win32":
            os.close(handle)
            return None, temporary
        with contextlib.suppress(OSError):  # on a disk without locks, no run clears leftovers either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # another run removed it as a leftover before it was locked


def _hand_on_permissions(path: Path, temporary: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode != temporary.stat().st_mode:
            with _unless_disk_cannot("keep permissions", path):
                temporary.chmod(stat.S_IMODE(mode))


def _flush_folder(folder: Path) -> None:
    """Flush a rename, which on POSIX is a change of the folder; systems that cannot flush folders lose nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_there(path: Path) -> bool:
    """Whether there is a file; False if there is nothing at all.

    Raises:
        TracinctlError: the path is a broken link, a folder, a pipe or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise TracinctlError(
                f"{path} is a link to {path.readlink()}, which does not exist", hint="Fix the link, or remove it."
            ) from None
        return False
    except OSError as error:
        raise TracinctlError(f"{path} cannot be read: {error.strerror or error}", hint="Check the path.") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise TracinctlError(f"{path} is not a file but {kind}", hint="Put a file there, or remove it.")
    return True


def other_kind(head: bytes) -> tuple[str, str] | None:
    """The kind of a file that is not what was expected, by its first bytes, and what to do; None if it is unknown."""
    for mark, kind, hint in _KINDS:
        if head.startswith(mark):
            return kind, hint
    if head[_TAR_MARK] == b"ustar":
        return "a tar archive", _UNPACK
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        return "a web page", "Download it again; the server sent a page, perhaps to sign in."
    if head and not head.strip(b"\0"):
        return "a file that begins with zeros", _COPY
    return None


def other_kind_or_text(head: bytes) -> tuple[str, str] | None:
    """Like ``other_kind``, for files that are never text."""
    kind = other_kind(head)
    if kind is not None:
        return kind
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).strip()
    except UnicodeDecodeError:
        return None
    if not all(char.isprintable() or char.isspace() for char in text):
        return None
    if not text:
        return "an empty file", _COPY
    return f"a text that begins {text.splitlines()[0].strip()[:_SHOWN]!r}", "Give or download the file itself."


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 with Unix line ends, completely or not at all."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TracinctlError(
            f"cannot write {path}: the text has {text[error.start]!r}, which UTF-8 cannot encode",
            hint="Rename the item or file that has it in its name.",
        ) from error
    write_bytes_atomic(path, data)
