"""What all commands have in common: -q and -v, help, where settings came from, and one path for every error."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from tracinctl.cli.output.help import command_help, group_help
from tracinctl.cli.output.streams import is_terminal, let_streams_write_anything
from tracinctl.cli.output.terminal import terminal
from tracinctl.cli.processes import hold_tongue
from tracinctl.cli.registry import ENTRIES
from tracinctl.errors import TracinctlError
from tracinctl.text import nearest

if TYPE_CHECKING:
    from tracinctl.project.declared import Setting

INTERRUPTED = 130

# The base of typer's errors of usage has a public name only in its later releases.
_Misuse: type[Any] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def _set_quiet(value: bool) -> None:
    terminal.quiet = terminal.quiet or value


def _set_verbosity(value: int) -> None:
    terminal.verbosity = max(terminal.verbosity, value)


def common_options(panel: str) -> list[TyperOption]:
    """-q and -v, which may stand before or after the name of the command."""

    def callback(setter: Callable[[Any], None]) -> Callable[[Any, Any, Any], Any]:
        def apply(ctx: Any, _: Any, value: Any) -> Any:
            if value and not ctx.resilient_parsing:
                setter(value)
            return value

        return apply

    shared: dict[str, Any] = {
        "expose_value": False,
        "allow_from_autoenv": False,
        "rich_help_panel": panel,
    }
    return [
        TyperOption(
            param_decls=["quiet", "-q", "--quiet"],
            is_flag=True,
            default=False,
            callback=callback(_set_quiet),
            help="Print nothing but the paths of result files, warnings and errors.",
            **shared,
        ),
        TyperOption(
            param_decls=["verbose", "-v", "--verbose"],
            count=True,
            default=0,
            callback=callback(_set_verbosity),
            help="Say where each setting came from and what was taken from the cache; -vv shows tracebacks.",
            **shared,
        ),
    ]


class Command(TyperCommand):
    """A command of tracinctl. Its epilog holds its examples, one a line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options("Output")]

    needs_settings = True
    settings: Mapping[str, Setting] = MappingProxyType({})
    """What the flags are made from, by name."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(command_help(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the settings, unless only help is asked for, and let them be the flags' defaults."""
        terminal.command = ctx.command_path
        if self.needs_settings and not {"--help", "-h"}.intersection(args):
            self.read_settings(ctx)
        return super().parse_args(ctx, args)

    def read_settings(self, ctx: Any) -> None:
        """Read the settings file and the environment: what they say are the defaults of this command's flags."""
        from tracinctl.project.config import check_environment, check_variables, find_settings, load_settings
        from tracinctl.project.tables import command_variables

        name = self.name or ""
        check_environment(os.environ)
        check_variables(name, os.environ)
        named = ctx.find_root().params.get("config")
        ctx.obj = load_settings(Path(named) if named else find_settings(Path.cwd()))
        ctx.default_map = ctx.obj.defaults_for(name)
        variables = command_variables(name)
        for param in self.params:
            if param.name in variables:
                param.envvar = variables[param.name]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; -v first says where its settings came from."""
        if terminal.verbosity:
            show_sources(self, ctx)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            quiet_broken_pipe()
            raise typer.Exit(1) from None
        return result


class BareCommand(Command):
    """A command that needs no settings."""

    needs_settings = False


class Group(TyperGroup):
    """The program itself. Its epilog holds its examples, one a line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options("Options")]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(group_help(self, ctx, ENTRIES))


