"""Choose the materials, frequencies and score files of a command.

This module uses only the standard library and file names, because completion uses it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from tracinctl.errors import DataError, ScoreFileError, UsageError
from tracinctl.project.config import Project, find_score_files, split_score_file_name
from tracinctl.project.declared import split_list
from tracinctl.project.round_places import at_round, round_of
from tracinctl.project.target import Target
from tracinctl.text import natural_key, nearest

ALL = "all"


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


@dataclass(frozen=True, eq=False, repr=False)
class MissingScores:
    """Missing scores, and the command that makes them."""

    target: Target

    @property
    def message(self) -> str:
        """The message that names the missing file."""
        return f"no influence scores for {self.target.label}: there is no {self.target.score_file}"

    @property
    def hint(self) -> str:
        """What was probably meant, and the command that makes the scores."""
        return f"{unknown_set(self.target)}Make them with: tracinctl compute {self.target.command_flags}"


def recordings_by_material(data_root: Path) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from the names of recordings."""
    from tracinctl.data.recordings import available

    return available(data_root) if data_root.is_dir() else {}


def scores_by_material(metadata_dir: Path) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from the names of score files."""
    frequencies: dict[str, list[str]] = {}
    for material, frequency in find_score_files(metadata_dir):
        frequencies.setdefault(material, []).append(frequency)
    return frequencies


def checkpoints_by_material(checkpoint_dir: Path) -> dict[str, list[str]]:
    """Frequencies by material, in natural order, from the folders of checkpoints."""
    frequencies: dict[str, list[str]] = {}
    try:
        names = sorted((entry.name for entry in checkpoint_dir.iterdir()), key=natural_key)
    except OSError:
        return frequencies
    for name in names:
        material, _, frequency = name.rpartition("_")
        if material and frequency and (checkpoint_dir / name).is_dir():
            frequencies.setdefault(material, []).append(frequency)
    return frequencies


def choose_material(project: Project, asked: str | None, choices: dict[str, list[str]], where: str) -> str:
    """The material that the user chose or set, or the only one found.

    Raises:
        DataError: there is none.
        UsageError: there are several and none is chosen.
    """
    name = asked or project.material
    if name is not None:
        return _as_written(name, choices)
    if not choices:
        raise DataError(f"no material was given, and none was found in {where}", hint="Give one with `material`.")
    if len(choices) > 1:
        raise UsageError(
            f"no material was given, and {where} has several: {', '.join(choices)}",
            hint=f"Give one, for example `material` {next(iter(choices))}",
        )
    return next(iter(choices))


def _as_written(name: str, known: Iterable[str]) -> str:
    """The known name that equals this one in Unicode's normal form, or else this one in that form."""
    usual = normalize("NFC", name)
    return next((one for one in known if normalize("NFC", one) == usual), usual)


def choose_frequencies(
    project: Project,
    asked: str | None,
    material: str,
    choices: dict[str, list[str]],
    where: str,
    *,
    strict: bool = True,
) -> list[str]:
    """The frequencies that the user chose or set, or all that are found.

    Raises:
        UsageError: nothing is found, or (if ``strict``) a chosen one is not found.
    """
    here = choices.get(material, [])
    asked_for = list(project.frequencies) if asked is None else split_list(asked, "frequency")
    names = [_as_written(name, here) for name in asked_for]
    if ALL in names or not names:
        if not here:
            raise UsageError(f"no {material} in {where}", hint=_nearest(material, list(choices), "materials"))
        return here
    if strict:
        for name in names:
            if name not in here:
                if not here:
                    raise UsageError(f"no {material} in {where}", hint=_nearest(material, list(choices), "materials"))
                raise UsageError(f"no {material} at {name} in {where}", hint=_nearest(name, here, "frequencies"))
    return names


