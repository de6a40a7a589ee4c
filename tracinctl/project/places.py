"""The settings that choose the material, the frequencies and the folders of a command.

``--help`` and completion import this module, so it imports only the standard library.
"""

from dataclasses import dataclass
from pathlib import Path

from tracinctl.project.declared import setting


@dataclass(init=False, eq=False, repr=False)
class Selection:
    """The chosen material and frequencies."""

    material: str | None = setting(
        None, "Material.", metavar="NAME", usual="the only one", example="'plastic'", top=True
    )
    frequency: str | None = setting(
        None,
        "Comma-separated frequencies, or `all` for every one found.",
        metavar="NAMES",
        usual="the settings', else all",
        kind="list",
        alias="frequencies",
        top=True,
    )


@dataclass(init=False, eq=False, repr=False)
class ScorePlace:
    """The folder of scores."""

    metadata_dir: Path | None = setting(
        None, "Folder of score files.", metavar="DIR", usual="metadata", example="'metadata'", top=True
    )


@dataclass(init=False, eq=False, repr=False)
class GivenScores:
    """Score files given by name."""

    metadata_file: tuple[Path, ...] = setting(
        (),
        "Score file (.json or .parquet) instead of the project's; may be repeated.",
        metavar="FILE",
        kind="paths",
        one_call=True,
    )


@dataclass(init=False, eq=False, repr=False)
class ListPlace:
    """The folder of exclusion lists."""

    output_dir: Path | None = setting(
        None, "Folder of exclusion lists.", metavar="DIR", usual="exclusions", example="'exclusions'", top=True
    )


@dataclass(init=False, eq=False, repr=False)
class DataPlaces:
    """The folders of recordings and checkpoints."""

    data_root: Path | None = setting(
        None, "Folder of recordings.", metavar="DIR", usual="data", example="'data'", top=True
    )
    checkpoint_dir: Path | None = setting(
        None,
        "Folder of checkpoints, or of their folders <material>_<frequency>.",
        metavar="DIR",
        usual="checkpoints",
        example="'checkpoints'",
        top=True,
    )
    linked_root: Path | None = setting(
        None,
        "Second folder that recordings may link into.",
        metavar="DIR",
        usual="none",
        example="'.dvc/cache'",
        top=True,
    )
