"""Views of influence scores, as pictures for Rich and as numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.text import Text

from tracinctl.errors import PlotError, UsageError
from tracinctl.plots.drawing.colours import signs
from tracinctl.plots.request import Request
from tracinctl.plots.views import VIEWS
from tracinctl.text import clean

NARROWEST = 40
"""Least width of a picture."""


class Picture:
    """Text, tables and charts in one column of ``width`` characters."""

    def __init__(self, parts: Iterable[RenderableType], width: int, title: str = "") -> None:
        self.width = width
        self.title = title
        self._parts = Group(*parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Constrain(self._parts, self.width)

    def printed(self) -> Console:
        """A console that has printed the picture in full colour, for export."""
        console = Console(
            width=self.width,
            file=io.StringIO(),
            record=True,
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
            _environ={},
        )
        console.print(self, end="")
        return console

    @property
    def plain(self) -> str:
        """The picture without styles and trailing spaces."""
        lines = self.printed().export_text().splitlines()
        return "".join(f"{line.rstrip()}\n" for line in lines)


def _view(name: str) -> Any:
    """The module of a view: ``draw`` yields the parts of its picture, ``numbers`` returns its numbers for JSON."""
    if name not in VIEWS:
        raise UsageError(f"there is no view {clean(name)!r}", hint=f"Choose one of {', '.join(VIEWS)}")
    return import_module(f"tracinctl.plots.views.{'self_influence' if name == 'self' else name}")


def draw(view: str, request: Request, title: str) -> Picture:
    """Draw a view with its title, the scores' caption and a legend; an empty title leaves out both title and caption.

    Views of one request read the scores only once.

    Raises:
        UsageError: there is no such view.
        PlotError: there is no room for it, or the scores lack what it shows.
    """
    module, width = _view(view), request.width
    if width < NARROWEST:
        raise PlotError(
            f"{width} columns are too few for a picture",
            hint=f"Make the terminal at least {NARROWEST} columns wide",
        )
    palette = request.palette
    parts: list[RenderableType] = []
    if title:
        parts += [Text(clean(title), palette.strong)]
        parts += [Text(clean(request.caption), palette.quiet)] if request.caption else []
        parts += [Text()]
    parts += module.draw(request)
    if view != "self":
        parts += [Text(), signs(palette)]
    return Picture(parts, width, clean(title))


def numbers_of(view: str, request: Request) -> dict[str, Any]:
    """The numbers of a view; they do not depend on the width.

    Raises:
        UsageError: there is no such view.
        PlotError: the scores lack what it shows.
    """
    numbers: dict[str, Any] = _view(view).numbers(request)
    return numbers
