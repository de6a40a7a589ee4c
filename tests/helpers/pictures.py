"""Pictures as tests read them: rows of letters, and the styles of each."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tracinctl.plots.picture import draw
from tracinctl.plots.request import Request
from tracinctl.scores.votes import parse_thresholds

ACROSS = " ▏▎▍▌▋▊▉█"
UP = " ▁▂▃▄▅▆▇█"


def picture(view, source, width=80, *, colour=False, thresholds="0,-5", title="box 1hz", **more):
    """A view as drawn by the commands."""
    return draw(view, Request(source, width, colour, parse_thresholds(thresholds), **more), title)


def rows_of(drawn, width=None):
    """The rows of anything that Rich prints, as text with its styles."""
    console = Console(width=width or drawn.width, force_terminal=True, color_system="truecolor", _environ={})
    rows = console.render_lines(drawn, console.options.update(width=width or drawn.width), pad=False)
    return [Text.assemble(*((part.text, part.style or "") for part in row)) for row in rows]


def bar_length(line):
    """The length of the bar that ends a line, in eighths of a character."""
    stripped = line.rstrip()
    bar = stripped[len(stripped.rstrip(ACROSS[1:])) :]
    return sum(ACROSS.index(letter) for letter in bar)
