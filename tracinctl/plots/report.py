"""The report of a workflow: origin of the scores, pictures, what is left out and why, and the next commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracinctl import __version__
from tracinctl.errors import PlotError, ScoreFileError, UsageError
from tracinctl.files import write_text_atomic
from tracinctl.plots.page import Card, Document, Table
from tracinctl.plots.picture import Picture, draw
from tracinctl.plots.request import Request
from tracinctl.scores.caption import caption
from tracinctl.scores.diagnoses import Diagnosis
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.source import FloatArray, ScoreSource
from tracinctl.scores.sweep import DEFAULT_THRESHOLDS
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold, parse_thresholds
from tracinctl.text import SIGNS, aligned, count, share

FORMATS = (".html", ".md")
WIDTH = 100
"""Width of the pictures."""

_ENDING = f"Scores: {SIGNS}."
_TAIL = 200  # the last bytes of a report that contain it
_MOST_ROWS = 200
_LEAST_GROUP = 2  # least mean number of training pairs per value for a picture of a column
# pictures are in the page, sounds in the folder beside it
_CARDS_NEED = "; img-src 'self' data: file:; media-src 'self' file:"
_VIEWS = {
    "distribution": "All scores",
    "sweep": "What each threshold would exclude",
    "top": "The most harmful and the most helpful training pairs",
    "heatmap": "Classes",
    "self": "Hard pairs and suspicious items",
    "checkpoints": "Over training",
}


@dataclass(frozen=True)
class Retraining:
    """The result of training without the list: a verdict, tables, and notes on them."""

    verdict: str
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Suspects:
    """The most suspect training pairs.

    Attributes:
        intro: which pairs they are, and how to decide on them.
        table: the evidence on each, for a report without pictures.
        cards: the evidence with pictures and sounds, for a page.
        style: the cards' style sheet.
    """

    intro: str
    table: Table
    cards: Sequence[Card] = ()
    style: str = ""


@dataclass(frozen=True)
class ReportSection:
    """One frequency in a report.

    Attributes:
        title: such as "plastic 500hz".
        source: the scores; None if they cannot be read, and ``error`` says why.
        score_file: the path of the scores, as shown.
        exclusions: what is left out; None if nothing was chosen.
        diagnoses: what to know before using the list.
        output_file: the path of the list; empty if it was not written.
        next_command: the next command; empty if there is none.
        suspects: the suspect pairs; None if there are none.
        retraining: the result of retraining; None without one.
        contradicted: share of the out-of-fold rankers that rank each training pair the other way; None = unknown.
        notes: sentences about the computation ("4 checkpoints computed, none taken from the cache").
        error: the error; empty without one.
        hint: what to do about the error.
    """

    title: str
    source: ScoreSource | None = None
    score_file: str = ""
    exclusions: Exclusions | None = None
    diagnoses: Sequence[Diagnosis] = ()
    output_file: str = ""
    next_command: str = ""
    suspects: Suspects | None = None
    retraining: Retraining | None = None
    contradicted: FloatArray | None = None
    notes: Sequence[str] = ()
    error: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: the title.
        sections: one per frequency.
        command: the command line that made it; empty to leave it out.
        settings: names and values to list, in order.
        top: number of pairs and items in the pictures.
        folder: paths inside it are shown relative to it; None shows full paths.
    """

    title: str
    sections: Sequence[ReportSection]
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    top: int = 10
    folder: Path | None = None


