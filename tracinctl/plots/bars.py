"""Horizontal bars of block characters: a bar's length is its value, to an eighth of a column."""

from __future__ import annotations

import math

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(value: float, limit: float, width: int) -> str:
    """A bar from the left; ``limit`` fills ``width`` columns. Values that are not finite or not positive give none."""
    if not (math.isfinite(value) and math.isfinite(limit)) or value <= 0 or limit <= 0:
        return " " * width
    # divided before it is multiplied, so that a huge value does not overflow
    eighths = min(round(value / limit * 8 * width), 8 * width)
    eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def signed_bar(value: float, limit: float, width: int) -> tuple[str, str]:
    """A bar from a middle line: what is left of it (negative), and what is right of it (positive), ``width`` each.

    Block characters fill from the left, so a bar to the left is drawn in whole columns.
    """
    if value < 0 and math.isfinite(value) and limit > 0:
        columns = max(1, min(width, round(-value / limit * width)))
        return "█" * columns + "", ""
    return "", bar(value, limit, width)
