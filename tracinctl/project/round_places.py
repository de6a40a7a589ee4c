"""The folders of a round, inside those of checkpoints, scores and lists.

A round trains, scores and lists. The first round trains on all pairs. Each later round trains without the list of the
previous one; its folder is ``retrained`` (round 2), ``retrained-3``, ``retrained-4`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from tracinctl.project.config import Project

_FOLDER = re.compile(r"retrained(?:-([1-9]\d*))?")
_SECOND = 2
_PLACES = ("checkpoint_dir", "metadata_dir", "output_dir")


def round_of(folder: Path) -> int:
    """The round of a folder; 1 if the name is not that of a round."""
    match = _FOLDER.fullmatch(folder.name)
    return 1 if match is None else int(match[1] or _SECOND)


def at_round(project: Project, number: int, *, stay: Collection[str] = ()) -> Project:
    """The project with its folders in those of a round, except those that ``stay``."""
    return project.with_places(**{name: _moved(getattr(project, name), number) for name in _PLACES if name not in stay})


def in_one_round(project: Project, *, typed: Collection[str]) -> Project:
    """The project with all folders in the same round; folders that the user gave stay."""
    number = max(round_of(getattr(project, name)) for name in _PLACES)
    return project if number == 1 else at_round(project, number, stay=typed)


def _moved(folder: Path, number: int) -> Path:
    base = folder if round_of(folder) == 1 else folder.parent
    if number == 1:
        return base
    return base / ("retrained" if number == _SECOND else f"retrained-{number}")
