"""Output in an encoding that has no drawing characters: letters that look like them stand in, of the same width."""

from __future__ import annotations

import codecs
import sys

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
    found = "".join(_STANDS_IN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in wanted)
    return found, error.end


def let_streams_write_anything() -> None:
    """Let stdout and stderr write what their encoding does not have: looked alike, or else escaped."""
    codecs.register_error(ERRORS, _look_alike)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)
