"""A report as one HTML page that fetches nothing: light, dark, and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tracinctl.plots.drawing.svg import STYLE, svg_picture
from tracinctl.plots.report_parts import Advice, Command, Figure, Heading, Paragraph, Part, Table
from tracinctl.text import clean

_STYLE = """\
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff; \
--raised: #f6f8fa; --warn: #b8860b; --grave: #c5492f; --link: #1f6fb5; }
@media (prefers-color-scheme: dark) { :root { --ink: #d7dce2; --soft: #9aa4ae; --line: #343a42; --paper: #14171b; \
--raised: #1c2026; --link: #6cb0ea; } }
@media print { :root { --ink: #000000; --soft: #444444; --line: #bbbbbb; --paper: #ffffff; --raised: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, \
"Noto Sans", "Liberation Sans", sans-serif; }
main { max-width: 880px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 16px; }
h2 { font-size: 22px; margin: 56px 0 12px; padding-bottom: 6px; border-bottom: 2px solid var(--line); }
h3 { font-size: 17px; margin: 36px 0 8px; }
h1, h2, h3, p, td code { overflow-wrap: anywhere; }
td code { display: inline-block; min-width: min(14em, 100%); }
p { margin: 10px 0; }
a { color: var(--link); }
nav { margin: 12px 0; }
nav a { margin-right: 18px; }
.table { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 18px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
th.n, td.n { text-align: right; white-space: nowrap; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: 13px; }
pre { margin: 8px 0; padding: 10px 14px; background: var(--raised); border: 1px solid var(--line); border-radius: 6px; \
white-space: pre-wrap; overflow-wrap: anywhere; }
aside { margin: 12px 0; padding: 8px 14px; border-left: 4px solid var(--warn); background: var(--raised); }
aside.grave { border-left-color: var(--grave); }
aside p { margin: 2px 0; }
aside p + p { color: var(--soft); }
figure { margin: 20px 0 32px; overflow-x: auto; }
svg.picture { display: block; max-width: 100%; min-width: 560px; height: auto; }
.table, figure { background: linear-gradient(to right, var(--paper) 24px, transparent 48px) left / 48px 100% local, \
linear-gradient(to left, var(--paper) 24px, transparent 48px) right / 48px 100% local, \
linear-gradient(to right, var(--line), transparent) left / 20px 100% scroll, \
linear-gradient(to left, var(--line), transparent) right / 20px 100% scroll; background-repeat: no-repeat; }
footer { margin-top: 48px; color: var(--soft); font-size: 14px; }
@media print { main { max-width: none; padding: 0; } h2 { break-before: page; } h2, h3 { break-after: avoid; } \
figure, tr, aside, pre { break-inside: avoid; } nav { display: none; } svg.picture { min-width: 0; } \
.table, figure { overflow: visible; } }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def html_report(title: str, parts: Sequence[Part]) -> str:
    """The page; every text is escaped."""
    sections = [part for part in parts if isinstance(part, Heading) and part.level == 2]  # noqa: PLR2004  a frequency
    body = []
    begun = 0
    for k, part in enumerate(parts):
        if isinstance(part, Heading) and part.level == 2:  # noqa: PLR2004  a frequency
            if not begun and len(sections) > 1:
                body.append(_contents(sections))
            begun += 1
            body.append(f'<h2 id="part-{begun}">{_text(part.text)}</h2>')
        elif k == len(parts) - 1 and isinstance(part, Paragraph):
            body.append(f"<footer>{_text(part.text)}</footer>")
        else:
            body.append(_part(part))
    return _PAGE.format(title=_text(title), style=STYLE + _STYLE, body="\n".join(body))


def _text(text: str) -> str:
    return escape(clean(text), quote=True)


def _contents(sections: Iterable[Heading]) -> str:
    links = (f'<a href="#part-{k}">{_text(part.text)}</a>' for k, part in enumerate(sections, 1))
    return f"<nav>{' '.join(links)}</nav>"


def _part(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f"<h{level}>{_text(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Command(text):
            return f"<pre>{_text(text)}</pre>"
        case Advice(text, hint, grave):
            kind = ' class="grave"' if grave else ""
            more = f"<p>{_text(hint)}</p>" if hint else ""
            return f"<aside{kind}><p>{_text(text)}</p>{more}</aside>"
        case Figure(title, view, width):
            return f"<figure>\n{svg_picture(view, width, clean(title), alone=False)}</figure>"
        case Table():
            return _table(part)


def _table(table: Table) -> str:
    lines = ['<div class="table"><table>']
    if any(table.header):
        heads = (f"<th{_side(table, k)}>{_text(name)}</th>" for k, name in enumerate(table.header))
        lines.append(f"<thead><tr>{''.join(heads)}</tr></thead>")
    lines.append("<tbody>")
    for row in table.rows:
        cells = (
            f"<td{_side(table, k)}>{f'<code>{_text(cell)}</code>' if k in table.codes and cell else _text(cell)}</td>"
            for k, cell in enumerate(row)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _side(table: Table, column: int) -> str:
    return ' class="n"' if column in table.numbers else ""
