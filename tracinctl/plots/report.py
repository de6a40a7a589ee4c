"""The report of a workflow: what was computed from what, pictures, what is left out and why, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracinctl import __version__
from tracinctl.errors import PlotError
from tracinctl.files import write_text_atomic
from tracinctl.plots.pictures import ViewSettings, asked, draw_asked
from tracinctl.plots.report_parts import Advice, Command, Figure, Heading, Paragraph, Part, Table
from tracinctl.scores.diagnoses import Diagnosis
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.sweep import DEFAULT_THRESHOLDS, SweepResult
from tracinctl.scores.table import ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold, parse_thresholds
from tracinctl.text import SIGNS, count, number, share

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
_NAMES = {
    "method": "method",
    "damping": "damping, times the mean diagonal of the Fisher matrix",
    "loss": "loss",
    "margin": "margin",
    "checkpoint_weights": "checkpoint weights",
    "dtype": "precision of the gradients",
    "layers": "layers",
    "ghm_bins": "GHM bins",
    "ghm_alpha": "GHM alpha",
    "batch_size": "training batch size",
    "torch": "torch version",
    "model": "model (digest)",
}


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
        retraining: what training without the list showed; empty where nobody asked.
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
    retraining: Sequence[Part] = ()
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
    """

    title: str
    sections: Sequence[ReportSection]
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    top: int = 10


def check_report_path(path: Path) -> None:
    """Raise PlotError where a report cannot be written under this name; to be asked before the work begins."""
    if path.suffix.lower() not in FORMATS:
        raise PlotError(
            f"a report cannot be written as {path.suffix or path.name!r}", hint=f"one of {', '.join(FORMATS)}"
        )


def write_report(path: Path, report: Report) -> None:
    """Write a report as one file that needs no other: ``.html`` or ``.md``. The same report gives the same bytes.

    Raises:
        PlotError: the ending is neither.
        TracinctlError: the file cannot be written.
    """
    check_report_path(path)
    page = path.suffix.lower() == ".html"
    parts = list(_parts(report, colour=page))
    if page:
        from tracinctl.plots.report_html import html_report as render
    else:
        from tracinctl.plots.report_markdown import markdown_report as render
    write_text_atomic(path, render(report.title, parts))


def _parts(report: Report, *, colour: bool) -> Iterator[Part]:
    yield Paragraph(
        "Influence says how much training on a pair changed the loss of held-out (test) pairs. "
        "A positive score is helpful: training on the pair lowered the loss. A negative score is harmful."
    )
    yield _summary(report.sections)
    if report.command:
        yield Paragraph("Made by")
        yield Command(report.command)
    for section in report.sections:
        yield from _section(section, report.top, colour=colour)
    if report.settings:
        yield Heading("Settings", 2)
        yield Table(("setting", "value"), list(report.settings.items()), codes=frozenset({1}))
    yield Paragraph(f"tracinctl {__version__}. Scores: {SIGNS}.")


def _summary(sections: Sequence[ReportSection]) -> Table:
    rows = []
    for section in sections:
        if section.source is None:
            rows.append([section.title, "failed", "-", "-", "-", "-"])
            continue
        chosen = section.exclusions
        tests = len(section.source.test_ids)
        rows.append(
            [
                section.title,
                "done",
                f"{len(section.source.train_ids):,}",
                f"{tests:,}" if chosen is None else f"{chosen.active_test_pairs:,} of {tests:,}",
                "-" if chosen is None else f"{len(chosen.harmful):,}",
                "-" if chosen is None else f"{len(chosen.ids):,}",
            ]
        )
    header = ("scores", "status", "training pairs", "active test pairs", "harmful pairs", "on the list")
    return Table(header, rows, numbers=frozenset({2, 3, 4, 5}))


def _section(section: ReportSection, top: int, *, colour: bool) -> Iterator[Part]:
    yield Heading(section.title, 2)
    if section.error:
        yield Advice(section.error, section.hint, grave=True)
    for diagnosis in section.diagnoses:
        yield Advice(diagnosis.text, diagnosis.hint)
    if section.source is None:
        return
    if section.exclusions is not None:
        yield Paragraph(_rule(section.exclusions))
    if section.next_command:
        yield Paragraph("Next:")
        yield Command(section.next_command)
    if section.retraining:
        yield Heading("Does leaving them out help?")
        yield from section.retraining
    yield from _pictures(section, section.source, top, colour=colour)
    if section.exclusions is not None:
        yield from _left_out(section, section.exclusions)
    yield from _origin(section, section.source)


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


