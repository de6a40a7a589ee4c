"""The most harmful and the most helpful training pairs, as bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tracinctl.errors import UsageError
from tracinctl.plots.drawing.bars import Bar
from tracinctl.plots.drawing.tables import bar_table, heading
from tracinctl.plots.request import Request
from tracinctl.plots.views.distribution import nothing
from tracinctl.scores.source import FloatArray
from tracinctl.text import aligned, as_written, clean, count, nearest


def numbers(request: Request) -> dict[str, Any]:
    """The pairs with their scores."""
    if request.train_pair is not None:
        scores, names, ends = scores_of(request), request.source.test_ids, ("hurts", "helps")
    else:
        scores, names, ends = request.means.mean, request.source.train_ids, ("harmful", "helpful")
    about = {} if request.train_pair is None else {"train_pair": request.train_pair}
    rows = extremes(scores, names, request.top)
    return about | {end: named(names, row, scores, "score") for end, row in zip(ends, rows, strict=True)}


def named(names: Sequence[str], rows: Sequence[int], values: FloatArray, key: str) -> list[dict[str, Any]]:
    """Some pairs with their values."""
    return [{"pair": names[row], key: float(values[row])} for row in rows]


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw both halves on one scale, longest bars first."""
    survey, palette = request.means, request.palette
    if request.train_pair is not None:
        scores, test_ids = scores_of(request), request.source.test_ids
        yield heading(f"Training pair {request.train_pair} on {count(len(test_ids), 'test pair')}", palette.quiet)
        if not scores.any():
            yield Text("Its scores on all test pairs are zero.")
            return
        titles = ("Test pairs that it hurts most", "Test pairs that it helps most")
        yield from _halves(titles, scores, test_ids, request)
        return
    names = survey.scores.train_ids
    harmful, helpful = extremes(survey.mean, names, request.top)
    if request.test_pair is not None:
        yield heading(f"On test pair {request.test_pair}", palette.quiet)
        titles = ("Strongest opponents (harmful)", "Strongest proponents (helpful)")
    else:
        tests, active = len(survey.scores.test_ids), survey.votes.active_test_pairs
        yield heading(f"Mean score over {count(tests, 'test pair')}, {active:,} active", palette.quiet)
        titles = ("Most harmful training pairs", "Most helpful training pairs")
    if not harmful and not helpful:
        why = "its margin is met at every checkpoint, so it has no gradient and cannot vote"
        yield nothing(survey) if request.test_pair is None else Text(f"Every score on it is zero: {why}.")
        return
    yield from _halves(titles, survey.mean, names, request)


def scores_of(request: Request) -> FloatArray:
    """The scores of the chosen training pair on each test pair; UsageError if there is no such pair."""
    ids = list(request.source.train_ids)
    wanted = as_written(request.train_pair or "", ids)
    if wanted not in ids:
        near = nearest(wanted, ids)
        hint = f"Did you mean {clean(near)}?" if near else ""
        if wanted in request.source.test_ids:
            hint = f"It is a test pair; `test_pair` {clean(wanted)} shows which training pairs hurt it."
        raise UsageError(f"there is no training pair {clean(wanted)!r} in these scores", hint=hint)
    row = ids.index(wanted)
    start, block = next(part for part in request.means.scores.blocks() if row < part[0] + len(part[1]))
    return np.array(block[row - start], dtype=np.float64)


def _halves(
    titles: tuple[str, str], scores: FloatArray, names: Sequence[str], request: Request
) -> Iterator[RenderableType]:
    """The lowest and the highest scores on one scale."""
    harmful, helpful = extremes(scores, names, request.top)
    limit = max((abs(float(scores[row])) for row in (*harmful[:1], *helpful[:1])), default=0.0)
    shown = aligned(scores[harmful + helpful].tolist())
    size = max(map(len, shown), default=0)  # the same for both halves, so that their bars start in the same column
    cells = [Text(f"{value:>{size}}") for value in shown]
    for title, rows in zip(titles, (harmful, helpful), strict=True):
        yield Text()
        yield heading(title, request.palette.strong)
        if not rows:
            yield Text("none", request.palette.quiet)
            continue
        part, cells = cells[: len(rows)], cells[len(rows) :]
        bars = [Bar(abs(score), limit, request.palette.of_sign(score)) for score in scores[rows].tolist()]
        yield bar_table([names[row] for row in rows], [[cell] for cell in part], bars, request.width)


def extremes(scores: FloatArray, names: Sequence[str], top: int) -> tuple[list[int], list[int]]:
    """Rows of the lowest negative and the highest positive scores, most extreme first; equal ones are ordered by id."""
    ends = []
    for sign in (1.0, -1.0):
        rows = np.flatnonzero(scores * sign < 0)
        if len(rows) > top > 0:
            last = np.partition(scores[rows] * sign, top - 1)[top - 1]
            rows = rows[scores[rows] * sign <= last]
        ordered = sorted(rows.tolist(), key=lambda row: (float(scores[row]) * sign, names[row]))
        ends.append(ordered[:top])
    return ends[0], ends[1]
