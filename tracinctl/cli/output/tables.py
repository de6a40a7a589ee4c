"""Tables of text: in columns, or with one line per cell if the screen is too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tracinctl.text import clean

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


def _least(column: Column, place: int, body: Sequence[Sequence[Cell]]) -> int:
    """Least readable width of a column: numbers stay whole, titles fold between words."""
    from rich.cells import cell_len

    title = max((cell_len(word) for word in clean(column.title).split()), default=0)
    widest = max((cell_len(clean(row[place].text)) for row in body), default=0)
    return max(title, widest if column.align == "right" else min(widest, _NAME))


def least_width(columns: Sequence[Column], body: Sequence[Sequence[Cell]]) -> int:
    """Least width of a table."""
    return sum(_least(column, k, body) for k, column in enumerate(columns)) + _GAP * (len(columns) - 1)


def _whole(column: Column, place: int, body: Sequence[Sequence[Cell]]) -> int:
    """Width of a column without folding."""
    from rich.cells import cell_len

    return max(cell_len(clean(text)) for text in (column.title, *(row[place].text for row in body)))


def whole_width(columns: Sequence[Column], body: Sequence[Sequence[Cell]]) -> int:
    """Width of a table without folding, titles included."""
    return sum(_whole(column, k, body) for k, column in enumerate(columns)) + _GAP * (len(columns) - 1)


def _widths(columns: Sequence[Column], body: Sequence[Sequence[Cell]], room: int) -> list[int]:
    """The width of each column; if they do not all fit, the column with most to spare shrinks first."""
    widths = [_whole(column, k, body) for k, column in enumerate(columns)]
    spare = [width - _least(column, k, body) for k, (column, width) in enumerate(zip(columns, widths, strict=True))]
    for _ in range(sum(widths) + _GAP * (len(columns) - 1) - room):
        most = spare.index(max(spare))
        if spare[most] <= 0:
            break
        spare[most] -= 1
        widths[most] -= 1
    return widths


def as_columns(columns: Sequence[Column], body: Sequence[Sequence[Cell]], room: int) -> Table:
    """A table with a line below its titles, in ``room`` columns if possible."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, header_style="bold")
    for column, width in zip(columns, _widths(columns, body, room), strict=True):
        table.add_column(
            Text(clean(column.title)),
            justify=column.align,
            style=column.style,
            overflow="fold",
            width=width,
        )
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
