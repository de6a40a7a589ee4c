"""The base of all commands: -q and -v, help, the sources of settings, and error handling."""

from __future__ import annotations

import _thread
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperOption

from tracinctl.cli.output.help import command_help
from tracinctl.cli.output.streams import in_colour, is_terminal, let_streams_write_anything
from tracinctl.cli.output.terminal import terminal
from tracinctl.cli.processes import mute_other_processes
from tracinctl.errors import TracinctlError, UsageError

if TYPE_CHECKING:
    from tracinctl.project.declared import Setting

INTERRUPTED = 130
_AFTER_DELETION = 0.01  # seconds that deleting an object takes at most
HELP_FLAGS = frozenset({"-h", "--help", "--help-all"})

# The base class of typer's usage errors is public only in later releases.
_Misuse: type[Any] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


# these options act when they are read; the command does not get their values
_option = functools.partial(TyperOption, expose_value=False, allow_from_autoenv=False)


def common_options(panel: str) -> list[TyperOption]:
    """-q and -v, which may come before or after the command name."""

    def be_quiet(_ctx: Any, _param: Any, value: bool) -> None:
        terminal.quiet |= bool(value)

    def be_verbose(_ctx: Any, _param: Any, value: int) -> None:
        terminal.verbosity = max(terminal.verbosity, value)

    quiet, verbose = ["quiet", "-q", "--quiet"], ["verbose", "-v", "--verbose"]
    about_quiet = "Print nothing but the paths of result files, warnings and errors."
    about_verbose = "Show where each setting came from and what came from the cache; -vv shows tracebacks."
    return [
        _option(param_decls=quiet, is_flag=True, callback=be_quiet, help=about_quiet, rich_help_panel=panel),
        _option(
            param_decls=verbose, count=True, default=0, callback=be_verbose, help=about_verbose, rich_help_panel=panel
        ),
    ]


def help_all() -> TyperOption:
    """--help-all, which also shows the options that --help leaves out."""

    def show(ctx: Any, _param: Any, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            typer.echo(command_help(ctx.command, ctx, everything=True), nl=False, color=in_colour(sys.stdout))
            ctx.exit()

    names, about = ["help_all", "--help-all"], "Show all options and exit."
    return _option(param_decls=names, is_flag=True, is_eager=True, callback=show, help=about, rich_help_panel="Output")


class Command(TyperCommand):
    """A command of tracinctl. Its epilog holds its examples, one per line."""

    settings: Mapping[str, Setting] = MappingProxyType({})
    """The settings behind the flags, by name; a command without any reads no settings file."""
    daily: frozenset[str] = frozenset()
    """The options that ``--help`` shows, if it does not show all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options("Output")]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        ctx.color = in_colour(sys.stdout)
        formatter.write(command_help(self, ctx))

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and ``--help-all`` if ``--help`` does not show all."""
        params = super().get_params(ctx)
        return [*params, help_all()] if self.daily else params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Use the settings as the flags' defaults; skip reading them when only help is shown."""
        terminal.command = ctx.command_path
        if self.settings and not HELP_FLAGS.intersection(args):
            self.read_settings(ctx)
        remaining = super().parse_args(ctx, args)
        for name in (param.name for param in self.params if getattr(param.type, "name", "") == "path"):
            value = ctx.params.get(name)
            if isinstance(value, list | tuple):
                ctx.params[name] = [in_home(Path(path)) for path in value]
            elif value is not None:
                ctx.params[name] = in_home(Path(value))
        return remaining

    def read_settings(self, ctx: Any) -> None:
        """Read the settings file and the environment, and use their values as the flags' defaults."""
        from tracinctl.project.config import check_environment, check_variables, find_settings, load_settings
        from tracinctl.project.tables import command_variables

        name = self.name or ""
        check_environment(os.environ)
        check_variables(name, os.environ)
        named, here = ctx.find_root().params.get("config"), working_folder()
        ctx.obj = load_settings(in_home(Path(named)) if named else find_settings(here))
        ctx.default_map = ctx.obj.defaults_for(name)
        if ctx.obj.path is not None and (folder := str(ctx.obj.path.parent)) not in sys.path:
            sys.path.append(folder)  # the user's modules may be beside the settings
        variables = command_variables(name)
        for param in self.params:
            if param.name in variables:
                param.envvar = variables[param.name]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with -v, show first where its settings came from."""
        from tracinctl.cli.output import usage

        terminal.flags = {
            param.name: param.opts[0] for param in self.params if param.name and param.param_type_name == "option"
        }
        terminal.flags |= {f"no_{param.name}": param.secondary_opts[0] for param in self.params if param.secondary_opts}
        terminal.origins = {param.name: usage.origin_of(param, ctx) for param in self.params if param.name}
        usage.show_settings_file(ctx)
        if terminal.verbosity:
            usage.show_sources(self, ctx)
        for warning in usage.flags_without_effect(ctx):
            terminal.warn(warning)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            quiet_broken_pipe()
            raise typer.Exit(0) from None
        except TracinctlError as error:
            if usage.names_wrong_path(self, ctx):
                error.exit_code = UsageError.exit_code
            raise
        return result


def in_home(path: Path) -> Path:
    """Expand ``~``, which shells leave in ``--flag=~/file`` and in quotes; UsageError if the home folder is unknown."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{path}: the home folder of ~ is unknown", hint="Set HOME, or write the whole path."
        ) from error


