"""Bars of block characters: a bar's length is its value, to an eighth of a character."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_ACROSS = " ▏▎▍▌▋▊▉"
_UP = " ▁▂▃▄▅▆▇"
LEAST = 12
"""Least width of a useful bar."""


def eighths(value: float, limit: float, cells: int) -> int:
    """The length of a bar in eighths of a character, if ``limit`` fills all ``cells`` characters.

    A value above zero has at least one eighth; one that is not finite has none.
    """
    if not (math.isfinite(value) and math.isfinite(limit)) or value <= 0 or limit <= 0:
        return 0
    # divide before multiplying, so that a huge value does not overflow
    return max(1, min(8 * cells, round(value / limit * 8 * cells)))


def upright(value: float, limit: float, height: int) -> str:
    """A vertical bar of ``height`` characters, from the top down."""
    full, part = divmod(eighths(value, limit, height), 8)
    return ("█" * full + (_UP[part] if part else "")).ljust(height)[::-1]


@dataclass(frozen=True)
class Bar:
    """A horizontal bar that fills its table cell."""

    value: float
    limit: float
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, part = divmod(eighths(self.value, self.limit, options.max_width), 8)
        yield Text("█" * full + (_ACROSS[part] if part else ""), self.style)


def whole_steps(limit: float, cells: int) -> float:
    """The smallest round number not below ``limit``, for the end of an axis of counts."""
    if limit <= cells:
        return max(1.0, float(limit))
    power = 10.0 ** math.floor(math.log10(limit))
    return next(step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= limit)
