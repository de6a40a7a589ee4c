"""How scores change over training: the part of each checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tracinctl.plots.checkpoint_survey import CheckpointSurvey, survey_checkpoints
from tracinctl.plots.drawing.axis import Axis, score_axis
from tracinctl.plots.drawing.chart import Chart, cell_texts, heatmap, score_ticks
from tracinctl.plots.drawing.colours import Palette
from tracinctl.plots.drawing.tables import heading, to_the_right
from tracinctl.plots.request import Request
from tracinctl.plots.survey import middle
from tracinctl.plots.views.top import extremes
from tracinctl.text import aligned, apart, clean

_MOST_ROWS = 30
_MOST_PAIRS = 3
_CELL = 10
QUANTILES = (5, 25, 50, 75, 95)


def numbers(request: Request) -> dict[str, Any]:
    """Percentiles of each checkpoint's non-zero scores, and the share below zero."""
    survey = survey_checkpoints(request.source, QUANTILES, request.test_pair)
    listed = [
        {"name": name, "percentiles": quantiles, "negative_share": None if quantiles is None else share}
        for name, quantiles, share in zip(survey.names, survey.quantiles, survey.negative_share.tolist(), strict=True)
    ]
    return {"percent": list(QUANTILES), "checkpoints": listed}


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw the range of each checkpoint's scores, and its part in the most harmful and most helpful pairs.

    Raises:
        PlotError: the scores of each checkpoint were not kept.
        ScoreFileError: the scores of the checkpoints do not add up to the scores.
    """
    survey = survey_checkpoints(request.source, QUANTILES, request.test_pair)
    palette, total = request.palette, len(survey.names)
    shown = _spaced(total, min(_MOST_ROWS, request.rows(12, beside=19)))
    yield heading("Range of each checkpoint's scores", palette.strong)
    yield from _boxes(survey, shown, request.width, palette)
    legend = "├ 5 to 95 % ┤ of the non-zero scores, ━ the middle half, ┃ the median; harmful: the share below 0."
    if len(shown) < total:
        legend += f" {len(shown)} of {total} checkpoints, evenly spaced."
    if survey.every > 1:
        legend += f" Ranges use one training pair in {survey.every:,}; shares and means use all."
    if survey.strange:
        legend += f" Not finite, left out: {survey.strange:,}."
    yield Text(f"{legend}\n")
    yield from _pairs(request, survey)


def _spaced(total: int, most: int) -> list[int]:
    """Evenly spaced places that include the first and the last."""
    places: list[int] = np.linspace(0, total - 1, min(total, most)).round().astype(int).tolist()
    return places


def _boxes(survey: CheckpointSurvey, shown: Sequence[int], width: int, palette: Palette) -> Iterator[RenderableType]:
    boxes = [survey.quantiles[k] for k in shown]
    drawn = [box for box in boxes if box is not None]
    if not drawn:
        yield Text("every score is zero at every checkpoint", palette.quiet)
        return
    names = [clean(survey.names[k]) for k in shown]
    first = min(max(map(cell_len, names)), width // 3)
    sizes = np.abs(np.array(drawn))
    low, high = min(box[0] for box in drawn), max(box[-1] for box in drawn)
    axis = score_axis(low, high, middle(sizes[sizes > 0]), float(sizes.max()))
    lines = _box_lines(boxes, axis, width - first - 22, palette)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style=palette.quiet)
    table.add_column("", width=first, no_wrap=True, overflow="ellipsis")
    table.add_column("mean size", width=10, justify="right")
    table.add_column("", width=width - first - 22)
    table.add_column("harmful", width=9, justify="right")
    for name, size, k, line in zip(names, aligned(survey.size[shown].tolist()), shown, lines, strict=False):
        part = "" if survey.quantiles[k] is None else f"{survey.negative_share[k]:.1%}"
        table.add_row(Text(name), size, line, part)
    for line in lines[len(shown) :]:
        table.add_row("", "", line, "")
    yield table
    if axis.remark():
        yield Text(f"Score axis {axis.remark()}.")


def _box_lines(boxes: Sequence[list[float] | None], axis: Axis, columns: int, palette: Palette) -> list[Text]:
    """The boxes, and the axis below them."""
    zero = axis.column(0.0, columns)
    chart = Chart(columns, len(boxes), palette)
    chart.upright(zero, palette.quiet)
    for row, box in enumerate(boxes):
        if box is None:
            chart.marks([(k, row, letter, palette.quiet) for k, letter in enumerate("every score is zero"[:columns])])
            continue
        low, quarter, median, three_quarters, high = (axis.column(value, columns) for value in box)
        line = dict.fromkeys(range(low, high + 1), "─")
        line |= {low: "├", high: "┤"}
        line |= dict.fromkeys(range(quarter, three_quarters + 1), "━")
        line[median] = "┃"
        chart.marks([(k, row, s, palette.harmful if k < zero else palette.helpful) for k, s in line.items()])
    return chart.lines(below=score_ticks(axis, columns))


def _pairs(request: Request, survey: CheckpointSurvey) -> Iterator[RenderableType]:
    """A table of the most extreme pairs with their mean score at each checkpoint."""
    source, width, palette = request.source, request.width, request.palette
    total = survey.means.sum(axis=0)
    harmful, helpful = extremes(total, source.train_ids, max(1, min(_MOST_PAIRS, request.top)))
    rows = harmful + helpful
    if not rows:
        return
    shown = _spaced(len(survey.names), max(2, (width - _CELL) // _CELL))
    shown = shown if (len(shown) + 1) * _CELL <= width else shown[-1:]
    names = [clean(source.train_ids[row]) for row in rows]
    longest = max(map(cell_len, names))
    indent = longest + 1 if longest + 1 + (len(shown) + 1) * _CELL <= width else 0
    yield heading("Mean score of the most harmful and most helpful pairs at each checkpoint", palette.strong)
    ends = apart([clean(survey.names[k]) for k in shown], _CELL - 1)
    yield Text(" " * indent + "".join(to_the_right(name, _CELL) for name in [*ends, "all"]), palette.quiet)
    values = survey.means[:, rows][shown].T
    cells = heatmap(values, cell_texts(values, _CELL - 1), (_CELL, 1), palette)
    for name, line, value, text in zip(names, cells, total[rows].tolist(), cell_texts(total[rows], _CELL), strict=True):
        if not indent:
            yield Text(name)
        label = name + " " * (indent - cell_len(name)) if indent else ""
        yield Text.assemble(label, line, (to_the_right(text, _CELL), palette.of_sign(value)))
    if len(shown) < len(survey.names):
        yield Text(f"{len(shown)} of {len(survey.names)} checkpoints shown; all: the sum over all of them.")
