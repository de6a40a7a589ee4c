"""One screen: distribution, harmful pairs by threshold, the pairs with the most votes, and votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracinctl.plots.drawing.bars import Bar
from tracinctl.plots.drawing.tables import bar_table, heading
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Survey
from tracinctl.plots.views import distribution, sweep
from tracinctl.text import aligned, count, share

_ROWS = 5
_PAIRS = 4
_BESIDE = 17  # other lines on the screen, including the prompt
_VOTES = 5
_SIDE_BY_SIDE = 76
_GAP = 3


def numbers(request: Request) -> dict[str, Any]:
    """The pairs with the most votes, and pairs by votes at each threshold."""
    survey, required = request.survey, request.required
    votes = survey.votes.votes[0] if survey.votes.thresholds else np.zeros(0, dtype=np.int64)
    listed = [
        {
            "pair": survey.scores.train_ids[row],
            "mean": float(survey.mean[row]),
            "votes": int(votes[row]),
            "harmful": bool(votes[row] >= required),
        }
        for row in most_votes(survey, request.top)
    ]
    return survey.counts() | {
        "required_votes": required,
        "most_votes": listed,
        "thresholds": sweep.by_threshold(survey, required),
    }


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw the screen, with charts side by side if there is room."""
    survey, palette = request.survey, request.palette
    tests, active = len(survey.scores.test_ids), survey.votes.active_test_pairs
    pairs = f"{count(len(survey.scores.train_ids), 'training pair')} on {count(tests, 'test pair')} ({active:,} active)"
    strange = f"; {count(survey.scores.strange, 'score')} not finite" if survey.scores.strange else ""
    yield Text(f"{pairs}{strange}", palette.quiet)
    if not survey.scores.negative and not survey.positive:
        yield distribution.nothing(survey)
        return
    yield from _charts(request)
    if survey.votes.thresholds:
        yield from _most_votes(request)
        yield from _votes(request)


def _charts(request: Request) -> Iterator[RenderableType]:
    survey, palette, width = request.survey, request.palette, request.width
    two = width >= _SIDE_BY_SIDE
    half = (width - _GAP) // 2 if two else width
    rows = request.rows(_ROWS, beside=_BESIDE + _pairs(request), least=_ROWS - 1)
    indent = len(f"{survey.total:,}")
    filled = distribution.histogram_of(survey, half - indent - 2)
    curves = sweep.curves_of(survey, request.required, 3)
    for start, block in survey.scores.blocks():
        filled.add(block)
        curves.add(start, block)
    curves.finish()
    signs = (
        f"Scores: {share(survey.scores.negative, survey.total)} harmful, {share(survey.positive, survey.total)} helpful"
    )
    left = Group(heading(signs, palette.strong), *distribution.chart(filled, survey, palette, rows, indent))
    lines = sweep.chart(curves, survey, palette, half, rows, request.required)
    right = Group(heading("Pairs by votes and threshold", palette.strong), *lines)
    if not two:
        yield from (left, right)
        return
    beside = Table.grid(padding=(0, _GAP, 0, 0))
    beside.add_column(width=half)
    beside.add_column(width=half)
    beside.add_row(left, right)
    yield beside


def _pairs(request: Request) -> int:
    """Number of pairs to name: one fewer on a terminal of 24 lines."""
    height = request.height
    return _PAIRS - 1 if height is not None and height <= _BESIDE + _PAIRS + _ROWS else _PAIRS


def _most_votes(request: Request) -> Iterator[RenderableType]:
    """The pairs with the most votes at the first threshold, with bars for the votes."""
    survey, palette = request.survey, request.palette
    votes, names = survey.votes.votes[0], survey.scores.train_ids
    rows = most_votes(survey, min(_pairs(request), request.top))
    first = survey.votes.thresholds[0].text
    yield heading(f"Most votes below {first}: pair, mean score, votes (▸ harmful by the rule)", palette.strong)
    if not rows:
        yield Text("none", palette.quiet)
        return
    cells, bars = [], []
    for row, mean in zip(rows, aligned(survey.mean[rows].tolist()), strict=True):
        harmful = bool(votes[row] >= request.required)
        cells.append([Text(mean), Text(f"{'▸' if harmful else ' '}{votes[row]:,}", palette.mark if harmful else "")])
        bars.append(Bar(float(votes[row]), float(votes[rows].max()), palette.harmful if harmful else palette.quiet))
    yield bar_table([names[row] for row in rows], cells, bars, request.width)


def most_votes(survey: Survey, most: int) -> list[int]:
    """Rows in the order of exclusion lists: most votes at the first threshold, then lowest mean."""
    if not survey.votes.thresholds:
        return []
    votes, names = survey.votes.votes[0], survey.scores.train_ids
    best = np.flatnonzero(votes > 0)
    if len(best) > most > 0:
        least = np.partition(votes[best], len(best) - most)[len(best) - most]
        best = best[votes[best] >= least]
    return sorted(best.tolist(), key=lambda row: (-int(votes[row]), float(survey.mean[row]), names[row]))[:most]


def _votes(request: Request) -> Iterator[RenderableType]:
    """Pairs by their votes at the first threshold."""
    survey, palette, required = request.survey, request.palette, request.required
    groups = vote_groups(survey.votes.votes[0].tolist(), survey.votes.active_test_pairs, required)
    names = [f"{'▸' if a >= required else ' '}{a:,}" + (f"-{b:,}" if b > a else "") for a, b, _ in groups]
    size = max(len(name) for name in names)
    most = max(amount for _, _, amount in groups)
    first, rule = survey.votes.thresholds[0].text, request.min_occurrences
    yield heading(f"Pairs by votes below {first} (rule: {rule}, {required:,})", palette.strong)
    yield bar_table(
        [f"{name:<{size}} votes" for name in names],
        [[Text(f"{amount:,} pairs")] for _, _, amount in groups],
        [Bar(amount, most, palette.harmful if a >= required else palette.quiet) for a, _, amount in groups],
        request.width,
    )


def vote_groups(votes: Sequence[int], active: int, required: int) -> list[tuple[int, int, int]]:
    """Pairs by votes in a few groups (from, to, pairs); one group begins at the required number."""
    tally = np.bincount(np.asarray(votes, dtype=np.int64), minlength=active + 1)
    if active + 1 <= _VOTES:
        starts = list(range(active + 1))
    else:
        starts = sorted({0, 1, min(required, active), max(1, (1 + required) // 2), (required + active + 1) // 2})
    ends = [*(start - 1 for start in starts[1:]), active]
    return [(a, b, int(tally[a : b + 1].sum())) for a, b in zip(starts, ends, strict=True)]
