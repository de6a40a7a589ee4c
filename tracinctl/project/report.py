"""The report of a workflow, made from its runs for ``plots.report``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tracinctl.errors import ScoreFileError, TracinctlError
from tracinctl.plots.page import Table
from tracinctl.plots.report import Report, ReportSection, Retraining, Suspects
from tracinctl.project.doubts import doubts_of_scores
from tracinctl.project.workflow import Run, next_command
from tracinctl.scores.diagnoses import diagnose
from tracinctl.scores.files.per_checkpoint import with_checkpoints
from tracinctl.scores.source import ScoreSource


def workflow_report(
    runs: Sequence[Run],
    *,
    command: str = "",
    settings: Mapping[str, str] | None = None,
    shown: Callable[[Path], str] = str,
    custom: bool = False,
    suspects: Callable[[Run], Suspects] | None = None,
) -> Report:
    """The report of these runs.

    Args:
        runs: the runs, one per section.
        command: the command line that made it.
        settings: names and values to list.
        shown: formats a path for the reader.
        custom: see ``next_command``.
        suspects: returns the suspects of a run; a TracinctlError that it raises becomes a note.
    """
    title = f"tracinctl: {', '.join(dict.fromkeys(run.target.material for run in runs))}"
    sections = [_with_suspects(_section(run, shown, custom), run, suspects) for run in runs]
    return Report(title, sections, command=command, settings=settings or {}, folder=Path.cwd())


def _with_suspects(section: ReportSection, run: Run, suspects: Callable[[Run], Suspects] | None) -> ReportSection:
    if suspects is None or section.source is None:
        return section
    try:
        return replace(section, suspects=suspects(run))
    except TracinctlError as error:
        note = f"No suspects are shown: {error.message}.{f' {error.hint}' if error.hint else ''}"
        return replace(section, notes=[*section.notes, note])


def _section(run: Run, shown: Callable[[Path], str], custom: bool) -> ReportSection:
    title = run.target.label
    if run.error is not None:
        return ReportSection(title, error=run.error.message, hint=run.error.hint)
    if run.source is None or run.score_file is None:
        return ReportSection(title, error="not started, because another frequency failed")
    source, notes = _with_checkpoints(run, run.source)
    output_file = "" if run.output_file is None else shown(run.output_file)
    useful = output_file and run.exclusions is not None and run.exclusions.new_ids
    return ReportSection(
        title,
        source=source,
        score_file=shown(run.score_file),
        exclusions=run.exclusions,
        diagnoses=diagnose(run.source, exclusions=run.exclusions),
        output_file=output_file,
        next_command=next_command(run.target, output_file, custom=custom, recipe=run.recipe) if useful else "",
        retraining=_retraining(run),
        contradicted=doubts_of_scores(run.target, source.train_ids) if source.groups else None,
        notes=[*_notes(run), *notes],
    )


def _with_checkpoints(run: Run, source: ScoreSource) -> tuple[ScoreSource, list[str]]:
    """The scores with those of each checkpoint, if they are kept, and notes on what is wrong with those."""
    path = run.target.per_checkpoint_file
    if not path.is_file():
        return source, []
    try:
        return with_checkpoints(source, path), []
    except ScoreFileError as error:
        return source, [f"{error.message}. {error.hint}"]


def _retraining(run: Run) -> Retraining | None:
    result = run.retraining
    if result is None:
        return None
    from tracinctl.retraining import wording

    verdict, division = wording.verdict_words(result), wording.division_words(result)
    verdict = verdict[0].upper() + verdict[1:]
    if not result.arms:
        return Retraining(verdict, [], [division])
    arms, differences = wording.arm_rows(result), wording.difference_rows(result)
    tables = [
        Table(wording.ARM_COLUMNS, arms, numbers=range(1, 6)),
        Table(wording.DIFFERENCE_COLUMNS, differences, numbers=range(1, 6)),
    ]
    return Retraining(verdict, tables, [f"{len(result.seeds)} repeats. {wording.note_words(result)}", division])


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
