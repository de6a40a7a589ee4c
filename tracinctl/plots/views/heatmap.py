"""Mean influence by the classes of a pair's two items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from tracinctl.errors import PlotError, ScoreFileError
from tracinctl.plots.drawing.chart import cell_texts, heatmap
from tracinctl.plots.drawing.colours import colour_bar, tenths
from tracinctl.plots.drawing.tables import to_the_right
from tracinctl.plots.request import Request
from tracinctl.scores.pair_ids import class_of_items, pair_items
from tracinctl.scores.source import FloatArray, ScoreSource
from tracinctl.text import apart, clean, count, fit, natural_key, number

_WIDEST_CELL = 11
_WIDEST_NAME = 16
_LEAST_COLOURED = 2
_LEAST_PLAIN = 3


def class_means(source: ScoreSource, scores: FloatArray) -> tuple[list[str], FloatArray, npt.NDArray[np.int64]]:
    """Mean influence by the classes of a training pair's items, in either order; ``scores``: shape (train pairs,).

    Returns:
        The classes in natural order, and for each two of them the mean and the number of training pairs, symmetric
        matrices; a mean is NaN without pairs.

    Raises:
        PlotError: the ids do not show items or classes.
    """
    try:
        pairs = pair_items(source)
    except ScoreFileError as error:
        raise PlotError(error.message, hint=error.hint) from error
    items = list(dict.fromkeys(item for pair in pairs for item in pair))
    of_item = item_classes(items, source.provenance)
    classes = sorted(set(of_item.values()), key=natural_key)
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
    return classes, means, number_of


def item_classes(item_ids: Sequence[str], provenance: Mapping[str, Any]) -> dict[str, str]:
    """The class of each item, from ``provenance["labels"]`` if it has all items, else from the ids, else PlotError."""
    labels = provenance.get("labels")
    if isinstance(labels, Mapping) and all(item in labels for item in item_ids):
        return {item: str(labels[item]) for item in item_ids}
    classes = class_of_items(item_ids)
    if not classes:
        example = f", such as {clean(item_ids[0])}," if item_ids else ""
        raise PlotError(
            f"the item ids{example} do not show the items' classes, so there is nothing to draw",
            hint="Use ids like plastic_deg036_500hz_04, or the view top, which needs no classes.",
        )
    return classes


def numbers(request: Request) -> dict[str, Any]:
    """The means, and the number of pairs behind each."""
    classes, means, number_of = class_means(request.source, request.means.mean)
    known = [[value if np.isfinite(value) else None for value in row] for row in means.tolist()]
    return {"classes": classes, "means": known, "pairs": number_of.tolist()}


def draw(request: Request) -> Iterator[RenderableType]:
    """Draw a cell per two classes, mirrored at the diagonal; PlotError if they are unknown or too many."""
    classes, means, _ = class_means(request.source, request.means.mean)
    width, palette, size = request.width, request.palette, len(classes)
    names = [clean(name) for name in classes]
    first = min(max(cell_len(name) for name in names), _WIDEST_NAME) + 1
    values = means[np.isfinite(means)].tolist()
    limit = max(map(abs, values), default=0.0)
    room = (width - first) // size
    least = _LEAST_COLOURED if palette.colour else _LEAST_PLAIN
    if room < least:
        raise PlotError(
            f"{size} classes need {least * size + first} columns, but there are {width}",
            hint="Make the terminal wider, or write the picture to a file.",
        )
    column = min(room, max([_WIDEST_CELL, *(len(number(value)) + 2 for value in values)]))
    texts = cell_texts(means, column - 1)
    numbered = all(texts)
    tall = 3 if numbered and palette.colour and request.rows(3 * size + 1, beside=8) >= 3 * size else 1
    if not palette.colour:
        texts = [text or tenths(value, limit) for text, value in zip(texts, means.flat, strict=True)]
    heads = names if all(cell_len(name) < column for name in names) else apart(names, column - 1)
    yield Text(" " * first + "".join(f"{to_the_right(name, column - 1)} " for name in heads), palette.strong)
    for row, cells in enumerate(heatmap(means, texts, (column, tall), palette)):
        name = names[row // tall] if row % tall == (tall - 1) // 2 else ""
        yield Text.assemble((fit(name, first - 1) + " ", palette.strong), cells)
    yield Text()
    bar = colour_bar(limit, width, palette)
    if bar:
        yield bar
    if not numbered and not palette.colour:
        yield Text(f"+3: helpful, three tenths of the largest mean ({number(limit)}); -3: harmful.")
    measured = f"on {clean(request.test_pair)}" if request.test_pair else "over all test pairs"
    yield Text(
        f"A cell: mean influence {measured} of the training pairs of two classes, in either order; · no such pairs. "
        f"{count(len(request.source.train_ids), 'pair')} of {count(size, 'class', 'classes')}."
    )
