"""Where each setting came from, and what is wrong with a command line."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from tracinctl.cli.options import file_settings, source_name, was_flag, was_typed
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.text import nearest


def show_sources(command: TyperCommand, ctx: Any) -> None:
    """Show each setting and its source on stderr."""
    settings = file_settings(ctx)
    rows = [
        (param.name.replace("_", "-"), shown_value(ctx.params[param.name]), source_of(param, ctx))
        for param in command.params
        if param.name and param.name in ctx.params
    ]
    for table in ("features", "ranker"):
        values = settings.values.get(table, {})
        rows += [(f"[{table}] {key}", shown_value(value), "tracinctl.toml") for key, value in values.items()]
    name_width, value_width = (max((len(row[column]) for row in rows), default=0) for column in range(2))
    terminal.detail(f"settings of {command.name} ({f'file {settings.path}' if settings.path else 'no file'}):")
    for name, value, source in rows:
        terminal.detail(f"  {name:<{name_width}}  {value:<{min(value_width, 20)}}  {source}")


def show_settings_file(ctx: Any) -> None:
    """Show the settings file in use if it is not in the current folder and no flag names it."""
    path = file_settings(ctx).path
    if path is not None and path.parent != Path.cwd() and not ctx.find_root().params.get("config"):
        terminal.say(f"Settings: {path}")


def source_of(param: Any, ctx: Any) -> str:
    """The source of a parameter's value, in words."""
    if source_name(ctx, param.name) == "COMMANDLINE":
        return f"flag {_typed(param)}" if param.param_type_name == "option" else "argument"
    return origin_of(param, ctx) or "default"


def origin_of(param: Any, ctx: Any) -> str:
    """The variable or the file and line behind a setting; empty for flags and defaults."""
    kind, setting = source_name(ctx, param.name), getattr(ctx.command, "settings", {}).get(param.name)
    if setting is not None and kind == "ENVIRONMENT":
        return f"environment variable {variable_of(param, ctx)}"
    if setting is not None and kind == "DEFAULT_MAP":
        file = file_settings(ctx)
        place = file.place_of(ctx.command.name, setting)
        return f"{shown_path(file.path or Path())}{file.line(*place) if place else ''}"
    return ""


_FOLDERS = frozenset({"data_root", "linked_root", "checkpoint_dir", "metadata_dir"})
_FILES = frozenset({"exclusions_file", "pairs_file", "metadata_file", "file", "merge"})
_WRITTEN = frozenset({"output_file", "output", "report"})
"""Folders and files that commands read, which must exist if they are given, and files that they write."""
_MADE_BY = {"train": "checkpoint_dir", "compute": "metadata_dir", "workflow": "metadata_dir"}
"""The folder that a command makes if it does not exist."""

_OF_PAIRS = ("pair_mode", ("ranking_pair", "full_pair"))
_USED_WITH = dict.fromkeys(("threshold", "rule", "min_occurrences", "upper_threshold"), _OF_PAIRS) | {
    "margin": ("loss_type", ("standard", "ghm", "capped")),
    "ghm_bins": ("loss_type", ("ghm",)),
    "ghm_alpha": ("loss_type", ("ghm",)),
}
"""Settings that only have an effect with some values of another setting."""


def flags_without_effect(ctx: Any) -> list[str]:
    """Describe the flags that the other settings leave without an effect."""
    return [
        f"`{name}` has no effect with `{other}` {ctx.params[other]}"
        for name, (other, values) in _USED_WITH.items()
        if was_flag(ctx, name) and other in ctx.params and str(ctx.params[other]) not in values
    ]


def names_wrong_path(command: Any, ctx: Any) -> bool:
    """Whether a flag or variable names a folder or file to read that is not there, or a folder in place of a file."""
    names = (_FILES | _WRITTEN | _FOLDERS) - {_MADE_BY.get(command.name, "")}
    for name in names & ctx.params.keys():
        if not was_typed(ctx, name):
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


def show_usage_error(error: Any) -> None:
    """Show what is wrong with a command line, and what was probably meant."""
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    message, hints = _in_words(error, ctx)
    if re.match(r"no such option: -[\d.]|got unexpected extra argument", message):
        hints += _loose_values(ctx)
    typed = re.search(r"'([^']*)' is not one of", message)
    if typed is not None and param is not None:
        near = nearest(typed[1], map(str, param.type.choices))
        hints += [f"Did you mean {near}?"] if near else _loose_values(ctx)
    if ctx is not None and param is not None and param.name and (origin := origin_of(param, ctx)):
        hints.append(f"The value comes from {origin}.")
    hints.append(f"See {ctx.command_path if ctx is not None else terminal.command} --help.")
    terminal.error(message, "\n".join(hints))


def _in_words(error: Any, ctx: Any) -> tuple[str, list[str]]:
    """The message of typer in this program's words, and hints on what was meant."""
    message = error.format_message().strip().rstrip(".")
    option = getattr(error, "option_name", None)
    if option and type(error).__name__ == "NoSuchOption":
        return f"no such option: {option}", _options_like(str(option), ctx)
    if message.startswith("No such command"):
        message, _, guess = message.partition(". Did you mean ")
        return message[0].lower() + message[1:], [f"Did you mean {guess.replace(chr(39), '')}"] if guess else []
    message = " ".join(message.split()) or "wrong usage"
    message = re.sub(r" \(env var: '.*?'\)", "", message[0].lower() + message[1:])
    message = re.sub(r"a valid int(eger)?( range)?\b", "a whole number", message)
    message = re.sub(r"a valid float( range)?\b", "a number", message)
    return re.sub(r"is not in the range x>=(\S+)", r"is not \1 or more", message), []


def _loose_values(ctx: Any) -> list[str]:
    """The hint for a value without a flag, because a list or a unit was typed with spaces."""
    words = terminal.arguments
    lists = {"frequency", "frequencies", "thresholds", "layers", "ignore_keys", "checkpoint_weights"}
    params = ctx.command.params if ctx else ()
    options = {name for param in params if param.name in lists for name in param.opts}
    repeated = {name for param in params if getattr(param, "multiple", False) for name in param.opts}
    for k, option in enumerate(words):
        loose = list(itertools.takewhile(lambda word: not re.match("--|-[a-zA-Z]", word), words[k + 1 :]))
        if len(loose) > 1 and option in options:
            return [f"Write it without spaces: {option} {_joined(loose)}"]
        if len(loose) > 1 and option in repeated:
            return [f"Repeat the flag: {' '.join(f'{option} {shlex.quote(word)}' for word in loose)}"]
    return []


def _joined(words: Sequence[str]) -> str:
    """The entries of a list as one word: a unit (hz, %) follows its number, and a comma separates entries."""
    entries = [entry for word in words for entry in word.split(",") if entry]
    units = re.sub(r"(?<=\d) (?=(?:[a-zA-Z]+|%)(?: |$))", "", " ".join(entries))
    return units.replace(" ", ",")


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
    same_name = near and (option.startswith(near) or near.startswith(option))  # such as --threshold and --thresholds
    if homes and not same_name:
        return [f"It is an option of {', '.join(homes)}: {program.command_path} {homes[0]} {option} ..."]
    return [f"Did you mean {near}?"] if near else []


def _names(command: Any) -> list[str]:
    """The option names of a command."""
    return [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
