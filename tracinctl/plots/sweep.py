"""Harmful pairs against threshold, a row of bars for each number of votes."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tracinctl.plots.bars import bar
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.sweep import sweep_thresholds
from tracinctl.scores.table import ScoreSource


def draw(source: ScoreSource, settings: ViewSettings) -> RenderableType:
    """Draw it; the line that the rule asks for stands out."""
    result = sweep_thresholds(source, settings.thresholds, settings.min_occurrences)
    active, total = result.active_test_pairs, result.train_pairs
    text = Text(no_wrap=True, overflow="crop")
    text.append(f"{total} training pairs, {active} of {result.test_pairs} test pairs active\n")
    room = settings.width - 24
    for row in result.rows:
        text.append(f"below {row.threshold.text}\n", settings.style("bold"))
        shares = {1, max(1, active // 4), max(1, active // 2), row.required_votes, max(1, active)}
        for votes in sorted(v for v in shares if v in row.votes or v == row.required_votes):
            count = row.votes.get(votes, 0)
            rule = votes == row.required_votes
            text.append(f"{'▸' if rule else ' '}{votes:>6}+ votes ")
            text.append(bar(count, total, room), settings.style("red" if rule else ""))
            text.append(f" {count:>7}\n")
    text.append(f"▸ what the rule asks for ({settings.min_occurrences}); a full bar is all training pairs")
    if result.never_fires:
        text.append(f"\n{result.never_fires}")
        text.no_wrap = False
        text.overflow = "fold"
    return text