def check_report_path(path: Path) -> None:
    """Raise UsageError if a report cannot be written to this path; call this before the work begins.

    A report replaces an earlier report, but no other file.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"a report cannot be written as {path.suffix or path.name!r}", hint=f"Use one of {', '.join(FORMATS)}"
        )
    if path.is_file() and path.stat().st_size and _ENDING.encode() not in path.read_bytes()[-_TAIL:]:
        raise UsageError(f"{path} exists and is not a report of tracinctl", hint="Name another file, or move it away.")


def write_report(path: Path, report: Report) -> None:
    """Write a report as one self-contained file, ``.html`` or ``.md``. The same report gives the same bytes.

    Raises:
        UsageError: the ending is neither.
        TracinctlError: the file cannot be written.
    """
    check_report_path(path)
    styles = [section.suspects.style for section in report.sections if section.suspects and section.suspects.cards]
    document = Document(
        report.title,
        report.folder,
        page=path.suffix.lower() == ".html",
        style=styles[0] if styles else "",
        allowed=_CARDS_NEED if styles else "",
    )
    text = document.render(
        "report.md",
        report=report,
        summary=_summary(report.sections),
        sections=[_shown(section, report.top, colour=document.page) for section in report.sections],
        settings=Table(("setting", "value"), list(report.settings.items()), codes=(1,)),
        ending=f"tracinctl {__version__}. {_ENDING}",
    )
    write_text_atomic(path, text)


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
    return Table(header, rows, numbers=(2, 3, 4, 5))


def _shown(section: ReportSection, top: int, *, colour: bool) -> dict[str, Any]:
    """The values of a section for the template, besides its attributes."""
    source, chosen = section.source, section.exclusions
    if source is None:
        return {"about": section}
    return {
        "about": section,
        "caption": caption(source.provenance),
        "rule": chosen and _rule(chosen),
        "figures": list(_figures(section, source, top, colour=colour)),
        "listed": chosen and _listed(chosen),
        "tables": [_origin(source, section.score_file), _checkpoints(source.provenance)],
    }


def _rule(chosen: Exclusions) -> str:
    threshold = chosen.threshold.named(chosen.value)
    cap = f" The list is capped at {chosen.max_exclusions:,}." if chosen.max_exclusions is not None else ""
    if chosen.mode == "sample":
        return f"Left out: items whose item-level influence stands out from that of the others.{cap}"
    left_out = "the pairs themselves" if chosen.mode == "ranking_pair" else "both items of each"
    if chosen.rule == "total":
        return f"Harmful: pairs whose scores add up to less than {threshold}. Left out: {left_out}.{cap}"
    return (
        f"Harmful: pairs with a score below {threshold} on {count(chosen.required_votes, 'test pair')} or more "
        f"({chosen.min_occurrences}; {chosen.active_test_pairs:,} are active). Left out: {left_out}.{cap}"
    )


def _figures(
    section: ReportSection, source: ScoreSource, top: int, *, colour: bool
) -> Iterator[tuple[str, Picture | None, str]]:
    """(Title, picture, reason for a missing picture) of each view."""
    chosen = section.exclusions
    rule = chosen.min_occurrences if chosen is not None else DEFAULT_OCCURRENCES
    request = Request(source, WIDTH, colour, _thresholds(chosen), top=top, min_occurrences=rule)
    for view, title in _VIEWS.items():
        try:
            yield title, draw(view, request, ""), ""
        except (PlotError, ScoreFileError, UsageError) as error:
            # scores may lack data for a view; the reader learns what would add it
            yield title, None, f"{title}: not drawn, {error.message}."
    for column in _grouping_columns(source):
        grouped = replace(request, by=column, contradicted=section.contradicted)
        yield f"By {column}", draw("groups", grouped, ""), ""


def _grouping_columns(source: ScoreSource) -> list[str]:
    """The additional columns in which several training pairs share values."""
    most = len(source.train_ids) / _LEAST_GROUP
    return [name for name, values in source.groups.items() if 1 < len(set(values)) <= most]


def _thresholds(chosen: Exclusions | None) -> Sequence[Threshold]:
    """The rule's threshold first, then the default ones."""
    first = () if chosen is None else (chosen.threshold,)
    return list(dict.fromkeys([*first, *parse_thresholds(DEFAULT_THRESHOLDS)]))


def _listed(chosen: Exclusions) -> dict[str, Any]:
    """Tables of what is left out, and notes on what they do not show."""
    mirrored, active, shown = set(chosen.mirrored), chosen.active_test_pairs, chosen.listed[:_MOST_ROWS]
    rows = []
    for pair, mean in zip(shown, aligned([pair.mean for pair in shown]), strict=True):
        why = "the mirror image of a harmful pair" if pair.id in mirrored else ""
        rows.append([pair.id, f"{pair.votes:,} of {active:,} ({share(pair.votes, active)})", mean, why])
    header = ("harmful training pair", "votes", "mean score", "why")
    columns = 4 if mirrored else 3
    pairs = Table(header[:columns], [row[:columns] for row in rows], numbers=(1, 2), codes=(0,))
    names = chosen.ids[:_MOST_ROWS]
    scores = aligned([chosen.sample_scores.get(name, float("nan")) for name in names])
    items = [[name, score] for name, score in zip(names, scores, strict=True)]
    tables = {
        "ranking_pair": [pairs],
        "full_pair": [pairs, Table(("item",), [item[:1] for item in items], codes=(0,))],
        "sample": [Table(("item", "item-level influence"), items, numbers=(1,), codes=(0,))],
    }[chosen.mode]
    more = max(len(chosen.ids), len(chosen.listed)) - _MOST_ROWS
    notes = [f"{more:,} more are not shown here."] if more > 0 else []
    notes += [f"The cap left {count(chosen.cut, 'harmful pair')} off the list."] if chosen.cut else []
    kind = "training pair" if chosen.mode == "ranking_pair" else "item"
    return {"count": count(len(chosen.ids), kind) if chosen.ids else "", "tables": tables, "notes": notes}


def _origin(source: ScoreSource, score_file: str) -> Table:
    rows = [["scores", score_file]] if score_file else []
    rows += [["training pairs", f"{len(source.train_ids):,}"], ["test pairs", f"{len(source.test_ids):,}"]]
    for name, value in source.provenance.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            rows.append([name.replace("_", " "), _plain(value)])
        elif isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            rows.append([name.replace("_", " "), ", ".join(value)])
    return Table(("computed from", ""), rows, codes=(1,))


def _checkpoints(provenance: Mapping[str, Any]) -> Table:
    keys = ("name", "weight", "learning_rate", "digest")
    checkpoints = [entry for entry in provenance.get("checkpoints") or () if isinstance(entry, Mapping)]
    header = ("checkpoint", "weight", "learning rate", "content (digest)")
    return Table(header, [[_plain(entry.get(key)) for key in keys] for entry in checkpoints], (1, 2), (0, 3))


def _plain(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
