"""Whether what scores were made from is still what lies in the project.

Only files are looked at, and only those that the file system has touched since the scores were written are read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracinctl.data.recordings import find_recordings
from tracinctl.engine.checkpoints.files import checkpoint_digest, checkpoint_parts, is_checkpoint
from tracinctl.errors import CheckpointError, DataError, TracinctlError
from tracinctl.files import file_digest
from tracinctl.project.selection import ScoreFile
from tracinctl.project.target import Target
from tracinctl.text import first_few

if TYPE_CHECKING:
    from tracinctl.scores.table import ScoreSource

_MOST_BYTES = 1 << 30  # that are read to see whether a touched file has another content


@dataclass(frozen=True)
class FileStates:
    """Files as they were at one moment, by name: SHA-256 of the content, and what the file system says of them.

    Digests are of those alone that were asked for: whoever reads the others takes their digests itself.
    """

    paths: Mapping[str, Path]
    digests: Mapping[str, str]
    marks: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, paths: Mapping[str, Path], *, digests: bool = True) -> FileStates:
        """The files as they are now; one that cannot be read is left to whoever needs it."""
        found, marks = {}, {}
        for name, path in paths.items():
            with contextlib.suppress(OSError):
                marks[name] = _mark(path)
                if digests:
                    found[name] = file_digest(path)
        return cls(paths, found, marks)

    def check_unchanged(self) -> None:
        """Make sure that nobody has written the files since.

        Raises:
            DataError: somebody has.
        """
        for name, path in self.paths.items():
            try:
                same = _mark(path) == self.marks.get(name)
            except OSError:
                same = False
            if not same:
                raise DataError(
                    f"{path} changed while it was being worked on", hint="Run again when nobody writes to it."
                )


def _mark(path: Path) -> tuple[int, ...]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def recordings_of(target: Target) -> dict[str, Path]:
    """Item id -> recording.

    Raises:
        DataError: they are not there, or are not named as their folders say.
    """
    project = target.project
    recordings = find_recordings(project.data_root, target.material, target.frequency, linked_root=project.linked_root)
    return {recording.id: recording.path for recording in recordings}


def changed_since(file: ScoreFile, source: ScoreSource) -> list[str]:
    """What of the checkpoints and recordings that the scores were made from is no longer as it was, in words.

    What lies elsewhere than in the project, or is not named in the scores' provenance, is not looked for.
    """
    if file.target is None or not file.in_project:
        return []
    said = []
    for what, made_from, here in (
        (
            "checkpoint",
            _digests_of_checkpoints(source.provenance),
            _checkpoints(file.target),
        ),
        ("recording", source.provenance.get("recordings"), _recordings(file.target)),
    ):
        if not isinstance(made_from, Mapping) or not made_from.keys() & here.keys():
            continue
        for how, names in (
            ("changed", list(_with_other_content(file.path, made_from, here))),
            ("removed", [name for name in made_from if name not in here]),
            ("added", [] if what == "recording" and file.target.pairs_file.is_file() else _added(here, made_from)),
        ):
            if names:
                said.append(f"{what}{'s' if len(names) > 1 else ''} {how}: {first_few(names)}")
    return said


def _digests_of_checkpoints(provenance: Mapping[str, object]) -> dict[str, str]:
    listed = provenance.get("checkpoints")
    entries = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return {str(each.get("name")): str(each.get("digest")) for each in entries}


def _checkpoints(target: Target) -> dict[str, Path]:
    try:
        return {path.name: path for path in sorted(target.checkpoints.iterdir()) if is_checkpoint(path)}
    except (OSError, TracinctlError):
        return {}


def _recordings(target: Target) -> dict[str, Path]:
    try:
        return recordings_of(target)
    except (OSError, TracinctlError):
        return {}


def _added(here: Mapping[str, object], made_from: Mapping[str, object]) -> list[str]:
    return [name for name in here if name not in made_from and _named_alike(name, made_from)]


def _named_alike(name: str, others: Mapping[str, object]) -> bool:
    def shape(text: str) -> str:
        return re.sub(r"\d+", "0", text)

    return shape(name) in {shape(other) for other in others}


def _with_other_content(scores: Path, made_from: Mapping[str, object], here: Mapping[str, Path]) -> Iterator[str]:
    budget = _MOST_BYTES
    try:
        written = scores.stat().st_mtime_ns
    except OSError:
        return
    for name, digest in made_from.items():
        if name not in here:
            continue
        try:
            states = [each.stat() for each in checkpoint_parts(here[name])]
            size = sum(about.st_size for about in states)
            # the time of the last change of any kind, which a copy with its old date does not hide
            if max(max(about.st_mtime_ns, about.st_ctime_ns) for about in states) < written or size > budget:
                continue
            budget -= size
            if checkpoint_digest(here[name]) != digest:
                yield name
        except (OSError, CheckpointError):
            yield name
