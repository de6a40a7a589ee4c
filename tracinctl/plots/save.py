"""Save a view as text, or as Rich's SVG, alone or in a page."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path

from rich.terminal_theme import TerminalTheme

from tracinctl.errors import UsageError
from tracinctl.files import write_text_atomic
from tracinctl.plots.picture import Picture

FORMATS = (".txt", ".svg", ".html")

_INK = "#1f2328"
_THEME = TerminalTheme((255, 255, 255), (0x1F, 0x23, 0x28), [(0, 0, 0)] * 8)
_FRAME = 'viewBox="0 0 {terminal_width} {terminal_height}"'
_FRAME_ALONE = 'width="{width}" height="{height}" viewBox="-14 -10 {width} {height}"'
_PAPER = '<rect x="-14" y="-10" width="{width}" height="{height}" fill="var(--paper)"/>\n'


def template_text(name: str) -> str:
    """A template of this package."""
    return (files("tracinctl.plots") / "templates" / name).read_text(encoding="utf-8")


def svg(picture: Picture, title: str, *, alone: bool = False) -> str:
    """The picture as SVG with text in the reader's light or dark colour; ``alone`` adds a background."""
    # Rich sets lines 24.4 px apart and clips them; the template's unclipped letters make the blocks of rows touch
    name = escape(title).replace("{", "{{").replace("}", "}}")
    frame, paper = (_FRAME_ALONE, _PAPER) if alone else (_FRAME, "")
    template = template_text("picture.svg").replace("@frame", frame).replace("@paper", paper).replace("@title", name)
    drawn = picture.printed().export_svg(title=title, theme=_THEME, code_format=template)
    return drawn.replace(f"fill: {_INK}", "fill: currentColor")


def page(title: str, body: str, *, style: str = "", allowed: str = "") -> str:
    """A self-contained HTML page with light, dark and print styles.

    ``style`` is an additional style sheet, ``allowed`` more directives of the content security policy.
    """
    frame = template_text("page.html").replace("@style", style).replace("@allowed", allowed)
    return frame.replace("@title", escape(title)).replace("@body", body)


def check_picture_path(path: Path) -> None:
    """Raise UsageError if a picture cannot be written to this path; call this before the work begins."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        more = "" if ending != ".png" else ": an .svg is sharp at every size, and browsers save it as .png"
        raise UsageError(
            f"a plot cannot be written as {path.suffix or path.name!r}", hint=f"Use one of {', '.join(FORMATS)}{more}"
        )


def save(picture: Picture, path: Path) -> None:
    """Write a picture in the format of the file's ending. The same picture gives the same bytes.

    Raises:
        UsageError: the ending is not one of FORMATS.
        TracinctlError: the file cannot be written.
    """
    check_picture_path(path)
    ending = path.suffix.lower()
    if ending == ".txt":
        text = picture.plain
    elif ending == ".svg":
        text = svg(picture, picture.title, alone=True)
    else:
        text = page(picture.title, f"<figure><div>{svg(picture, picture.title)}</div></figure>")
    write_text_atomic(path, text)