def quiet_broken_pipe() -> None:
    """Let nothing more be written to a pipe whose reader has gone, not even while Python shuts down."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stdout.fileno())
    os.close(silent)


def show_sources(command: TyperCommand, ctx: Any) -> None:
    """Say on stderr what each setting is and where it came from."""
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


def source_of(param: Any, ctx: Any, file: str) -> str:
    """Where the value of a parameter came from, in words."""
    source = ctx.get_parameter_source(param.name)
    kind = source.name if source is not None else "DEFAULT"
    if kind == "COMMANDLINE":
        return f"flag {_typed(param)}" if param.param_type_name == "option" else "argument"
    if kind == "ENVIRONMENT":
        return f"environment {variable_of(param, ctx)}"
    if kind == "DEFAULT_MAP":
        return file
    return "default"


def shown_value(value: Any) -> str:
    """A setting's value as a person writes it."""
    if value is None or value in ((), []):
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _typed(param: Any) -> str:
    """The one of an option's names that stands on the command line."""
    names = [*param.opts, *param.secondary_opts]
    typed = {word.partition("=")[0] for word in terminal.arguments}
    return next((name for name in names if name in typed), str(names[0]))


def variable_of(param: Any, ctx: Any) -> str:
    """The environment variable that an option has its value from, or would have it from."""
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
    """Say what is wrong with a command line, and what was probably meant."""
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
    """What is said where a value stands alone, because a list was typed with blanks."""
    words = terminal.arguments
    lists = {"frequency", "frequencies", "thresholds", "layers"}
    known = {name for param in (ctx.command.params if ctx else ()) if param.name in lists for name in param.opts}
    for option, value, more in zip(words, words[1:], words[2:], strict=False):
        if option in known and not more.startswith("--"):
            return [f"A list is one word, without blanks: {option} {value.rstrip(',')},{more.strip(',')}"]
    return []


def _options_like(option: str, ctx: Any) -> list[str]:
    if ctx is None:
        return []
    if ctx.parent is not None and option in _names(ctx.parent.command):
        path = f"{ctx.parent.command_path} {option} ... {ctx.info_name}"
        return [f"{option} stands before the command: {path}"]
    program = ctx.find_root()
    homes = [name for name, command in program.command.commands.items() if option in _names(command)]
    if homes and ctx.parent is None:
        return [f"{option} stands after the command, for example: {ctx.command_path} {homes[0]} {option} ..."]
    near = nearest(option, [*_names(ctx.command), "--help"])
    if homes and not (near and _alike(option, near)):
        return [f"It is an option of {', '.join(homes)}: {program.command_path} {homes[0]} {option} ..."]
    return [f"Did you mean {near}?"] if near else []


def _names(command: Any) -> list[str]:
    """The options of a command, as they are typed."""
    return [name for param in command.params for name in (*param.opts, *param.secondary_opts)]


def _alike(one: str, other: str) -> bool:
    """Whether two options are forms of one name, ``--threshold`` and ``--thresholds``."""
    return one.startswith(other) or other.startswith(one)


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted."""
    let_streams_write_anything()
    hold_tongue()
    terminal.arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(args=arguments, prog_name="tracinctl", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except TracinctlError as error:
        if terminal.verbosity > 1:
            _traceback()
        terminal.error(error.message, error.hint)
        return error.exit_code
    except _Misuse as error:
        show_usage_error(error)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        quiet_broken_pipe()
        return 1
    except OSError as error:
        if terminal.verbosity > 1:
            _traceback()
        place = f"{error.filename}: " if error.filename else ""
        terminal.error(f"{place}{error.strerror or error}", "Check that the place is there and may be written to.")
        return 1
    except MemoryError:
        terminal.error("there is not enough memory", "Give compute less at a time with --memory, for example 2GiB.")
        return 1
    except Exception as error:
        if terminal.verbosity > 1:
            raise
        terminal.error(
            f"tracinctl met something that it did not expect: {type(error).__name__}: {error}",
            "This is a fault of the program. Run it again with -vv and report what it prints.",
        )
        return 1
    if code == INTERRUPTED:
        if is_terminal(terminal.stream("err")):
            terminal.stream("err").write("\r\x1b[K")  # the ^C that a terminal writes
        terminal.warn("interrupted", terminal.kept or "Nothing was written.")
    return code


def _traceback() -> None:
    import traceback

    sys.stderr.write(traceback.format_exc())
