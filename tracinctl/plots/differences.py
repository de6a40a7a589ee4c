"""Differences with their intervals, one a line, around the line of no difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text


def interval_lines(rows: Sequence[tuple[str, float, float, float]], width: int, *, colour: bool = True) -> list[Text]:
    """Lines ``name  ├──●──┤`` for rows of (name, difference, low, high), zero marked by ``┊``; finite rows alone."""
    rows = [row for row in rows if all(map(math.isfinite, row[1:]))]
    if not rows:
        return []
    first = max(len(row[0]) for row in rows)
    room = max(20, width - first - 2)
    low = min(0.0, *(row[2] for row in rows))
    high = max(0.0, *(row[3] for row in rows))
    step = (high - low) / (room - 1) or 1.0

    def place(value: float) -> int:
        return min(room - 1, max(0, round((value - low) / step)))

    lines = []
    for name, mean, left, right in rows:
        cells = [" "] * room
        cells[place(left) : place(right) + 1] = ["─"] * (place(right) - place(left) + 1)
        cells[place(left)], cells[place(right)] = "├", "┤"
        cells[place(0.0)] = "┊"
        cells[place(mean)] = "●"
        style = "green" if left > 0 else "red" if right < 0 else ""
        lines.append(Text(f"{name:>{first}}  ").append("".join(cells).rstrip(), style if colour else ""))
    return lines
