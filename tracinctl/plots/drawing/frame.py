"""Axes around a drawing: counts at the left, scores below, names at the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from tracinctl.plots.drawing.picture import Lines, Palette, ink


@dataclass(frozen=True)
class Tick:
    """A mark under a column: what it reads, and its style (the axis' own where empty)."""

    column: int
    label: str
    style: str = ""


def placed(ticks: Sequence[Tick], width: int, indent: int = 0) -> list[tuple[int, Tick]]:
    """Where labels stand, each under its column; one that finds no room is left out, the last of the list first."""
    taken: list[tuple[int, int]] = []
    found = []
    for tick in ticks:
        size = cell_len(tick.label)
        start = min(max(tick.column + indent - size // 2, 0), width - size)
        free = all(start + size + 1 <= a or start >= b + 1 for a, b in taken)
        if free and start >= 0:
            taken.append((start, start + size))
            found.append((start, tick))
    return sorted(found, key=lambda each: each[0])


def label_line(found: Sequence[tuple[int, Tick]], style: str) -> Text:
    """The labels in one line."""
    line = Text()
    for start, tick in found:
        line.append(" " * (start - line.cell_len))
        line.append(tick.label, tick.style or style)
    return line


def framed(
    body: Lines,
    columns: int,
    palette: Palette,
    *,
    left: Mapping[int, str],
    below: Sequence[Tick],
    right: Mapping[int, Text] | None = None,
    above: Sequence[Tick] = (),
    left_width: int = 0,
) -> Lines:
    """A drawing of ``columns`` columns with its axes.

    Args:
        body: its rows.
        columns: its width.
        palette: styles.
        left: labels by row.
        below: marks under it, the most important first.
        right: names by row.
        above: marks over it.
        left_width: columns for the labels; 0 = as many as they take.
    """
    indent = left_width or max((cell_len(label) for label in left.values()), default=0)
    edge = indent + 2
    lines: Lines = []
    if above:
        lines.append(label_line(placed(above, edge + columns, edge), palette.quiet))
    for row, text in enumerate(body):
        label = left.get(row, "")
        line = Text(" " * (indent - cell_len(label)))
        line.append(label, palette.quiet)
        line.append(" ┤" if label else " │", palette.quiet)
        line.append_text(text)
        if right and row in right:
            line.append(" " * (edge + columns - line.cell_len))
            line.append_text(right[row])
        lines.append(line)
    found = placed(below, edge + columns, edge)
    rule = ["─"] * columns
    for _, tick in found:
        if 0 <= tick.column < columns:
            rule[tick.column] = "┬"
    lines.append(ink(" " * indent + " └" + "".join(rule), palette.quiet))
    lines.append(label_line(found, palette.quiet))
    return lines


def left_labels(limit: float, rows: int) -> dict[int, str]:
    """Counts at the left of ``rows`` rows of which the topmost is full at ``limit``."""
    if rows < 3:  # noqa: PLR2004  no room for a middle
        return {0: f"{limit:,.0f}"}
    labels = {0: f"{limit:,.0f}", rows - 1: "0"}
    half = limit / 2
    if rows >= 7 and rows % 2 and half == int(half):  # noqa: PLR2004  a middle row is apart from both ends
        labels[rows // 2] = f"{half:,.0f}"
    return labels
