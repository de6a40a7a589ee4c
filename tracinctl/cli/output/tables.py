"""Tables of text: in columns, or where the screen is too narrow for them a line a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tracinctl.text import clean

if TYPE_CHECKING:
    from rich.table import Table

_NAME = 16
"""Columns that a name needs at least; a longer one folds."""
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, how it is aligned, and the style of its cells."""

    title: str
    align: Literal["left", "right"] = "left"
    style: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table with a style of its own."""

    text: str
    style: str = ""


def _least(column: Column, place: int, body: Sequence[Sequence[Cell]]) -> int:
    """Columns below which a column cannot be read: numbers whole, titles by words."""
    from rich.cells import cell_len

    title = max((cell_len(word) for word in clean(column.title).split()), default=0)
    widest = max((cell_len(clean(row[place].text)) for row in body), default=0)
    return max(title, widest if column.align == "right" else min(widest, _NAME))


def least_width(columns: Sequence[Column], body: Sequence[Sequence[Cell]]) -> int:
    """Columns that a table needs at least."""
    return sum(_least(column, k, body) for k, column in enumerate(columns)) + _GAP * (len(columns) - 1)


def _whole(column: Column, place: int, body: Sequence[Sequence[Cell]]) -> int:
    """Columns in which nothing of a column is folded."""
    from rich.cells import cell_len

    return max(cell_len(clean(text)) for text in (column.title, *(row[place].text for row in body)))


def whole_width(columns: Sequence[Column], body: Sequence[Sequence[Cell]]) -> int:
    """Columns that a table needs where nothing is to be folded, its titles neither."""
    return sum(_whole(column, k, body) for k, column in enumerate(columns)) + _GAP * (len(columns) - 1)


def _widths(columns: Sequence[Column], body: Sequence[Sequence[Cell]], room: int) -> list[int]:
    """The width of each column: whole, or where that does not fit, what has most to spare is folded first."""
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
    """A table with a line below its titles, in ``room`` columns where that is possible."""
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
    """A line for every cell, its title before it; rows are blank lines apart."""
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
