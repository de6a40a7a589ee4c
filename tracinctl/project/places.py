"""The settings that say which material and frequencies a command is about, and where their files are.

``--help`` and completion load this module: only the standard library is imported.
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(init=False, eq=False, repr=False)
class Selection:
    """Which material and which frequencies."""

    material: str | None = field(
        default=None,
        metadata={
            "help": "Material.",
            "metavar": "NAME",
            "usual": "the only one",
            "example": "'plastic'",
            "top": True,
        },
    )
    frequency: str | None = field(
        default=None,
        metadata={
            "help": "Frequencies, with commas; `all` stands for every one found.",
            "metavar": "NAMES",
            "usual": "the settings', else all",
            "kind": "list",
            "alias": "frequencies",
            "top": True,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class ScorePlace:
    """Where scores are."""

    metadata_dir: Path | None = field(
        default=None,
        metadata={
            "help": "Folder of score files.",
            "metavar": "DIR",
            "usual": "metadata",
            "example": "'metadata'",
            "top": True,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class GivenScores:
    """Score files that are named one by one."""

    metadata_file: tuple[Path, ...] = field(
        default=(),
        metadata={
            "help": "Score file (.json or .parquet); may be repeated. Without it, the project's.",
            "metavar": "FILE",
            "kind": "paths",
            "one_call": True,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class ListPlace:
    """Where exclusion lists are."""

    output_dir: Path | None = field(
        default=None,
        metadata={
            "help": "Folder of exclusion lists.",
            "metavar": "DIR",
            "usual": "exclusions",
            "example": "'exclusions'",
            "top": True,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class DataPlaces:
    """Where recordings and checkpoints are."""

    data_root: Path | None = field(
        default=None,
        metadata={
            "help": "Folder of recordings.",
            "metavar": "DIR",
            "usual": "data",
            "example": "'data'",
            "top": True,
        },
    )
    checkpoint_dir: Path | None = field(
        default=None,
        metadata={
            "help": "Folder of checkpoints, or of one folder <material>_<frequency> each.",
            "metavar": "DIR",
            "usual": "checkpoints",
            "example": "'checkpoints'",
            "top": True,
        },
    )
    linked_root: Path | None = field(
        default=None,
        metadata={
            "help": "A second folder that recordings may be links into.",
            "metavar": "DIR",
            "usual": "none",
            "example": "'.dvc/cache'",
            "top": True,
        },
    )
