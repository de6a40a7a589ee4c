"""Project settings (``tracinctl.toml``) and a project's folders.

This module imports only the standard library, because completion and ``--help`` read settings too.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracinctl.engine.checkpoints.files import is_checkpoint
from tracinctl.errors import SettingsError
from tracinctl.files import is_there
from tracinctl.project.commands import COMMANDS
from tracinctl.project.declared import Kind, Setting
from tracinctl.project.tables import PREFIX, command_variables, example_of, keys_for, one_value, tables, variable
from tracinctl.text import did_you_mean, natural_key, nearest

SETTINGS_NAME = "tracinctl.toml"

_SLIP = 0.8  # similarity (1 = equal) above which an unknown key counts as misspelt, not as in the wrong table

_BACKSLASH = re.compile(r"Unescaped '\\' in a string|Invalid hex value")  # as in "C:\data" and "C:\Users"
_SCORE_FILE = re.compile(r"^(?P<project>.+)_influence(?:_metadata\.json|\.parquet)$")
PER_CHECKPOINT = "_per_checkpoint"
"""The part of a file name that marks scores of each checkpoint."""


@dataclass(frozen=True, eq=False, repr=False)
class Settings:
    """The checked content of a settings file.

    Attributes:
        path: the file; None without a file.
        values: table -> key -> value. Paths are absolute, lists are tuples of text.
    """

    path: Path | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, table: str, key: str, default: Any = None) -> Any:
        """The value of a key, or the default if the file does not have it."""
        return self.values.get(table, {}).get(key, default)

    def place_of(self, command: str, setting: Setting) -> tuple[str, str] | None:
        """(table, key) that holds a setting of a command; None if the file does not have it.

        Raises:
            SettingsError: two tables of the same step hold different values.
        """
        places = [(t, key) for t, key in keys_for(command, setting) if key in self.values.get(t, {})]
        same = [(t, key) for t, key in places if t in one_value(command)]
        values = {place: self.values[place[0]][place[1]] for place in same}
        if len(set(values.values())) > 1:
            described = [f"{_text(value)} in [{t}]{self.line(t, key)}" for (t, key), value in values.items()]
            raise SettingsError(
                f"settings file {self.path}: `{setting.name}` has two values: {' and '.join(described)}",
                hint="Both set the same setting. Keep one of them.",
            )
        return places[0] if places else None

    def defaults_for(self, command: str) -> dict[str, Any]:
        """Defaults of a command's flags: from its own table, then tables of the same step, then the top of the file."""
        defaults = {}
        for setting in tables()[command].values():
            place = self.place_of(command, setting)
            if place is not None:
                value = self.values[place[0]][place[1]]
                defaults[setting.name] = _text(value) if isinstance(value, tuple) else value
        return defaults

    def line(self, table: str, key: str) -> str:
        """The line of a key as ``, line 7``; empty if it is not found."""
        return "" if self.path is None else line_of(self.path, table, key)


