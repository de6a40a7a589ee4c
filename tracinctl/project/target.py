"""A target: one material and frequency of a project, its names and its files."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tracinctl.errors import UsageError
from tracinctl.project.config import PER_CHECKPOINT, Project, holds_checkpoints
from tracinctl.project.round_places import at_round, round_of

_WINDOWS = sys.platform == "win32"
_NOT_ON_WINDOWS = '<>:"|?*'  # on Windows a colon leads to another drive or a stream of the file


@dataclass(frozen=True)
class Target:
    """A material and frequency of a project.

    Properties that return a path raise UsageError if material or frequency cannot be part of a file name.
    """

    project: Project
    material: str
    frequency: str

    @property
    def label(self) -> str:
        """Its label: ``plastic 500hz``, in later rounds ``plastic 500hz round 2``."""
        return f"{self.material} {self.frequency}" + (f" round {self.round}" if self.round > 1 else "")

    @property
    def round(self) -> int:
        """The round of its checkpoints."""
        return round_of(self.project.checkpoint_dir)

    def at_round(self, number: int) -> Target:
        """The same target in another round."""
        return replace(self, project=at_round(self.project, number))

    @property
    def name(self) -> str:
        """``plastic_500hz``, the first part of its file and folder names."""
        return file_name_part(self.material, self.frequency)

    @property
    def command_flags(self) -> str:
        """The flags that choose it on a command line."""
        return f"--material {shlex.quote(self.material)} --frequency {shlex.quote(self.frequency)}"

    @property
    def score_file(self) -> Path:
        """Influence scores: the JSON file, or the Parquet file if only that exists."""
        return self._existing_scores(per_checkpoint=False)

    @property
    def per_checkpoint_file(self) -> Path:
        """Influence scores of each checkpoint: the JSON file, or the Parquet file if only that exists."""
        return self._existing_scores(per_checkpoint=True)

    def scores_as(self, form: Literal["json", "parquet"], *, per_checkpoint: bool = False) -> Path:
        """The path of scores in a format."""
        ending = "_influence_metadata.json" if form == "json" else "_influence.parquet"
        return self.project.metadata_dir / f"{self.name}{PER_CHECKPOINT if per_checkpoint else ''}{ending}"

    def _existing_scores(self, *, per_checkpoint: bool) -> Path:
        text, columns = (self.scores_as(form, per_checkpoint=per_checkpoint) for form in ("json", "parquet"))
        return columns if columns.is_file() and not text.is_file() else text

    @property
    def records(self) -> Path:
        """The user's records of items and pairs."""
        return self.project.metadata_dir / f"{self.name}_metadata.json"

    @property
    def list_file(self) -> Path:
        """The exclusion list."""
        return self.project.output_dir / f"{self.name}_excluded_pairs.txt"

    @property
    def review_file(self) -> Path:
        """People's decisions on its suspects."""
        return self.project.root / "reviews" / f"{self.name}_review.csv"

    @property
    def own_checkpoints(self) -> Path:
        """The folder that training writes checkpoints to."""
        return self.project.checkpoint_dir / self.name

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints: its own, or checkpoint_dir if that contains checkpoints itself."""
        folder, shared = self.own_checkpoints, self.project.checkpoint_dir
        return shared if not folder.is_dir() and holds_checkpoints(shared) else folder

    @property
    def pairs_file(self) -> Path:
        """The pairs that training used, in the folder of its checkpoints."""
        return self.checkpoints / "pairs.csv"

    @property
    def left_out_file(self) -> Path:
        """The ids that training left out, in the folder of its checkpoints."""
        return self.checkpoints / "excluded_pairs.txt"

    @property
    def cache_dir(self) -> Path:
        """The kernels."""
        return self.project.cache_dir / self.name

    @property
    def retraining_dir(self) -> Path:
        """The trainings that judge its lists."""
        return self.project.cache_dir.parent / "retraining" / self.name

    @property
    def doubts_file(self) -> Path:
        """For each pair, the share of rankers not trained on it that rank it the other way."""
        return self.retraining_dir / "out_of_fold.csv"


def file_name_part(material: str, frequency: str) -> str:
    """``<material>_<frequency>``, the first part of every file name.

    Raises:
        UsageError: one of them is empty, leads out of the folder, or is not allowed in file names on this system.
    """
    for name, value in (("material", material), ("frequency", frequency)):
        if (
            not value
            or value in {".", ".."}
            or any(c in value for c in "/\\\0")
            or not value.isprintable()
            or (_WINDOWS and (any(c in value for c in _NOT_ON_WINDOWS) or value[-1] in ". "))
        ):
            raise UsageError(f"{name} {value!r} cannot be part of a file name", hint=f"Give `{name}` a plain name.")
    return f"{material}_{frequency}"
