"""Tables of text: in columns, or with one line per cell if the screen is too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tracinctl.text import aligned, clean

if TYPE_CHECKING:
    from rich.table import Table

_NAME = 16
"""Least width of a name's column; longer names fold."""
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its alignment, and the style of its cells."""

    title: str
    align: Literal["left", "right"] = "left"
    style: str = ""


@dataclass(frozen=True)
class Cell:
    """A table cell with its own style."""

    text: str
    style: str = ""


def number_columns(*titles: str, bold: str = "") -> list[Column]:
    """Columns of numbers; those of the title ``bold`` are bold."""
    return [Column(title, "right", "bold" if title == bold else "") for title in titles]


def scored_pairs(
    title: str, pairs: Sequence[tuple[str, int, float]], *, rule: str
) -> tuple[list[Column], list[list[str]]]:
    """Columns and rows of pairs with their votes, and their total or mean score."""
    columns = [Column(title), *number_columns("votes", "total score" if rule == "total" else "mean score")]
    scores = aligned([score for _, _, score in pairs])
    rows = [[name, f"{votes:,}", score] for (name, votes, _), score in zip(pairs, scores, strict=True)]
    return columns, rows


def column_widths(columns: Sequence[Column], body: Sequence[Sequence[Cell]]) -> list[tuple[int, int]]:
    """(Least readable, full) width of each column: names fold, titles fold between words, numbers stay whole."""
    from rich.cells import cell_len

    widths = []
    for place, column in enumerate(columns):
        title = clean(column.title)
        widest = max((cell_len(clean(row[place].text)) for row in body), default=0)
        folded = widest if column.align == "right" else min(widest, _NAME)
        words = max(map(cell_len, title.split()), default=0)
        widths.append((max(words, folded), max(cell_len(title), widest)))
    return widths


def table_width(widths: Sequence[int]) -> int:
    """Width of a table with columns of these widths."""
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted(widths: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Widths that fit into ``room`` columns if possible; the column with most to spare shrinks first."""
    fitted = [full for _, full in widths]
    spare = [full - least for least, full in widths]
    for _ in range(table_width(fitted) - room):
        most = spare.index(max(spare))
        if spare[most] <= 0:
            break
        spare[most] -= 1
        fitted[most] -= 1
    return fitted


def as_columns(columns: Sequence[Column], body: Sequence[Sequence[Cell]], room: int) -> Table:
    """A table with a line below its titles, in ``room`` columns if possible."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, header_style="bold")
    for column, width in zip(columns, _fitted(column_widths(columns, body), room), strict=True):
        title = Text(clean(column.title))
        table.add_column(title, justify=column.align, style=column.style, overflow="fold", width=width)
    for row in body:
        table.add_row(*(Text(clean(cell.text), style=cell.style) for cell in row))
    return table


def as_lines(columns: Sequence[Column], body: Sequence[Sequence[Cell]]) -> Table:
    """One line per cell, after its title, with a blank line between rows."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for number, row in enumerate(body):
        if number:
            table.add_row()
        for column, cell in zip(columns, row, strict=True):
            table.add_row(Text(clean(column.title)), Text(clean(cell.text), style=cell.style or column.style))
    return table
