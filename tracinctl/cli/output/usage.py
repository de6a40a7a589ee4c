"""Where each setting came from, and what is wrong with a command line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from tracinctl.cli.output.terminal import terminal
from tracinctl.text import nearest


def show_sources(command: TyperCommand, ctx: Any) -> None:
    """Show each setting and its source on stderr."""
    from tracinctl.project.config import Settings

    settings: Settings | None = ctx.find_object(Settings)
    file = settings.path.name if settings is not None and settings.path is not None else "tracinctl.toml"
    rows = []
    for param in command.params:
        if not param.name or param.name not in ctx.params:
            continue
        source = source_of(param, ctx, file)
        value = ctx.params[param.name]
        rows.append((param.name.replace("_", "-"), shown_value(value), source))
    if settings is not None:
        for table in ("features", "ranker"):
            rows += [
                (f"[{table}] {key}", shown_value(value), file) for key, value in settings.values.get(table, {}).items()
            ]
    wide = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    terminal.detail(
        f"settings of {command.name} ({f'file {settings.path}' if settings and settings.path else 'no file'}):"
    )
    for name, value, source in rows:
        terminal.detail(f"  {name:<{wide[0]}}  {value:<{min(wide[1], 20)}}  {source}")


def tell_settings_file(ctx: Any) -> None:
    """Show the settings file in use if it is not in the current folder and no flag names it."""
    from tracinctl.project.config import Settings

    settings: Settings | None = ctx.find_object(Settings)
    if settings is None or settings.path is None or ctx.find_root().params.get("config"):
        return
    if settings.path.parent != Path.cwd():
        terminal.say(f"Settings: {settings.path}")


def source_of(param: Any, ctx: Any, file: str) -> str:
    """The source of a parameter's value, in words."""
    source = ctx.get_parameter_source(param.name)
    kind = source.name if source is not None else "DEFAULT"
    if kind == "COMMANDLINE":
        return f"flag {_typed(param)}" if param.param_type_name == "option" else "argument"
    if kind == "ENVIRONMENT":
        return f"environment {variable_of(param, ctx)}"
    if kind == "DEFAULT_MAP":
        return file
    return "default"


def origins_of(command: Any, ctx: Any) -> dict[str, str]:
    """The variable or the file and line behind each setting; flags and defaults are left out."""
    from tracinctl.project.config import Settings

    origins = {}
    file: Settings | None = ctx.find_object(Settings)
    for param in command.params:
        source = ctx.get_parameter_source(param.name)
        setting = command.settings.get(param.name)
        if source is None or setting is None:
            continue
        if source.name == "ENVIRONMENT":
            origins[param.name] = f"environment variable {variable_of(param, ctx)}"
        elif source.name == "DEFAULT_MAP" and file is not None:
            place = file.place_of(command.name, setting)
            origins[param.name] = f"{file.path}{file.line(*place) if place else ''}"
    return origins


_FOLDERS = frozenset({"data_root", "linked_root"})
_FILES = frozenset({"exclusions_file", "pairs_file", "metadata_file", "file", "merge"})
_WRITTEN = frozenset({"output_file", "output", "report"})
_FOLDERS_OF = {
    "compute": frozenset({"checkpoint_dir"}),
    "workflow": frozenset({"checkpoint_dir"}),
    "sweep": frozenset({"metadata_dir"}),
    "exclude": frozenset({"metadata_dir"}),
    "plot": frozenset({"metadata_dir"}),
}
"""Folders and files that a command reads, which must exist if they are given, and files that it writes."""


def names_wrong_path(command: Any, ctx: Any) -> bool:
    """Whether a flag or variable names a folder or file to read that is not there, or a folder in place of a file."""
    folders = _FOLDERS | _FOLDERS_OF.get(command.name, frozenset())
    for name in (folders | _FILES | _WRITTEN) & ctx.params.keys():
        source = ctx.get_parameter_source(name)
        if source is None or source.name not in {"COMMANDLINE", "ENVIRONMENT"}:
            continue
        value = ctx.params[name]
        for path in map(Path, value if isinstance(value, (list, tuple)) else [value]):
            if path.is_dir() if name in _WRITTEN else not (path.is_file() if name in _FILES else path.exists()):
                return True
    return False


