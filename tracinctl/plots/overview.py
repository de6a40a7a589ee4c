"""One screen: distribution, votes at each threshold, most harmful pairs."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Group, RenderableType
from rich.text import Text

from tracinctl.plots import distribution, sweep, top
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.table import ScoreSource


def draw(source: ScoreSource, settings: ViewSettings) -> RenderableType:
    """Draw it."""
    return Group(
        distribution.draw(source, settings, rows=8),
        Text(""),
        sweep.draw(source, replace(settings, thresholds=list(settings.thresholds)[:2])),
        Text(""),
        top.draw(source, replace(settings, top=min(4, settings.top))),
    )
