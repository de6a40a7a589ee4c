"""Tables of text and bars."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from tracinctl.plots.drawing.bars import LEAST, Bar
from tracinctl.text import clean

_GAP = 2


def heading(text: str, style: str) -> Text:
    """A line above a table or a chart."""
    return Text(clean(text), style)


def to_the_right(text: str, width: int) -> str:
    """The text at the right end of ``width`` columns."""
    return " " * max(0, width - cell_len(text)) + text


def bar_table(names: Sequence[str], cells: Sequence[Sequence[Text]], bars: Sequence[Bar], width: int) -> Table:
    """One row per name: the name, which may fold, some short cells, and a bar."""
    table = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
    short = [max(cell.cell_len for cell in column) + _GAP for column in zip(*cells, strict=True)]
    room = width - sum(short) - LEAST - _GAP
    longest = max((cell_len(clean(name)) for name in names), default=0)
    table.add_column(overflow="fold", width=max(1, min(longest, room)))
    for _ in short:
        table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    for name, row, bar in zip(names, cells, bars, strict=True):
        table.add_row(Text(clean(name)), *row, bar)
    return table


def number_table(headers: Sequence[tuple[str, str]], rows: Sequence[Sequence[Text]]) -> Table:
    """Right-aligned columns of numbers below their (name, style)."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="", show_header=bool(headers))
    for name, style in headers:
        table.add_column(Text(name, style), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
