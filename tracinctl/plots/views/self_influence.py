"""Self-influence of pairs and item-level influence: hard pairs, suspicious items."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.drawing.bars import Bar
from tracinctl.plots.drawing.tables import bar_table, heading
from tracinctl.plots.request import Request
from tracinctl.plots.survey import FiniteScores
from tracinctl.plots.views.top import named
from tracinctl.scores.exclusion import suspicious_items
from tracinctl.scores.source import FloatArray
from tracinctl.text import aligned, count


def numbers(request: Request) -> dict[str, Any]:
    """The highest values of both."""
    _check(request)
    source, listed = request.source, {}
    if source.self_influence is not None:
        rows = highest(source.self_influence, source.train_ids, request.top)
        listed["pairs"] = named(source.train_ids, rows, source.self_influence, "self_influence")
    if source.sample_influence is not None and len(source.sample_ids):
        outstanding = suspicious_items(FiniteScores(source))
        listed["items"] = [
            {
                "item": source.sample_ids[row],
                "sample_influence": float(source.sample_influence[row]),
                "stands_out": source.sample_ids[row] in outstanding,
            }
            for row in highest(source.sample_influence, source.sample_ids, request.top)
        ]
    return listed


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw the highest values of both on their own scales, and mark items that stand out; PlotError without both."""
    _check(request)
    source, palette = request.source, request.palette
    if source.self_influence is not None:
        yield heading("Self-influence of training pairs", palette.strong)
        yield from _bars(source.train_ids, source.self_influence, request)
        yield Text("High: hard, rare or wrong; the model memorised the pair, or fits it against the others.\n")
    if source.sample_influence is not None and len(source.sample_ids):
        outstanding = suspicious_items(FiniteScores(source))
        yield heading("Item-level influence", palette.strong)
        yield from _bars(source.sample_ids, source.sample_influence, request, set(outstanding))
        yield Text(
            "High: suspicious; a wrong label pulls all pairs of an item one way. "
            f"● stands out from the rest: {count(len(outstanding), 'item')} of {len(source.sample_ids):,}, "
            "which `exclude --pair-mode sample` lists.\n"
        )
    yield Text("Both are never negative: they do not show whether a pair helps or harms; the view top does.")


def _check(request: Request) -> None:
    source = request.source
    if source.self_influence is None and (source.sample_influence is None or not len(source.sample_ids)):
        raise PlotError(
            "these scores have no self-influence of pairs or items",
            hint="If you still have the checkpoints, compute again: tracinctl compute",
        )


def _bars(
    names: Sequence[str], values: FloatArray, request: Request, marked: Collection[str] | None = None
) -> Iterator[RenderableType]:
    palette = request.palette
    rows = [row for row in highest(values, names, request.top) if values[row] > 0]
    if not rows:
        yield Text("none above zero", palette.quiet)
    else:
        cells = [[Text(value)] for value in aligned(values[rows].tolist())]
        for row, cell in zip(rows, cells, strict=True):
            if marked:
                cell.append(Text("●" if names[row] in marked else "", palette.mark))
        bars = [Bar(float(values[row]), float(values[rows[0]]), palette.neutral) for row in rows]
        yield bar_table([names[row] for row in rows], cells, bars, request.width)
    strange = len(values) - np.count_nonzero(np.isfinite(values))
    if strange:
        yield Text(f"Not finite, left out: {strange:,}.")


def highest(values: FloatArray, names: Sequence[str], top: int) -> list[int]:
    """Rows of the highest finite values; equal ones are ordered by name."""
    finite = np.flatnonzero(np.isfinite(values)).tolist()
    return sorted(finite, key=lambda row: (-float(values[row]), names[row]))[:top]
