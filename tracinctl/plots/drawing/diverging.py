"""Colours from harmful over nothing to helpful, for cells that hold a number."""

from __future__ import annotations

import math

from rich.style import Style
from rich.text import Text

from tracinctl.plots.drawing.picture import Lines, Palette, ink, padded
from tracinctl.text import number, number_within

# light enough for dark letters throughout, and apart from white and black backgrounds alike; a terminal of 256 colours
# shows no mixture in another hue
_NOTHING = (208, 208, 208)
_HARMFUL = (215, 95, 95)
_HELPFUL = (95, 179, 215)


def cell_style(value: float, limit: float, palette: Palette) -> Style:
    """The style of a cell, empty where there is no colour; a score of size ``limit`` has the full colour."""
    if not palette.colour or not math.isfinite(value):
        return Style()
    part = min(1.0, abs(value) / limit) if limit > 0 else 0.0
    full = _HARMFUL if value < 0 else _HELPFUL
    mixed = [round(a + (b - a) * part) for a, b in zip(_NOTHING, full, strict=True)]
    return Style(color="#101010", bgcolor="#{:02x}{:02x}{:02x}".format(*mixed))


def colour_bar(limit: float, width: int, palette: Palette) -> Lines:
    """The scale of the cells, zero in its middle; nothing where there is no colour, the numbers say it all then."""
    if not palette.colour or limit <= 0:
        return []
    left, right = f"{number(-limit)} harmful ", f" helpful {number(limit)}"
    half = min(16, (width - len(left) - len(right) - 1) // 2)
    if half < 2:  # noqa: PLR2004  no room for a scale
        return []
    line = ink(left, palette.quiet)
    for k in range(-half, half + 1):
        line.append("0" if k == 0 else " ", cell_style(k / half * limit, limit, palette))
    line.append(right, palette.quiet)
    return [line]


def tenths(value: float, limit: float) -> str:
    """A score in two characters: its sign, and how many tenths of the largest it is, rounded."""
    whole = min(9, round(abs(value) / limit * 10)) if limit > 0 else 0
    return f"{'-' if value < 0 else '+'}{whole}" if whole else "0"


def cell(value: float, width: int, limit: float, palette: Palette, *, empty: str = "·") -> Text:
    """A cell of a table, its number at the right; ``empty`` stands where there is none."""
    if not math.isfinite(value):
        return ink(padded(f"{empty} ", width, right=True), palette.quiet)
    shown = number_within(value, width - 1)
    if not shown and not palette.colour:
        shown = tenths(value, limit)
    text = Text(padded(f"{shown} " if shown else "", width, right=True))
    text.stylize(cell_style(value, limit, palette))
    return text
