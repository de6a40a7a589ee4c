"""The one adapter to plotext: histograms, curves, boxes and heatmaps as lines of Rich text.

plotext's automatic limits cut the first and last bar in half, a NaN aborts the process, and it always colours. So this
module gives it finite positions in characters, limits and ticks, and Rich prints the result with or without colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.color import Color
from rich.text import Text

from tracinctl.plots.drawing.axis import Axis
from tracinctl.plots.drawing.bars import upright
from tracinctl.plots.drawing.colours import LETTERS, Palette, diverging
from tracinctl.scores.source import FloatArray
from tracinctl.text import aligned, number, number_within

DOTS_ACROSS, DOTS_DOWN = 2, 4
"""The dots of a braille character."""


@dataclass(frozen=True)
class Tick:
    """A label and the column that it marks; an empty style means the axis's style."""

    column: int
    label: str
    style: str = ""


class Chart:
    """A drawing of ``columns`` x ``rows`` characters, with axes around it.

    Column 0 is the leftmost, row 0 the topmost. Marks drawn later cover earlier ones.
    """

    def __init__(self, columns: int, rows: int, palette: Palette) -> None:
        import plotext

        self.columns, self.rows = columns, rows
        self._palette = palette
        self._plotext: Any = plotext
        # plotext's own figure is global and cut to the size of the terminal
        self._figure = type(plotext.figure)(type(plotext.terminal)().limit(width=False, height=False))
        # other ways to colour the axes paint their background white
        plotext.add_theme("tracinctl", text=_pixel(palette.quiet))
        self._figure.theme("tracinctl").axes(False)

    def histogram(self, heights: Sequence[float], limit: float, styles: Sequence[str], cell: int = 1) -> None:
        """Bars side by side, each with its style and ``cell`` columns wide; a bar of ``limit`` has full height."""
        # eighths of a character are finer than plotext's own markers
        marks = [
            (bar * cell + k, row, letter, styles[bar])
            for bar, height in enumerate(heights)
            for row, letter in enumerate(upright(height, limit, self.rows))
            if letter != " "
            for k in range(cell)
        ]
        self.marks(marks)

    def curve(self, heights: npt.ArrayLike, style: str) -> None:
        """A stepped line from the left, with a height (0 = bottom, 1 = top) for each of the two dots per column."""
        dots = self._dots(heights)
        # give plotext only the corners, because each point takes time
        steps = np.flatnonzero(np.diff(dots)) + 1
        x = np.concatenate([[0], np.repeat(steps, 2), [len(dots) - 1]])
        y = np.concatenate([dots[:1], np.stack([dots[steps - 1], dots[steps]], axis=1).ravel(), dots[-1:]])
        marker = self._plotext.marker("braille", pixel=_pixel(style))
        places = ((x + 0.5) / DOTS_ACROSS).tolist(), ((y + 0.5) / DOTS_DOWN).tolist()
        signal = self._figure.signal(*places, marker=marker)
        self._figure.draw(signal.lines(True).density("full", scope="line"))

    def row_of(self, height: float) -> int:
        """The row of a curve's height."""
        return self.rows - 1 - int(self._dots([height])[0]) // DOTS_DOWN

    def _dots(self, heights: npt.ArrayLike) -> npt.NDArray[np.int64]:
        last = self.rows * DOTS_DOWN - 1
        finite = np.nan_to_num(np.asarray(heights, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        return np.rint(np.clip(finite, 0, 1) * last).astype(np.int64)

    def upright(self, column: int, style: str) -> None:
        """A dotted line from top to bottom."""
        self.marks([(column, row, "┊", style) for row in range(self.rows)])

    def marks(self, marks: Sequence[tuple[int, int, str, str]]) -> None:
        """Letters at (column, row), each with its style."""
        if marks:
            x, y, letters, styles = zip(*marks, strict=True)
            markers = [self._plotext.marker(a, pixel=_pixel(b)) for a, b in zip(letters, styles, strict=True)]
            columns, rows = [column + 0.5 for column in x], [self.rows - row - 0.5 for row in y]
            self._figure.draw(self._figure.signal(columns, rows, marker=markers))

    def lines(
        self,
        *,
        below: Sequence[Tick] = (),
        above: Sequence[Tick] = (),
        left: Mapping[int, str] | None = None,
        right: Mapping[int, tuple[str, str]] | None = None,
    ) -> list[Text]:
        """The chart with ticks: scores below, thresholds above, counts on the left, (name, style) per row on the right.

        Ticks without room are left out, from the end of the list.
        """
        self._ruler("x", "lower", _with_room(below, self.columns))
        self._ruler("x", "upper", _with_room(above, self.columns))
        names = [(self.rows - row - 0.5, name, "") for row, name in (left or {}).items()]
        ends = [(self.rows - row - 0.5, name, style) for row, (name, style) in (right or {}).items()]
        self._ruler("y", "left", names)
        self._ruler("y", "right", ends)
        for axis, side, ticks in (("x", "lower", below), ("y", "left", names)):
            if ticks:
                self._figure.axes(True, axis=axis, side=side)
        beside = sum(max((cell_len(name) for _, name, _ in part), default=0) for part in (names, ends))
        self._figure.plot_size(self.columns + beside + bool(names), self.rows + 2 * bool(below) + bool(above))
        return _text(self._figure.build(), self._palette)

    def _ruler(self, axis: str, side: str, ticks: Sequence[tuple[float, str, str]]) -> None:
        """Set labels (position, text, style) beside the chart; without any, plotext sets its own."""
        ruler = self._figure.ruler(axis, side)
        ruler.lim(0, self.columns if axis == "x" else self.rows).alignment(lim="edge")
        labels = [self._plotext.colorize(text, _pixel(style or self._palette.quiet)) for _, text, style in ticks]
        ruler.ticks([position for position, _, _ in ticks], labels)


def score_ticks(axis: Axis, columns: int) -> list[Tick]:
    """The ticks below a chart of ``columns`` characters."""
    return [Tick(axis.column(value, columns), number(value)) for value in axis.ticks()]


def _with_room(ticks: Sequence[Tick], columns: int) -> list[tuple[float, str, str]]:
    """The ticks whose labels do not touch, as (position, label, style); plotext would let them touch."""
    shown: list[tuple[float, str, str]] = []
    taken: list[tuple[int, int]] = []
    for tick in ticks:
        size = cell_len(tick.label)
        room = size + (size + 1) % 2  # with a space behind it, the middle of a label of even length is at the mark
        start = min(max(tick.column - room // 2, 0), columns - room)
        if start >= 0 and all(start + size < low or start > high for low, high in taken):
            taken.append((start, start + size))
            shown.append((tick.column + 0.5, tick.label + " " * (room - size), tick.style))
    return shown


def left_labels(limit: float, rows: int, width: int) -> dict[int, str]:
    """Labels of counts by row, ``width`` columns wide, for a chart whose top is ``limit``."""
    labels = {0: f"{limit:,.0f}"}
    if rows >= 3:  # noqa: PLR2004  room for more than one
        labels[rows - 1] = "0"
    half = limit / 2
    if rows >= 7 and rows % 2 and half == int(half):  # noqa: PLR2004  the middle label does not touch those at the ends
        labels[rows // 2] = f"{half:,.0f}"
    return {row: f"{label:>{width}} " for row, label in labels.items()}


def _pixel(style: str, background: Sequence[int] | None = None) -> Any:
    """A Rich style of one colour as a plotext style."""
    import plotext

    colour = style.rsplit(maxsplit=1)[-1] if style else ""
    return plotext.pixel(
        foreground=tuple(Color.parse(colour).get_truecolor()) if colour.startswith("#") else None,
        background=background,
        style="bold" if style.startswith("bold") else None,
    )


def _text(matrix: Any, palette: Palette) -> list[Text]:
    """The rows of a plotext matrix, without its colours if the palette has none."""
    drawn = matrix.string(colorless=not palette.colour).splitlines()
    return [Text.from_ansi(line) if palette.colour else Text(line) for line in drawn]


def cell_texts(values: FloatArray, width: int) -> list[str]:
    """The values in at most ``width`` characters, all with the same number of decimals if there is room."""
    flat = values.reshape(-1)
    texts = aligned(flat[np.isfinite(flat)].tolist())
    if max(map(len, texts), default=0) > width:
        texts = [number_within(value, width) for value in flat[np.isfinite(flat)].tolist()]
    of_finite = iter(texts)
    return [next(of_finite) if finite else "·" for finite in np.isfinite(flat).tolist()]


def heatmap(values: FloatArray, texts: Sequence[str], size: tuple[int, int], palette: Palette) -> list[Text]:
    """Cells of ``size`` (columns, rows) with a text in each, coloured from harmful to helpful around zero.

    plotext would spread its colours from the lowest to the highest value, so it gets the colour of each cell.
    """
    import plotext

    columns, rows = size
    limit = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    picture = plotext.matrix(columns * values.shape[1], rows * values.shape[0], plotext.pixel())
    for place, (value, text) in enumerate(zip(values.reshape(-1).tolist(), texts, strict=True)):
        pixel = _pixel(palette.quiet)
        if math.isfinite(value):
            pixel = _pixel(LETTERS, diverging(value, limit)) if palette.colour else plotext.pixel()
        row, column = divmod(place, values.shape[1])
        for k in range(rows):
            letters = f"{text} ".rjust(columns) if k == (rows - 1) // 2 else " " * columns
            picture.insert(column * columns, row * rows + k, plotext.colorize(letters, pixel))
    return _text(picture, palette)
