"""A view in a file: text, SVG or HTML of the same picture."""

from __future__ import annotations

from html import escape
from pathlib import Path

from rich.console import RenderableType

from tracinctl.errors import PlotError
from tracinctl.files import write_text_atomic
from tracinctl.plots.drawing.picture import Picture
from tracinctl.plots.drawing.svg import STYLE, plain_text, svg_picture

FORMATS = (".txt", ".svg", ".html")

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}body {{ margin: 24px; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14171b; }} }}
@media print {{ body {{ background: #ffffff; }} }}
svg.picture {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
{picture}</body>
</html>
"""


def save(view: RenderableType, path: Path, width: int) -> None:
    """Write a view; the file's ending decides the form. The same view gives the same bytes.

    Raises:
        PlotError: the ending is none of FORMATS.
        TracinctlError: the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise PlotError(
            f"a plot cannot be written as {path.suffix or path.name!r}", hint=f"one of {', '.join(FORMATS)}"
        )
    title = view.title if isinstance(view, Picture) else "tracinctl"
    if isinstance(view, Picture):
        width = view.width
    if ending == ".txt":
        text = plain_text(view, width)
    elif ending == ".svg":
        text = svg_picture(view, width, title)
    else:
        picture = svg_picture(view, width, title, alone=False)
        text = _PAGE.format(title=escape(title), style=STYLE, picture=picture)
    write_text_atomic(path, text)
