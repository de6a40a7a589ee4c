"""Harmful pairs by threshold, with one line per number of votes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tracinctl.plots.drawing.axis import Axis
from tracinctl.plots.drawing.bars import whole_steps
from tracinctl.plots.drawing.chart import DOTS_ACROSS, Chart, Tick, left_labels, score_ticks
from tracinctl.plots.drawing.colours import Palette
from tracinctl.plots.drawing.tables import number_table
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Survey, VoteCurves
from tracinctl.scores.sweep import never_fires
from tracinctl.text import count, share

_ROWS = 11
_LINES = 5


def numbers(request: Request) -> dict[str, Any]:
    """Number of pairs at each threshold, by votes."""
    survey = request.survey
    required = request.required
    return survey.counts() | {"required_votes": required, "thresholds": by_threshold(survey, required)}


def by_threshold(survey: Survey, required: int) -> list[dict[str, Any]]:
    """Pairs by votes at each threshold."""
    lines = vote_lines(survey.votes.active_test_pairs, required)
    return [
        {
            "threshold": value,
            "votes": {str(k): int(np.count_nonzero(votes >= k)) for k in lines},
            "harmful": int(np.count_nonzero(votes >= required)),
        }
        for value, votes in zip(survey.votes.values.tolist(), survey.votes.votes, strict=True)
    ]


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw the exact curves, and the numbers at the given thresholds."""
    survey, palette, required = request.survey, request.palette, request.required
    curves = curves_of(survey, required)
    for start, block in survey.scores.blocks():
        curves.add(start, block)
    curves.finish()
    if curves.votes:
        rows = request.rows(_ROWS, beside=13 + len(survey.votes.values))
        yield from chart(curves, survey, palette, request.width, rows, required)
        yield Text()
    yield _numbers(curves, survey, palette, required, request.width)
    rule = request.min_occurrences
    yield Text(
        "\nA line: training pairs with at least this many test pairs below the threshold. "
        f"▸ the rule: {count(required, 'vote')} ({rule})."
    )
    remark = curve_axis(survey).remark() if curves.votes else ""
    if remark:
        yield Text(f"Threshold axis {remark}.")
    why = never_fires(rule, required, survey.votes.active_test_pairs, len(survey.scores.test_ids))
    if why:
        yield Text(why, palette.mark)


def vote_lines(active: int, required: int, most: int = _LINES) -> list[int]:
    """Numbers of votes to draw: all if they are few; else the first, the required, the last and some between."""
    if active <= most:
        return list(range(1, active + 1))
    chosen = {1, min(required, active), active}
    for part in (0.5, 0.25, 0.75, 0.1, 0.9):
        if len(chosen) < most:
            chosen.add(max(1, round(part * active)))
    return sorted(chosen)


def curves_of(survey: Survey, required: int, most: int = _LINES) -> VoteCurves:
    """Curves for a second pass to fill."""
    lines = vote_lines(survey.votes.active_test_pairs, required, most)
    return VoteCurves(lines, len(survey.scores.train_ids), survey.votes.active)


def curve_axis(survey: Survey) -> Axis:
    """Thresholds from the lowest score to zero, or to the highest given threshold if it is positive."""
    high = max([0.0, *survey.votes.values.tolist()])
    low = min([survey.lowest, *survey.votes.values.tolist()])
    return survey.axis(low, high)


def chart(curves: VoteCurves, survey: Survey, palette: Palette, width: int, rows: int, required: int) -> list[Text]:
    """The curves with their axes, each labelled at its right end."""
    axis = curve_axis(survey)
    indent = len(f"{len(survey.scores.train_ids):,}") + 1
    names = [f"{'▸' if k == required else ' '}{k:,}+" for k in curves.votes]
    room = width - indent - 2 - max(len(name) for name in names)
    values = axis.value(np.linspace(0, 1, room * DOTS_ACROSS))
    values[-1] = axis.high
    heights = [curves.harmful(line, values) for line in range(len(names))]
    limit = whole_steps(max(float(line.max()) for line in heights), rows)
    drawn = Chart(room, rows, palette)
    above = []
    for threshold, value in zip(survey.votes.thresholds, survey.votes.values.tolist(), strict=True):
        if axis.low <= value <= axis.high:
            column = axis.column(value, room)
            if value != axis.high:
                drawn.upright(column, palette.mark)
            above.append(Tick(column, threshold.text, palette.mark))
    # the rule's curve is drawn last, so that it is on top of the others
    for line in sorted(range(len(names)), key=lambda k: curves.votes[k] == required):
        drawn.curve(heights[line] / limit, palette.line(line, len(names)))
    wanted = [(drawn.row_of(float(heights[k][-1]) / limit), k) for k in range(len(names))]
    ends = {}
    for row, line in spread(wanted, rows):
        bold = f"{palette.strong} " if curves.votes[line] == required else ""
        ends[row] = (names[line], (bold + palette.line(line, len(names))).strip())
    labels = left_labels(limit, rows, indent)
    return drawn.lines(below=score_ticks(axis, room), above=above, left=labels, right=ends)


def spread(wanted: list[tuple[int, int]], rows: int) -> list[tuple[int, int]]:
    """Move names from their preferred rows to separate rows, in order from the top; drop those without room."""
    placed: list[tuple[int, int]] = []
    for row, line in sorted(wanted)[:rows]:
        placed.append((max(row, placed[-1][0] + 1 if placed else 0), line))
    for k in range(len(placed) - 1, -1, -1):
        lowest = rows - 1 if k == len(placed) - 1 else placed[k + 1][0] - 1
        placed[k] = (min(placed[k][0], lowest), placed[k][1])
    return placed


def _numbers(curves: VoteCurves, survey: Survey, palette: Palette, required: int, width: int) -> Table:
    """One row per threshold: pairs by votes, and the share that is harmful by the rule."""
    total = len(survey.scores.train_ids)
    names = survey.threshold_names()
    shown = curves.votes
    size = max([6, len(f"{total:,}") + 2, *(len(f"{k:,}+") + 2 for k in shown)])
    first = max([len("threshold"), *map(len, names)])
    while len(shown) > 1 and first + size * len(shown) + 20 > width:
        shown = [k for k in shown if k == required] or shown[:1]
    headers = [("threshold", palette.quiet)]
    headers += [(f"{k:,}+", palette.line(curves.votes.index(k), len(curves.votes))) for k in shown]
    headers += [("harmful", palette.quiet), ("of pairs", palette.quiet)]
    rows = []
    for name, votes in zip(names, survey.votes.votes, strict=True):
        harmful = int(np.count_nonzero(votes >= required))
        counts = [Text(f"{np.count_nonzero(votes >= k):,}") for k in shown]
        strong = Text(f"{harmful:,}", palette.strong)
        rows.append([Text(name, palette.mark), *counts, strong, Text(share(harmful, total))])
    return number_table(headers, rows)
