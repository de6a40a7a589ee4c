"""Pictures as SVG: letters as text, bars, dots and axes as exact shapes, so that no font leaves gaps in them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from html import escape

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style

from tracinctl.plots.drawing.picture import BAR

CELL = 8
LINE = 17
_PAD = 14
_FONT = 13.3  # monospaced letters are 0.6 of their size wide
_BASE = 12.6

_ACROSS = {letter: k for k, letter in enumerate("▏▎▍▌▋▊▉█", 1)}
_UP = {letter: k for k, letter in enumerate("▁▂▃▄▅▆▇", 1)}
_MIDDLE, _HALF = CELL / 2, LINE / 2
# box-drawing letters as lines from (x, y) to (x, y), and how wide they are
_BOX: dict[str, tuple[tuple[tuple[float, float, float, float], ...], float]] = {
    "─": (((0, _HALF, CELL, _HALF),), 1),
    "━": (((0, _HALF, CELL, _HALF),), 7),
    "┃": (((_MIDDLE, 1, _MIDDLE, LINE - 1),), 3),
    "│": (((_MIDDLE, 0, _MIDDLE, LINE),), 1),
    "┤": (((_MIDDLE, 0, _MIDDLE, LINE), (0, _HALF, _MIDDLE, _HALF)), 1),
    "├": (((_MIDDLE, 0, _MIDDLE, LINE), (_MIDDLE, _HALF, CELL, _HALF)), 1),
    "└": (((_MIDDLE, 0, _MIDDLE, _HALF), (_MIDDLE, _HALF, CELL, _HALF)), 1),
    "┬": (((0, _HALF, CELL, _HALF), (_MIDDLE, _HALF, _MIDDLE, LINE)), 1),
    "┊": (((_MIDDLE, 1, _MIDDLE, 4), (_MIDDLE, 7, _MIDDLE, 10), (_MIDDLE, 13, _MIDDLE, 16)), 1),
}
_BRAILLE = range(0x2800, 0x2900)
_BITS = ((0x01, 0, 0), (0x02, 0, 1), (0x04, 0, 2), (0x40, 0, 3), (0x08, 1, 0), (0x10, 1, 1), (0x20, 1, 2), (0x80, 1, 3))

STYLE = """\
svg.picture { color: #1f2328; --paper: #ffffff; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, \
"DejaVu Sans Mono", "Liberation Mono", monospace; font-size: 13.3px; }
svg.picture text { fill: currentColor; white-space: pre; }
svg.picture .b { font-weight: 700; }
svg.picture .paper { fill: var(--paper); }
@media (prefers-color-scheme: dark) { svg.picture { color: #d7dce2; --paper: #14171b; } }
@media print { svg.picture { color: #000000; --paper: #ffffff; } }
"""


def rows_of(view: RenderableType, width: int) -> list[list[Segment]]:
    """The rows of anything that Rich can draw."""
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},
    )
    return console.render_lines(view, console.options.update_width(width), pad=False)


def plain_text(view: RenderableType, width: int) -> str:
    """The picture as text, without blanks at the ends of lines."""
    rows = ("".join(segment.text for segment in row).rstrip() for row in rows_of(view, width))
    return "".join(f"{row}\n" for row in rows)


def svg_picture(view: RenderableType, width: int, title: str, *, alone: bool = True) -> str:
    """The picture as SVG.

    Args:
        view: the picture.
        width: its columns.
        title: what it is called, for readers who do not see it.
        alone: whether it is a file of its own, and so brings its styles and its paper along.
    """
    rows = rows_of(view, width)
    pad = _PAD if alone else 0
    across, down = width * CELL + 2 * pad, len(rows) * LINE + 2 * pad
    name = escape(title, quote=True)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" role="img" aria-label="{name}" '
        f'width="{across}" height="{down}" viewBox="{-pad} {-pad} {across} {down}">\n<title>{name}</title>\n'
    )
    if alone:
        paper = f'<rect class="paper" x="{-pad}" y="{-pad}" width="{across}" height="{down}"/>'
        head += f"<style>\n{STYLE}</style>\n{paper}\n"
    return head + "\n".join(part for k, row in enumerate(rows) for part in _row(row, k * LINE)) + "\n</svg>\n"


def _row(row: Iterable[Segment], y: int) -> Iterator[str]:
    x = 0
    for segment in row:
        if segment.control:
            continue
        yield from _segment(segment.text, segment.style or Style.null(), x, y)
        x += cell_len(segment.text) * CELL


def _segment(text: str, style: Style, x: int, y: int) -> Iterator[str]:
    ink = f' fill="{_hex(style.color)}"' if style.color is not None else ' fill="currentColor"'
    if style.bgcolor is not None:
        yield (
            f'<rect x="{x}" y="{y}" width="{cell_len(text) * CELL}" height="{LINE}" fill="{_hex(style.bgcolor)}" '
            'shape-rendering="crispEdges"/>'
        )
    for part, drawn in _runs(text):
        size = cell_len(part) * CELL
        if drawn:
            yield from _shapes(part, ink, x, y, 1.5 if style.meta.get(BAR) else 0)
        elif part.strip():
            lead = (len(part) - len(part.lstrip(" "))) * CELL
            letters = part.strip(" ")
            bold = ' class="b"' if style.bold else ""
            colour = f' style="fill:{_hex(style.color)}"' if style.color is not None else ""
            yield (
                f'<text{bold}{colour} x="{x + lead}" y="{y + _BASE:g}" textLength="{cell_len(letters) * CELL}" '
                f'lengthAdjust="spacingAndGlyphs">{escape(letters, quote=False)}</text>'
            )
        x += size


def _hex(colour: object) -> str:
    triplet = colour.get_truecolor()  # type: ignore[attr-defined]  # rich.color.Color, which Style types as optional
    return str(triplet.hex)


def _drawn(letter: str) -> bool:
    return letter in _ACROSS or letter in _UP or letter in _BOX or ord(letter) in _BRAILLE


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    start = 0
    for k in range(1, len(text) + 1):
        if k == len(text) or _drawn(text[k]) != _drawn(text[start]):
            yield text[start:k], _drawn(text[start])
            start = k


def _shapes(text: str, ink: str, x: int, y: int, inset: float) -> Iterator[str]:
    boxes = [box for k, letter in enumerate(text) for box in _rectangles(letter, x + k * CELL, y)]
    # rectangles that touch become one, so that no seam shows
    joined: list[tuple[float, float, float, float]] = []
    for box in boxes:
        if joined:
            left, top, wide, high = joined[-1]
            if (top, high) == (box[1], box[3]) and left + wide == box[0]:
                joined[-1] = (left, top, wide + box[2], high)
                continue
        joined.append(box)
    if joined:
        path = "".join(f"M{a:g} {b + inset:g}h{w:g}v{h - 2 * inset:g}h{-w:g}z" for a, b, w, h in joined)
        yield f'<path{ink} d="{path}"/>'
    dots = "".join(
        f"M{x + k * CELL + 2 + 4 * column - 1.3:g} {y + 2.1 + 4.25 * row:g}a1.3 1.3 0 1 0 2.6 0a1.3 1.3 0 1 0 -2.6 0"
        for k, letter in enumerate(text)
        if ord(letter) in _BRAILLE
        for bit, column, row in _BITS
        if (ord(letter) - _BRAILLE.start) & bit
    )
    if dots:
        yield f'<path{ink} d="{dots}"/>'


def _rectangles(letter: str, x: float, y: float) -> Iterator[tuple[float, float, float, float]]:
    if letter in _ACROSS:
        yield x, y, CELL * _ACROSS[letter] / 8, LINE
    elif letter in _UP:
        high = LINE * _UP[letter] / 8
        yield x, y + LINE - high, CELL, high
    elif letter in _BOX:
        lines, thick = _BOX[letter]
        for x1, y1, x2, y2 in lines:
            if y1 == y2:
                yield x + x1, y + y1 - thick / 2, x2 - x1, thick
            else:
                yield x + x1 - thick / 2, y + y1, thick, y2 - y1
