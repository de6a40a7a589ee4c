"""The report of a workflow: origin of the scores, pictures, what is left out and why, and the next commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl import __version__
from tracinctl.errors import PlotError, ScoreFileError, TracinctlError, UsageError
from tracinctl.files import write_text_atomic
from tracinctl.plots.page import Document, Table
from tracinctl.plots.picture import Picture, draw
from tracinctl.plots.request import Request
from tracinctl.project.doubts import doubts_of_scores
from tracinctl.project.target import Target
from tracinctl.project.workflow import Run, next_command
from tracinctl.scores.caption import caption
from tracinctl.scores.diagnoses import diagnose
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.files.exclusion_list import LEFT_OUT, rule_text
from tracinctl.scores.files.per_checkpoint import with_checkpoints
from tracinctl.scores.source import ScoreSource
from tracinctl.scores.sweep import DEFAULT_THRESHOLDS
from tracinctl.scores.votes import parse_thresholds
from tracinctl.text import SIGNS, aligned, count, share

if TYPE_CHECKING:
    from tracinctl.project.report_cards import Suspects

FORMATS = (".html", ".md")
WIDTH = 100
"""Width of the pictures."""

_ENDING = f"Scores: {SIGNS}."
_TAIL = 200  # the last bytes of a report that contain it
_TOP = 10  # pairs and items in the pictures
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


def write_report(
    path: Path,
    runs: Sequence[Run],
    *,
    command: str = "",
    settings: Mapping[str, str] | None = None,
    shown: Callable[[Path], str] = str,
    custom: bool = False,
    suspects: Callable[[Run], Suspects] | None = None,
) -> None:
    """Write the report of runs as one self-contained file, ``.html`` or ``.md``. The same runs give the same bytes.

    Args:
        path: the file; paths inside the current folder are shown relative to it.
        runs: the runs, one per section.
        command: the command line that made it; empty to leave it out.
        settings: names and values to list, in order.
        shown: formats a path for the reader.
        custom: see ``next_command``.
        suspects: returns the suspects of a run; a TracinctlError that it raises becomes a note.

    Raises:
        UsageError: the ending is neither, or another program's file is there.
        TracinctlError: the file cannot be written.
    """
    check_report_path(path)
    page = path.suffix.lower() == ".html"
    sections = [_section(run, shown, suspects, custom=custom, page=page) for run in runs]
    styles = [section["suspects"].style for section in sections if section.get("suspects")]
    style = next(filter(None, styles), "")
    title = f"tracinctl: {', '.join(dict.fromkeys(run.target.material for run in runs))}"
    document = Document(title, Path.cwd(), page=page, style=style, allowed=_CARDS_NEED if style else "")
    text = document.render(
        "report.md",
        title=title,
        command=command,
        summary=_summary(runs),
        sections=sections,
        settings=Table(("setting", "value"), list((settings or {}).items()), codes=(1,)),
        ending=f"tracinctl {__version__}. {_ENDING}",
    )
    write_text_atomic(path, text)


def _summary(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        source, chosen = run.source, run.exclusions
        if source is None or chosen is None:
            rows.append([run.target.label, "failed", "-", "-", "-", "-"])
            continue
        active = f"{chosen.active_test_pairs:,} of {len(source.test_ids):,}"
        harmful, listed = f"{len(chosen.harmful):,}", f"{len(chosen.ids):,}"
        rows.append([run.target.label, "done", f"{len(source.train_ids):,}", active, harmful, listed])
    header = ("scores", "status", "training pairs", "active test pairs", "harmful pairs", "on the list")
    return Table(header, rows, numbers=(2, 3, 4, 5))


def _section(
    run: Run, shown: Callable[[Path], str], suspects: Callable[[Run], Suspects] | None, *, custom: bool, page: bool
) -> dict[str, Any]:
    """The values of a section for the template."""
    title, chosen, notes = run.target.label, run.exclusions, _notes(run)
    if run.error is not None:
        return {"title": title, "error": run.error.message, "hint": run.error.hint}
    if run.source is None or run.score_file is None or chosen is None:
        return {"title": title, "error": "not started, because another frequency failed", "hint": ""}
    source = _with_checkpoints(run, run.source, notes)
    output_file = "" if run.output_file is None else shown(run.output_file)
    useful = output_file and chosen.new_ids
    return {
        "title": title,
        "caption": caption(source.provenance),
        "diagnoses": diagnose(run.source, chosen),
        "rule": f"Rule: {rule_text(chosen)}. Left out: {LEFT_OUT[chosen.mode]}.",
        "next": next_command(run.target, output_file, custom=custom, recipe=run.recipe) if useful else "",
        "retraining": _retraining(run),
        "figures": list(_figures(run.target, source, chosen, page=page)),
        "listed": _listed(chosen),
        "output_file": output_file,
        "suspects": _suspects(run, suspects, notes),
        "provenance": source.provenance,
        "origin": [_origin(source, shown(run.score_file)), _checkpoints(source.provenance)],
        "notes": notes,
    }


def _notes(run: Run) -> list[str]:
    computed = run.computed
    if computed is None:
        notes = ["The score file existed already; nothing was computed."]
    else:
        cached = f"{sum(computed.taken)} of {len(computed.checkpoints)} checkpoints came from the cache"
        notes = [f"{computed.gradients_computed:,} item gradients were computed; {cached}.", *computed.notes]
    if run.planted is not None:
        notes.append(
            f"{run.planted.caught:,} of {run.planted.planted:,} planted errors are on the list; "
            f"{run.planted.wrong:,} listed ids were not planted."
        )
    return notes


def _with_checkpoints(run: Run, source: ScoreSource, notes: list[str]) -> ScoreSource:
    """The scores with those of each checkpoint, if they are kept and belong; otherwise adds a note."""
    path = run.target.per_checkpoint_file
    try:
        return with_checkpoints(source, path) if path.is_file() else source
    except ScoreFileError as error:
        notes.append(f"{error.message}. {error.hint}")
        return source


def _suspects(run: Run, suspects: Callable[[Run], Suspects] | None, notes: list[str]) -> Suspects | None:
    try:
        return None if suspects is None else suspects(run)
    except TracinctlError as error:
        notes.append(f"No suspects are shown: {error.message}.{f' {error.hint}' if error.hint else ''}")
        return None


def _retraining(run: Run) -> dict[str, Any] | None:
    """The verdict on training without the list, tables, and notes on them."""
    result = run.retraining
    if result is None:
        return None
    from tracinctl.retraining import wording

    verdict, division = wording.verdict_words(result), wording.division_words(result)
    verdict = verdict[0].upper() + verdict[1:]
    if not result.arms:
        return {"verdict": verdict, "tables": [], "notes": [division]}
    arms, differences = wording.arm_rows(result), wording.difference_rows(result)
    tables = [
        Table(wording.ARM_COLUMNS, arms, numbers=range(1, 6)),
        Table(wording.DIFFERENCE_COLUMNS, differences, numbers=range(1, 6)),
    ]
    notes = [f"{len(result.seeds)} repeats. {wording.note_words(result)}", division]
    return {"verdict": verdict, "tables": tables, "notes": notes}


def _figures(
    target: Target, source: ScoreSource, chosen: Exclusions, *, page: bool
) -> Iterator[tuple[str, Picture | None, str]]:
    """(Title, picture, reason for a missing picture) of each view."""
    thresholds = list(dict.fromkeys([chosen.threshold, *parse_thresholds(DEFAULT_THRESHOLDS)]))
    request = Request(source, WIDTH, page, thresholds, top=_TOP, min_occurrences=chosen.min_occurrences)
    for view, title in _VIEWS.items():
        try:
            yield title, draw(view, request, ""), ""
        except (PlotError, ScoreFileError, UsageError) as error:
            # scores may lack data for a view; the reader learns what would add it
            yield title, None, f"{title}: not drawn, {error.message}."
    contradicted = doubts_of_scores(target, source.train_ids) if source.groups else None
    most = len(source.train_ids) / _LEAST_GROUP
    for column, values in source.groups.items():
        if 1 < len(set(values)) <= most:
            grouped = replace(request, by=column, contradicted=contradicted)
            yield f"By {column}", draw("groups", grouped, ""), ""


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
    kind = "training pair" if chosen.mode == "ranking_pair" else "item"
    return {"count": count(len(chosen.ids), kind) if chosen.ids else "", "tables": tables, "notes": notes}


def _origin(source: ScoreSource, score_file: str) -> Table:
    rows = [["scores", score_file]]
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
