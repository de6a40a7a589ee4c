"""Harmful pairs against threshold, a line for each number of votes."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from tracinctl.plots.drawing.axis import Axis
from tracinctl.plots.drawing.bars import whole_steps
from tracinctl.plots.drawing.canvas import ACROSS, Canvas
from tracinctl.plots.drawing.frame import Tick, framed, left_labels
from tracinctl.plots.drawing.picture import Lines, Palette, ink, words
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Survey, VoteCurves, second_pass
from tracinctl.scores.sweep import never_fires
from tracinctl.scores.votes import required_votes
from tracinctl.text import count, number, share

_ROWS = 11
_LINES = 5


def vote_lines(active: int, required: int, most: int = _LINES) -> list[int]:
    """Numbers of votes to draw: all where they are few; else the first, the required, the last and some between."""
    if active <= most:
        return list(range(1, active + 1))
    chosen = {1, min(required, active), active}
    for part in (0.5, 0.25, 0.75, 0.1, 0.9):
        if len(chosen) < most:
            chosen.add(max(1, round(part * active)))
    return sorted(chosen)


def curves_of(found: Survey, required: int, most: int = _LINES) -> VoteCurves:
    """Curves to be filled by a second pass."""
    lines = vote_lines(found.votes.active_test_pairs, required, most)
    return VoteCurves(lines, len(found.scores.train_ids), found.votes.active)


def curve_axis(found: Survey) -> Axis:
    """Thresholds from the lowest score to zero, or to the highest threshold asked for where that is above zero."""
    high = max([0.0, *found.votes.values.tolist()])
    low = min([found.lowest, *found.votes.values.tolist()])
    return found.axis(low, high)


def draw(request: Request) -> Lines:
    """Draw the curves, exact at every threshold, and the numbers at those asked for."""
    found = request.survey
    width, palette = request.width, request.palette
    active = found.votes.active_test_pairs
    rule = request.settings.min_occurrences
    required = required_votes(rule, active)
    curves = curves_of(found, required)
    second_pass(found.scores, [curves.add])
    curves.finish()
    why = never_fires(rule, required, active, len(found.scores.test_ids))
    lines: Lines = []
    if curves.votes:
        rows = request.rows(_ROWS, beside=13 + len(found.votes.values))
        lines += [*chart(curves, curve_axis(found), found, palette, width, rows, required), Text()]
    lines += _numbers(curves, found, palette, required, width)
    lines.append(Text())
    lines += words(
        f"A line: training pairs with at least so many test pairs below the threshold. "
        f"▸ what the rule asks for: {count(required, 'vote')} ({rule}).",
        width,
    )
    if curves.votes:
        remark = curve_axis(found).remark()
        lines += words(f"Threshold axis {remark}." if remark else "", width)
    return lines + words(why, width, palette.mark)


def chart(
    curves: VoteCurves, axis: Axis, found: Survey, palette: Palette, width: int, rows: int, required: int
) -> Lines:
    """The curves with their axes; each is named at its right end."""
    total = len(found.scores.train_ids)
    indent = len(f"{total:,}") + 1
    names = [f"{'▸' if k == required else ' '}{k:,}+" for k in curves.votes]
    room = width - indent - 2 - max(len(name) for name in names)
    values = axis.value(np.linspace(0, 1, room * ACROSS))
    values[-1] = axis.high
    heights = [curves.harmful(line, values) for line in range(len(curves.votes))]
    limit = whole_steps(max(float(each.max()) for each in heights), rows)
    canvas = Canvas(room, rows)
    # what the rule asks for is drawn first, and so has its colour where lines meet
    order = sorted(range(len(heights)), key=lambda k: curves.votes[k] != required)
    for line in order:
        canvas.steps((heights[line] / limit).tolist(), palette.line(line, len(heights)))
    over = []
    for threshold, value in zip(found.votes.thresholds, found.votes.values.tolist(), strict=True):
        if axis.low <= value <= axis.high:
            place = min(int(float(axis.position(value)) * room), room - 1)
            if value != axis.high:
                canvas.upright(place, palette.mark)
            over.append(Tick(place, threshold.text, palette.mark))
    right: dict[int, Text] = {}
    wanted = [(canvas.row_of(float(heights[k][-1]) / limit), k) for k in range(len(names))]
    for row, line in spread(wanted, rows):
        bold = f"{palette.strong} " if curves.votes[line] == required else ""
        right[row] = ink(names[line], bold + palette.line(line, len(names)))
    ticks = [Tick(min(int(float(axis.position(each)) * room), room - 1), number(each)) for each in axis.ticks()]
    labels = left_labels(limit, rows)
    return framed(canvas.lines(), room, palette, left=labels, below=ticks, above=over, right=right, left_width=indent)


def spread(wanted: list[tuple[int, int]], rows: int) -> list[tuple[int, int]]:
    """Rows for names that want certain rows, each in one of its own, in order from the top; too many are left out."""
    kept = sorted(wanted)[:rows]
    placed: list[tuple[int, int]] = []
    for row, line in kept:
        placed.append((max(row, placed[-1][0] + 1 if placed else 0), line))
    for k in range(len(placed) - 1, -1, -1):
        lowest = rows - 1 if k == len(placed) - 1 else placed[k + 1][0] - 1
        placed[k] = (min(placed[k][0], lowest), placed[k][1])
    return placed


def _numbers(curves: VoteCurves, found: Survey, palette: Palette, required: int, width: int) -> Lines:
    """A row for each threshold: pairs with so many votes, and the share that the rule calls harmful."""
    total = len(found.scores.train_ids)
    names = [
        f"{each.text} = {number(value)}" if each.quantile else each.text
        for each, value in zip(found.votes.thresholds, found.votes.values.tolist(), strict=True)
    ]
    first = max([len("threshold"), *(len(name) for name in names)])
    shown = curves.votes
    size = max(6, len(f"{total:,}") + 1, *(len(f"{k:,}+") + 1 for k in shown)) if shown else 6
    while len(shown) > 1 and first + size * len(shown) + 18 > width:
        shown = [k for k in shown if k == required] or shown[:1]
    header = ink(f"{'threshold':>{first}}", palette.quiet)
    for k in shown:
        header.append(f"{f'{k:,}+':>{size}}", palette.line(curves.votes.index(k), len(curves.votes)))
    header.append(f"{'harmful':>9}{'of pairs':>10}", palette.quiet)
    lines = [header]
    for row, name in enumerate(names):
        line = ink(f"{name:>{first}}", palette.mark)
        votes = found.votes.votes[row]
        for k in shown:
            line.append(f"{np.count_nonzero(votes >= k):>{size},}")
        harmful = int(np.count_nonzero(votes >= required))
        line.append(f"{harmful:>9,}", palette.strong)
        line.append(f"{share(harmful, total):>10}")
        lines.append(line)
    return lines
