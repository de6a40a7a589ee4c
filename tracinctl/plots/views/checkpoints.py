"""How scores move over training: what each checkpoint adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from tracinctl.plots.checkpoint_survey import CheckpointSurvey, survey_checkpoints
from tracinctl.plots.drawing.axis import Axis, score_axis
from tracinctl.plots.drawing.diverging import cell
from tracinctl.plots.drawing.frame import Tick, label_line, placed
from tracinctl.plots.drawing.picture import Lines, Palette, ink, padded, words
from tracinctl.plots.request import Request
from tracinctl.plots.survey import middle
from tracinctl.plots.views.top import extremes
from tracinctl.scores.table import FloatArray
from tracinctl.text import apart, clean, fit, fold, number

_MOST_ROWS = 30
_MOST_PAIRS = 3
QUANTILES = (5, 25, 50, 75, 95)


def draw(request: Request) -> Lines:
    """Draw for each checkpoint where its scores lie, and what it adds to the most harmful and most helpful pairs.

    Raises:
        PlotError: the scores of single checkpoints were not kept.
    """
    found = survey_checkpoints(request.source, QUANTILES, request.test_pair)
    names = found.names
    width, palette = request.width, request.palette
    shown = _spaced(len(names), min(_MOST_ROWS, request.rows(12, beside=19)))
    lines = words("Where each checkpoint's scores lie", width, palette.strong)
    lines += _boxes(found, shown, width, palette)
    said = "├ 5 to 95 % ┤ of the scores other than zero, ━ the middle half, ┃ the median; harmful: their share below 0."
    if len(shown) < len(names):
        said += f" {len(shown)} of {len(names)} checkpoints, evenly spaced."
    if found.every > 1:
        said += f" From one training pair in {found.every:,}; shares and means are of all."
    if found.strange:
        said += f" Not finite, left out: {found.strange:,}."
    lines += [*words(said, width), Text()]
    return lines + _pairs(request, names, found.means)


def _spaced(total: int, most: int) -> list[int]:
    """Evenly spaced places, first and last among them."""
    if total <= most:
        return list(range(total))
    return sorted({round(k * (total - 1) / (most - 1)) for k in range(most)})


def _boxes(found: CheckpointSurvey, shown: Sequence[int], width: int, palette: Palette) -> Lines:
    names = [found.names[k] for k in shown]
    quantiles = [found.quantiles[k] for k in shown]
    known = [each for each in quantiles if each is not None]
    first = min(max(cell_len(clean(name)) for name in names), width // 3)
    if not known:
        return words("no score other than zero at any checkpoint", width, palette.quiet)
    low, high = min(each[0] for each in known), max(each[-1] for each in known)
    sizes = np.abs(np.array(known))
    axis = score_axis(low, high, middle(sizes[sizes > 0]), float(sizes.max()))
    before = first + 11
    room = width - before - 9
    lines: Lines = []
    zero = _column(axis, 0.0, room)
    header = ink(" " * first + f"{'mean size':>10}" + " " * (room + 1) + f"{'harmful':>9}", palette.quiet)
    lines.append(header)
    for name, box, k in zip(names, quantiles, shown, strict=True):
        line = Text(fit(name, first))
        line.append(f"{number(float(found.size[k])):>10} ")
        if box is None:
            line.append(padded("every score is zero", room), palette.quiet)
            lines.append(line)
            continue
        at = [_column(axis, each, room) for each in box]
        cells = [" "] * room
        cells[zero] = "┊"
        for place in range(at[0], at[4] + 1):
            cells[place] = "─"
        cells[at[0]], cells[at[4]] = "├", "┤"
        for place in range(at[1], at[3] + 1):
            cells[place] = "━"
        cells[at[2]] = "┃"
        for at_cell, letter in enumerate(cells):
            side = palette.harmful if at_cell < zero else palette.helpful
            line.append(letter, palette.quiet if letter in " ┊" else side)
        line.append(f"{found.negative_share[k]:>9.1%}")
        lines.append(line)
    ticks = [Tick(_column(axis, each, room), number(each)) for each in axis.ticks()]
    labels = placed(ticks, before + room, before)
    rule = ["─"] * room
    for _, tick in labels:
        rule[tick.column] = "┬"
    lines.append(ink(" " * before + "".join(rule), palette.quiet))
    lines.append(label_line(labels, palette.quiet))
    if axis.remark():
        lines += words(f"Score axis {axis.remark()}.", width)
    return lines


def _column(axis: Axis, value: float, room: int) -> int:
    return min(max(int(float(axis.position(value)) * room), 0), room - 1)


def _pairs(request: Request, names: Sequence[str], means: FloatArray) -> Lines:
    """A table: the outermost pairs, and their mean score at each checkpoint."""
    source, width, palette = request.source, request.width, request.palette
    total = means.sum(axis=0)
    most = max(1, min(_MOST_PAIRS, request.top))
    harmful, helpful = extremes(total, source.train_ids, most)
    rows = harmful + helpful
    if not rows:
        return []
    size = 10
    shown = _spaced(len(names), max(2, (width - size) // size))
    shown = shown if (len(shown) + 1) * size <= width else shown[-1:]
    longest = max(cell_len(clean(source.train_ids[row])) for row in rows)
    indent = longest + 1 if longest + 1 + (len(shown) + 1) * size <= width else 0
    limit = float(np.abs(means[:, rows][shown]).max(initial=0.0))
    endings = apart([clean(names[k]) for k in shown], size - 1)
    lines = words("What each adds to the most harmful and most helpful pairs (mean score)", width, palette.strong)
    heads = "".join(padded(name, size, right=True) for name in [*endings, "all"])
    lines.append(ink(" " * indent + heads, palette.quiet))
    for row in rows:
        line = Text()
        if indent:
            line.append(padded(clean(source.train_ids[row]), indent))
        else:
            lines += [Text(part) for part in fold(source.train_ids[row], width)]
        for k in shown:
            line.append_text(cell(float(means[k, row]), size, limit, palette))
        line.append(padded(number(float(total[row])), size, right=True), palette.of_sign(float(total[row])))
        lines.append(line)
    if len(shown) < len(names):
        lines += words(f"{len(shown)} of {len(names)} checkpoints shown; all: the sum over every one.", width)
    return lines
