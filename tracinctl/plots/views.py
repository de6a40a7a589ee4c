"""The views of influence scores, each a Rich renderable that fits the width it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.text import SIGNS, clean
from tracinctl.scores.table import ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold

NARROWEST = 40
WIDEST = 200


@dataclass(frozen=True)
class ViewSettings:
    """How a view is drawn.

    Attributes:
        width: columns.
        colour: whether colours are used at all.
        thresholds: marked and counted.
        test_pair: id of the one test pair to look at; None = all.
        top: how many pairs or items are named.
        min_occurrences: the rule of votes.
    """

    width: int
    colour: bool
    thresholds: Sequence[Threshold]
    test_pair: str | None = None
    top: int = 10
    min_occurrences: str = DEFAULT_OCCURRENCES

    def style(self, name: str) -> str:
        """The style, or none where there are no colours."""
        return name if self.colour else ""


View = Callable[[ScoreSource, ViewSettings], RenderableType]


def _views() -> dict[str, View]:
    from tracinctl.plots import checkpoints, distribution, heatmap, items, overview, sweep, top

    return {
        "overview": overview.draw,
        "distribution": distribution.draw,
        "sweep": sweep.draw,
        "heatmap": heatmap.draw,
        "top": top.draw,
        "checkpoints": checkpoints.draw,
        "self": items.draw,
    }


VIEWS = ("overview", "distribution", "sweep", "heatmap", "top", "checkpoints", "self")


def draw(view: str, source: ScoreSource, settings: ViewSettings, title: str) -> RenderableType:
    """Draw a view under its title and what the signs mean.

    Raises:
        PlotError: there is no such view, no room for it, or the scores do not say what it shows.
    """
    if view not in VIEWS:
        raise PlotError(f"there is no view {view!r}", hint=f"one of {', '.join(VIEWS)}")
    if settings.width < NARROWEST:
        raise PlotError(
            f"{settings.width} columns are too few to draw in",
            hint=f"make the terminal {NARROWEST} columns wide or more",
        )
    if not len(source.train_ids) or not len(source.test_ids):
        raise PlotError("there are no scores to draw")
    head = Text(clean(title), style=settings.style("bold"), no_wrap=True, overflow="ellipsis")
    foot = Text(SIGNS.capitalize() + ".", style=settings.style("dim"))
    return Group(head, _views()[view](source, settings), foot)
