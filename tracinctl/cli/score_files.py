"""What the commands about score files share: the project they are in, and the files they are about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import UsageError

if TYPE_CHECKING:
    from tracinctl.project.config import Project, Settings
    from tracinctl.project.places import GivenScores, Selection
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.diagnoses import Diagnosis
    from tracinctl.scores.exclusion import Exclusions
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.sweep import SweepResult

SIGNS = "positive = helpful, negative = harmful"


def settings_of(ctx: Any) -> Settings:
    """The settings that the command was given."""
    from tracinctl.project.config import Settings

    settings: Settings | None = ctx.find_object(Settings)
    return settings or Settings()


def project_of(ctx: Any, *places: Any) -> Project:
    """The project of the settings, its places as the groups of settings say."""
    from tracinctl.project.config import load_project
    from tracinctl.project.round_places import in_one_round

    said = {name: value for group in places for name, value in vars(group).items()}
    given = {name for name in said if was_typed(ctx, name)}
    return in_one_round(load_project(settings_of(ctx)).with_places(**said), given=given)


def trains_itself(ctx: Any) -> bool:
    """Whether the settings name a source or a training program of the user's own, which ``tracinctl train`` is not."""
    settings = settings_of(ctx)
    return settings.get("", "source") is not None or settings.get("train", "command") is not None


def was_typed(ctx: Any, name: str) -> bool:
    """Whether a flag stands on the command line or in the environment, and not only in the settings file."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in {"COMMANDLINE", "ENVIRONMENT"}


def was_flag(ctx: Any, name: str) -> bool:
    """Whether a flag stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def selected_files(ctx: Any, project: Project, given: GivenScores, chosen: Selection) -> list[ScoreFile]:
    """The score files that the command is about; says which of the project's are missing.

    Raises:
        UsageError: one that was asked for by name is missing.
        ScoreFileError: all are missing.
    """
    from tracinctl.project.selection import score_files

    dropped = [name for name in ("material", "frequency", "metadata_dir") if was_flag(ctx, name)]
    if given.metadata_file and dropped:
        raise UsageError(
            f"`metadata_file` names the scores, so `{dropped[0]}` has nothing to choose",
            hint="Leave out one of the two.",
        )
    files, missing = score_files(project, given.metadata_file, chosen.material, chosen.frequency)
    if missing and was_typed(ctx, "frequency"):
        raise UsageError(missing[0].message, hint=missing[0].hint)
    for each in missing:
        terminal.warn(each.message, each.hint)
    return files


def label_of(file: ScoreFile, source: ScoreSource) -> str:
    """What to call a file's scores: by their material and frequency, and by their method where it is not the usual."""
    method = source.provenance.get("method", "tracin")
    return file.label if method == "tracin" else f"{file.label} by {method}"


class Diagnoses:
    """What a careful colleague would say about scores and what is made of them, each thing once for all files."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, Diagnosis]]] = {}

    def add(
        self, label: str, source: ScoreSource, *, sweep: SweepResult | None = None, exclusions: Exclusions | None = None
    ) -> None:
        """Look at the scores of one file."""
        from tracinctl.scores.diagnoses import diagnose

        self.put(label, diagnose(source, sweep=sweep, exclusions=exclusions))

    def put(self, label: str, found: Iterable[Diagnosis]) -> None:
        """Keep what was found in the scores of one file."""
        for each in found:
            self._found.setdefault(each.code, []).append((label, each))

    def texts(self, label: str) -> list[str]:
        """What was found in the scores of one file, a sentence each."""
        return [each.text for found in self._found.values() for name, each in found if name == label]

    def tell(self) -> None:
        """Say all of it on stderr: below one warning what was seen in each file, what that means, and what to do."""
        for found in () if terminal.quiet else self._found.values():
            if len(found) == 1:
                ((label, only),) = found
                terminal.warn(f"{label}: {only.text}", only.hint)
                continue
            lines = [f"{label}: {each.seen}" for label, each in found]
            meaning = found[0][1].meaning
            lines += [f"{meaning[0].upper()}{meaning[1:]}."] if meaning else []
            hints = dict.fromkeys(each.hint for _, each in found if each.hint)
            terminal.warn("\n".join(lines), "\n".join(hints))


def tell_changes(file: ScoreFile, source: ScoreSource) -> list[str]:
    """Warn where scores were made from checkpoints or recordings that have changed since; the same for JSON."""
    from tracinctl.project.staleness import changed_since

    changes = changed_since(file, source)
    if not changes or file.target is None:
        return []
    said = f"since these scores were made, {'; '.join(changes)}"
    terminal.warn(f"{file.label}: {said}", f"Compute them again: tracinctl compute {file.target.command_flags}")
    return [said]


def check_one_form(*, json: bool, csv: bool) -> None:
    """Refuse to print two forms of one result."""
    if json and csv:
        raise UsageError("--json and --csv exclude each other", hint="Give one of them.")
