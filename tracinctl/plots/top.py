"""The most harmful and the most helpful training pairs, as bars."""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tracinctl.errors import PlotError
from tracinctl.plots.bars import bar
from tracinctl.plots.text import clean, fit, number
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.table import FloatArray, ScoreSource
from tracinctl.scores.votes import count_votes, parse_threshold


def pair_scores(source: ScoreSource, test_pair: str | None) -> FloatArray:
    """Each training pair's score on one test pair, or its mean over all, shape (train pairs,).

    Raises:
        PlotError: there is no such test pair.
    """
    if test_pair is None:
        return count_votes(source, [parse_threshold("0")]).mean
    if test_pair not in source.test_ids:
        near = get_close_matches(test_pair, list(source.test_ids), n=1)
        raise PlotError(
            f"there is no test pair {clean(test_pair)!r}", hint=f"did you mean {clean(near[0])}?" if near else ""
        )
    column = list(source.test_ids).index(test_pair)
    return np.concatenate([block[:, column] for _, block in source.blocks()])


def draw(source: ScoreSource, settings: ViewSettings) -> RenderableType:
    """Draw them, longest bars first; both halves have one scale."""
    scores = pair_scores(source, settings.test_pair)
    finite = np.flatnonzero(np.isfinite(scores))
    order = finite[np.argsort(scores[finite], kind="stable")]
    harmful = [k for k in order[: settings.top].tolist() if scores[k] < 0]
    helpful = [k for k in order[::-1][: settings.top].tolist() if scores[k] > 0]
    limit = float(np.abs(scores[finite]).max(initial=0.0))
    of = f"on {clean(settings.test_pair)}" if settings.test_pair else "mean over all test pairs"
    names = [source.train_ids[k] for k in (*harmful, *helpful)]
    label = min(max((len(n) for n in names), default=10), settings.width - 26, 60)
    room = settings.width - label - 11
    text = Text(no_wrap=True, overflow="crop")
    for title, rows, style in (("Most harmful", harmful, "red"), ("Most helpful", helpful, "blue")):
        text.append(f"{title}, {of}\n", settings.style("bold"))
        for k in rows:
            value = float(scores[k])
            text.append(fit(source.train_ids[k], label) + " ")
            text.append(bar(abs(value), limit, room), settings.style(style))
            text.append(f" {number(value):>9}\n")
        if not rows:
            text.append("none\n")
    text.rstrip()
    return text
