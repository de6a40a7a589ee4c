"""Mean influence by the classes of a pair's two items."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rich.console import RenderableType
from rich.style import Style
from rich.text import Text

from tracinctl.errors import PlotError, ScoreFileError
from tracinctl.plots.text import clean, fit, number
from tracinctl.plots.views import ViewSettings
from tracinctl.scores.sweep import pair_items
from tracinctl.scores.table import ScoreSource
from tracinctl.scores.votes import count_votes, parse_threshold

_MOST_CLASSES = 20
_CELL = 9


def class_of_items(item_ids: Sequence[str]) -> dict[str, str]:
    """The class of each item, told from its id: the token ``deg<number>``, else the token with the fewest values.

    Raises:
        PlotError: no token of the ids looks like a class.
    """
    found = {each: re.search(r"(?:^|_)(deg\d+)(?:_|$)", each) for each in item_ids}
    if all(found.values()):
        return {each: match.group(1) for each, match in found.items() if match}
    tokens = {each: each.split("_") for each in item_ids}
    counts = {len(t) for t in tokens.values()}
    if len(counts) == 1:
        values = [(len({t[k] for t in tokens.values()}), k) for k in range(counts.pop())]
        fit_for_it = [(n, k) for n, k in values if 1 < n <= min(_MOST_CLASSES, len(item_ids) // 2)]
        if fit_for_it:
            _, place = min(fit_for_it)
            return {each: t[place] for each, t in tokens.items()}
    raise PlotError("the items' ids show no classes, so there is no heatmap of them", hint="try the view top")


def draw(source: ScoreSource, settings: ViewSettings) -> RenderableType:
    """Draw it: a cell is the mean over the pairs of two classes, whichever is first, and over all test pairs.

    Raises:
        PlotError: classes cannot be told, or there is no room for them.
    """
    try:
        pairs = pair_items(source)
    except ScoreFileError as error:
        raise PlotError(error.message, hint=error.hint) from error
    classes = class_of_items(sorted({each for pair in pairs for each in pair}))
    names = sorted(set(classes.values()), key=lambda n: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", n)])
    if (len(names) + 1) * _CELL > settings.width:
        raise PlotError(
            f"{len(names)} classes need {(len(names) + 1) * _CELL} columns, there are {settings.width}",
            hint="make the terminal wider, or write to a file: --output heatmap.svg",
        )
    mean = count_votes(source, [parse_threshold("0")]).mean
    place = {name: k for k, name in enumerate(names)}
    total, count = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for value, (a, b) in zip(mean, pairs, strict=True):
        if np.isfinite(value):
            low, high = sorted((place[classes[a]], place[classes[b]]))
            total[low, high] += value
            count[low, high] += 1
    with np.errstate(invalid="ignore"):
        cells = total / count
    limit = float(np.nanmax(np.abs(cells), initial=0.0)) if np.isfinite(cells).any() else 0.0
    text = Text(no_wrap=True, overflow="crop")
    text.append(
        " " * _CELL + "".join(f"{fit(clean(n), _CELL - 1):>{_CELL}}" for n in names) + "\n", settings.style("bold")
    )
    for r, name in enumerate(names):
        text.append(fit(name, _CELL), settings.style("bold"))
        for c in range(len(names)):
            value = float(cells[r, c])
            shown = f"{number(value):>{_CELL - 1}} " if np.isfinite(value) else " " * (_CELL - 2) + "· "
            text.append(shown, _colour(value, limit) if settings.colour and np.isfinite(value) else "")
        text.append("\n")
    if settings.colour and limit:
        text.append(f"{number(-limit):>{_CELL}} ")
        for k in range(-10, 11):
            text.append(" ", _colour(k / 10 * limit, limit))
        text.append(f" {number(limit)}\n")
    text.append("Mean influence of the pairs of two classes; · none")
    return text


def _colour(value: float, limit: float) -> Style:
    """Blue for helpful, red for harmful, near white at zero; dark letters on all of them."""
    share = min(1.0, abs(value) / limit) if limit else 0.0
    strong = (242, 120, 95) if value < 0 else (100, 160, 235)
    red, green, blue = (round(245 + (to - 245) * share) for to in strong)
    return Style(color="#101010", bgcolor=f"#{red:02x}{green:02x}{blue:02x}")
