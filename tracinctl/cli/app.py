"""The program ``tracinctl``: its commands, and the flags that stand before them."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tracinctl import __version__
from tracinctl.cli.base import Group, run
from tracinctl.cli.registry import Commands

COMPLETE_VARIABLE = "_TRACINCTL_COMPLETE"


class Program(Group):
    """The program, its commands loaded when they are needed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = Commands()


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
            help="Settings file; without it, tracinctl.toml of this folder or the nearest parent.",
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
        typer.echo(ctx.get_help())


def main() -> None:
    """Run ``tracinctl``; this is what the installed command calls."""
    if COMPLETE_VARIABLE in os.environ:
        from tracinctl.cli.completion.complete import main as complete

        sys.exit(complete(app, os.environ))
    sys.exit(run(app))
