"""Lines drawn with braille characters: two dots across and four down in each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
ACROSS = 2
DOWN = 4


class Canvas:
    """Dots in ``width`` x ``height`` characters. Where two lines cross, a character has the colour of the first."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots = [[0] * width for _ in range(height)]
        self._style = [[""] * width for _ in range(height)]
        self._text: dict[tuple[int, int], tuple[str, str]] = {}

    def dot(self, x: int, y: int, style: str = "") -> None:
        """Set a dot; (0, 0) is the upper left one. What lies outside is left out."""
        if 0 <= x < self.width * ACROSS and 0 <= y < self.height * DOWN:
            row, column = y // DOWN, x // ACROSS
            if not self._dots[row][column]:
                self._style[row][column] = style
            self._dots[row][column] |= _DOTS[y % DOWN][x % ACROSS]

    def steps(self, heights: Sequence[float], style: str = "") -> None:
        """A line of steps from the left, a height (0 at the bottom, 1 at the top) for each dot across."""
        last = self.height * DOWN - 1
        before: int | None = None
        for x, height in enumerate(heights):
            y = last - round(min(max(height, 0.0), 1.0) * last)
            start = y if before is None else before
            for each in range(min(start, y), max(start, y) + 1):
                self.dot(x, each, style)
            before = y

    def upright(self, column: int, style: str = "", letter: str = "┊") -> None:
        """A dotted line from top to bottom, behind all dots."""
        for row in range(self.height):
            self._text.setdefault((row, column), (letter, style))

    def row_of(self, height: float) -> int:
        """The row of characters that a height (0 to 1) falls into."""
        last = self.height * DOWN - 1
        return (last - round(min(max(height, 0.0), 1.0) * last)) // DOWN

    def lines(self) -> list[Text]:
        """The rows, from the top."""
        rows = []
        for row in range(self.height):
            text = Text()
            for column in range(self.width):
                dots = self._dots[row][column]
                if dots:
                    text.append(chr(_BLANK + dots), self._style[row][column])
                else:
                    text.append(*self._text.get((row, column), (" ", "")))
            rows.append(text)
        return rows