@dataclass(frozen=True)
class Project:
    """A project: its folders, its material and its frequencies.

    Attributes:
        root: the settings file's folder, or the current folder.
        data_root: recordings; checkpoint_dir: checkpoints, one folder per material and frequency;
        metadata_dir: scores; output_dir: exclusion lists; cache_dir: files that can be computed again.
        material: the first part of every file name; None if not set.
        frequencies: empty if not set.
        linked_root: a second folder that recordings may link into; None forbids links.
    """

    root: Path
    data_root: Path
    checkpoint_dir: Path
    metadata_dir: Path
    output_dir: Path
    cache_dir: Path
    material: str | None = None
    frequencies: tuple[str, ...] = ()
    linked_root: Path | None = None

    def with_places(self, **changes: Any) -> Project:
        """This project with other folders; None changes nothing."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def holds_checkpoints(folder: Path) -> bool:
    """Whether a folder itself contains files or folders that look like checkpoints."""
    try:
        return any(is_checkpoint(path) for path in folder.iterdir())
    except OSError:
        return False


def split_score_file_name(path: Path, frequencies: Sequence[str] = ()) -> tuple[str, str] | None:
    """Material and frequency from a score file's name; None if the name does not have them.

    A known frequency is looked for first; otherwise the frequency is the part after the last underscore.
    """
    match = _SCORE_FILE.match(path.name)
    if match is None or match["project"].endswith(PER_CHECKPOINT):
        return None
    name = match["project"]
    for frequency in frequencies:
        if name.endswith(f"_{frequency}") and len(name) > len(frequency) + 1:
            return name[: -len(frequency) - 1], frequency
    material, _, frequency = name.rpartition("_")
    return (material, frequency) if material and frequency else None


def find_score_files(metadata_dir: Path) -> list[tuple[str, str]]:
    """Material and frequency of every score file in a folder, in natural order."""
    try:
        names = [entry.name for entry in os.scandir(metadata_dir)]
    except OSError:
        return []
    score_files = {split for name in names if (split := split_score_file_name(Path(name))) is not None}
    return sorted(score_files, key=lambda pair: (natural_key(pair[0]), natural_key(pair[1])))


def find_settings(start: Path) -> Path | None:
    """The settings file of this folder or the nearest parent; None without one.

    Settings name code and commands to run, so a parent's file must belong to the user or to root.

    Raises:
        SettingsError: a parent's file belongs to another user.
        TracinctlError: its path is not a file.
    """
    start = start.absolute()
    for folder in (start, *start.parents):
        candidate = folder / SETTINGS_NAME
        if os.path.lexists(candidate) and is_there(candidate):
            if folder != start and os.name == "posix" and candidate.stat().st_uid not in {0, os.getuid()}:
                raise SettingsError(
                    f"settings file {candidate} belongs to another user and is not used",
                    hint=f"If you trust it, name it: tracinctl --config {shlex.quote(str(candidate))} ...",
                )
            return candidate
    return None


def load_settings(path: Path | None) -> Settings:
    """Read and check a settings file; return empty settings without one.

    Raises:
        SettingsError: the file is missing or is not TOML, a key is unknown, or a value is wrong.
    """
    if path is None:
        return Settings()
    path = path.absolute()
    values: dict[str, dict[str, Any]] = {"": {}}
    for key, value in _read_toml(path).items():
        if isinstance(value, dict):
            if key not in tables():
                raise _unknown(path, "", key, [name for name in tables() if name], "[{}]")
            values[key] = {inner: _checked(path, key, inner, content) for inner, content in value.items()}
        elif key in tables() and key:
            raise SettingsError(
                f"settings file {path}{line_of(path, '', key)}: `{key}` is a table, not a value",
                hint=f"Write [{key}] on its own line and its settings below.",
            )
        else:
            values[""][key] = _checked(path, "", key, value)
    return Settings(path, values)


_SINGLE_QUOTES = r"Write a path with backslashes in single quotes, for example  data_root = 'C:\data'"


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, RecursionError, ValueError) as error:
        # a ValueError is not TOML, or has a number of more digits than Python reads
        problem = f"not valid TOML: {error}"
        hint = "Correct it. Put texts in quotes and lists in brackets, for example  frequencies = ['500hz', '1000hz']"
        if isinstance(error, OSError):
            problem, hint = error.strerror or str(error), "Check the path given for the settings file."
        elif isinstance(error, UnicodeDecodeError):
            problem, hint = "not UTF-8 text", "Save the file as UTF-8."
        elif isinstance(error, RecursionError):
            problem, hint = "nested too deeply", "Settings are never lists of lists."

        elif _BACKSLASH.search(str(error)):
            hint = _SINGLE_QUOTES
        raise SettingsError(f"settings file {path}: {problem}", hint=hint) from error


def line_of(path: Path, table: str, key: str) -> str:
    """The line of a table or of its key as ``, line 7``; empty if it is not found."""
    header = re.compile(r"^\s*\[\s*([\w\"'-]+)\s*\]")
    entry = re.compile(rf"^\s*(?:\[\s*)?[\"']?{re.escape(key)}[\"']?\s*[=\].]")
    current = ""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        return ""
    for number, line in enumerate(lines, 1):
        begins = header.match(line)
        if (current == table or (begins and not table)) and entry.match(line):
            return f", line {number}"
        current = begins[1].strip("\"'") if begins else current
    return ""


def load_project(settings: Settings, start: Path | None = None) -> Project:
    """The project of these settings; folders that the file does not set have default names in its folder."""
    root = settings.path.parent if settings.path is not None else (start or Path.cwd()).absolute()

    def place(key: str, usual: str) -> Path:
        return Path(settings.get("", key, root / usual))

    return Project(
        root=root,
        data_root=place("data_root", "data"),
        checkpoint_dir=place("checkpoint_dir", "checkpoints"),
        metadata_dir=place("metadata_dir", "metadata"),
        output_dir=place("output_dir", "exclusions"),
        cache_dir=root / ".tracinctl" / "cache",
        material=settings.get("", "material"),
        frequencies=tuple(settings.get("", "frequencies", ())),
        linked_root=settings.get("", "linked_root"),
    )


_OF_SCRIPTS = frozenset({"TRACINCTL_BIN"})  # the folder of the program, for scripts that run it


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise SettingsError if a ``TRACINCTL_...`` variable belongs to no setting."""
    variables = {variable("", "config")}
    for command in COMMANDS:
        variables.update(*command_variables(command).values())
    for name in sorted(environment):
        if name.startswith(f"{PREFIX}_") and name not in variables and name not in _OF_SCRIPTS:
            # without the common beginning, which would make all names similar
            near = nearest(name.removeprefix(f"{PREFIX}_"), [word.removeprefix(f"{PREFIX}_") for word in variables])
            owner = next((word for word in COMMANDS if name.startswith(variable(word, "") + "_")), "")
            see = f"See `tracinctl {owner or 'COMMAND'} --help` for the settings."
            problem = f"{owner} has no such setting" if owner else "there is no such setting"
            hint = f"Did you mean {PREFIX}_{near}?" if near else see
            raise SettingsError(f"environment variable {name}: {problem}", hint=hint)


