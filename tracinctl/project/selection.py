"""Choose the materials, frequencies and score files of a command.

This module uses only the standard library and file names, because completion uses it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tracinctl.errors import DataError, ScoreFileError, UsageError
from tracinctl.project.config import Project, find_score_files, split_score_file_name
from tracinctl.project.declared import split_list
from tracinctl.project.round_places import at_round, round_of
from tracinctl.project.target import Target
from tracinctl.text import as_written, did_you_mean, natural_key, nearest

ALL = "all"
_TRY_THE_DEMO = "To try tracinctl without any, run: tracinctl demo my-project"


@dataclass(frozen=True)
class ScoreFile:
    """A score file and its target; None if the file name does not show it."""

    path: Path
    target: Target | None = None

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.path.name if self.target is None else self.target.label

    @property
    def material(self) -> str | None:
        """The target's material."""
        return None if self.target is None else self.target.material

    @property
    def frequency(self) -> str | None:
        """The target's frequency."""
        return None if self.target is None else self.target.frequency

    @property
    def in_project(self) -> bool:
        """Whether it is in the project's folder of scores."""
        return self.target is not None and self.path.absolute().parent == self.target.project.metadata_dir.absolute()

    @property
    def beside(self) -> Target | None:
        """The target, with its other score files and records in the folder of this one."""
        if self.target is None:
            return None
        return replace(self.target, project=self.target.project.with_places(metadata_dir=self.path.parent))


def recordings_by_material(data_root: Path) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from the names of recordings."""
    from tracinctl.data.recordings import available

    return available(data_root) if data_root.is_dir() else {}


def scores_by_material(metadata_dir: Path) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from the names of score files."""
    return _by_material(find_score_files(metadata_dir))


def checkpoints_by_material(checkpoint_dir: Path) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from the folders of checkpoints."""
    try:
        names = sorted((path.name for path in checkpoint_dir.iterdir() if path.is_dir()), key=natural_key)
    except OSError:
        return {}
    parts = [name.rpartition("_") for name in names]
    return _by_material((material, frequency) for material, _, frequency in parts if material and frequency)


def everything_by_material(project: Project) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from recordings, score files and checkpoints."""
    merged: dict[str, set[str]] = {}
    for source in (
        recordings_by_material(project.data_root),
        scores_by_material(project.metadata_dir),
        checkpoints_by_material(project.checkpoint_dir),
    ):
        for material, frequencies in source.items():
            merged.setdefault(material, set()).update(frequencies)
    return {material: sorted(merged[material], key=natural_key) for material in sorted(merged, key=natural_key)}