def shown_value(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None or value in ((), []):
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _typed(param: Any) -> str:
    """The name of an option that was typed."""
    names = [*param.opts, *param.secondary_opts]
    typed = {word.partition("=")[0] for word in terminal.arguments}
    return next((name for name in names if name in typed), str(names[0]))


def variable_of(param: Any, ctx: Any) -> str:
    """The environment variable of an option."""
    names = [param.envvar] if isinstance(param.envvar, str) else [*(param.envvar or ())]
    usual = names or [f"{ctx.auto_envvar_prefix}_{param.name.upper()}"]
    return next((name for name in usual if os.environ.get(name)), usual[0])


_PLAIN_WORDS = {
    "a valid integer range": "a whole number",
    "a valid integer": "a whole number",
    "a valid int range": "a whole number",
    "a valid int": "a whole number",
    "a valid float range": "a number",
    "a valid float": "a number",
}


def show_usage_error(error: Any) -> None:
    """Show what is wrong with a command line, and what was probably meant."""
    ctx: Any = getattr(error, "ctx", None)
    message = error.format_message().strip().rstrip(".")
    hints: list[str] = []
    option = getattr(error, "option_name", None)
    if option and type(error).__name__ == "NoSuchOption":
        message = f"no such option: {option}"
        hints += _options_like(str(option), ctx)
    elif message.startswith("No such command"):
        message, _, guess = message.partition(". Did you mean ")
        message = message[0].lower() + message[1:]
        if guess:
            hints.append(f"Did you mean {guess.rstrip('?').replace(chr(39), '')}?")
    else:
        message = " ".join(message.split())
        message = message[0].lower() + message[1:] if message else "wrong usage"
        message = re.sub(r" \(env var: '.*?'\)", "", message)
        for technical, plain in _PLAIN_WORDS.items():
            message = message.replace(technical, plain)
    param = getattr(error, "param", None)
    message = re.sub(r"is not in the range x>=(\S+)", r"is not \1 or more", message)
    if re.match(r"no such option: -[\d.]|got unexpected extra argument", message):
        hints += _loose_values(ctx)
    typed = re.search(r"'([^']*)' is not one of", message)
    if typed is not None and param is not None:
        near = nearest(typed[1], map(str, param.type.choices))
        hints += [f"Did you mean {near}?"] if near else []
    if ctx is not None and param is not None and param.name:
        from tracinctl.project.config import Settings

        settings = ctx.find_object(Settings)
        file = str(settings.path) if settings is not None and settings.path is not None else "tracinctl.toml"
        source = source_of(param, ctx, file)
        if source.startswith(("environment", file)):
            hints.append(f"The value comes from {source}.")
    hints.append(f"See {ctx.command_path if ctx is not None else terminal.command} --help.")
    terminal.error(message, "\n".join(hints))


def _loose_values(ctx: Any) -> list[str]:
    """The hint for a value without a flag, because a list was typed with spaces."""
    words = terminal.arguments
    lists = {"frequency", "frequencies", "thresholds", "layers", "ignore_keys", "checkpoint_weights"}
    known = {name for param in (ctx.command.params if ctx else ()) if param.name in lists for name in param.opts}
    for option, value, more in zip(words, words[1:], words[2:], strict=False):
        if option in known and not more.startswith("--"):
            return [f"Write a list without spaces: {option} {value.rstrip(',')},{more.strip(',')}"]
    return []


def _options_like(option: str, ctx: Any) -> list[str]:
    if ctx is None:
        return []
    if ctx.parent is not None and option in _names(ctx.parent.command):
        path = f"{ctx.parent.command_path} {option} ... {ctx.info_name}"
        return [f"Put {option} before the command: {path}"]
    program = ctx.find_root()
    homes = [name for name, command in program.command.commands.items() if option in _names(command)]
    if homes and ctx.parent is None:
        return [f"Put {option} after the command, for example: {ctx.command_path} {homes[0]} {option} ..."]
    near = nearest(option, [*_names(ctx.command), "--help"])
    if homes and not (near and _alike(option, near)):
        return [f"It is an option of {', '.join(homes)}: {program.command_path} {homes[0]} {option} ..."]
    return [f"Did you mean {near}?"] if near else []


def _names(command: Any) -> list[str]:
    """The option names of a command."""
    return [name for param in command.params for name in (*param.opts, *param.secondary_opts)]


def _alike(one: str, other: str) -> bool:
    """Whether two options are forms of one name, ``--threshold`` and ``--thresholds``."""
    return one.startswith(other) or other.startswith(one)
