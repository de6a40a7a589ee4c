"""Mean influence of groups of training pairs with an interval: annotators, sessions, items, classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tracinctl.errors import PlotError, ScoreFileError
from tracinctl.plots.drawing.axis import Axis, score_axis
from tracinctl.plots.drawing.chart import Chart, score_ticks
from tracinctl.plots.drawing.colours import Palette
from tracinctl.plots.drawing.tables import heading
from tracinctl.plots.request import Request
from tracinctl.plots.survey import middle
from tracinctl.scores.groups import GroupInfluence, influence_by_group, most_harmful_first, usual_column
from tracinctl.text import aligned, clean, count, fit, share

_WIDEST_NAME = 32
_LEAST_CHART = 16
_BEYOND = 3.0  # the axis ends at this multiple of the largest mean, because intervals of few pairs are wide


def numbers(request: Request) -> dict[str, Any]:
    """All groups, the most harmful first."""
    by, groups = _grouped(request)
    return {"by": by, "groups": [group.to_json() for group in groups]}


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw the most harmful and the most helpful groups on one axis."""
    (by, ordered), palette = _grouped(request), request.palette
    tests = len(request.means.scores.test_ids)
    measure = f"total influence of a pair on {count(tests, 'test pair')}"
    yield heading(f"{count(len(ordered), 'group')} by {by}, {measure}", palette.quiet)
    if not any(group.total for group in ordered):
        yield Text("Every score is zero.")
        return
    harmful = [group for group in ordered if group.mean < 0][: request.top]
    helpful = [group for group in reversed(ordered) if group.mean > 0][: request.top]
    table = _Table(harmful + helpful, request)
    for title, groups in (("Most harmful groups", harmful), ("Most helpful groups", helpful)):
        yield Text()
        yield heading(title, palette.strong)
        yield table.of(groups) if groups else Text("none", palette.quiet)
    yield Text()
    yield Text("● the mean of a group's pairs, ├─┤ its 95 % interval for pairs like these.", palette.quiet)
    if table.axis.remark():
        yield Text(f"Score axis {table.axis.remark()}.", palette.quiet)
    if any(group.contradicted is not None for group in ordered):
        yield Text("contra.: pairs that most rankers trained without them order the other way.", palette.quiet)


def _grouped(request: Request) -> tuple[str, list[GroupInfluence]]:
    """What the groups are by, and their influence, the most harmful first."""
    scores = request.means.scores
    try:
        by = request.by or usual_column(scores)
        _, influence = influence_by_group(scores, by, contradicted=request.contradicted)
    except ScoreFileError as error:
        raise PlotError(error.message, hint=error.hint) from error
    return by, most_harmful_first(influence)


def _axis(groups: Sequence[GroupInfluence]) -> Axis:
    """An axis for the means, and for the intervals unless they are much wider."""
    means = np.abs([group.mean for group in groups])
    most = _BEYOND * float(means.max())
    ends = [end for group in groups for end in (group.low, group.high, group.mean) if math.isfinite(end)]
    low, high = max(min(ends), -most), min(max(ends), most)
    return score_axis(low, high, middle(means), max(-low, high))


class _Table:
    """Tables of groups with the same columns and axis: name, pairs, total, mean, contradicted pairs, interval."""

    def __init__(self, groups: Sequence[GroupInfluence], request: Request) -> None:
        self.axis, self.palette = _axis(groups), request.palette
        cells = {
            "pairs": [f"{group.pairs:,}" for group in groups],
            "total": aligned([group.total for group in groups]),
            "per pair": aligned([group.mean for group in groups]),
        }
        if any(group.contradicted is not None for group in groups):
            cells["contra."] = [share(group.contradicted or 0.0, 1) for group in groups]
        self.sizes = {title: max(cell_len(title), *map(cell_len, column)) for title, column in cells.items()}
        rows = zip(*cells.values(), strict=True)
        self.cells = dict(zip((group.name for group in groups), rows, strict=True))
        beside = sum(size + 2 for size in self.sizes.values())
        longest = max(cell_len(clean(_name(group))) for group in groups)
        self.first = max(4, min(longest, _WIDEST_NAME, request.width - beside - _LEAST_CHART - 2))
        self.room = max(4, request.width - beside - self.first - 2)

    def of(self, groups: Sequence[GroupInfluence]) -> Table:
        """The table of some groups, with the axis below."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=self.palette.quiet)
        table.add_column("", width=self.first, no_wrap=True)
        for title, size in self.sizes.items():
            table.add_column(title, width=size, justify="right", no_wrap=True)
        table.add_column("", width=self.room, no_wrap=True)
        lines = _intervals(groups, self.axis, self.room, self.palette)
        for group, line in zip(groups, lines, strict=False):
            table.add_row(Text(fit(_name(group), self.first)), *self.cells[group.name], line)
        for line in lines[len(groups) :]:
            table.add_row("", *("" for _ in self.sizes), line)
        return table


def _name(group: GroupInfluence) -> str:
    return group.name or "(empty)"


def _intervals(groups: Sequence[GroupInfluence], axis: Axis, columns: int, palette: Palette) -> list[Text]:
    """The intervals, and the axis below them; an end beyond the axis has no mark."""
    chart = Chart(columns, len(groups), palette)
    chart.upright(axis.column(0.0, columns), palette.quiet)
    for row, group in enumerate(groups):
        low, mean, high = (axis.column(value, columns) for value in (group.low, group.mean, group.high))
        line = dict.fromkeys(range(low, high + 1), "─") if math.isfinite(group.low) else {}
        if line and group.low >= axis.low:
            line[low] = "├"
        if line and group.high <= axis.high:
            line[high] = "┤"
        line[mean] = "●"
        chart.marks([(k, row, letter, palette.of_sign(group.mean)) for k, letter in line.items()])
    return chart.lines(below=score_ticks(axis, columns))
