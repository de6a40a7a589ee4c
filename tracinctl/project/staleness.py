"""Check whether the files behind the scores have changed.

Content decides, not dates: copying or touching a project changes nothing, and files of any size are compared.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tracinctl.data.recordings import find_recordings
from tracinctl.engine.checkpoints.files import checkpoint_digest, is_checkpoint
from tracinctl.errors import CheckpointError, DataError, TracinctlError
from tracinctl.files import file_digest, write_text_atomic
from tracinctl.project.target import Target
from tracinctl.text import first_few

_MOST_REMEMBERED = 100_000


class Digests:
    """SHA-256 of files, remembered with their file-system data, so that an unchanged file is read only once.

    A remembered digest is valid while the file's inode, size and both times are exactly the same. They are compared
    for equality, so neither a clock that was set back nor a copied date hides a change.

    Args:
        memory: the file that stores the digests; an unreadable one is ignored.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._entries: dict[str, list[object]] = {}
        self._new = False
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(memory.read_text(encoding="utf-8"))
            self._entries = entries if isinstance(entries, dict) else {}

    def of_file(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        state, key = file_state(path), str(path.absolute())
        entry = self._entries.get(key)
        if isinstance(entry, list) and entry[:-1] == state:
            return str(entry[-1])
        digest = file_digest(path)
        self._entries[key] = [*state, digest]
        self._new = True
        return digest

    def remember(self) -> None:
        """Store the new digests; if that is not allowed, the next run reads the files again."""
        if self._new:
            entries = dict(list(self._entries.items())[-_MOST_REMEMBERED:])
            with contextlib.suppress(TracinctlError):
                write_text_atomic(self._memory, json.dumps(entries) + "\n")


def file_state(path: Path) -> list[int]:
    """The file system's data on a file, which change when somebody writes the file."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def states_of(paths: Iterable[Path]) -> dict[Path, list[int]]:
    """The file system's data on files now, empty for unreadable ones, which fail when they are used."""
    states: dict[Path, list[int]] = {}
    for path in paths:
        states[path] = []
        with contextlib.suppress(OSError):
            states[path] = file_state(path)
    return states


def check_unchanged(states: Mapping[Path, list[int]]) -> None:
    """Raise DataError if somebody has written the files since."""
    for path, state in states_of(states).items():
        if not state or state != states[path]:
            raise DataError(
                f"{path} changed during the run", hint="Run the command again when nothing writes to this file."
            )


def digests_of(paths: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of files by name, without unreadable ones, which fail when they are used."""
    digests = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError):
            digests[name] = file_digest(path)
    return digests


def recordings_of(target: Target) -> dict[str, Path]:
    """The recordings by item id."""
    project = target.project
    recordings = find_recordings(project.data_root, target.material, target.frequency, linked_root=project.linked_root)
    return {recording.id: recording.path for recording in recordings}


def changes(target: Target, provenance: Mapping[str, object]) -> list[str]:
    """Describe the checkpoints, recordings and pairs that differ from the provenance."""
    digests = Digests(target.project.cache_dir.parent / "digests.json")
    checkpoints: dict[str, Path] = {}
    with contextlib.suppress(OSError, TracinctlError):
        checkpoints = {path.name: path for path in sorted(target.checkpoints.iterdir()) if is_checkpoint(path)}
    of_checkpoint = functools.partial(checkpoint_digest, digest_of=digests.of_file)
    differences = _differences("checkpoint", digests_of_checkpoints(provenance), checkpoints, of_checkpoint)
    made_from = provenance.get("recordings")
    if isinstance(made_from, Mapping):
        recordings: dict[str, Path] = {}
        with contextlib.suppress(OSError, TracinctlError):
            recordings = recordings_of(target)
        # with a pairs file, additional recordings are not used
        if target.pairs_file.is_file():
            recordings = {name: path for name, path in recordings.items() if name in made_from}
        differences += _differences("recording", made_from, recordings, digests.of_file)
    differences += _changed_pairs(target, provenance.get("pairs_file"), digests)
    digests.remember()
    return differences


def _differences(
    kind: str, made_from: Mapping[str, object], here: Mapping[str, Path], digest_of: Callable[[Path], str]
) -> list[str]:
    """Files that changed, are gone or are new; empty if all are gone, because then nothing can be compared."""
    if not made_from or not here:
        return []

    def differs(name: str) -> bool:
        try:
            return digest_of(here[name]) != made_from[name]
        except (OSError, CheckpointError):
            return True

    # a new file is used with the others only if its name differs from theirs in numbers alone
    similar = set(map(_without_numbers, made_from))
    differences = []
    for how, names in (
        ("changed", [name for name in made_from if name in here and differs(name)]),
        ("removed", [name for name in made_from if name not in here]),
        ("added", [name for name in here if name not in made_from and _without_numbers(name) in similar]),
    ):
        if names:
            differences.append(f"{kind}{'s' if len(names) > 1 else ''} {how}: {first_few(names)}")
    return differences


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def _changed_pairs(target: Target, made_from: object, digests: Digests) -> list[str]:
    path = target.pairs_file
    if not isinstance(made_from, Mapping) or not path.is_file():
        return []
    try:
        # compare the bytes first; read the pairs only if they differ
        same = digests.of_file(path) == made_from.get("sha256") or _content_digest(path) == made_from.get("content")
    except (OSError, DataError):
        same = False
    return [] if same else [f"{path.name} changed"]


def pairs_digests(path: Path) -> dict[str, str]:
    """A pairs file in the provenance: SHA-256 of its bytes and of its pairs."""
    return {"sha256": file_digest(path), "content": _content_digest(path)}


def _content_digest(path: Path) -> str:
    """A digest that ignores line ends, quotes and the order of columns."""
    from tracinctl.data.pairs_file import read_pairs_file

    frame = read_pairs_file(path).table.frame
    lines = ["\t".join(row) for row in frame[sorted(frame.columns)].astype(str).itertuples(index=False)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digests_of_checkpoints(provenance: Mapping[str, object]) -> dict[str, object]:
    """The digests of the scores' checkpoints, by name."""
    listed = provenance.get("checkpoints")
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return {str(entry.get("name")): entry.get("digest") for entry in entries}
