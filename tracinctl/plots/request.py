"""What a person wants to see, and the room there is for it."""

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
"""Columns beyond which a picture does not grow."""
_TALLEST = 24


@dataclass(frozen=True)
class Request:
    """Scores, and how to draw them. What several views need of the scores is read once.

    Attributes:
        source: the scores.
        columns: how wide the screen is.
        colour: whether colours (or any other style) are used at all.
        thresholds: marked and counted.
        test_pair: id of the one test pair to look at; None = all.
        train_pair: id of the one training pair whose scores the view top shows; None = all.
        top: how many pairs or items are named.
        min_occurrences: the rule of votes.
        by: what the view groups goes by; None = an annotator, a further column, or the classes.
        contradicted: share of the out-of-fold rankers that rank each training pair the other way; None = not known.
        height: rows that the screen has; charts grow and shrink with it. None = the usual size.
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
        """Columns of the picture."""
        return min(self.columns, WIDEST)

    @property
    def palette(self) -> Palette:
        """Styles."""
        return COLOURS if self.colour else Palette()

    @property
    def caption(self) -> str:
        """What the scores are of; empty where that is not known."""
        return caption(self.source.provenance)

    @cached_property
    def survey(self) -> Survey:
        """The scores, looked over once, with the votes at every threshold.

        Raises:
            PlotError: there is no such test pair, or there are no scores.
        """
        return survey(self.source, self.thresholds, self.test_pair)

    @cached_property
    def means(self) -> Survey:
        """The same where votes do not matter, which spares looking for thresholds that are shares.

        Raises:
            PlotError: as ``survey``.
        """
        known: Survey | None = self.__dict__.get("survey")
        return known or survey(self.source, (), self.test_pair)

    @property
    def required(self) -> int:
        """Votes that make a pair harmful."""
        return required_votes(self.min_occurrences, self.survey.votes.active_test_pairs)

    def rows(self, usual: int, beside: int, least: int = 5) -> int:
        """Rows for a chart that shares the screen with ``beside`` other lines, and has ``least`` rows all the same."""
        if self.height is None:
            return usual
        room = self.height - beside - len(wrap(self.caption, self.width))
        return min(max(room, least), _TALLEST)
