"""What a person wants to see, and the room there is for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tracinctl.plots.drawing.picture import Palette
from tracinctl.plots.survey import Survey, survey
from tracinctl.scores.table import ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold

_TALLEST = 24


@dataclass(frozen=True)
class ViewSettings:
    """How a view is drawn.

    Attributes:
        width: columns.
        colour: whether colours (or any other style) are used at all.
        thresholds: marked and counted.
        test_pair: id of the one test pair to look at; None = all.
        top: how many pairs or items are named.
        min_occurrences: the rule of votes.
        height: rows that the screen has; charts grow and shrink with it. None = the usual size.
    """

    width: int
    colour: bool
    thresholds: Sequence[Threshold]
    test_pair: str | None = None
    top: int = 10
    min_occurrences: str = DEFAULT_OCCURRENCES
    height: int | None = None


@dataclass(frozen=True)
class Request:
    """Scores, and how to draw them; ``width`` is the one to be kept."""

    source: ScoreSource
    settings: ViewSettings
    width: int

    @property
    def palette(self) -> Palette:
        """Styles."""
        return Palette(self.settings.colour)

    @cached_property
    def survey(self) -> Survey:
        """The scores, looked over once, with the votes at every threshold.

        Raises:
            PlotError: there is no such test pair, or there are no scores.
        """
        return survey(self.source, self.thresholds, self.test_pair)

    @cached_property
    def means(self) -> Survey:
        """The same, where votes do not matter: shares need not be found for it.

        Raises:
            PlotError: as ``survey``.
        """
        found: Survey | None = self.__dict__.get("survey")
        return found or survey(self.source, (), self.test_pair)

    @property
    def thresholds(self) -> Sequence[Threshold]:
        """Thresholds to mark."""
        return self.settings.thresholds

    @property
    def test_pair(self) -> str | None:
        """The one test pair to look at."""
        return self.settings.test_pair

    @property
    def top(self) -> int:
        """How many to name."""
        return self.settings.top

    def rows(self, usual: int, beside: int, least: int = 5) -> int:
        """Rows for a chart that shares the screen with ``beside`` other lines, and has ``least`` rows all the same."""
        if self.settings.height is None:
            return usual
        return min(max(self.settings.height - beside, least), _TALLEST)
