"""Self-influence of pairs and item-level influence: the hard and the suspicious."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.drawing.picture import Lines, Palette, ink, words
from tracinctl.plots.request import Request
from tracinctl.plots.survey import FiniteScores
from tracinctl.plots.views.top import Row, bar_rows
from tracinctl.scores.exclusion import suspicious_items
from tracinctl.scores.table import FloatArray
from tracinctl.text import count


def draw(request: Request) -> Lines:
    """Draw the highest of both, each on a scale of its own; items that stand out from the rest are marked.

    Raises:
        PlotError: the scores say neither.
    """
    source, width, palette = request.source, request.width, request.palette
    lines: Lines = []
    if source.self_influence is not None:
        lines += words("Self-influence of training pairs", width, palette.strong)
        lines += _highest(source.train_ids, source.self_influence, request.top, width, palette, set())
        lines += words("High: hard, rare or wrong. The model fits the pair by heart, or against the others.", width)
    if source.sample_influence is not None and len(source.sample_ids):
        outstanding = suspicious_items(FiniteScores(source))
        lines += [Text()] if lines else []
        lines += words("Item-level influence", width, palette.strong)
        lines += _highest(source.sample_ids, source.sample_influence, request.top, width, palette, set(outstanding))
        lines += words(
            "High: suspicious; a wrong label pulls all pairs of an item one way. "
            f"● stands out from the rest: {count(len(outstanding), 'item')} of {len(source.sample_ids):,}, "
            "what `exclude --pair-mode sample` would list.",
            width,
        )
    if not lines:
        raise PlotError(
            "these scores do not say the self-influence of pairs or items",
            hint="compute them again, where the checkpoints still are: tracinctl compute",
        )
    lines.append(Text())
    lines += words(
        "Both are never negative: size says how much, not whether a pair helps or harms; the view top says that.", width
    )
    return lines


def _highest(
    names: Sequence[str], values: FloatArray, top: int, width: int, palette: Palette, marked: set[str]
) -> Lines:
    finite = np.flatnonzero(np.isfinite(values))
    order = sorted(finite.tolist(), key=lambda k: (-float(values[k]), names[k]))[:top]
    rows = [
        Row(names[k], float(values[k]), palette.neutral, "●" if names[k] in marked else "")
        for k in order
        if values[k] > 0
    ]
    lines = [line for part in bar_rows(rows, rows[0].value, width, palette) for line in part] if rows else []
    lines = lines or [ink("none above zero", palette.quiet)]
    left_out = len(values) - len(finite)
    return lines + (words(f"Not finite, left out: {left_out:,}.", width) if left_out else [])
