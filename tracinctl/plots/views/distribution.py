"""Histogram of the scores, with zero and the thresholds marked."""

from __future__ import annotations

from rich.text import Text

from tracinctl.plots.drawing.bars import column, whole_steps
from tracinctl.plots.drawing.frame import Tick, framed, left_labels
from tracinctl.plots.drawing.picture import Lines, Palette, ink, words
from tracinctl.plots.request import Request
from tracinctl.plots.survey import Histogram, Survey, second_pass
from tracinctl.text import count, number, share

_ROWS = 11


def histogram_of(found: Survey, columns: int) -> Histogram:
    """An empty histogram for scores that were looked over."""
    return Histogram(found.axis(found.lowest, found.highest), columns, found.negative + found.positive)


def draw(request: Request) -> Lines:
    """Draw it, and how many scores lie below each threshold."""
    found = request.survey
    width, palette = request.width, request.palette
    if not found.negative and not found.positive:
        return [*nothing(found, width), *remarks(found, width)]
    indent = len(f"{found.total:,}")
    filled = histogram_of(found, width - indent - 2)
    second_pass(found.scores, [lambda _, block: filled.add(block)])
    rows = request.rows(_ROWS, beside=10 + len(found.votes.values))
    return [
        *chart(filled, found, palette, rows, indent),
        Text(),
        *_below_thresholds(found, palette, width),
        *remarks(found, width, filled.axis.remark()),
    ]


def nothing(found: Survey, width: int) -> Lines:
    """What is said where there is nothing to draw."""
    return words(
        f"No score is other than zero, of {found.total:,}: no test pair here can vote. "
        "Compute with more test pairs or a larger --margin.",
        width,
    )


def chart(filled: Histogram, found: Survey, palette: Palette, rows: int, indent: int) -> Lines:
    """The histogram with its axes."""
    columns = len(filled.counts) * filled.cell
    limit = whole_steps(float(filled.counts.max(initial=0)), rows)
    upright = [column(float(each), limit, rows) for each in filled.counts]
    zero = filled.column_of(0.0)
    marks = {zero: palette.quiet}
    over = []
    for threshold, value in zip(found.votes.thresholds, found.votes.values.tolist(), strict=True):
        if filled.axis.low <= value <= filled.axis.high and value != 0:
            place = filled.column_of(value)
            marks[place] = palette.mark
            over.append(Tick(place, threshold.text, palette.mark))
    body = []
    for row in range(rows):
        line = Text()
        for place in range(columns):
            letter = upright[place // filled.cell][row]
            if letter == " ":
                line.append("┊" if place in marks else " ", marks.get(place, ""))
            else:
                line.append(letter, palette.harmful if filled.edges[place // filled.cell] < 0 else palette.helpful)
        body.append(line)
    ticks = [Tick(filled.column_of(each), number(each)) for each in filled.axis.ticks()]
    labels = left_labels(limit, rows)
    return framed(body, columns, palette, left=labels, below=ticks, above=over, left_width=indent)


def below_thresholds(found: Survey) -> list[int]:
    """How many scores lie below each threshold."""
    silent = len(found.scores.train_ids) * int((~found.votes.active).sum())  # zeros, which lie below what is positive
    return [
        int(votes) + (silent if value > 0 else 0)
        for votes, value in zip(found.votes.test_votes.sum(axis=1), found.votes.values.tolist(), strict=True)
    ]


def _below_thresholds(found: Survey, palette: Palette, width: int) -> Lines:
    lines = []
    names = [
        f"{each.text} = {number(value)}" if each.quantile else each.text
        for each, value in zip(found.votes.thresholds, found.votes.values.tolist(), strict=True)
    ]
    size = max((len(name) for name in names), default=0)
    amounts = below_thresholds(found)
    room = max((len(f"{amount:,}") for amount in amounts), default=0)
    for name, amount in zip(names, amounts, strict=True):
        line = ink("below ", palette.quiet)
        line.append(f"{name:>{size}}", palette.mark)
        part = share(amount, found.total)
        if line.cell_len + room + len("   scores,  99.9% of all") <= width:
            line.append(f"  {amount:>{room},} scores, {part:>6} of all")
        else:
            line.append(f" {amount:>{room},} {part:>6}")
        lines.append(line)
    return lines


def remarks(found: Survey, width: int, axis: str = "") -> Lines:
    """What is not in the picture, and how its axis runs."""
    said = []
    if found.zeros:
        idle = int((~found.votes.active).sum())
        why = f" ({count(idle, 'test pair')} without any score)" if idle else ""
        said.append(f"Exactly zero, not drawn: {found.zeros:,}{why}.")
    if found.strange:
        said.append(f"Not finite, left out: {found.strange:,}.")
    if axis:
        said.append(f"Score axis {axis}: columns there are wider, and hold more.")
    return words(" ".join(said), width)
