"""Styles by meaning, and the colour scale from harmful to helpful."""

from __future__ import annotations

from typing import NamedTuple

from rich.style import Style
from rich.text import Text

from tracinctl.text import HARMFUL, HELPFUL, SIGNS, number

LETTERS = "#101010"
"""The colour of text on a coloured cell."""
# light enough for dark text, and visible on white and black backgrounds; a terminal with 256 colours keeps the hues
_ZERO = (208, 208, 208)
_HARMFUL = (215, 95, 95)
_HELPFUL = (95, 179, 215)


class Palette(NamedTuple):
    """Styles by meaning; all are empty without colour."""

    harmful: str = ""
    """Negative scores."""
    helpful: str = ""
    """Positive scores."""
    neutral: str = ""
    """Values without a sign."""
    mark: str = ""
    """Thresholds and the votes that a rule requires."""
    quiet: str = ""
    """Axes and remarks."""
    strong: str = ""
    """Headings."""
    ramp: tuple[str, ...] = ("",)
    """Ordered lines."""

    @property
    def colour(self) -> bool:
        """Whether the palette has colours."""
        return bool(self.strong)

    def of_sign(self, value: float) -> str:
        """The style of a score."""
        return self.harmful if value < 0 else self.helpful if value > 0 else self.quiet

    def line(self, place: int, lines: int) -> str:
        """The style of one of several ordered lines."""
        return self.ramp[min(place, len(self.ramp) - 1) if lines <= len(self.ramp) else place * len(self.ramp) // lines]


# each has a contrast of at least 3 to white and to black, and colour-blind people can tell the two signs apart; lines
# go from red through ochre and green to violet
COLOURS = Palette(
    "#d6604d",
    "#4393c3",
    "#a075c4",
    "#b8860b",
    "#848484",
    "bold",
    ("#d6604d", "#c0801f", "#5b9a3c", "#2f9c95", "#4393c3", "#a075c4"),
)


def diverging(value: float, limit: float) -> tuple[int, int, int]:
    """The colour of a finite score: grey at zero, full at ``limit`` on either side."""
    part = min(1.0, abs(value) / limit) if limit > 0 else 0.0
    full = _HARMFUL if value < 0 else _HELPFUL
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(_ZERO, full, strict=True))
    return red, green, blue


def colour_bar(limit: float, width: int, palette: Palette) -> Text:
    """The scale of a heatmap with zero in the middle; empty without colour, because the cells have numbers."""
    low_end, high_end = f"{number(-limit)} harmful ", f" helpful {number(limit)}"
    half = min(16, (width - len(low_end) - len(high_end) - 1) // 2)
    if not palette.colour or limit <= 0 or half < 2:  # noqa: PLR2004  no room for a scale
        return Text()
    line = Text().append(low_end, palette.quiet)
    for k in range(-half, half + 1):
        cell = "#{:02x}{:02x}{:02x}".format(*diverging(k / half, 1.0))
        line.append("0" if k == 0 else " ", Style(color=LETTERS, bgcolor=cell))
    return line.append(high_end, palette.quiet)


def tenths(value: float, limit: float) -> str:
    """A score in two characters: its sign, and its size in tenths of the largest score."""
    size = min(9, round(abs(value) / limit * 10)) if limit > 0 else 0
    return f"{'-' if value < 0 else '+'}{size}" if size else "0"


def signs(palette: Palette) -> Text:
    """The legend of the signs, each in its colour."""
    if not palette.colour:
        return Text(SIGNS)
    return Text.assemble((f"■ {HELPFUL}", palette.helpful), "   ", (f"■ {HARMFUL}", palette.harmful))
