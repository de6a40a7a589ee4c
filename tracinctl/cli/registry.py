"""The commands: which there are, and in which module each lives. A module is loaded when its command is needed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import typer

from tracinctl.cli.base import BareCommand, Command

WHOLE = "The whole way"
STEPS = "Its steps"
LOOK = "To look at scores"
SHELL = "For the shell"


@dataclass(frozen=True)
class Entry:
    """A command: its panel and line on the program's help page. It lives in the module of its name."""

    panel: str
    summary: str
    needs_settings: bool = True


ENTRIES = {
    "workflow": Entry(WHOLE, "Scores, exclusion lists and the next command, for several frequencies."),
    "demo": Entry(WHOLE, "A folder with recordings and checkpoints to try it on."),
    "compute": Entry(STEPS, "Step 1: influence of each training pair on the held-out pairs."),
    "sweep": Entry(STEPS, "Step 2: what each threshold would exclude."),
    "exclude": Entry(STEPS, "Step 3: the exclusion list."),
    "train": Entry(STEPS, "Step 4: the built-in ranker, with or without a list."),
    "plot": Entry(LOOK, "The scores, drawn in the terminal."),
    "completion": Entry(SHELL, "The completion script of bash, zsh, fish or PowerShell.", needs_settings=False),
}


class Commands(MutableMapping[str, Any]):
    """Commands by name, each built when it is first asked for."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = build(name, ENTRIES[name])
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


def build(name: str, entry: Entry) -> Any:
    """Load a command's module and make its command."""
    module = importlib.import_module(f"tracinctl.cli.commands.{name}")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(
        name,
        cls=Command if entry.needs_settings else BareCommand,
        short_help=entry.summary,
        epilog=module.EXAMPLES,
    )(getattr(module, name))
    command = typer.main.get_command(app)
    command.name = name
    return command
