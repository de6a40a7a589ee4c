"""The views of influence scores, each a picture that fits the width it is given."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.names import NARROWEST, VIEWS, WIDEST
from tracinctl.plots.picture import Lines, Palette, Picture, heading, signs
from tracinctl.plots.request import Request, ViewSettings
from tracinctl.plots.text import clean
from tracinctl.scores.table import ScoreSource

__all__ = ["VIEWS", "ViewSettings", "draw"]

Draw = Callable[[Request], Lines]


def _view(name: str) -> Draw:
    from tracinctl.plots import checkpoints, distribution, heatmap, items, overview, sweep, top

    views: dict[str, Draw] = {
        "overview": overview.draw,
        "distribution": distribution.draw,
        "sweep": sweep.draw,
        "heatmap": heatmap.draw,
        "top": top.draw,
        "checkpoints": checkpoints.draw,
        "self": items.draw,
    }
    return views[name]


def draw(view: str, source: ScoreSource, settings: ViewSettings, title: str) -> Picture:
    """Draw a view under its title, with what the signs mean below it.

    Raises:
        PlotError: there is no such view, no room for it, or the scores do not say what it shows.
    """
    if view not in VIEWS:
        raise PlotError(f"there is no view {clean(view)!r}", hint=f"one of {', '.join(VIEWS)}")
    if settings.width < NARROWEST:
        raise PlotError(
            f"{settings.width} columns are too few to draw in",
            hint=f"make the terminal {NARROWEST} columns wide or more",
        )
    width = min(settings.width, WIDEST)
    palette = Palette(settings.colour)
    body = _view(view)(Request(source, settings, width))
    lines = [*heading(title, width, palette), Text(), *body]
    if view != "self":
        lines += [Text(), *signs(width, palette)]
    return Picture(lines, width, clean(title))
