"""Project settings (``tracinctl.toml``) and the places where a project keeps its files.

Only the standard library is imported here: completion and ``--help`` read settings too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracinctl.engine.checkpoints.files import is_checkpoint
from tracinctl.errors import SettingsError
from tracinctl.project.config_keys import FLAGS_WITHOUT_SETTING, SETTINGS, SETTINGS_WITHOUT_FLAG, Kind, example_of
from tracinctl.text import natural_key, nearest

SETTINGS_NAME = "tracinctl.toml"

_SCORE_FILE = re.compile(r"^(?P<project>.+)_influence(?:_metadata\.json|\.parquet)$")
PER_CHECKPOINT = "_per_checkpoint"
"""What stands in the names of files that hold the scores of each checkpoint."""


@dataclass(frozen=True)
class Settings:
    """What a settings file says, checked.

    Attributes:
        path: the file; None where there is none.
        values: table -> key -> value. Paths are absolute, lists are tuples of text.
    """

    path: Path | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, table: str, key: str, default: Any = None) -> Any:
        """The value of a key, or the default where the file does not name it."""
        return self.values.get(table, {}).get(key, default)

    def defaults_for(self, command: str) -> dict[str, Any]:
        """Defaults of a command's flags: its own table first, then what the top of the file says for all commands."""
        known = SETTINGS.get(command, {})
        shared = dict(self.values.get("", {}))
        if "frequency" in known and "frequencies" in shared:
            shared["frequency"] = shared["frequencies"]
        merged = {key: value for key, value in shared.items() if key in known}
        merged.update(self.values.get(command, {}))
        return {key: ",".join(value) if isinstance(value, tuple) else value for key, value in merged.items()}


@dataclass(frozen=True)
class Project:
    """Where a project keeps its files, and what it is about.

    Attributes:
        root: the settings file's folder, or the current folder.
        data_root: recordings; checkpoint_dir: checkpoints, a folder a material and frequency;
        metadata_dir: scores; output_dir: exclusion lists; cache_dir: what can be computed again.
        material: what stands first in every file name; None where not said.
        frequencies: empty where not said.
        linked_root: a second folder that recordings may be links into; None where they may not.
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
        """This project with other places; None changes nothing."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def holds_checkpoints(folder: Path) -> bool:
    """Whether a folder directly holds what looks like checkpoints."""
    try:
        return any(is_checkpoint(path) for path in folder.iterdir())
    except OSError:
        return False


