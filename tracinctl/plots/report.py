"""The report of a workflow: what was computed from what, pictures, what is left out and why, and what comes next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl import __version__
from tracinctl.errors import PlotError
from tracinctl.files import write_text_atomic
from tracinctl.plots.origin import Table, checkpoint_table, origin_rows
from tracinctl.plots.picture import Picture, draw
from tracinctl.plots.request import Request, ViewSettings
from tracinctl.plots.save import svg
from tracinctl.scores.caption import caption
from tracinctl.scores.diagnoses import Diagnosis
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.sweep import DEFAULT_THRESHOLDS, SweepResult
from tracinctl.scores.table import ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold, parse_thresholds
from tracinctl.text import SIGNS, clean, count, number, share

if TYPE_CHECKING:
    from jinja2 import Environment

FORMATS = (".html", ".md")
WIDTH = 100
"""Columns of the pictures."""

_MOST_ROWS = 200
_VIEWS = {
    "distribution": "All scores",
    "sweep": "What each threshold would exclude",
    "top": "The most harmful and the most helpful training pairs",
    "heatmap": "Classes",
    "self": "Hard pairs and suspicious items",
    "checkpoints": "Over training",
}
_MEANT = re.compile(r"[\\`*_{}\[\]<>#|~!$&]|^[-+=]|(?<=\d)[.)](?=\s)")
_TICKS = re.compile("`+")


@dataclass(frozen=True)
class Retraining:
    """What training without the list showed: a verdict, tables of numbers, and what they mean."""

    verdict: str
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ReportSection:
    """What a report says of one frequency.

    Attributes:
        title: what it is called, "plastic 500hz".
        source: the scores; None where there are none, ``error`` says why then.
        score_file: where they are, as it is to be shown.
        exclusions: what is left out; None where nothing was chosen.
        sweep: what each threshold would exclude; its thresholds are marked in the pictures. None = the usual ones.
        diagnoses: what to know before the list is used.
        output_file: where the list was written; empty where it was not.
        next_command: what to type next; empty where nothing is left to do.
        retraining: what training without the list showed; None where nobody asked.
        notes: sentences about how the scores came about ("4 checkpoints computed, none taken from the cache").
        error: what went wrong; empty where nothing did.
        hint: what to do about it.
    """

    title: str
    source: ScoreSource | None = None
    score_file: str = ""
    exclusions: Exclusions | None = None
    sweep: SweepResult | None = None
    diagnoses: Sequence[Diagnosis] = ()
    output_file: str = ""
    next_command: str = ""
    retraining: Retraining | None = None
    notes: Sequence[str] = ()
    error: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: what it is called.
        sections: one a frequency.
        command: the command line that made it; empty where it is not to be shown.
        settings: names and values to list, in order.
        top: how many pairs and items the pictures name.
        folder: paths below it are written without it; None leaves them whole.
    """

    title: str
    sections: Sequence[ReportSection]
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    top: int = 10
    folder: Path | None = None


def check_report_path(path: Path) -> None:
    """Raise PlotError where a report cannot be written under this name; to be asked before the work begins."""
    if path.suffix.lower() not in FORMATS:
        raise PlotError(
            f"a report cannot be written as {path.suffix or path.name!r}", hint=f"One of {', '.join(FORMATS)}"
        )


def write_report(path: Path, report: Report) -> None:
    """Write a report as one file that needs no other: ``.html`` or ``.md``. The same report gives the same bytes.

    Raises:
        PlotError: the ending is neither.
        TracinctlError: the file cannot be written.
    """
    check_report_path(path)
    page = path.suffix.lower() == ".html"
    template = _environment(report.folder, page=page).get_template(f"report{path.suffix.lower()}.jinja")
    text = template.render(
        report=report,
        summary=_summary(report.sections),
        sections=[_section(section, report.top, colour=page) for section in report.sections],
        signs=SIGNS,
        version=__version__,
    )
    write_text_atomic(path, text)


