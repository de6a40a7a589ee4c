"""Completion of the word at the cursor.

The scripts in ``scripts/`` call the program with ``_TRACINCTL_COMPLETE=complete_<shell>`` and the words up to the
cursor as its arguments. The first line of the answer says how the shell continues (``plain``, ``list``, ``files`` or
``dirs``). Each further line is a candidate, a tab and its description. Candidates come from file names and score
files' heads; those with control characters are left out. Heavy libraries are not imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from tracinctl.cli.registry import ENTRIES
from tracinctl.project.declared import Kind

SCRIPTS = {
    "bash": "tracinctl.bash",
    "zsh": "_tracinctl",
    "fish": "tracinctl.fish",
    "powershell": "tracinctl.ps1",
}


@dataclass
class Cursor:
    """The words before the cursor.

    Attributes:
        command: the command being typed, or the program until the command's name is complete.
        pending: the option whose value comes next.
        used: options that were typed already.
        values: the typed values by parameter name.
        arguments: number of words that are not options.
        misspelt: True if a word before the cursor is an unknown command.
    """

    command: Any
    pending: Any = None
    used: list[Any] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    arguments: int = 0
    misspelt: bool = False


def main(app: typer.Typer, environment: Mapping[str, str]) -> int:
    """Answer a shell; the exit code is 1 for an unknown one."""
    shell = environment["_TRACINCTL_COMPLETE"].removeprefix("complete_")
    if shell not in SCRIPTS:
        sys.stderr.write(f"completion supports {', '.join(SCRIPTS)}\n")
        return 1
    words = sys.argv[1:] or [""]
    if shell == "powershell":
        words = [*sys.argv[1:], environment.get("_TRACINCTL_WORD", "")]
    if shell == "bash":
        words = join_breaks(words)
    how, candidates = complete(app, words)
    if shell == "bash" and words[-1].startswith("--") and "=" in words[-1]:
        candidates = [(value.partition("=")[2], text) for value, text in candidates]
    elif shell == "bash" and ":" in words[-1]:
        # bash replaces only what follows the last colon
        typed = words[-1].rpartition(":")[0] + ":"
        candidates = [(value.removeprefix(typed), text) for value, text in candidates]
    sys.stdout.write("".join(f"{line}\n" for line in (how, *("\t".join(pair) for pair in candidates))))
    return 0


def script(shell: str) -> str:
    """The script of a shell."""
    return (Path(__file__).parent / "scripts" / SCRIPTS[shell]).read_text(encoding="utf-8")


def complete(app: typer.Typer, words: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """How the shell continues, and the candidates with their descriptions, for the last word."""
    cursor = walk(typer.main.get_command(app), words[:-1])
    word = words[-1]
    if cursor.misspelt:
        return "plain", []
    if cursor.pending is not None:
        return _values(cursor.pending, word, cursor)
    if word.startswith("--") and "=" in word:
        name, _, value = word.partition("=")
        option = _option(cursor.command, name)
        if option is None or not _takes_value(option):
            return "plain", []
        how, candidates = _values(option, value, cursor)
        return how, [(f"{name}={value}", text) for value, text in candidates]
    if word.startswith("-"):
        return "plain", _options(cursor, word)
    commands = getattr(cursor.command, "commands", None)
    if commands is not None:
        candidates = [(name, _line(entry.summary)) for name, entry in ENTRIES.items()]
        return "plain", [(name, text) for name, text in candidates if name.startswith(word)]
    arguments = [param for param in cursor.command.params if param.param_type_name == "argument"]
    if cursor.arguments < len(arguments):
        return _values(arguments[cursor.arguments], word, cursor)
    return "plain", [] if word else _options(cursor, "--")


def walk(program: Any, words: Sequence[str]) -> Cursor:
    """Read the words before the cursor."""
    cursor = Cursor(program)
    for word in words:
        if cursor.pending is not None:
            cursor.values.setdefault(cursor.pending.name, []).append(word)
            cursor.pending = None
        elif word.startswith("-") and len(word) > 1:
            name, equals, value = word.partition("=")
            option = _option(cursor.command, name)
            if option is None:
                continue
            cursor.used.append(option)
            if equals:
                cursor.values.setdefault(option.name, []).append(value)
            elif _takes_value(option):
                cursor.pending = option
        elif hasattr(cursor.command, "commands"):
            if word not in cursor.command.commands:
                cursor.misspelt = True
                break
            cursor.command = cursor.command.commands[word]
        else:
            cursor.arguments += 1
    return cursor


def join_breaks(words: Sequence[str]) -> list[str]:
    """Join ``--option = value`` and ``a : b`` again; bash passes each as three words."""
    joined: list[str] = []
    glue = False
    for word in words:
        if joined and ((joined[-1].startswith("--") and word == "=") or (word and not word.strip(":"))):
            joined[-1] += word
            glue = True
        elif glue:
            joined[-1] += word
            glue = False
        else:
            joined.append(word)
    return joined


def _values(param: Any, word: str, cursor: Cursor) -> tuple[str, list[tuple[str, str]]]:
    from tracinctl.cli.completion.values import candidates_for

    name = param.name or ""
    setting = getattr(cursor.command, "settings", {}).get(name)
    if param.metavar in {"DIR", "DIRECTORY"}:
        return "dirs", []
    plain = ((str(choice), "") for choice in getattr(param.type, "choices", ()))
    choices = setting.suggestions.items() if setting else plain
    candidates = candidates_for(name, cursor.values) or [*choices]
    candidates = [(value, text) for value, text in candidates if value.isprintable()]
    if setting is None or setting.kind is not Kind.LIST:
        candidates = [(value, text) for value, text in candidates if value.startswith(word)]
        return "files" if param.metavar == "FILE" and not candidates else "plain", candidates
    head, comma, item = word.rpartition(",")
    taken = {*head.split(",")} - {""}
    if "all" in taken:
        return "list", []
    excluded = taken | {"all"} if taken else taken
    candidates = [(value, text) for value, text in candidates if value.startswith(item) and value not in excluded]
    return "list", [(f"{head}{comma}{value}", text) for value, text in candidates]


def _options(cursor: Cursor, word: str) -> list[tuple[str, str]]:
    candidates = []
    for param in cursor.command.params:
        if param.param_type_name != "option" or param.hidden or (param in cursor.used and not param.multiple):
            continue
        names = [name for name in (*param.opts, *param.secondary_opts) if name.startswith("--") or word == name]
        # Offer an alias only if the word begins like it.
        first = [name for name in (*param.opts[:2], *param.secondary_opts) if name.startswith("--")]
        candidates += [
            (name, _line(param.help))
            for name in names
            if name.startswith(word) and (name in {first[0], *param.secondary_opts} or len(word) > len("--freq"))
        ]
    candidates.append(("--help", "Show help."))
    return [(name, text) for name, text in candidates if name.startswith(word)]


def _option(command: Any, name: str) -> Any:
    return next((param for param in command.params if name in (*param.opts, *param.secondary_opts)), None)


def _takes_value(option: Any) -> bool:
    return not option.is_flag and not option.count


def _line(text: str | None) -> str:
    """The first sentence of a help text."""
    words = " ".join((text or "").split("\n\n")[0].split())
    end = words.find(". ")
    return (words[:end] if end > 0 else words).rstrip(".")
