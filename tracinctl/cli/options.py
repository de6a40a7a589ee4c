"""The flags of a command, made from its settings class, and the settings of a run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import UsageError
from tracinctl.project.commands import COMMANDS
from tracinctl.project.declared import Kind, Setting, build, settings_of
from tracinctl.project.settings import OUTPUT

if TYPE_CHECKING:
    from tracinctl.project.config import Project, Settings
    from tracinctl.project.selection import ScoreFile
    from tracinctl.project.settings import GivenScores, Selection
    from tracinctl.project.target import Target

_form = functools.partial(typer.Option, allow_from_autoenv=False, rich_help_panel=OUTPUT)
Json = Annotated[bool, _form("--json", help="Print the result as JSON and nothing else.")]
Csv = Annotated[bool, _form("--csv", help="Print the table as CSV and nothing else.")]

# typer reads other kinds as text
_TYPES: dict[Kind, Any] = {
    Kind.PATH: Path,
    Kind.WHOLE: int,
    Kind.NUMBER: float,
    Kind.TRUTH: bool,
    Kind.TEXTS: list[str],
    Kind.PATHS: list[Path],
}
_METAVARS = {Kind.WHOLE: "N", Kind.NUMBER: "X", Kind.PATH: "FILE"}

Command = TypeVar("Command")


def with_settings(name: str, function: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command's function: a flag for each setting replaces the parameter ``settings``."""
    chosen = list(declared_for(name).values())
    if not chosen:
        return function

    @functools.wraps(function)
    def command(**arguments: Any) -> None:
        values = {setting.name: arguments.pop(setting.name) for setting in chosen}
        function(settings=settings_from(name, arguments.get("ctx"), values), **arguments)

    signature = inspect.signature(function, eval_str=True)
    others = [parameter for parameter in signature.parameters.values() if parameter.name != "settings"]
    names = [parameter.name for parameter in others]
    place = names.index("json") if "json" in names else len(others)
    parameters = [*others[:place], *map(_parameter, chosen), *others[place:]]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typer reads it
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    command.__annotations__ = {}  # the signature has them; typer would evaluate them twice
    return command


def declared_for(command: str) -> dict[str, Setting]:
    """The settings that a command has flags for, by name."""
    declared = settings_of(COMMANDS[command]) if command in COMMANDS else ()
    return {setting.name: setting for setting in declared if not setting.table}


def settings_from(name: str, ctx: Any, values: dict[str, Any]) -> Any:
    """A command's settings, from its flags and from the settings that only ``tracinctl.toml`` can hold.

    Raises:
        UsageError: a value makes no sense.
    """
    file = file_settings(ctx)
    for setting in settings_of(COMMANDS[name]):
        place = file.place_of(name, setting) if setting.table else None
        if place is not None:
            values[setting.name] = file.get(*place)
    return build(COMMANDS[name], values)


def given_names(ctx: Any) -> frozenset[str]:
    """Names of the settings that a flag, a variable or the settings file gives."""
    return frozenset(name for name in ctx.command.settings if source_name(ctx, name) != "DEFAULT")


def settings_without_flags(ctx: Any, name: str, cls: type[Command]) -> Command:
    """The settings that another command has when it is run without flags."""
    command = ctx.find_root().command.commands[name]
    without_flags = command.make_context(name, [], parent=ctx.parent)
    settings = settings_from(name, without_flags, dict(without_flags.params))
    terminal.flags = {key: f"{key} (in tracinctl.toml)" for key in command.settings} | terminal.flags
    assert isinstance(settings, cls)  # noqa: S101 - the caller passes the command's class
    return settings


