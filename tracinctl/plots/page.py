"""Documents from one Markdown template: as Markdown, or as one HTML page that loads nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tracinctl.plots.picture import Picture
from tracinctl.plots.save import page, svg, template_text
from tracinctl.text import clean

_MEANT = re.compile(r"[\\`*_{}\[\]<>#|~!$&]|^[-+=]|^(\d+)(?=[.)](\s|$))")
_TICKS = re.compile("`+")


@dataclass(frozen=True)
class Table:
    """A table of text; ``numbers`` are the right-aligned columns, ``codes`` those of ids and paths."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    codes: Sequence[int] = ()


@dataclass(frozen=True)
class Card:
    """A card: its id, its title, and markup in which all text is escaped."""

    id: str
    title: str
    html: str


class Document:
    """A document that is being written.

    All values in the template are text: control characters are written out, and Markdown's special characters are
    escaped. For a page, markdown-it turns the Markdown into HTML and escapes the rest.

    Paths inside ``folder`` are shown relative to it. ``page`` makes an HTML page with SVG pictures instead of Markdown
    with text pictures; for ``style`` and ``allowed`` see ``save.page``.
    """

    def __init__(self, title: str, folder: Path | None, *, page: bool, style: str = "", allowed: str = "") -> None:
        self.page = page
        self._title, self._style, self._allowed = title, style, allowed
        self._folder = "" if folder is None else f"{folder}{os.sep}"
        self._parts: list[str] = []

    def render(self, template: str, **values: Any) -> str:
        """Fill a template of this package."""
        from jinja2 import Environment

        environment = Environment(autoescape=True, finalize=self._text, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"table": self._table, "block": self._block, "figure": self._figure, "card": self._card}
        filled = environment.from_string(template_text(template)).render(values, page=self.page)
        text = re.sub(r"\n{3,}", "\n\n", filled)
        return self._html(text) if self.page else text

    def _plain(self, value: object) -> str:
        return clean(str(value).replace(self._folder, "") if self._folder else value)

    def _text(self, value: object) -> Markup:
        if isinstance(value, Markup):
            return value
        # a number with a point would begin a list, so the point is escaped
        escaped = _MEANT.sub(lambda match: f"{match[1]}\\" if match[1] else f"\\{match[0]}", self._plain(value))
        return Markup(escaped)  # noqa: S704  escaped here

    def _code(self, value: str) -> str:
        """A code span for a table."""
        text = self._plain(value)
        fence = _fence(text, 1)
        blank = " " if text.startswith("`") or text.endswith("`") else ""
        # an unescaped bar ends a cell even within a code span
        return f"{fence}{blank}{text}{blank}{fence}".replace("|", "\\|") if text else ""

    def _table(self, table: Table) -> Markup:
        rule = ("---:" if k in table.numbers else "---" for k in range(len(table.header)))
        rows = [[self._text(name) for name in table.header], rule]
        rows += [
            [self._code(cell) if k in table.codes else self._text(cell) for k, cell in enumerate(row)]
            for row in table.rows
        ]
        lines = (f"| {' | '.join(map(str, row))} |\n" for row in rows)
        return Markup("".join(lines) if table.rows else "")  # noqa: S704  escaped by cell

    def _block(self, value: str, language: str = "sh") -> Markup:
        """A block of preformatted lines."""
        text = "\n".join(map(self._plain, value.splitlines()))
        fence = _fence(text, 3)
        return Markup(f"{fence}{language}\n{text}\n{fence}")  # noqa: S704  fenced

    def _card(self, card: Card) -> Markup:
        """A card; only for a page."""
        number, name = len(self._parts) + 1, escape(self._plain(card.title))
        return self._part(
            f'<article class="card" aria-labelledby="card-{number}"><h4 id="card-{number}">{name}</h4>\n'
            f"<p><code>{escape(self._plain(card.id))}</code></p>\n{card.html}</article>\n"
        )

    def _figure(self, picture: Picture, title: str) -> Markup:
        if not self.page:
            return Markup(f"#### {self._text(title)}\n\n{self._block(picture.plain, 'text')}")  # noqa: S704  escaped
        name = escape(self._plain(title))
        return self._part(
            f'<figure><figcaption>{name}</figcaption><div role="region" aria-label="{name}" tabindex="0">\n'
            f"{svg(picture, self._plain(title))}</div></figure>\n"
        )

    def _part(self, html: str) -> Markup:
        """A mark in the Markdown, in whose place the page gets this markup."""
        self._parts.append(html)
        return self._block("", f"part {len(self._parts) - 1}")

    def _html(self, text: str) -> str:
        from markdown_it import MarkdownIt

        def fence(_: object, tokens: Sequence[Any], at: int, *__: object) -> str:
            kind, _, place = tokens[at].info.partition(" ")
            # escaped text cannot contain such a comment
            return f"<!--{place}-->" if kind == "part" else f"<pre>{escape(tokens[at].content)}</pre>\n"

        reader = MarkdownIt("commonmark", {"html": False}).enable("table")
        reader.add_render_rule("fence", fence)
        body = reader.render(text)
        for mark, more in _ACCESSIBLE.items():
            body = body.replace(mark, more)
        sections = iter(range(1, 1 + body.count("<h2>")))
        body = re.sub("<h2>", lambda _: f'<h2 id="part-{next(sections)}">', body)
        body = re.sub("<!--([0-9]+)-->", lambda match: self._parts[int(match[1])], body)
        return page(self._plain(self._title), body, style=self._style, allowed=self._allowed)


def _fence(text: str, least: int) -> str:
    """A fence of more backticks than the text has in a row."""
    return "`" * max(least, 1 + max(map(len, _TICKS.findall(text)), default=0))


# scrolling tables have names and can be focused by keys; escaped text cannot contain these tags
_ACCESSIBLE = {
    "<table>": '<div class="table" role="region" aria-label="Table" tabindex="0"><table>',
    "</table>": "</table></div>",
    "<th ": '<th scope="col" ',
    "<th>": '<th scope="col">',
    "<ul>": '<nav aria-label="Sections"><ul>',
    "</ul>": "</ul></nav>",
}
