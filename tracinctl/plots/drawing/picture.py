"""What a view gives: lines that are already as wide as they may be, and what they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.style import Style
from rich.text import Text

from tracinctl.text import HARMFUL, HELPFUL, SIGNS, wrap


@dataclass(frozen=True)
class Palette:
    """Styles by meaning, all empty where there is to be no colour.

    Every colour has a contrast of at least 3 to both a white and a black background; the two of the signs are told
    apart by people who see no red or no green.
    """

    colour: bool

    def _style(self, style: str) -> str:
        return style if self.colour else ""

    @property
    def harmful(self) -> str:
        """Of negative scores."""
        return self._style("#d6604d")

    @property
    def helpful(self) -> str:
        """Of positive scores."""
        return self._style("#4393c3")

    @property
    def neutral(self) -> str:
        """Of values that have no sign."""
        return self._style("#a075c4")

    @property
    def mark(self) -> str:
        """Of thresholds and of what a rule asks for."""
        return self._style("#b8860b")

    @property
    def quiet(self) -> str:
        """Of axes and remarks."""
        return self._style("#848484")

    @property
    def strong(self) -> str:
        """Of headings."""
        return self._style("bold")

    def of_sign(self, value: float) -> str:
        """The style of a score."""
        return self.harmful if value < 0 else self.helpful if value > 0 else self.quiet

    def line(self, place: int, lines: int) -> str:
        """The style of one of several ordered lines: from red over ochre and green to violet."""
        if not self.colour:
            return ""
        ramp = ["#d6604d", "#c0801f", "#5b9a3c", "#2f9c95", "#4393c3", "#a075c4"]
        return ramp[place if lines <= len(ramp) else place * len(ramp) // lines]


class Picture:
    """Lines of styled text, none wider than ``width`` columns; Rich prints them as they are."""

    def __init__(self, lines: Iterable[Text], width: int, title: str = "") -> None:
        self.lines: Sequence[Text] = list(lines)
        self.width = width
        self.title = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            # a line's own style would be lost: only spans are rendered
            yield from Text().append_text(line).render(console, end="\n")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width)

    @property
    def plain(self) -> str:
        """The picture without styles."""
        return "".join(f"{line.plain.rstrip()}\n" for line in self.lines)


Lines = list[Text]

BAR = "tracinctl-bar"


def ink(text: str, style: str | Style = "") -> Text:
    """Text in a style that does not spread to what is appended to it."""
    return Text().append(text, style)


def bar_style(style: str) -> Style:
    """The style of a bar that lies: where a picture is more than letters, bars above each other are kept apart."""
    return Style.parse(style) + Style(meta={BAR: True})


def words(text: str, width: int, style: str = "") -> Lines:
    """A paragraph."""
    return [ink(line, style) for line in wrap(text, width)]


def heading(text: str, width: int, palette: Palette) -> Lines:
    """A heading, in as many lines as it takes."""
    return words(text, width, palette.strong)


def signs(width: int, palette: Palette) -> Lines:
    """What the signs mean, each in its colour."""
    if not palette.colour:
        return words(SIGNS, width)
    parts = [ink(f"■ {HELPFUL}", palette.helpful), ink(f"■ {HARMFUL}", palette.harmful)]
    single = Text("   ").join(parts)
    return [single] if single.cell_len <= width else parts


def beside(left: Lines, right: Lines, left_width: int, gap: int) -> Lines:
    """Two pictures side by side; the shorter one ends in blank lines."""
    joined = []
    for k in range(max(len(left), len(right))):
        line = left[k].copy() if k < len(left) else Text()
        if k < len(right):
            line.append(" " * (left_width - line.cell_len + gap))
            line.append_text(right[k])
        joined.append(line)
    return joined


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text in at least so many columns."""
    blanks = " " * max(0, width - cell_len(text))
    return blanks + text if right else text + blanks