def score_files(
    project: Project, given: Sequence[Path] | None, material: str | None, frequency: str | None
) -> tuple[list[ScoreFile], list[MissingScores]]:
    """The given score files, or those of the project with a list of missing ones.

    ``given`` is None if the command takes no files by name.

    Raises:
        ScoreFileError: a given file does not exist, or none of the project's does.
    """
    if given:
        files = []
        for path in given:
            if path.is_dir():
                raise ScoreFileError(
                    f"{path} is a folder, not a score file",
                    hint=f"To use all score files in it: `metadata_dir` {path}",
                )
            if not path.is_file():
                raise ScoreFileError(f"there is no score file {path}", hint=_score_files_near(path))
            split = split_score_file_name(path, project.frequencies)
            number = round_of(path.absolute().parent)
            own = project if number == 1 else at_round(project, number)
            files.append(ScoreFile(path, Target(own, *split) if split else None))
        return files, []

    where = str(project.metadata_dir)
    available = scores_by_material(project.metadata_dir)
    if not available:
        name = material or project.material or "NAME"
        wanted = [] if frequency is None else [entry for entry in split_list(frequency, "frequency") if entry != ALL]
        first = (wanted or list(project.frequencies) or ["NAME"])[0]
        by_name = "" if given is None else "\nor give a file: `metadata_file` FILE"
        raise ScoreFileError(
            f"no influence scores in {where}",
            hint=_beside(project)
            or f"Make them with: tracinctl compute --material {name} --frequency {first}{by_name}",
        )
    chosen = choose_material(project, material, available, where)
    names = choose_frequencies(project, frequency, chosen, available, where, strict=False)
    files, missing = [], []
    for name in names:
        target = Target(project, chosen, name)
        if target.score_file.is_file():
            files.append(ScoreFile(target.score_file, target))
        else:
            missing.append(MissingScores(target))
    if not files:
        raise (ScoreFileError if frequency is None else UsageError)(
            "\n".join(error.message for error in missing),
            hint="\n".join([missing[0].hint, *_others(available)]),
        )
    return files, missing


def training_sets(
    project: Project, material: str | None, frequency: str | None, *, custom_source: bool = False
) -> list[Target]:
    """The targets to compute or train, checked against the recordings.

    With a user's own source, there are no recordings to check, so material and frequency must be given.

    Raises:
        DataError: there are no recordings, or none of this material or frequency.
        UsageError: a name is missing.
    """
    if custom_source:
        name = material or project.material
        names = split_list(frequency, "frequency") if frequency else list(project.frequencies)
        hint = "They name the files: give `material` digits `frequency` all-sizes, or set them in tracinctl.toml."
        if ALL in names:
            raise UsageError(
                f"with your own `source`, frequency cannot be '{ALL}', because there is no list of all", hint=hint
            )
        if name is None or not names:
            raise UsageError("with your own `source`, material and frequency must be given", hint=hint)
        return [Target(project, name, frequency_name) for frequency_name in names]
    where = str(project.data_root)
    available = recordings_by_material(project.data_root)
    if not available:
        from tracinctl.data.recordings import no_recordings

        error = no_recordings(project.data_root)
        raise DataError(
            error.message, hint=f"{error.hint}\nTo try tracinctl without any, run: tracinctl demo my-project"
        )
    chosen = choose_material(project, material, available, where)
    names = choose_frequencies(project, frequency, chosen, available, where)
    return [Target(project, chosen, name) for name in names]


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


def unknown_set(target: Target) -> str:
    """What was probably meant by a material and frequency that do not exist, a line; empty if they exist."""
    available = everything_by_material(target.project)
    asked = f"{target.material} {target.frequency}"
    known = [f"{name} {frequency}" for name, frequencies in available.items() for frequency in frequencies]
    if asked in known or not known:
        return ""
    near = nearest(asked, known)
    guess = f"Did you mean {near}? " if near else ""
    return f"{guess}There are {', '.join(known)}.\n"


def workflow_sets(
    project: Project, material: str | None, frequencies: str | None, *, custom_source: bool = False
) -> list[Target]:
    """The targets of a workflow; a missing frequency fails by itself later.

    Raises:
        DataError: there is nothing to work on.
        UsageError: a name is missing.
    """
    if custom_source:
        return training_sets(project, material, frequencies, custom_source=True)
    where = f"{project.data_root}, {project.checkpoint_dir} or {project.metadata_dir}"
    available = everything_by_material(project)
    if not available:
        raise DataError(
            f"no recordings, checkpoints or scores in {where}",
            hint=_beside(project)
            or "Give the folders with `data_root`, `checkpoint_dir` and `metadata_dir`.\n"
            "To try tracinctl without any, run: tracinctl demo my-project",
        )
    chosen = choose_material(project, material, available, where)
    names = choose_frequencies(project, frequencies, chosen, available, where, strict=False)
    return [Target(project, chosen, name) for name in names]


def _beside(project: Project) -> str:
    """A hint if score files are in the project's folder itself; empty if there are none."""
    here = len(find_score_files(project.root))
    place = "." if project.root == Path.cwd() else shlex.quote(str(project.root))
    files = "1 score file is" if here == 1 else f"{here} score files are"
    return f"{files} in {'this folder' if place == '.' else place} itself: add `metadata_dir` {place}" if here else ""


def _nearest(name: str, known: Sequence[str], what: str) -> str:
    near = nearest(name, known)
    guess = f"Did you mean {near}? " if near else ""
    return f"{guess}There are the {what} {', '.join(known)}." if known else f"There are no {what}."


def _others(available: dict[str, list[str]]) -> list[str]:
    there = [f"{material} {frequency}" for material, frequencies in available.items() for frequency in frequencies]
    return [f"There are scores for {', '.join(there)}."] if there else []


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