def _pictures(section: ReportSection, source: ScoreSource, top: int, *, colour: bool) -> Iterator[Part]:
    yield Heading("Pictures")
    settings = ViewSettings(
        width=WIDTH,
        colour=colour,
        thresholds=_thresholds(section),
        top=top,
        min_occurrences=section.exclusions.min_occurrences if section.exclusions is not None else DEFAULT_OCCURRENCES,
    )
    request = asked(source, settings)
    for view, title in _VIEWS.items():
        try:
            picture = draw_asked(view, request, title)
        except PlotError as error:
            # what the scores do not say is no fault of the report, and the reader learns what would say it
            yield Paragraph(f"{title}: not drawn, {error.message}.")
            continue
        yield Figure(f"{section.title}: {title}", picture, picture.width)


def _thresholds(section: ReportSection) -> Sequence[Threshold]:
    if section.sweep is not None:
        return [row.threshold for row in section.sweep.rows]
    found = parse_thresholds(DEFAULT_THRESHOLDS)
    if section.exclusions is not None:
        own = section.exclusions.threshold
        found = [own, *(each for each in found if each.text != own.text)]
    return found


def _left_out(section: ReportSection, chosen: Exclusions) -> Iterator[Part]:
    by_items = chosen.mode == "sample"
    yield Heading("Left out")
    listed = list(chosen.ids)
    where = f" They are in {section.output_file}." if section.output_file else " No list was written."
    what = "item" if chosen.mode != "ranking_pair" else "training pair"
    if not listed:
        yield Paragraph("Nothing." + (f" The list in {section.output_file} is empty." if section.output_file else ""))
        return
    yield Paragraph(f"{count(len(listed), what)}.{where}")
    if by_items:
        yield _cut(
            ("item", "item-level influence"),
            [[name, number(chosen.sample_scores.get(name, float("nan")))] for name in listed],
            frozenset({1}),
        )
        return
    mirrored = set(chosen.mirrored)
    active = chosen.active_test_pairs
    rows = [
        [
            pair.id,
            f"{pair.votes:,} of {active:,} ({share(pair.votes, active)})",
            number(pair.mean),
            "the mirror image of a harmful pair" if pair.id in mirrored else "",
        ]
        for pair in chosen.listed
    ]
    if mirrored:
        yield _cut(("harmful training pair", "votes", "mean score", "why"), rows, frozenset({1, 2}))
    else:
        yield _cut(("harmful training pair", "votes", "mean score"), [row[:3] for row in rows], frozenset({1, 2}))
    if len(rows) > _MOST_ROWS:
        yield Paragraph(f"{len(rows) - _MOST_ROWS:,} more are not shown here.")
    if chosen.mode == "full_pair":
        yield Paragraph("Both items of each pair are left out:")
        yield _cut(("item",), [[name] for name in listed], frozenset())
    if chosen.cut:
        yield Paragraph(f"The cap left {count(chosen.cut, 'harmful pair')} off the list.")


def _cut(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: frozenset[int]) -> Table:
    return Table(header, rows[:_MOST_ROWS], numbers=numbers, codes=frozenset({0}))


def _origin(section: ReportSection, source: ScoreSource) -> Iterator[Part]:
    yield Heading("What was computed from what")
    known = source.provenance
    rows = [["scores", section.score_file]] if section.score_file else []
    rows += [
        ["training pairs", f"{len(source.train_ids):,}"],
        ["test pairs", f"{len(source.test_ids):,}"],
    ]
    items = known.get("items")
    if isinstance(items, Mapping):
        rows.append(["items", f"{len(items):,}"])
    rows += [[_NAMES[key], _shown(known[key])] for key in _NAMES if known.get(key) is not None]
    yield Table(("", ""), rows, codes=frozenset({1}))
    for note in section.notes:
        yield Paragraph(note)
    if not known:
        yield Paragraph("The score file does not say from which checkpoints and settings it was made.")
    checkpoints = [each for each in known.get("checkpoints") or () if isinstance(each, Mapping)]
    if checkpoints:
        yield Table(
            ("checkpoint", "weight", "learning rate", "content (digest)"),
            [
                [
                    str(each.get("name", "?")),
                    _shown(each.get("weight")),
                    _shown(each.get("learning_rate")),
                    _shown(each.get("digest")),
                ]
                for each in checkpoints
            ],
            numbers=frozenset({1, 2}),
            codes=frozenset({0, 3}),
        )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(each) for each in value)
    return str(value)
