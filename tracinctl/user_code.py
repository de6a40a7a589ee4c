"""The user's own functions, named as ``package.module:function``; the current folder is importable."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracinctl.errors import DataError, TracinctlError, UsageError


def load_function(name: str, flag: str) -> Callable[..., Any]:
    """The function that a flag names.

    Raises:
        UsageError: the name has no colon, or there is no such module or function.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise UsageError(f"{flag} {name!r} names no function", hint=f"Write it like {flag} my_project:load")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in function_name.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise UsageError(
            f"{flag} {name!r}: {module_name} cannot be imported: {error}",
            hint="Run tracinctl in the folder that holds the module, or install its package.",
        ) from error
    except AttributeError as error:
        raise UsageError(f"{flag} {name!r}: {error}", hint="Check the name of the function.") from error
    except Exception as error:
        raise UsageError(
            f"{flag} {name!r}: {module_name} failed while it was imported: {type(error).__name__}: {error}",
            hint="tracinctl -vv shows where.",
        ) from error
    if not callable(found):
        raise UsageError(f"{flag} {name!r} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]  # checked to be callable


def call_function(name: str, flag: str, *arguments: Any) -> Any:
    """Call the function that a flag names.

    Raises:
        UsageError: there is no such function.
        DataError: it failed.
        TracinctlError: what it raised of the kind itself.
    """
    function = load_function(name, flag)
    try:
        return function(*arguments)
    except TracinctlError:
        raise
    except Exception as error:
        raise DataError(
            f"{flag} {name} failed: {type(error).__name__}: {error}", hint="tracinctl -vv shows where."
        ) from error
