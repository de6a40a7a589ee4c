"""The settings of each table in ``tracinctl.toml`` and of each variable, and those that a command uses."""

import functools
from collections.abc import Iterator, Mapping

from tracinctl.project.commands import COMMANDS, SAME_SETTING, TAKEN_OVER
from tracinctl.project.declared import Kind, Setting, settings_of

PREFIX = "TRACINCTL"

Table = Mapping[str, Setting]


@functools.cache
def tables() -> Mapping[str, Table]:
    """All settings by table ("" is the top of the file) and key."""
    by_table: dict[str, dict[str, Setting]] = {"": {}, **{command: {} for command in COMMANDS}}
    for command in COMMANDS:
        for setting in settings_of(COMMANDS[command]):
            if not setting.one_call:
                table = by_table.setdefault(setting.table or command, {})
                table |= dict.fromkeys(setting.names, setting)
    by_table[""] = _top(by_table)
    return by_table


def _top(by_table: Mapping[str, Table]) -> dict[str, Setting]:
    """Settings allowed at the top of the file: those for all commands, and those whose key is unambiguous."""
    by_name: dict[str, dict[tuple[type, str], Setting]] = {}
    for table in by_table.values():
        for name, setting in table.items():
            by_name.setdefault(name, {})[identity(setting)] = setting
    top: dict[str, Setting] = {}
    for name, settings in by_name.items():
        shared = [setting for setting in settings.values() if setting.metadata.get("top")] or list(settings.values())
        if len(shared) == 1 and name not in by_table:
            top[name] = shared[0]
    return dict(sorted(top.items(), key=lambda entry: not entry[1].metadata.get("top")))


def identity(setting: Setting) -> tuple[type, str]:
    """The identity of a setting, the same in every command that has it."""
    return setting.owner, setting.field_name


def keys_for(command: str, setting: Setting) -> Iterator[tuple[str, str]]:
    """The (table, key) places of a command's setting; the first one that is set counts."""
    related = () if setting.table else (*SAME_SETTING.get(command, ()), *TAKEN_OVER.get(command, ()))
    for table in (setting.table or command, *related, ""):
        for key in setting.names:
            entry = tables()[table].get(key)
            if entry is not None and identity(entry) == identity(setting):
                yield table, key


def command_variables(command: str) -> dict[str, list[str]]:
    """The environment variables of each flag of a command; the first one that is set counts."""
    variables = {}
    for setting in settings_of(COMMANDS[command]):
        if not setting.table:
            places = [(command, setting.name)] if setting.one_call else keys_for(command, setting)
            variables[setting.name] = [variable(table, key) for table, key in places]
    return variables


def variable(table: str, key: str) -> str:
    """A variable's name, such as ``TRACINCTL_SWEEP_THRESHOLDS``, or ``TRACINCTL_MATERIAL`` without a table."""
    return "_".join(part.upper() for part in (PREFIX, table, key) if part)


def one_value(command: str) -> tuple[str, ...]:
    """The tables that must agree on a setting of this command."""
    return (command, *SAME_SETTING[command]) if command in SAME_SETTING else ()


def example_of(key: str, setting: Setting) -> str:
    """A sentence that shows how to write a setting."""
    if setting.kind is Kind.TRUTH:
        return f"Write {key} = true or {key} = false, without quotes."
    example = f"For example  {key} = {setting.example}"
    return example + ("  (relative to the settings file)" if setting.kind is Kind.PATH else "")
