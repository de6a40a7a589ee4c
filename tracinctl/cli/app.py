"""The program ``tracinctl``: its commands, and the flags that come before them."""

import functools
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tracinctl import __version__, errors
from tracinctl.cli.base import HELP_FLAGS, Command, common_options, end_by_signal, keep_interrupts, run
from tracinctl.cli.output.help import group_help
from tracinctl.cli.output.streams import in_colour
from tracinctl.cli.output.terminal import terminal
from tracinctl.cli.processes import end_at_once, leave
from tracinctl.cli.registry import ENTRIES

_show_warning = warnings.showwarning

COMPLETE_VARIABLE = "_TRACINCTL_COMPLETE"


class Commands(Mapping[str, Any]):
    """Commands by name, each built when first used."""

    def __getitem__(self, name: str) -> Any:
        return build(name)

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


@functools.cache
def build(name: str) -> Any:
    """Import a command's module and build the command; KeyError if there is no such command."""
    from tracinctl.cli.options import declared_for, with_settings

    summary = ENTRIES[name].summary
    module = importlib.import_module(f"tracinctl.cli.commands.{name}")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    function = with_settings(name, getattr(module, name))
    app.command(name, cls=Command, short_help=summary, epilog=module.EXAMPLES)(function)
    command: Any = typer.main.get_command(app)
    command.name = name
    command.settings = declared_for(name)
    command.daily = getattr(module, "DAILY", frozenset())
    return command


class Program(TyperGroup):
    """The program. It imports a command when it is needed. Its epilog holds its examples, one per line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        commands: Any = Commands()
        self.commands = commands
        self.params = [*self.params, *common_options("Options")]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        ctx.color = in_colour(sys.stdout)
        formatter.write(group_help(self, ctx, ENTRIES))


app = typer.Typer(
    cls=Program,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TRACINCTL"},
    epilog="tracinctl demo my-project && cd my-project && tracinctl workflow\ntracinctl sweep --thresholds -5,-10",
)


@app.callback(invoke_without_command=True)
def program(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings file. Default: tracinctl.toml in this folder or the nearest parent.",
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", allow_from_autoenv=False)] = False,
) -> None:
    """Find the training pairs that hurt a ranking model, leave them out, and see whether it helped.

    Influence scores: positive = helpful (training on the pair lowers the loss of a held-out pair), negative = harmful.
    """
    del config
    if version:
        typer.echo(f"tracinctl {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), color=ctx.color)


def show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Show a Python warning in the program's own form, without the source line that raised it."""
    if category.__module__ == errors.__name__:
        terminal.warn(str(message))
    else:
        _show_warning(message, category, *place, **more)


def main() -> None:
    """Run ``tracinctl``; this is what the installed command calls."""
    signal.signal(signal.SIGTERM, end_by_signal)
    keep_interrupts()
    warnings.showwarning = show_warning
    if COMPLETE_VARIABLE in os.environ:
        from tracinctl.cli.completion.complete import main as complete

        end_at_once(complete(app, os.environ))
    code = run(app)
    if HELP_FLAGS.intersection(sys.argv):
        end_at_once(code)
    leave(code)