def _environment(folder: Path | None, *, page: bool) -> Environment:
    """Templates in which every value is text: control characters are written out, and markup is escaped."""
    import os

    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup, escape

    def plain(value: object) -> str:
        text = str(value)
        return clean(text if folder is None else text.replace(f"{folder}{os.sep}", ""))

    def written(value: object) -> object:
        if isinstance(value, Markup):
            return value
        return escape(plain(value)) if page else Markup(_markdown(plain(value)))  # noqa: S704  the escape itself

    environment = Environment(
        loader=PackageLoader("tracinctl.plots"),
        autoescape=True,
        finalize=written,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = lambda value: Markup(_code(plain(value)))  # noqa: S704  fenced
    environment.filters["block"] = lambda value: Markup(_block(str(value)))  # noqa: S704  fenced
    environment.filters["plain"] = plain
    environment.filters["figure"] = lambda picture, title: Markup(svg(picture, clean(title)))  # noqa: S704  Rich escapes
    return environment


def _markdown(text: str) -> str:
    """Letters that mean something in Markdown, escaped."""
    return _MEANT.sub(lambda match: f"\\{match[0]}", text)


def _code(text: str) -> str:
    """A code span in a table; its fence is longer than any run of backticks in it."""
    fence = "`" * (1 + max((len(run) for run in _TICKS.findall(text)), default=0))
    blank = " " if text.startswith("`") or text.endswith("`") else ""
    # a bar ends a cell even within a code span, unless it is escaped
    return f"{fence}{blank}{text}{blank}{fence}".replace("|", "\\|") if text else ""


def _block(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _summary(sections: Sequence[ReportSection]) -> Table:
    rows = []
    for section in sections:
        if section.source is None:
            rows.append([section.title, "failed", "-", "-", "-", "-"])
            continue
        chosen, tests = section.exclusions, len(section.source.test_ids)
        active = f"{tests:,}" if chosen is None else f"{chosen.active_test_pairs:,} of {tests:,}"
        harmful, listed = ("-", "-") if chosen is None else (f"{len(chosen.harmful):,}", f"{len(chosen.ids):,}")
        rows.append([section.title, "done", f"{len(section.source.train_ids):,}", active, harmful, listed])
    header = ("scores", "status", "training pairs", "active test pairs", "harmful pairs", "on the list")
    return Table("Summary", header, rows, numbers=frozenset({2, 3, 4, 5}))


def _section(section: ReportSection, top: int, *, colour: bool) -> dict[str, Any]:
    """What the templates show of a section beside its own attributes."""
    if section.source is None:
        return {"about": section}
    chosen, source = section.exclusions, section.source
    return {
        "about": section,
        "caption": caption(source.provenance),
        "rule": "" if chosen is None else _rule(chosen),
        "figures": list(_figures(section, source, top, colour=colour)),
        "left_out": None if chosen is None else _left_out(section, chosen),
        "origin": origin_rows(source, section.score_file),
        "checkpoints": checkpoint_table(source.provenance),
    }


def _rule(chosen: Exclusions) -> str:
    threshold = chosen.threshold.text + (f" = {number(chosen.value)}" if chosen.threshold.quantile else "")
    cap = f" The list is capped at {chosen.max_exclusions:,}." if chosen.max_exclusions is not None else ""
    if chosen.mode == "sample":
        return f"Left out: items whose item-level influence stands out from that of the others.{cap}"
    what = "the pairs themselves" if chosen.mode == "ranking_pair" else "both items of each"
    return (
        f"Harmful: pairs with a score below {threshold} on {count(chosen.required_votes, 'test pair')} or more "
        f"({chosen.min_occurrences}; {chosen.active_test_pairs:,} are active). Left out: {what}.{cap}"
    )


def _figures(
    section: ReportSection, source: ScoreSource, top: int, *, colour: bool
) -> Iterator[tuple[str, Picture | None, str]]:
    """(Title, picture, why there is none) of each view."""
    chosen = section.exclusions
    rule = chosen.min_occurrences if chosen is not None else DEFAULT_OCCURRENCES
    settings = ViewSettings(WIDTH, colour, _thresholds(section), top=top, min_occurrences=rule)
    request = Request(source, settings)
    for view, title in _VIEWS.items():
        try:
            yield title, draw(view, request, ""), ""
        except PlotError as error:
            # what the scores do not say is no fault of the report, and the reader learns what would say it
            yield title, None, f"{title}: not drawn, {error.message}."


def _thresholds(section: ReportSection) -> Sequence[Threshold]:
    if section.sweep is not None:
        return [row.threshold for row in section.sweep.rows]
    usual = parse_thresholds(DEFAULT_THRESHOLDS)
    if section.exclusions is None:
        return usual
    own = section.exclusions.threshold
    return [own, *(threshold for threshold in usual if threshold.text != own.text)]


def _left_out(section: ReportSection, chosen: Exclusions) -> dict[str, Any]:
    """How many ids are left out, and tables of them."""
    where = f" They are in {section.output_file}." if section.output_file else " No list was written."
    if not chosen.ids:
        empty = f" The list in {section.output_file} is empty." if section.output_file else ""
        return {"text": f"Nothing.{empty}", "tables": [], "notes": []}
    what = "item" if chosen.mode != "ranking_pair" else "training pair"
    tables, notes = [], []
    if chosen.mode == "sample":
        rows = [[name, number(chosen.sample_scores.get(name, float("nan")))] for name in chosen.ids]
        tables = [_ids("Items left out", ("item", "item-level influence"), rows)]
    else:
        tables = [_pairs(chosen)]
        more = len(chosen.listed) - _MOST_ROWS
        notes += [f"{more:,} more are not shown here."] if more > 0 else []
        if chosen.mode == "full_pair":
            tables.append(_ids("Both items of each pair are left out", ("item",), [[name] for name in chosen.ids]))
        if chosen.cut:
            notes.append(f"The cap left {count(chosen.cut, 'harmful pair')} off the list.")
    return {"text": f"{count(len(chosen.ids), what)}.{where}", "tables": tables, "notes": notes}


def _pairs(chosen: Exclusions) -> Table:
    mirrored, active = set(chosen.mirrored), chosen.active_test_pairs
    header = ["harmful training pair", "votes", "mean score", "why"][: 4 if mirrored else 3]
    rows = [
        [
            pair.id,
            f"{pair.votes:,} of {active:,} ({share(pair.votes, active)})",
            number(pair.mean),
            "the mirror image of a harmful pair" if pair.id in mirrored else "",
        ][: len(header)]
        for pair in chosen.listed
    ]
    return _ids("Harmful training pairs", header, rows)


def _ids(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    numbers = frozenset(k for k, name in enumerate(header) if name in {"votes", "mean score", "item-level influence"})
    return Table(title, header, rows[:_MOST_ROWS], numbers=numbers, codes=frozenset({0}))
