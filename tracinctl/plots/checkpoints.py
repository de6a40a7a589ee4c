"""How scores move over training: what each checkpoint adds."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.bars import bar
from tracinctl.plots.text import fit, number
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.table import InfluenceTable, ScoreSource


def draw(source: ScoreSource, settings: ViewSettings) -> RenderableType:
    """Draw the mean size of the scores of each checkpoint, and the share of them that are harmful.

    Raises:
        PlotError: the scores of single checkpoints were not kept.
    """
    single = source.per_checkpoint if isinstance(source, InfluenceTable) else None
    if single is None:
        raise PlotError(
            "the scores of single checkpoints were not kept",
            hint="tracinctl compute --save-per-checkpoint, then plot again",
        )
    names = list(source.checkpoint_names)
    finite = np.where(np.isfinite(single), single, 0.0)
    size = np.abs(finite).mean(axis=(1, 2))
    active = (finite != 0).sum(axis=(1, 2))
    harmful = (finite < 0).sum(axis=(1, 2))
    label = min(max(len(n) for n in names), settings.width // 3)
    text = Text(no_wrap=True, overflow="crop")
    text.append(f"{'checkpoint':{label}} {'mean size':>9} harmful of non-zero\n", settings.style("bold"))
    for k, name in enumerate(names):
        share = harmful[k] / active[k] if active[k] else 0.0
        text.append(f"{fit(name, label)} {number(float(size[k])):>9} ")
        text.append(bar(float(size[k]), float(size.max()), settings.width - label - 19), settings.style("magenta"))
        text.append(f" {share:>6.0%}\n")
    text.rstrip()
    return text