def _by_material(targets: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    frequencies: dict[str, list[str]] = {}
    for material, frequency in targets:
        frequencies.setdefault(material, []).append(frequency)
    return frequencies


def _names(by_material: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{material} {frequency}" for material, frequencies in by_material.items() for frequency in frequencies]


@dataclass(frozen=True, eq=False, repr=False)
class Choices:
    """The frequencies of each material to choose from, and the words for the folders that have them."""

    project: Project
    by_material: dict[str, list[str]]
    where: str

    def material(self, requested: str | None) -> str:
        """The material that the user chose or set, or the only one found.

        Raises:
            DataError: there is none.
            UsageError: there are several and none is chosen.
        """
        name = requested or self.project.material
        if name is not None:
            return as_written(name, self.by_material)
        if not self.by_material:
            raise DataError(
                f"no material was given, and none was found in {self.where}", hint="Give one with `material`."
            )
        first, *others = self.by_material
        if others:
            raise UsageError(
                f"no material was given, and {self.where} has several: {', '.join(self.by_material)}",
                hint=f"Give one, for example `material` {first}",
            )
        return first

    def frequencies(self, requested: str | None, material: str, *, strict: bool = True) -> list[str]:
        """The frequencies that the user chose or set, or all that are found.

        Raises:
            UsageError: nothing is found, or (if ``strict``) a chosen one is not found.
        """
        existing = self.by_material.get(material, [])
        wanted = list(self.project.frequencies) if requested is None else split_list(requested, "frequency")
        names = [as_written(name, existing) for name in wanted]
        everything = ALL in names or not names
        if not existing and (everything or strict):
            hint = _alternatives(material, list(self.by_material), "materials")
            raise UsageError(f"no {material} in {self.where}", hint=hint)
        if everything:
            return existing
        missing = next((name for name in names if name not in existing), None)
        if strict and missing is not None:
            hint = _alternatives(missing, existing, "frequencies")
            raise UsageError(f"no {material} at {missing} in {self.where}", hint=hint)
        return names

    def targets(self, material: str | None, frequency: str | None, *, strict: bool = True) -> list[Target]:
        """The targets that the user chose or set, or all that are found."""
        chosen = self.material(material)
        return [Target(self.project, chosen, name) for name in self.frequencies(frequency, chosen, strict=strict)]


def score_files(
    project: Project, paths: Sequence[Path] | None, material: str | None, frequency: str | None
) -> tuple[list[ScoreFile], list[ScoreFileError]]:
    """The given score files, or those of the project with an error for each missing one.

    ``paths`` is None if the command takes no files by name.

    Raises:
        ScoreFileError: a given file does not exist, or none of the project's does.
    """
    if paths:
        return [_given_file(project, path) for path in paths], []
    available = scores_by_material(project.metadata_dir)
    if not available:
        raise _no_scores(project, material, frequency, by_name=paths is not None)
    targets = Choices(project, available, str(project.metadata_dir)).targets(material, frequency, strict=False)
    files = [ScoreFile(target.score_file, target) for target in targets if target.score_file.is_file()]
    without = [target for target in targets if not target.score_file.is_file()]
    missing = [_missing_scores(target) for target in without]
    if not files:
        # the hint on an unknown name lists all names already
        scored = "" if unknown_set(without[0]) else f"\nThere are scores for {', '.join(_names(available))}."
        raise (ScoreFileError if frequency is None else UsageError)(
            "\n".join(error.message for error in missing), hint=f"{missing[0].hint}{scored}"
        )
    return files, missing


def _given_file(project: Project, path: Path) -> ScoreFile:
    if path.is_dir():
        raise ScoreFileError(
            f"{path} is a folder, not a score file", hint=f"To use all score files in it: `metadata_dir` {path}"
        )
    if not path.is_file():
        several = "," in str(path) and all(Path(part).is_file() for part in str(path).split(","))
        hint = "Give `metadata_file` once for each file." if several else _score_files_near(path)
        raise ScoreFileError(f"there is no score file {path}", hint=hint)
    names = split_score_file_name(path, project.frequencies)
    number = round_of(path.absolute().parent)
    return ScoreFile(path, Target(project if number == 1 else at_round(project, number), *names) if names else None)


def _missing_scores(target: Target) -> ScoreFileError:
    return ScoreFileError(
        f"no influence scores for {target.label}: there is no {target.score_file}",
        hint=f"{unknown_set(target)}Make them with: tracinctl compute {target.command_flags}",
    )


def _no_scores(project: Project, material: str | None, frequency: str | None, *, by_name: bool) -> ScoreFileError:
    requested = [] if frequency is None else [name for name in split_list(frequency, "frequency") if name != ALL]
    name, first = material or project.material or "NAME", (requested or list(project.frequencies) or ["NAME"])[0]
    or_file = "\nor give a file: `metadata_file` FILE" if by_name else ""
    return ScoreFileError(
        f"no influence scores in {project.metadata_dir}",
        hint=_beside(project) or f"Make them with: tracinctl compute --material {name} --frequency {first}{or_file}",
    )


def training_sets(project: Project, material: str | None, frequency: str | None) -> list[Target]:
    """The targets to compute or train, checked against the recordings.

    Raises:
        DataError: there are no recordings, or none of this material or frequency.
        UsageError: a name is missing.
    """
    available = recordings_by_material(project.data_root)
    if not available:
        from tracinctl.data.recordings import no_recordings

        error = no_recordings(project.data_root)
        raise DataError(error.message, hint=f"{error.hint}\n{_TRY_THE_DEMO}")
    return Choices(project, available, str(project.data_root)).targets(material, frequency)


def sets_of_source(project: Project, material: str | None, frequency: str | None) -> list[Target]:
    """The targets of a user's own source, which has no list of all; UsageError if a name is missing."""
    name = material or project.material
    frequencies = split_list(frequency, "frequency") if frequency else list(project.frequencies)
    hint = "They name the files: give `material` digits `frequency` all-sizes, or set them in tracinctl.toml."
    if ALL in frequencies:
        raise UsageError(
            f"with your own `source`, frequency cannot be '{ALL}', because there is no list of all", hint=hint
        )
    if name is None or not frequencies:
        raise UsageError("with your own `source`, material and frequency must be given", hint=hint)
    return [Target(project, name, chosen) for chosen in frequencies]


def workflow_sets(project: Project, material: str | None, frequencies: str | None) -> list[Target]:
    """The targets of a workflow; a missing frequency fails by itself later.

    Raises:
        DataError: there is nothing to work on.
        UsageError: a name is missing.
    """
    where = f"{project.data_root}, {project.checkpoint_dir} or {project.metadata_dir}"
    available = everything_by_material(project)
    if not available:
        folders = "Give the folders with `data_root`, `checkpoint_dir` and `metadata_dir`."
        raise DataError(
            f"no recordings, checkpoints or scores in {where}",
            hint=_beside(project) or f"{folders}\n{_TRY_THE_DEMO}",
        )
    return Choices(project, available, where).targets(material, frequencies, strict=False)


def unknown_set(target: Target) -> str:
    """What was probably meant by a material and frequency that do not exist, on a line; empty if they exist."""
    requested, names = f"{target.material} {target.frequency}", _names(everything_by_material(target.project))
    if requested in names or not names:
        return ""
    return f"{did_you_mean(requested, names)} There are {', '.join(names)}.\n".lstrip()


def _beside(project: Project) -> str:
    """A hint if score files are in the project's folder itself; empty if there are none."""
    number = len(find_score_files(project.root))
    place = "." if project.root == Path.cwd() else shlex.quote(str(project.root))
    files = "1 score file is" if number == 1 else f"{number} score files are"
    return f"{files} in {'this folder' if place == '.' else place} itself: add `metadata_dir` {place}" if number else ""


def _alternatives(name: str, names: Sequence[str], kind: str) -> str:
    if not names:
        return f"There are no {kind}."
    return f"{did_you_mean(name, names)} There are the {kind} {', '.join(names)}.".lstrip()


def _score_files_near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"The folder {folder} does not exist either."
    names = sorted(entry.name for entry in folder.iterdir() if split_score_file_name(entry) is not None)
    same = [name for name in names if split_score_file_name(Path(name)) == split_score_file_name(path)]
    near = same[0] if same else nearest(path.name, names)
    if near:
        return f"Did you mean {folder / near}?"
    return "Make scores with: tracinctl compute --material NAME --frequency NAME"


def score_file_names(project: Project) -> list[Path]:
    """Every score file of the project, for completion."""
    return [Target(project, *names).score_file for names in find_score_files(project.metadata_dir)]
