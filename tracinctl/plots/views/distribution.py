"""Histogram of the scores, with zero and the thresholds marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tracinctl.plots.drawing.bars import whole_steps
from tracinctl.plots.drawing.chart import Chart, Tick, left_labels
from tracinctl.plots.drawing.colours import Palette
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Histogram, Survey
from tracinctl.text import count, number, share

_ROWS = 11
_BINS = 60


def numbers(request: Request) -> dict[str, Any]:
    """Counts by sign, below each threshold, and in bins."""
    survey = request.survey
    below = [
        {"threshold": value, "below": amount}
        for value, amount in zip(survey.votes.values.tolist(), below_thresholds(survey), strict=True)
    ]
    counts = survey.counts() | {"thresholds": below}
    if survey.scores.negative or survey.positive:
        filled = histogram_of(survey, _BINS)
        for _, block in survey.scores.blocks():
            filled.add(block)
        counts |= {"edges": filled.edges.tolist(), "counts": filled.counts.tolist()}
    return counts


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw the histogram and the number of scores below each threshold."""
    survey, palette = request.survey, request.palette
    if not survey.scores.negative and not survey.positive:
        yield nothing(survey)
        yield from remarks(survey)
        return
    indent = len(f"{survey.total:,}")
    filled = histogram_of(survey, request.width - indent - 2)
    for _, block in survey.scores.blocks():
        filled.add(block)
    rows = request.rows(_ROWS, beside=10 + len(survey.votes.values))
    yield from chart(filled, survey, palette, rows, indent)
    yield Text()
    yield _below_thresholds(survey, palette)
    yield from remarks(survey, filled.axis.remark())


def histogram_of(survey: Survey, columns: int) -> Histogram:
    """An empty histogram for surveyed scores."""
    return Histogram(survey.axis(survey.lowest, survey.highest), columns, survey.scores.negative + survey.positive)


def nothing(survey: Survey) -> Text:
    """The text if there is nothing to draw."""
    return Text(
        f"All {survey.total - survey.scores.strange:,} finite scores are zero, so no test pair can vote. "
        "Compute with more test pairs or a larger margin."
    )


def chart(filled: Histogram, survey: Survey, palette: Palette, rows: int, indent: int) -> list[Text]:
    """The histogram with its axes; counts at the left take ``indent`` columns."""
    limit = whole_steps(float(filled.counts.max(initial=0)), rows)
    drawn = Chart(len(filled.counts) * filled.cell, rows, palette)
    drawn.upright(filled.column_of(0.0), palette.quiet)
    above = []
    for threshold, value in zip(survey.votes.thresholds, survey.votes.values.tolist(), strict=True):
        if filled.axis.low <= value <= filled.axis.high and value != 0:
            place = filled.column_of(value)
            drawn.upright(place, palette.mark)
            above.append(Tick(place, threshold.text, palette.mark))
    styles = [palette.harmful if edge < 0 else palette.helpful for edge in filled.edges[:-1].tolist()]
    drawn.histogram(filled.counts.tolist(), limit, styles, filled.cell)
    below = [Tick(filled.column_of(value), number(value)) for value in filled.axis.ticks()]
    return drawn.lines(below=below, above=above, left=left_labels(limit, rows, indent))


def below_thresholds(survey: Survey) -> list[int]:
    """Number of scores below each threshold."""
    # the scores of inactive test pairs are zeros, which are below positive thresholds
    silent = len(survey.scores.train_ids) * int(np.count_nonzero(~survey.votes.active))
    counted = survey.votes.test_votes.sum(axis=1) + silent * (survey.votes.values > 0)
    below: list[int] = counted.tolist()
    return below


def _below_thresholds(survey: Survey, palette: Palette) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify)
    for name, amount in zip(survey.threshold_names(), below_thresholds(survey), strict=True):
        part = f"{share(amount, survey.total)} of all"
        table.add_row(Text("below", palette.quiet), Text(name, palette.mark), f"{amount:,} scores", part)
    return table


def remarks(survey: Survey, axis: str = "") -> Iterator[Text]:
    """Remarks on scores that are not in the picture, and on its axis."""
    sentences = []
    if survey.scores.zeros:
        idle = int((~survey.votes.active).sum())
        why = f" ({count(idle, 'test pair')} without any score)" if idle else ""
        sentences.append(f"Exactly zero, not drawn: {survey.scores.zeros:,}{why}.")
    if survey.scores.strange:
        sentences.append(f"Not finite, left out: {survey.scores.strange:,}.")
    if axis:
        sentences.append(f"Score axis {axis}; columns there cover a wider range.")
    if sentences:
        yield Text(" ".join(sentences))
