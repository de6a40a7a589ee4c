"""The user's own functions, given as ``package.module:function`` and importable from the current folder.

User code does not see the program's arguments, cannot end the program, and prints to stderr, as stdout is for results.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tracinctl.errors import DataError, TracinctlError, UsageError
from tracinctl.text import clean, count

_TRACEBACK = "Run tracinctl -vv to see where."
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*:\w+(\.\w+)*")


def load_function(name: str, parameter: str, error: type[TracinctlError] = UsageError) -> Callable[..., Any]:
    """The function that a parameter names.

    Raises:
        TracinctlError: of the type ``error``: the name has another form, or the module or function does not exist.
    """
    module_name, _, function_name = name.partition(":")
    if not _NAME.fullmatch(name) or module_name.endswith(".py"):
        raise error(
            f"{parameter} {name!r} is not module:function",
            hint=f"Write it like {parameter} my_project:load, with the module's name, not its file.",
        )
    function: Any = _imported(module_name, f"{parameter} {name!r}", error)
    try:
        for part in function_name.split("."):
            function = getattr(function, part)
    except AttributeError as cause:
        hint = _other_module(module_name) or "Check the name of the function."
        raise error(f"{parameter} {name!r}: {first_line(cause)}", hint=hint) from cause
    if not callable(function):
        raise error(
            f"{parameter} {name!r} is a {type(function).__name__}, not a function", hint="Name a function instead."
        )
    return function  # type: ignore[no-any-return]  # checked to be callable


def _imported(module_name: str, request: str, error: type[TracinctlError]) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        with as_a_guest():
            return importlib.import_module(module_name)
    except ImportError as cause:
        raise error(
            f"{request}: {module_name} cannot be imported: {cause}", hint=_import_hint(module_name, cause)
        ) from cause
    except Exception as cause:
        raise error(f"{request}: importing {module_name} failed: {said(cause)}", hint=_TRACEBACK) from cause


def _other_module(name: str) -> str:
    """The hint that a module of Python or a package hides the file of this name here; empty if it does not."""
    file, imported = Path(f"{name.replace('.', '/')}.py").absolute(), getattr(sys.modules[name], "__file__", None)
    if not file.is_file() or (imported is not None and Path(imported).resolve() == file.resolve()):
        return ""
    return f"Another module has the name {name}: rename {file.name}."


def has_function(name: str, parameter: str) -> bool:
    """Whether the module of ``module:function`` has such a function.

    Raises:
        UsageError: the module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    return callable(getattr(_imported(module_name, f"{parameter} {name!r}", UsageError), function_name, None))


def call_function(name: str, parameter: str, *arguments: Any) -> Any:
    """Call the function that a parameter names.

    Raises:
        UsageError: the function does not exist, or does not take these arguments.
        DataError: the function failed, or tried to end the program.
        TracinctlError: raised by the function itself.
    """
    function = load_function(name, parameter)
    _check_arguments(function, f"{parameter} {name}", arguments)
    try:
        with as_a_guest():
            return function(*arguments)
    except TracinctlError:
        raise
    except Exception as cause:
        raise DataError(f"{parameter} {name} failed: {said(cause)}", hint=_TRACEBACK) from cause


def _check_arguments(function: Callable[..., Any], request: str, arguments: Sequence[Any]) -> None:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as cause:
        wanted = count(len(arguments), "argument") if arguments else "no arguments"
        raise UsageError(
            f"{request} is called with {wanted}: {cause}", hint=f"Write a function that takes {wanted}."
        ) from cause
    except ValueError:  # a builtin without a signature
        return


class EndedError(Exception):
    """User code tried to end the program."""


@contextlib.contextmanager
def as_a_guest() -> Iterator[None]:
    """Run user code without the program's arguments, with stderr for its stdout.

    Raises:
        EndedError: the code called ``sys.exit``.
    """
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        with contextlib.redirect_stdout(sys.stderr), _no_output_to_stdout():
            yield
    except SystemExit as cause:
        code = 0 if cause.code is None else cause.code
        raise EndedError(f"it called sys.exit({code!r}); put that under `if __name__ == '__main__':`") from cause
    finally:
        sys.argv = arguments


@contextlib.contextmanager
def _no_output_to_stdout() -> Iterator[None]:
    """Send to stderr what C libraries, other programs and worker processes write to stdout."""
    out, err = sys.__stdout__, sys.__stderr__
    if out is None or err is None:  # closed from the start, so another file may have its number
        yield
        return
    out.flush()
    kept = os.dup(out.fileno())
    os.dup2(err.fileno(), out.fileno())
    try:
        yield
    finally:
        out.flush()
        os.dup2(kept, out.fileno())
        os.close(kept)


def said(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    kind = "" if isinstance(error, EndedError) else f"{type(error).__name__}: "
    return f"{kind}{first_line(error)}".removesuffix(": ")


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message."""
    lines = (line.strip() for line in str(error).splitlines())
    return clean(next((line for line in lines if line), ""))


def _import_hint(module_name: str, cause: ImportError) -> str:
    missing = cause.name or ""
    if missing and missing != module_name and not module_name.startswith(f"{missing}."):
        return f"Install {missing} in the environment of tracinctl."
    return "Run tracinctl in the module's folder, or install its package."