def _parameter(setting: Setting) -> inspect.Parameter:
    """The parameter that typer makes an option of."""
    type_: Any = Literal[tuple(setting.choices)] if setting.choices else _TYPES.get(setting.kind, str)
    default = None if setting.kind in {Kind.TEXTS, Kind.PATHS} else setting.default
    names = [name.replace("_", "-") for name in setting.names]
    can_be_off = setting.kind is Kind.TRUTH and setting.default
    # typer reads an option from a default in half the time that Annotated takes
    option = typer.Option(
        default,
        *(f"--{name}/--no-{name}" if can_be_off else f"--{name}" for name in names),
        metavar=setting.metadata.get("metavar", _METAVARS.get(setting.kind)),
        help=setting.metadata["help"],
        min=setting.metadata.get("least"),
        rich_help_panel=setting.panel or OUTPUT,
        show_default=setting.metadata.get("usual", True),
        allow_from_autoenv=False,
    )
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=type_)


def file_settings(ctx: Any) -> Settings:
    """The settings of the file and the environment; empty without a context."""
    from tracinctl.project.config import Settings

    settings: Settings | None = ctx.find_object(Settings) if ctx is not None else None
    return settings or Settings()


def project_of(ctx: Any, *places: Any) -> Project:
    """The project, with the folders that the groups of settings name."""
    from tracinctl.project.config import load_project
    from tracinctl.project.round_places import in_one_round

    values = {name: value for group in places for name, value in vars(group).items()}
    typed = {name for name in values if was_typed(ctx, name)}
    return in_one_round(load_project(file_settings(ctx)).with_places(**values), typed=typed)


def has_own_training(ctx: Any) -> bool:
    """Whether the settings name the user's own source or training program, so that ``tracinctl train`` is not used."""
    settings = file_settings(ctx)
    return settings.get("", "source") is not None or settings.get("train", "command") is not None


def source_name(ctx: Any, name: str) -> str:
    """COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (the settings file) or DEFAULT."""
    source = ctx.get_parameter_source(name)
    return "DEFAULT" if source is None else str(source.name)


def was_typed(ctx: Any, name: str) -> bool:
    """Whether a setting was given on the command line or in the environment."""
    return source_name(ctx, name) in {"COMMANDLINE", "ENVIRONMENT"}


def was_flag(ctx: Any, name: str) -> bool:
    """Whether a setting was given on the command line."""
    return source_name(ctx, name) == "COMMANDLINE"


def selected_files(ctx: Any, project: Project, named: GivenScores | None, chosen: Selection) -> list[ScoreFile]:
    """The score files that the command reads; warns of missing ones.

    ``named`` is None for a command that takes no files by name.

    Raises:
        UsageError: a file given by name is missing.
        ScoreFileError: all are missing.
    """
    from tracinctl.project.selection import score_files

    dropped = [name for name in ("material", "frequency", "metadata_dir") if was_flag(ctx, name)]
    paths = None if named is None else named.metadata_file
    if paths and dropped:
        raise UsageError(f"`metadata_file` and `{dropped[0]}` both choose the scores", hint="Leave out one of them.")
    files, missing = score_files(project, paths, chosen.material, chosen.frequency)
    if missing and was_typed(ctx, "frequency"):
        raise UsageError(missing[0].message, hint=missing[0].hint)
    for error in missing:
        terminal.warn(error.message, error.hint)
    return files


def only_target(files: list[ScoreFile], subject: str, command: str) -> Target:
    """The target of the only score file, or a UsageError with the example ``command`` in its hint."""
    target = files[0].target
    if len(files) > 1 or target is None:
        raise UsageError(
            f"{subject} one frequency, but there are scores of {len(files)}",
            hint=f"For example: tracinctl {command} --frequency {files[0].frequency}",
        )
    return target


def named_target(file: ScoreFile, start: str = "", *, beside: bool = False) -> Target:
    """The target that a score file's name shows, or a UsageError that begins with ``start``.

    ``beside`` puts the target's other files into the folder of this one.
    """
    target = file.beside if beside else file.target
    if target is None:
        raise UsageError(
            f"{start}the name of {file.path} does not show its material and frequency",
            hint="Score files are named <material>_<frequency>_influence_metadata.json.",
        )
    return target


def check_one_form(*, json: bool, csv: bool) -> None:
    """Refuse two output formats at once."""
    if json and csv:
        raise UsageError("--json and --csv exclude each other", hint="Give one of them.")
