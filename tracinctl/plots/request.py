"""A request for a picture: the scores, the options and the size of the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tracinctl.plots.drawing.colours import COLOURS, Palette
from tracinctl.plots.survey import Survey, survey
from tracinctl.scores.caption import caption
from tracinctl.scores.source import FloatArray, ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold, required_votes
from tracinctl.text import wrap

WIDEST = 200
"""Largest width of a picture."""
_TALLEST = 24


@dataclass(frozen=True)
class Request:
    """Scores, and how to draw them. Statistics that several views need are computed once.

    Attributes:
        columns: width of the screen.
        colour: whether to use colours and other styles.
        thresholds: thresholds to mark and count.
        test_pair: id of the only test pair to show; None = all.
        train_pair: id of the only training pair that the view top shows; None = all.
        top: number of pairs or items to name.
        min_occurrences: the rule of votes.
        by: the column of the view groups; None = annotator, another column, or the classes.
        contradicted: share of the out-of-fold rankers that rank each training pair the other way; None = unknown.
        height: height of the screen, which sets that of charts; None = the default height.
    """

    source: ScoreSource
    columns: int
    colour: bool
    thresholds: Sequence[Threshold]
    test_pair: str | None = None
    top: int = 10
    min_occurrences: str = DEFAULT_OCCURRENCES
    height: int | None = None
    by: str | None = None
    contradicted: FloatArray | None = None
    train_pair: str | None = None

    @property
    def width(self) -> int:
        """Width of the picture."""
        return min(self.columns, WIDEST)

    @property
    def palette(self) -> Palette:
        """Styles."""
        return COLOURS if self.colour else Palette()

    @property
    def caption(self) -> str:
        """The origin of the scores; empty if unknown."""
        return caption(self.source.provenance)

    @cached_property
    def survey(self) -> Survey:
        """Statistics of the scores, with the votes at every threshold.

        Raises:
            PlotError: the test pair does not exist, or there are no scores.
        """
        return survey(self.source, self.thresholds, self.test_pair)

    @cached_property
    def means(self) -> Survey:
        """Statistics without votes, which saves computing quantile thresholds.

        Raises:
            PlotError: as ``survey``.
        """
        with_votes: Survey | None = self.__dict__.get("survey")
        return with_votes or survey(self.source, (), self.test_pair)

    @property
    def required(self) -> int:
        """Number of votes that make a pair harmful."""
        return required_votes(self.min_occurrences, self.survey.votes.active_test_pairs)

    def rows(self, usual: int, beside: int, least: int = 5) -> int:
        """Height of a chart on a screen with ``beside`` other lines, but at least ``least`` rows."""
        if self.height is None:
            return usual
        room = self.height - beside - len(wrap(self.caption, self.width))
        return min(max(room, least), _TALLEST)