def check_variables(command: str, environment: Mapping[str, str]) -> None:
    """Raise SettingsError if two variables give one setting of a command different values."""
    for setting in tables().get(command, {}).values():
        names = [variable(t, key) for t, key in keys_for(command, setting) if t in one_value(command)]
        values = {name: environment[name] for name in names if environment.get(name)}
        if len(set(values.values())) > 1:
            assignments = " and ".join(f"{name}={value}" for name, value in values.items())
            raise SettingsError(
                f"`{setting.name}` has two values: {assignments}",
                hint="Both variables set the same setting. Keep one of them.",
            )


def _unknown(path: Path, table: str, key: str, names: Sequence[str], form: str) -> SettingsError:
    from difflib import SequenceMatcher

    shown = form.format(key) + (f" in [{table}]" if table else "")
    homes = [name for name, keys in tables().items() if key in keys and name]
    near = nearest(key, names)
    misspelt = SequenceMatcher(None, key, near).ratio() >= _SLIP
    if homes and not misspelt:
        hint = f"Put `{key}` in {' or '.join(f'[{home}]' for home in homes)}."
    elif near:
        hint = f"Did you mean {form.format(near)}?"
    else:
        top = tables()[""]
        usual = [form.format(name) for name in names if table or name not in top or top[name].metadata.get("top")]
        hint = f"Keys here are {', '.join(usual)}."
    return SettingsError(f"settings file {path}{line_of(path, table, key)}: unknown key {shown}", hint=hint)


def _checked(path: Path, table: str, key: str, value: Any) -> Any:
    """The checked value of a key: paths are absolute, lists are tuples of text."""
    settings = tables()[table]
    if key not in settings:
        raise _unknown(path, table, key, list(settings), "`{}`")
    setting = settings[key]
    shown = f"`{key}` in [{table}]" if table else f"`{key}`"
    where = f"settings file {path}{line_of(path, table, key)}"
    if setting.kind is Kind.PATH and isinstance(value, str) and not value.replace("\0", "").isprintable():
        # in double quotes, TOML reads the \n of C:\new as a line break
        raise SettingsError(f"{where}: {shown} is {value!r}, which is not a path", hint=_SINGLE_QUOTES)
    converted = _converted(setting.kind, value, path)
    if converted is None:
        raise SettingsError(
            f"{where}: {shown} must be {setting.kind.value}, not {value!r}", hint=example_of(key, setting)
        )
    if setting.choices and converted not in setting.choices:
        hint = did_you_mean(str(converted), setting.choices, f"Choose one of {', '.join(setting.choices)}.")
        raise SettingsError(f"{where}: {shown} cannot be {value!r}", hint=hint)
    least = setting.metadata.get("least")
    if least is not None and converted < least:
        problem = f"{shown} is {converted}; it must be {least} or more"
        raise SettingsError(f"{where}: {problem}", hint=example_of(key, setting))
    return converted


def _converted(kind: Kind, value: Any, path: Path) -> Any:
    """The converted value; None if it is of the wrong kind."""
    if isinstance(value, bool) or kind is Kind.TRUTH:
        return value if isinstance(value, bool) and kind is Kind.TRUTH else None
    if kind is Kind.LIST:
        return _list(value)
    if kind is Kind.WEIGHTS and isinstance(value, (list, int, float)):
        return ",".join(_list(value if isinstance(value, list) else [value]) or ()) or None
    if kind is Kind.PATH:
        fits = isinstance(value, str) and value and "\0" not in value
        return _placed(value, path) if fits else None
    if kind in {Kind.SCORE, Kind.SIZE}:
        return str(value) if isinstance(value, (int, float, str)) else None
    types: Any = {Kind.TEXT: str, Kind.WEIGHTS: str, Kind.WHOLE: int, Kind.NUMBER: (int, float)}[kind]
    return value if isinstance(value, types) else None


def _list(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(v, (int, float, str)) and not isinstance(v, bool) for v in value):
        return tuple(str(part) for part in value)
    return None


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _placed(value: str, settings_file: Path) -> Path:
    """A path in a settings file, resolved from the file's folder or from the user's home."""
    try:
        return Path(os.path.normpath(settings_file.parent / Path(value).expanduser()))
    except RuntimeError as error:
        raise SettingsError(
            f"settings file {settings_file}: the home folder of {value!r} is unknown",
            hint="Set HOME, or write the whole path.",
        ) from error
