"""Text of unknown origin, made safe and short enough to be drawn."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

SIGNS = "positive = helpful, negative = harmful"


def clean(text: str) -> str:
    """The text with control and escape characters written out, so that it can steer no terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fit(text: str, width: int) -> str:
    """The text in exactly so many columns: padded, or its middle left out."""
    text = clean(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    head = (width - 1) // 2
    tail = width - 1 - head
    return set_cell_size(f"{text[:head]}…{text[len(text) - tail :]}", width)


def number(value: float) -> str:
    """A score in at most nine columns."""
    short = f"{value:.4g}"
    return short if len(short) <= 9 else f"{value:.2e}"  # noqa: PLR2004  columns
