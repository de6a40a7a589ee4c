"""A report as Markdown; pictures are text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tracinctl.plots.drawing.svg import plain_text
from tracinctl.plots.report_parts import Advice, Command, Figure, Heading, Paragraph, Part, Table
from tracinctl.text import clean

_MEANT = re.compile(r"[\\`*_{}\[\]<>#|~!$&]|^[-+=]|(?<=\d)[.)](?=\s)")
_TICKS = re.compile("`+")


def markdown_report(title: str, parts: Sequence[Part]) -> str:
    """The text; letters of names that mean something in Markdown are escaped."""
    return "\n\n".join([f"# {_text(title)}", *(_part(part) for part in parts)]) + "\n"


def _text(text: str) -> str:
    return _MEANT.sub(lambda match: f"\\{match[0]}", clean(text)).replace("\n", " ")


def _code(text: str) -> str:
    """A code span; its fence is longer than any run of backticks in it."""
    shown = clean(text)
    fence = "`" * (1 + max((len(run) for run in _TICKS.findall(shown)), default=0))
    blank = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{blank}{shown}{blank}{fence}" if shown else ""


def _block(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _part(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f"{'#' * level} {_text(text)}"
        case Paragraph(text):
            return _text(text)
        case Command(text):
            return _block(clean(text), "sh")
        case Advice(text, hint, _):
            return f"> **{_text(text)}**" + (f"\n>\n> {_text(hint)}" if hint else "")
        case Figure(_, view, width):
            return _block(plain_text(view, width), "text")
        case Table():
            return _table(part)


def _table(table: Table) -> str:
    rule = ("---:" if k in table.numbers else "---" for k in range(len(table.header)))
    lines = [_row([_text(name) for name in table.header]), _row(rule)]
    # a bar ends a cell even within a code span, unless it is escaped
    lines += [
        _row(_code(cell).replace("|", "\\|") if k in table.codes else _text(cell) for k, cell in enumerate(row))
        for row in table.rows
    ]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
