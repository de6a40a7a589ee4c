"""Histogram of the scores, with zero and the thresholds marked."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tracinctl.plots.bars import bar
from tracinctl.plots.text import number
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.table import FloatArray, ScoreSource
from tracinctl.scores.votes import count_votes, nonzero_quantile

_ROWS = 16


def histogram(source: ScoreSource, rows: int) -> tuple[FloatArray, FloatArray, int, int]:
    """Edges and counts of the scores other than zero, how many are zero, and how many are not finite.

    Half a hundredth of the scores lie beyond each end; these are counted in the outermost bins.
    """
    low, high = nonzero_quantile(source, 0.005), nonzero_quantile(source, 0.995)
    if not low < high:
        low, high = min(low, 0.0), max(high, 0.0)
    if not low < high:
        low, high = -1.0, 1.0
    edges = np.linspace(low, high, rows + 1)
    counts = np.zeros(rows)
    zero = strange = 0
    for _, block in source.blocks():
        finite = np.isfinite(block)
        strange += int(block.size - finite.sum())
        values = block[finite & (block != 0)]
        zero += int((block[finite] == 0).sum())
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, rows - 1)
        counts += np.bincount(place, minlength=rows)
    return edges, counts, zero, strange


def draw(source: ScoreSource, settings: ViewSettings, rows: int = _ROWS) -> RenderableType:
    """Draw it, the lowest scores on top."""
    edges, counts, zero, strange = histogram(source, rows)
    marks = [(0.0, "zero")]
    marks += [
        (float(v), f"threshold {t.text}")
        for t, v in zip(settings.thresholds, count_votes(source, settings.thresholds).values, strict=True)
        if v != 0
    ]
    room = settings.width - 33
    most = float(counts.max())
    text = Text(no_wrap=True, overflow="crop")
    for k in range(rows):
        low, high = float(edges[k]), float(edges[k + 1])
        here = [name for value, name in marks if low <= value < high or (k == rows - 1 and value == high)]
        style = "red" if high <= 0 else "blue" if low >= 0 else ""
        text.append(f"{number(low):>9} ")
        text.append(bar(float(counts[k]), most, room), settings.style(style))
        text.append(f" {int(counts[k]):>8}")
        text.append(f" ◂ {', '.join(here)}"[:14] if here else "")
        text.append("\n")
    text.append(f"{number(float(edges[-1])):>9} and so on; the outermost rows hold what lies beyond them.\n")
    text.append(f"Exactly zero, not drawn: {zero}.")
    if strange:
        text.append(f" Not finite: {strange}.")
    return text