def working_folder() -> Path:
    """The current folder; UsageError if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise UsageError(
            "the current folder no longer exists", hint="Change to another folder and run the command again."
        ) from error


def quiet_broken_pipe() -> None:
    """Stop writing to a pipe whose reader has gone, even while Python shuts down."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stdout.fileno())
    os.close(silent)


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code.

    0 done; 1 failed; 2 wrong usage (a wrong value or name, or a path that does not exist); 130 interrupted;
    143 ended by SIGTERM. It is no failure when the reader of the output goes away, as ``head`` does.
    """
    let_streams_write_anything()
    mute_other_processes()
    terminal.arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(args=arguments, prog_name="tracinctl", standalone_mode=False)
    except KeyboardInterrupt:
        result = INTERRUPTED
    except BrokenPipeError:
        quiet_broken_pipe()
        return 0
    except Exception as error:  # noqa: BLE001 - every failure ends in a message and an exit code
        return _show_failure(error)
    if result != INTERRUPTED:
        return result if isinstance(result, int) else 0
    if is_terminal(terminal.stream("err")):
        terminal.stream("err").write("\r\x1b[K")  # the ^C that a terminal writes
    ended_by = terminal.ended_by
    how = f"ended by {signal.Signals(ended_by).name}" if ended_by else "interrupted"
    terminal.warn(how, terminal.interrupt_note or "Nothing was written.")
    return 128 + ended_by if ended_by else INTERRUPTED


def _show_failure(error: Exception) -> int:
    """Show what ended the program, and return its exit code."""
    if isinstance(error, _Misuse):
        from tracinctl.cli.output.usage import show_usage_error

        show_usage_error(error)
        return getattr(error, "exit_code", 2)
    if terminal.verbosity > 1:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, TracinctlError):
        terminal.failure(error)
        return error.exit_code
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        full = error.errno == errno.ENOSPC
        hint = "Free space on the disk." if full else "Check that the path exists and that you may write to it."
        terminal.error(f"{place}{error.strerror or error}", hint)
    elif isinstance(error, MemoryError):
        terminal.error("out of memory", "Limit what compute uses with --memory, for example 2GiB.")
    else:
        terminal.error(
            f"internal error: {type(error).__name__}: {error}",
            "This is a bug in tracinctl. Run it again with -vv and report what it prints.",
        )
    return 1


def end_by_signal(number: int, _: object) -> None:
    """End as Ctrl-C does, so that unfinished work is undone; the exit code names the signal."""
    terminal.ended_by = number
    raise KeyboardInterrupt


def keep_interrupts() -> None:
    """Raise again an interrupt that Python reports and drops, because it came while an object was deleted."""
    show = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            again = threading.Timer(_AFTER_DELETION, _thread.interrupt_main)
            again.daemon = True
            again.start()
        else:
            show(dropped)

    sys.unraisablehook = hook
