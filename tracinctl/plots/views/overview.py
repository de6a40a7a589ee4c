"""One screen: distribution, harmful pairs by threshold, votes, and the most harmful pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from tracinctl.plots.drawing.bars import bar
from tracinctl.plots.drawing.picture import Lines, Palette, bar_style, beside, ink, words
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Survey, second_pass
from tracinctl.plots.views import distribution, sweep
from tracinctl.plots.views.top import Row, bar_rows
from tracinctl.scores.votes import required_votes
from tracinctl.text import count, share

_ROWS = 5
_PAIRS = 4
_BESIDE = 17  # other lines of the screen, with the prompt's
_VOTES = 5
_SIDE_BY_SIDE = 76


def draw(request: Request) -> Lines:
    """Draw it; charts stand side by side where there is room."""
    found = request.survey
    width, palette = request.width, request.palette
    rule = request.settings.min_occurrences
    active = found.votes.active_test_pairs
    required = required_votes(rule, active)
    names = found.scores.train_ids
    lines = words(
        f"{count(len(names), 'training pair')} on {count(len(found.scores.test_ids), 'test pair')} ({active:,} active)"
        + (f"; {count(found.strange, 'score')} not finite" if found.strange else ""),
        width,
        palette.quiet,
    )
    if not found.negative and not found.positive:
        return [*lines, *distribution.nothing(found, width)]
    two = width >= _SIDE_BY_SIDE
    half = (width - 3) // 2 if two else width
    pairs = _pairs(request)
    rows = request.rows(_ROWS, beside=_BESIDE + pairs, least=_ROWS - 1)
    indent = len(f"{found.total:,}")
    filled = distribution.histogram_of(found, half - indent - 2)
    curves = sweep.curves_of(found, required, 3)
    second_pass(found.scores, [lambda _, block: filled.add(block), curves.add])
    curves.finish()
    parts = f"Scores: {share(found.negative, found.total)} harmful, {share(found.positive, found.total)} helpful"
    left = [*words(parts, half, palette.strong), *distribution.chart(filled, found, palette, rows, indent)]
    axis = sweep.curve_axis(found)
    right = [
        ink("Pairs with so many votes, by threshold", palette.strong),
        *sweep.chart(curves, axis, found, palette, half, rows, required),
    ]
    lines += beside(left, right, half, 3) if two else [*left, *right]
    harmful = _harmful(found, request, width, required, pairs)
    return [*lines, *harmful, *_votes(found, palette, width, required, rule)]


def _pairs(request: Request) -> int:
    """How many pairs to name: one less on a terminal of the usual 24 lines."""
    height = request.settings.height
    return _PAIRS - 1 if height is not None and height <= _BESIDE + _PAIRS + _ROWS else _PAIRS


def _harmful(found: Survey, request: Request, width: int, required: int, pairs: int) -> Lines:
    """The pairs with most votes at the first threshold, as bars."""
    palette = request.palette
    if not found.votes.thresholds:
        return []
    votes, names = found.votes.votes[0], found.scores.train_ids
    order = most_votes(found, min(pairs, request.top))
    title = f"Most votes below {found.votes.thresholds[0].text}: pair, mean score, votes (▸ harmful by the rule)"
    rows = [
        Row(
            names[row],
            float(found.mean[row]),
            palette.of_sign(float(found.mean[row])),
            f"{'▸' if votes[row] >= required else ' '}{votes[row]:,}",
        )
        for row in order
    ]
    limit = max((abs(row.value) for row in rows), default=0.0)
    drawn = [line for part in bar_rows(rows, limit, width, palette) for line in part]
    return [*words(title, width, palette.strong), *(drawn or [ink("none", palette.quiet)])]


def most_votes(found: Survey, most: int) -> list[int]:
    """Rows with most votes at the first threshold, then lowest mean: the order of exclusion lists."""
    if not found.votes.thresholds:
        return []
    votes, names = found.votes.votes[0], found.scores.train_ids
    best = np.flatnonzero(votes > 0)
    if len(best) > most > 0:
        least = np.partition(votes[best], len(best) - most)[len(best) - most]
        best = best[votes[best] >= least]
    return sorted(best.tolist(), key=lambda row: (-int(votes[row]), float(found.mean[row]), names[row]))[:most]


def vote_groups(votes: Sequence[int], active: int, required: int) -> list[tuple[int, int, int]]:
    """Pairs by votes in few groups, (from, to, pairs); at the required number a group begins."""
    tally = np.bincount(np.asarray(votes, dtype=np.int64), minlength=active + 1)
    if active + 1 <= _VOTES:
        starts = list(range(active + 1))
    else:
        starts = sorted({0, 1, min(required, active), max(1, (1 + required) // 2), (required + active + 1) // 2})
    ends = [*(start - 1 for start in starts[1:]), active]
    return [(a, b, int(tally[a : b + 1].sum())) for a, b in zip(starts, ends, strict=True)]


def _votes(found: Survey, palette: Palette, width: int, required: int, rule: str) -> Lines:
    if not found.votes.thresholds:
        return []
    active = found.votes.active_test_pairs
    groups = vote_groups(found.votes.votes[0].tolist(), active, required)
    names = [f"{'▸' if a >= required else ' '}{a:,}" + (f"-{b:,}" if b > a else "") for a, b, _ in groups]
    size = max(len(name) for name in names)
    amounts = [f"{amount:,}" for _, _, amount in groups]
    room = max(len(each) for each in amounts)
    most = max(amount for _, _, amount in groups)
    lines = words(
        f"Votes a pair has below {found.votes.thresholds[0].text} (rule: {rule}, {required:,})", width, palette.strong
    )
    for (a, _, amount), name, shown in zip(groups, names, amounts, strict=True):
        style = palette.harmful if a >= required else palette.quiet
        line = Text(f"{name:<{size}} votes  {shown:>{room}} pairs ")
        line.append(bar(amount, most, width - line.cell_len), bar_style(style))
        lines.append(line)
    return lines
