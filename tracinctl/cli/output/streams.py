"""What stdout and stderr can show: a person's screen or a pipe, its width and colour, and the letters it can write."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

PIPE_WIDTH = 80
"""Plots in a pipe have this width; tables have the width that they need."""

_LOOKS = {
    "#": "█▉▊▋▌▇▆▅▄■",
    ".": "▍▎▏▃▂▁·…",
    "-": "─━",
    "|": "│┃┊",
    "+": "├┤┬└",
    ">": "▸→",
    "*": "●" + "".join(map(chr, range(0x2801, 0x2900))),  # dots of curves
    " ": "\u2800",
    "~": "±",
}
_STANDS_IN = {letter: look for look, letters in _LOOKS.items() for letter in letters}

ERRORS = "tracinctl-looks-alike"
"""The name under which text streams know the rule."""


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    text = "".join(_STANDS_IN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in wanted)
    return text, error.end


def let_streams_write_anything() -> None:
    """Let stdout and stderr write what their encoding does not have: looked alike, or else escaped.

    A stream that is closed from the start, as services and window programs do it, leads to nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
            setattr(sys, name, nowhere)
    codecs.register_error(ERRORS, _look_alike)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream leads to a person's screen."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def in_colour(stream: TextIO) -> bool:
    """Whether to write in colour: on a screen, or where FORCE_COLOR is set, and never where NO_COLOR is."""
    if os.environ.get("NO_COLOR"):
        return False
    return is_terminal(stream) or bool(os.environ.get("FORCE_COLOR"))


def terminal_width() -> int:
    """Columns of the terminal; COLUMNS counts more than what the terminal says."""
    return max(20, shutil.get_terminal_size((PIPE_WIDTH, 24)).columns)


def pipe_width() -> int:
    """Columns of a picture or page in a pipe: COLUMNS, where it is set."""
    columns = os.environ.get("COLUMNS", "")
    return max(20, int(columns)) if columns.isdecimal() and int(columns) else PIPE_WIDTH
