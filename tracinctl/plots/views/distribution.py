"""Histogram of the scores, with zero and the thresholds marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tracinctl.plots.drawing.bars import whole_steps
from tracinctl.plots.drawing.chart import Chart, Tick, left_labels
from tracinctl.plots.drawing.colours import Palette
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Histogram, Survey, second_pass
from tracinctl.text import count, number, share

_ROWS = 11
_BINS = 60


def numbers(request: Request) -> dict[str, Any]:
    """Counts by sign, below each threshold, and in bins."""
    found = request.survey
    below = [
        {"threshold": value, "below": amount}
        for value, amount in zip(found.votes.values.tolist(), below_thresholds(found), strict=True)
    ]
    known = found.counts() | {"thresholds": below}
    if found.negative or found.positive:
        filled = histogram_of(found, _BINS)
        second_pass(found.scores, [lambda _, block: filled.add(block)])
        known |= {"edges": filled.edges.tolist(), "counts": filled.counts.tolist()}
    return known


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw it, and how many scores lie below each threshold."""
    found, palette = request.survey, request.palette
    if not found.negative and not found.positive:
        yield nothing(found)
        yield from remarks(found)
        return
    indent = len(f"{found.total:,}")
    filled = histogram_of(found, request.width - indent - 2)
    second_pass(found.scores, [lambda _, block: filled.add(block)])
    rows = request.rows(_ROWS, beside=10 + len(found.votes.values))
    yield from chart(filled, found, palette, rows, indent)
    yield Text()
    yield _below_thresholds(found, palette)
    yield from remarks(found, filled.axis.remark())


def histogram_of(found: Survey, columns: int) -> Histogram:
    """An empty histogram for scores that were looked over."""
    return Histogram(found.axis(found.lowest, found.highest), columns, found.negative + found.positive)


def nothing(found: Survey) -> Text:
    """What is said where there is nothing to draw."""
    return Text(
        f"No score is other than zero, of {found.total:,}: no test pair here can vote. "
        "Compute with more test pairs or a larger --margin."
    )


def chart(filled: Histogram, found: Survey, palette: Palette, rows: int, indent: int) -> list[Text]:
    """The histogram with its axes; counts at the left take ``indent`` columns."""
    limit = whole_steps(float(filled.counts.max(initial=0)), rows)
    drawn = Chart(len(filled.counts) * filled.cell, rows, palette)
    drawn.upright(filled.column_of(0.0), palette.quiet)
    above = []
    for threshold, value in zip(found.votes.thresholds, found.votes.values.tolist(), strict=True):
        if filled.axis.low <= value <= filled.axis.high and value != 0:
            place = filled.column_of(value)
            drawn.upright(place, palette.mark)
            above.append(Tick(place, threshold.text, palette.mark))
    styles = [palette.harmful if edge < 0 else palette.helpful for edge in filled.edges[:-1].tolist()]
    drawn.histogram(filled.counts.tolist(), limit, styles, filled.cell)
    below = [Tick(filled.column_of(value), number(value)) for value in filled.axis.ticks()]
    return drawn.lines(below=below, above=above, left=left_labels(limit, rows, indent))


def below_thresholds(found: Survey) -> list[int]:
    """How many scores lie below each threshold."""
    silent = len(found.scores.train_ids) * int((~found.votes.active).sum())  # zeros, which lie below what is positive
    return [
        int(votes) + (silent if value > 0 else 0)
        for votes, value in zip(found.votes.test_votes.sum(axis=1), found.votes.values.tolist(), strict=True)
    ]


def _below_thresholds(found: Survey, palette: Palette) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify)
    for name, amount in zip(found.threshold_names(), below_thresholds(found), strict=True):
        part = f"{share(amount, found.total)} of all"
        table.add_row(Text("below", palette.quiet), Text(name, palette.mark), f"{amount:,} scores", part)
    return table


def remarks(found: Survey, axis: str = "") -> Iterator[Text]:
    """What is not in the picture, and how its axis runs."""
    said = []
    if found.zeros:
        idle = int((~found.votes.active).sum())
        why = f" ({count(idle, 'test pair')} without any score)" if idle else ""
        said.append(f"Exactly zero, not drawn: {found.zeros:,}{why}.")
    if found.strange:
        said.append(f"Not finite, left out: {found.strange:,}.")
    if axis:
        said.append(f"Score axis {axis}: columns there are wider, and hold more.")
    if said:
        yield Text(" ".join(said))
