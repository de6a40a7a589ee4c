"""Self-influence of pairs and item-level influence: the hard and the suspicious."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.bars import bar
from tracinctl.plots.text import fit, number
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.table import FloatArray, ScoreSource


def draw(source: ScoreSource, settings: ViewSettings) -> RenderableType:
    """Draw the highest of both.

    Raises:
        PlotError: the scores say neither.
    """
    parts: list[tuple[str, Sequence[str], FloatArray]] = []
    if source.self_influence is not None:
        parts.append(("Self-influence of pairs: high = hard, rare or wrong", source.train_ids, source.self_influence))
    if source.sample_influence is not None:
        parts.append(("Item-level influence: high = suspicious item", source.sample_ids, source.sample_influence))
    if not parts:
        raise PlotError("these scores say nothing of self-influence", hint="compute them again: tracinctl compute")
    text = Text(no_wrap=True, overflow="crop")
    for title, names, values in parts:
        text.append(title + "\n", settings.style("bold"))
        finite = np.flatnonzero(np.isfinite(values))
        order = finite[np.argsort(-values[finite], kind="stable")][: settings.top].tolist()
        limit = float(values[order[0]]) if order else 0.0
        label = min(max((len(names[k]) for k in order), default=10), settings.width - 26, 60)
        for k in order:
            text.append(fit(names[k], label) + " ")
            text.append(bar(float(values[k]), limit, settings.width - label - 11), settings.style("magenta"))
            text.append(f" {number(float(values[k])):>9}\n")
    text.rstrip()
    return text
