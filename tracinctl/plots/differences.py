"""Differences with their intervals, one a line, around the line of no difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from tracinctl.plots.drawing.chart import Chart
from tracinctl.plots.drawing.colours import COLOURS, Palette


def interval_lines(rows: Sequence[tuple[str, float, float, float]], width: int, *, colour: bool = True) -> list[Text]:
    """Lines ``name  ├──●──┤`` for rows of (name, difference, low, high), zero marked by ``┊``; finite rows alone."""
    rows = [row for row in rows if all(map(math.isfinite, row[1:]))]
    if not rows:
        return []
    palette = COLOURS if colour else Palette()
    first = max(len(row[0]) for row in rows)
    room = max(20, width - first - 2)
    low, high = min(0.0, *(row[2] for row in rows)), max(0.0, *(row[3] for row in rows))
    step = (high - low) / (room - 1) or 1.0
    chart = Chart(room, len(rows), palette)
    zero = round(-low / step)
    for row, (_, mean, left, right) in enumerate(rows):
        start, middle, end = (min(room - 1, max(0, round((value - low) / step))) for value in (left, mean, right))
        style = palette.helpful if left > 0 else palette.harmful if right < 0 else palette.quiet
        line = dict.fromkeys(range(start, end + 1), "─") | {start: "├", end: "┤", zero: "┊", middle: "●"}
        chart.marks([(column, row, letter, style) for column, letter in line.items()])
    return [Text(f"{row[0]:>{first}}  ").append_text(line) for row, line in zip(rows, chart.lines(), strict=True)]
