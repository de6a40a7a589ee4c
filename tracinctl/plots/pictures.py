"""The views of influence scores, each a picture that fits the width it is given."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.drawing.picture import Lines, Picture, heading, signs
from tracinctl.plots.registry import NARROWEST, VIEWS, WIDEST
from tracinctl.plots.request import Request, ViewSettings
from tracinctl.scores.table import ScoreSource
from tracinctl.text import clean

__all__ = ["VIEWS", "ViewSettings", "asked", "draw", "draw_asked"]

Draw = Callable[[Request], Lines]


def _view(name: str) -> Draw:
    from tracinctl.plots.views import checkpoints, distribution, heatmap, overview, sweep, top
    from tracinctl.plots.views import self_influence as items

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
    return draw_asked(view, asked(source, settings), title)


def asked(source: ScoreSource, settings: ViewSettings) -> Request:
    """Scores and how to draw them. The views of one request look the scores over once."""
    return Request(source, settings, min(settings.width, WIDEST))


def draw_asked(view: str, request: Request, title: str) -> Picture:
    """As ``draw``, of a request that other views share."""
    if view not in VIEWS:
        raise PlotError(f"there is no view {clean(view)!r}", hint=f"one of {', '.join(VIEWS)}")
    width, palette = request.width, request.palette
    if width < NARROWEST:
        raise PlotError(
            f"{width} columns are too few to draw in",
            hint=f"make the terminal {NARROWEST} columns wide or more",
        )
    lines = [*heading(title, width, palette), Text(), *_view(view)(request)]
    if view != "self":
        lines += [Text(), *signs(width, palette)]
    return Picture(lines, width, clean(title))
