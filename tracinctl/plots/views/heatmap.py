"""Mean influence by the classes of a pair's two items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.text import Text

from tracinctl.errors import PlotError, ScoreFileError
from tracinctl.plots.classes import in_order, item_classes
from tracinctl.plots.drawing.diverging import cell, colour_bar
from tracinctl.plots.drawing.picture import Lines, ink, padded, words
from tracinctl.plots.request import Request
from tracinctl.scores.pair_ids import pair_items
from tracinctl.scores.table import FloatArray, ScoreSource
from tracinctl.text import apart, clean, count, fit, number, number_within

_WIDEST_CELL = 11
_WIDEST_NAME = 16
_LEAST_COLOURED = 2
_LEAST_PLAIN = 3


@dataclass(frozen=True)
class ClassMeans:
    """Mean influence by the classes of the two items, whichever of the two comes first in the pair's id.

    Attributes:
        classes: in natural order.
        means: shape (classes, classes), symmetric; NaN where there are no pairs.
        pairs: how many training pairs there are, shape (classes, classes), symmetric.
    """

    classes: list[str]
    means: FloatArray
    pairs: npt.NDArray[np.int64]


def class_means(source: ScoreSource, scores: FloatArray) -> ClassMeans:
    """Means over training pairs of their ``scores``, shape (train pairs,).

    Raises:
        PlotError: items or classes cannot be told.
    """
    try:
        pairs = pair_items(source)
    except ScoreFileError as error:
        raise PlotError(error.message, hint=error.hint) from error
    items = list(dict.fromkeys(each for pair in pairs for each in pair))
    of_item = item_classes(items, source.provenance)
    classes = in_order(list(of_item.values()))
    place = {name: k for k, name in enumerate(classes)}
    at = np.array([sorted((place[of_item[a]], place[of_item[b]])) for a, b in pairs])
    size = len(classes)
    flat = at[:, 0] * size + at[:, 1]
    number_of = np.bincount(flat, minlength=size * size).reshape(size, size)
    unit = float(np.abs(scores).max(initial=0.0)) or 1.0
    sums = np.bincount(flat, weights=scores / unit, minlength=size * size).reshape(size, size)
    means = np.where(number_of > 0, sums / np.maximum(number_of, 1) * unit, np.nan)
    upper = np.triu_indices(size)
    means.T[upper] = means[upper]
    number_of.T[upper] = number_of[upper]
    return ClassMeans(classes, means, number_of)


def draw(request: Request) -> Lines:
    """Draw a cell for each two classes; the lower left half would repeat the upper right, and is drawn as well.

    Raises:
        PlotError: classes cannot be told, or there is no room for so many.
    """
    found = request.means
    table = class_means(request.source, found.mean)
    width, palette, size = request.width, request.palette, len(table.classes)
    names = [clean(name) for name in table.classes]
    first = min(max(cell_len(name) for name in names), _WIDEST_NAME) + 1
    present = table.means[np.isfinite(table.means)]
    limit = float(np.abs(present).max(initial=0.0))
    room = (width - first) // size
    least = _LEAST_COLOURED if palette.colour else _LEAST_PLAIN
    if room < least:
        raise PlotError(
            f"{size} classes need {least * size + first} columns, there are {width}",
            hint="Make the terminal wider, or write a picture to a file with --output.",
        )
    values = present.tolist()
    column = min(room, max(_WIDEST_CELL, *(len(number(value)) + 2 for value in values)) if values else _WIDEST_CELL)
    numbered = all(number_within(value, column - 1) for value in values)
    tall = numbered and palette.colour and request.rows(3 * size + 1, beside=8) >= 3 * size
    heads = names if all(cell_len(name) < column for name in names) else apart(names, column - 1)
    lines = [ink(" " * first + "".join(padded(name, column - 1, right=True) + " " for name in heads), palette.strong)]
    for row, name in enumerate(names):
        blank = Text(" " * first)
        numbers = ink(padded(fit(name, first - 1), first), palette.strong)
        for value in table.means[row].tolist():
            numbers.append_text(cell(value, column, limit, palette))
            empty = cell(value, column, limit, palette, empty="")
            empty.plain = " " * column
            blank.append_text(empty)
        lines += [blank, numbers, blank] if tall else [numbers]
    bar = colour_bar(limit, width, palette)
    lines += [Text(), *bar] if bar else [Text()]
    if not numbered and not palette.colour:
        lines += words(f"+3: helpful, three tenths of the largest mean ({number(limit)}); -3: harmful.", width)
    what = f"on {clean(request.test_pair)}" if request.test_pair else "over all test pairs"
    lines += words(
        f"A cell: mean influence {what} of the training pairs between two classes, in either order; · no such pairs. "
        f"{count(len(found.mean), 'pair')} of {count(size, 'class', 'classes')}.",
        width,
    )
    return lines
