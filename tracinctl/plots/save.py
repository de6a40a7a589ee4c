"""A view in a file: text, SVG or HTML of the same picture."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console, RenderableType

from tracinctl.errors import PlotError
from tracinctl.files import write_text_atomic

FORMATS = (".txt", ".svg", ".html")


def save(view: RenderableType, path: Path, width: int) -> None:
    """Write a view; the file's ending decides the form.

    Raises:
        PlotError: the ending is none of FORMATS.
        TracinctlError: the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise PlotError(
            f"a plot cannot be written as {path.suffix or path.name!r}", hint=f"one of {', '.join(FORMATS)}"
        )
    console = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(view)
    if path.suffix == ".txt":
        text = console.export_text()
    elif path.suffix == ".svg":
        text = console.export_svg(title="tracinctl", unique_id="tracinctl")
    else:
        text = console.export_html()
    write_text_atomic(path, text)
