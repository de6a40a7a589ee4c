"""The most harmful and the most helpful training pairs, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from tracinctl.plots.drawing.bars import bar
from tracinctl.plots.drawing.picture import Lines, Palette, bar_style, ink, padded, words
from tracinctl.plots.request import Request
from tracinctl.scores.table import FloatArray
from tracinctl.text import aligned, clean, count, fold

_LEAST_BAR = 12


@dataclass(frozen=True)
class Row:
    """A name with its value, and a remark after it."""

    name: str
    value: float
    style: str = ""
    remark: str = ""


def bar_rows(rows: Sequence[Row], limit: float, width: int, palette: Palette) -> list[Lines]:
    """The lines of each row: name, value, bar. Names that leave no room for bars stand above them, uncut."""
    shown = aligned([row.value for row in rows])
    values = max((len(text) for text in shown), default=0)
    names = max((cell_len(clean(row.name)) for row in rows), default=0)
    remarks = max((cell_len(row.remark) + 1 for row in rows if row.remark), default=0)
    room = width - names - values - remarks - 3
    apart = room < _LEAST_BAR
    if apart:
        room = width - values - remarks - 4
    found: list[Lines] = []
    for row, text in zip(rows, shown, strict=True):
        line = Text()
        if not apart:
            line.append(padded(clean(row.name), names))
        line.append("  " + padded(text, values, right=True))
        if row.remark:
            line.append(f" {row.remark}".rjust(remarks), palette.quiet)
        elif remarks:
            line.append(" " * remarks)
        line.append(" ")
        line.append(bar(abs(row.value), limit, room), bar_style(row.style))
        found.append([*(Text(part) for part in fold(row.name, width)), line] if apart else [line])
    return found


def extremes(scores: FloatArray, names: Sequence[str], top: int) -> tuple[list[int], list[int]]:
    """Rows of the lowest scores below zero, and of the highest above it, outermost first; equal ones by their ids."""
    found = []
    for sign in (1.0, -1.0):
        rows = np.flatnonzero(scores * sign < 0)
        if len(rows) > top > 0:
            last = np.partition(scores[rows] * sign, top - 1)[top - 1]
            rows = rows[scores[rows] * sign <= last]
        ordered = sorted(rows.tolist(), key=lambda row: (float(scores[row]) * sign, names[row]))
        found.append(ordered[:top])
    return found[0], found[1]


def draw(request: Request) -> Lines:
    """Draw them, the longest bars first; both halves have one scale."""
    found = request.means
    width, palette = request.width, request.palette
    names = found.scores.train_ids
    harmful, helpful = extremes(found.mean, names, request.top)
    limit = max((abs(float(found.mean[row])) for row in (*harmful[:1], *helpful[:1])), default=0.0)
    lines: Lines = []
    if request.test_pair is not None:
        lines += words(f"On test pair {clean(request.test_pair)}", width, palette.quiet)
        titles = ("Strongest opponents (harmful)", "Strongest proponents (helpful)")
    else:
        active = found.votes.active_test_pairs
        lines += words(
            f"Mean score over {count(len(found.scores.test_ids), 'test pair')}, {active:,} active", width, palette.quiet
        )
        titles = ("Most harmful training pairs", "Most helpful training pairs")
    shown = [
        Row(names[row], float(found.mean[row]), palette.of_sign(float(found.mean[row]))) for row in harmful + helpful
    ]
    drawn = bar_rows(shown, limit, width, palette)
    for title, part in ((titles[0], drawn[: len(harmful)]), (titles[1], drawn[len(harmful) :])):
        lines += [Text(), *words(title, width, palette.strong)]
        lines += [line for row in part for line in row] or [ink("none", palette.quiet)]
    return lines
