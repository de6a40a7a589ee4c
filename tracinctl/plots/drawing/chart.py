"""The one adapter to plotext: histograms, curves, boxes and heatmaps as lines of Rich text.

plotext's automatic limits cut the first and the last bar in half, a NaN aborts the process, and its colours come
whatever the terminal is. So it gets finite positions in characters, limits and ticks from here, and Rich prints what it
draws, in colour or without.
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

from tracinctl.plots.drawing.bars import upright
from tracinctl.plots.drawing.colours import LETTERS, Palette, diverging
from tracinctl.scores.source import FloatArray
from tracinctl.text import aligned, number_within

DOTS_ACROSS, DOTS_DOWN = 2, 4
"""The dots of a braille character."""


@dataclass(frozen=True)
class Tick:
    """A label and the column that it marks; its style is that of the axis where empty."""

    column: int
    label: str
    style: str = ""


class Chart:
    """What is drawn in ``columns`` x ``rows`` characters, with axes around it.

    Column 0 is the leftmost, row 0 the topmost. Marks drawn later cover earlier ones.
    """

    def __init__(self, columns: int, rows: int, palette: Palette) -> None:
        import plotext

        self.columns, self.rows = columns, rows
        self._palette = palette
        self._plotext: Any = plotext
        # plotext's own figure belongs to the whole process, and is cut to the size of its terminal
        self._figure = type(plotext.figure)(type(plotext.terminal)().limit(width=False, height=False))
        # any other way to colour the axes paints their background white
        plotext.add_theme("tracinctl", text=self._pixel(palette.quiet))
        self._figure.theme("tracinctl").axes(False)

    def histogram(self, heights: Sequence[float], limit: float, styles: Sequence[str], cell: int = 1) -> None:
        """Bars side by side, each in its style and ``cell`` columns wide; one of height ``limit`` is full."""
        # eighths of a character are finer than any marker of plotext's own
        marks = [
            (bar * cell + k, row, letter, styles[bar])
            for bar, height in enumerate(heights)
            for row, letter in enumerate(upright(height, limit, self.rows))
            if letter != " "
            for k in range(cell)
        ]
        self.marks(marks)

    def curve(self, heights: npt.ArrayLike, style: str) -> None:
        """A line of steps from the left, a height (0 at the bottom, 1 at the top) for each of two dots a column."""
        dots = self._dots(heights)
        # corners alone: plotext takes its time for each point
        steps = np.flatnonzero(np.diff(dots)) + 1
        x = np.concatenate([[0], np.repeat(steps, 2), [len(dots) - 1]])
        y = np.concatenate([dots[:1], np.stack([dots[steps - 1], dots[steps]], axis=1).ravel(), dots[-1:]])
        marker = self._plotext.marker("braille", pixel=self._pixel(style))
        places = ((x + 0.5) / DOTS_ACROSS).tolist(), ((y + 0.5) / DOTS_DOWN).tolist()
        signal = self._figure.signal(*places, marker=marker)
        self._figure.draw(signal.lines(True).density("full", scope="line"))

    def row_of(self, height: float) -> int:
        """The row that a curve's height falls into."""
        return self.rows - 1 - int(self._dots([height])[0]) // DOTS_DOWN

    def _dots(self, heights: npt.ArrayLike) -> npt.NDArray[np.int64]:
        last = self.rows * DOTS_DOWN - 1
        finite = np.nan_to_num(np.asarray(heights, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        return np.rint(np.clip(finite, 0, 1) * last).astype(np.int64)

    def upright(self, column: int, style: str) -> None:
        """A dotted line from top to bottom."""
        self.marks([(column, row, "┊", style) for row in range(self.rows)])

    def marks(self, marks: Sequence[tuple[int, int, str, str]]) -> None:
        """Letters at their (column, row), each in its style."""
        if marks:
            x, y, letters, styles = zip(*marks, strict=True)
            markers = [self._plotext.marker(a, pixel=self._pixel(b)) for a, b in zip(letters, styles, strict=True)]
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
        """The chart with ticks: scores below, thresholds above, counts at the left, (name, style) at the right by row.

        A tick that finds no room is left out, the last of the list first.
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
        """Set labels (position, text, style) beside the chart; plotext sets its own where it is given none."""
        ruler = self._figure.ruler(axis, side)
        ruler.lim(0, self.columns if axis == "x" else self.rows).alignment(lim="edge")
        labels = [self._plotext.colorize(text, self._pixel(style or self._palette.quiet)) for _, text, style in ticks]
        ruler.ticks([position for position, _, _ in ticks], labels)

    def _pixel(self, style: str) -> Any:
        return _pixel(self._plotext, style)


def _with_room(ticks: Sequence[Tick], columns: int) -> list[tuple[float, str, str]]:
    """The ticks whose labels stand apart, as (position, label, style); plotext sets labels against each other."""
    kept: list[tuple[float, str, str]] = []
    taken: list[tuple[int, int]] = []
    for tick in ticks:
        size = cell_len(tick.label)
        room = size + (size + 1) % 2  # with a blank behind it, a label of even size has its middle where the mark is
        start = min(max(tick.column - room // 2, 0), columns - room)
        if start >= 0 and all(start + size < low or start > high for low, high in taken):
            taken.append((start, start + size))
            kept.append((tick.column + 0.5, tick.label + " " * (room - size), tick.style))
    return kept


def left_labels(limit: float, rows: int, width: int) -> dict[int, str]:
    """Counts by row, ``width`` columns wide, for a chart whose topmost row is full at ``limit``."""
    labels = {0: f"{limit:,.0f}"}
    if rows >= 3:  # noqa: PLR2004  room for more than one
        labels[rows - 1] = "0"
    half = limit / 2
    if rows >= 7 and rows % 2 and half == int(half):  # noqa: PLR2004  a middle row is apart from both ends
        labels[rows // 2] = f"{half:,.0f}"
    return {row: f"{label:>{width}} " for row, label in labels.items()}


def _pixel(plotext: Any, style: str, background: Sequence[int] | None = None) -> Any:
    """A Rich style of one colour, as plotext writes it."""
    colour = style.rsplit(maxsplit=1)[-1] if style else ""
    return plotext.pixel(
        foreground=tuple(Color.parse(colour).get_truecolor()) if colour.startswith("#") else None,
        background=background,
        style="bold" if style.startswith("bold") else None,
    )


def _text(matrix: Any, palette: Palette) -> list[Text]:
    """The rows of a plotext matrix; plotext colours whatever is asked of it."""
    drawn = matrix.string(colorless=not palette.colour).splitlines()
    return [Text.from_ansi(line) if palette.colour else Text(line) for line in drawn]


def cell_texts(values: FloatArray, width: int) -> list[str]:
    """The values in at most ``width`` characters, with as many digits after the point each where there is room."""
    flat = values.reshape(-1)
    texts = aligned(flat[np.isfinite(flat)].tolist())
    if max(map(len, texts), default=0) > width:
        texts = [number_within(value, width) for value in flat[np.isfinite(flat)].tolist()]
    known = iter(texts)
    return [next(known) if finite else "·" for finite in np.isfinite(flat).tolist()]


def heatmap(values: FloatArray, texts: Sequence[str], size: tuple[int, int], palette: Palette) -> list[Text]:
    """Cells of ``size`` (columns, rows) with a text in each, coloured from harmful to helpful around zero.

    plotext would spread its colours from the lowest to the highest value, so it is given each cell's own.
    """
    import plotext

    columns, rows = size
    limit = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    picture = plotext.matrix(columns * values.shape[1], rows * values.shape[0], plotext.pixel())
    for place, (value, text) in enumerate(zip(values.reshape(-1).tolist(), texts, strict=True)):
        pixel = _pixel(plotext, palette.quiet)
        if math.isfinite(value):
            pixel = _pixel(plotext, LETTERS, diverging(value, limit)) if palette.colour else plotext.pixel()
        row, column = divmod(place, values.shape[1])
        for k in range(rows):
            letters = f"{text} ".rjust(columns) if k == (rows - 1) // 2 else " " * columns
            picture.insert(column * columns, row * rows + k, plotext.colorize(letters, pixel))
    return _text(picture, palette)
