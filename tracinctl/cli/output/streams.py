"""What stdout and stderr can show: whether they are a screen or a pipe, their width, colour and characters."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

PIPE_WIDTH = 80
"""Width of plots in a pipe; tables there are as wide as they need."""

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
"""The rule's name among the error handlers of text streams."""


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    text = "".join(_STANDS_IN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in wanted)
    return text, error.end


def let_streams_write_anything() -> None:
    """Replace characters that the encoding of stdout and stderr lacks, by a similar one or an escape.

    A stream that is closed from the start, as in services and window programs, is replaced by the null device.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open while the process runs
            setattr(sys, name, nowhere)
    codecs.register_error(ERRORS, _look_alike)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def in_colour(stream: TextIO) -> bool:
    """Whether to write in colour: on a terminal or with FORCE_COLOR, and never with NO_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return is_terminal(stream) or bool(os.environ.get("FORCE_COLOR"))


def terminal_width() -> int:
    """Columns of the terminal; the variable COLUMNS overrides it."""
    return max(20, shutil.get_terminal_size((PIPE_WIDTH, 24)).columns)


def pipe_width() -> int:
    """Columns of a picture or page in a pipe: the variable COLUMNS, or a default."""
    columns = os.environ.get("COLUMNS", "")
    return max(20, int(columns)) if columns.isdecimal() and int(columns) else PIPE_WIDTH