def split_score_file_name(path: Path, frequencies: Sequence[str] = ()) -> tuple[str, str] | None:
    """Material and frequency from a score file's name; None where the name does not say.

    Frequencies that are known are looked for first; otherwise the frequency is what follows the last underscore.
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
    found = {split for name in names if (split := split_score_file_name(Path(name))) is not None}
    return sorted(found, key=lambda pair: (natural_key(pair[0]), natural_key(pair[1])))


def find_settings(start: Path) -> Path | None:
    """The settings file of this folder or the nearest parent; None where there is none."""
    start = start.absolute()
    for folder in (start, *start.parents):
        candidate = folder / SETTINGS_NAME
        if candidate.is_file():
            return candidate
    return None


def load_settings(path: Path | None) -> Settings:
    """Read and check a settings file; without one, empty settings.

    Raises:
        SettingsError: the file is not there or is not TOML, a key is unknown, or a value is of the wrong type.
    """
    if path is None:
        return Settings()
    import tomllib

    path = path.absolute()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"settings file {path}: {reason}", hint="Check the path given as --config.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path}: not UTF-8 text", hint="Save the file as UTF-8.") from error
    except RecursionError as error:
        raise SettingsError(
            f"settings file {path}: nested too deeply", hint="No setting is a list of lists."
        ) from error
    except ValueError as error:  # not TOML, or a number of more digits than Python reads
        hint = "Texts stand in quotes, lists in square brackets, for example  frequencies = ['500hz', '1000hz']"
        raise SettingsError(f"settings file {path}: not valid TOML: {error}", hint=hint) from error

    values: dict[str, dict[str, Any]] = {"": {}}
    for key, value in content.items():
        if isinstance(value, dict):
            if key not in SETTINGS:
                raise _unknown(path, f"[{key}]", key, [name for name in SETTINGS if name], "[{}]")
            values[key] = {}
            for inner, inner_value in value.items():
                if inner not in SETTINGS[key]:
                    raise _unknown(path, f"`{inner}` in [{key}]", inner, SETTINGS[key], "`{}`")
                values[key][inner] = _checked(path, inner, f"`{inner}` in [{key}]", SETTINGS[key][inner], inner_value)
        elif key in SETTINGS and key:
            raise SettingsError(
                f"settings file {path}: `{key}` is a table, not a value",
                hint=f"Write [{key}] on a line of its own and its settings below.",
            )
        elif key not in SETTINGS[""]:
            raise _unknown(path, f"`{key}`", key, SETTINGS[""], "`{}`")
        else:
            values[""][key] = _checked(path, key, f"`{key}`", SETTINGS[""][key], value)
    return Settings(path, values)


def load_project(settings: Settings, start: Path | None = None) -> Project:
    """The project of these settings: places that the file does not name have their usual names under its folder."""
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


def check_environment(environment: Mapping[str, str]) -> None:
    """Find misspelt ``TRACINCTL_<COMMAND>_<FLAG>`` variables.

    Raises:
        SettingsError: a variable starts like one of a command's but names no flag that can be set.
    """
    for name in sorted(environment):
        for command, known in SETTINGS.items():
            prefix = f"TRACINCTL_{command.upper()}_"
            if not command or command in {"features", "ranker"} or not name.startswith(prefix):
                continue
            key = name.removeprefix(prefix).lower()
            if key in SETTINGS_WITHOUT_FLAG or (key not in known and key not in FLAGS_WITHOUT_SETTING):
                near = nearest(key, known.keys() - SETTINGS_WITHOUT_FLAG)
                hint = f"Did you mean {prefix}{near.upper()}?" if near else f"See tracinctl {command} --help."
                raise SettingsError(f"environment variable {name}: {command} has no such setting", hint=hint)


def _unknown(path: Path, shown: str, key: str, known: Mapping[str, Any] | Sequence[str], form: str) -> SettingsError:
    near = nearest(key, known)
    other_form = bool(near) and (near.startswith(key) or key.startswith(near))  # threshold, thresholds
    homes = [table for table, keys in SETTINGS.items() if key in keys and table]
    if homes and not other_form:
        hint = f"`{key}` belongs into {' or '.join(f'[{home}]' for home in homes)}."
    elif near:
        hint = f"Did you mean {form.format(near)}?"
    else:
        hint = "Known here: " + ", ".join(form.format(name) for name in known) + "."
    return SettingsError(f"settings file {path}: unknown key {shown}", hint=hint)


def _checked(path: Path, key: str, shown: str, kind: Kind, value: Any) -> Any:
    wrong = SettingsError(
        f"settings file {path}: {shown} must be {kind.value}, not {value!r}",
        hint=example_of(key, kind),
    )
    if kind is Kind.TRUTH:
        if isinstance(value, bool):
            return value
    elif isinstance(value, bool):
        raise wrong
    elif kind is Kind.TEXT and isinstance(value, str):
        return value
    elif kind is Kind.PATH and isinstance(value, str) and value and "\0" not in value:
        return Path(os.path.normpath(path.parent / Path(value).expanduser()))
    elif (kind is Kind.WHOLE and isinstance(value, int)) or (kind is Kind.NUMBER and isinstance(value, (int, float))):
        return value
    elif kind is Kind.SCORE and isinstance(value, (int, float, str)):
        return str(value)
    elif kind is Kind.LIST:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, list) and all(
            isinstance(part, (int, float, str)) and not isinstance(part, bool) for part in value
        ):
            return tuple(str(part) for part in value)
    raise wrong
