"""``tracinctl exclude``: the exclusion list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli import options
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.cli.score_files import (
    SIGNS,
    Diagnoses,
    check_one_form,
    label_of,
    project_of,
    selected_files,
    tell_changes,
    trains_itself,
    was_flag,
)
from tracinctl.errors import UsageError
from tracinctl.project.commands import ExcludeCommand
from tracinctl.text import aligned, count, number

if TYPE_CHECKING:
    from tracinctl.project.config import Project
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.exclusion import Exclusions
    from tracinctl.scores.source import ScoreSource

EXAMPLES = """tracinctl exclude --threshold -5 --dry-run
tracinctl exclude --frequency 500hz --min-occurrences 2 --max-exclusions 50"""

_SHOWN = 10


def exclude(
    *,
    ctx: typer.Context,
    settings: ExcludeCommand,
    json: options.Json = False,
    csv: options.Csv = False,
) -> None:
    """Write the exclusion list that training reads: one id a line, below # comments.

    A vote is a score below the threshold; a pair with enough votes is harmful. Positive scores are helpful, negative
    ones harmful. Most votes come first, then the lowest mean score.
    """
    from tracinctl.scores.exclusion import choose_exclusions, with_earlier
    from tracinctl.scores.files.exclusion_list import list_to_replace, origin_notes, replace_exclusion_list
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.files.records import mark_excluded, read_records
    from tracinctl.scores.votes import parse_threshold

    check_one_form(json=json, csv=csv)
    if settings.output_file is not None and was_flag(ctx, "output_dir"):
        raise UsageError("`output_file` and `output_dir` exclude each other", hint="Give one of them.")
    rule, output_file, dry_run = settings.rule, settings.output_file, settings.dry_run
    limit = parse_threshold(rule.threshold)
    project = project_of(ctx, settings.scores, settings.lists)
    files = selected_files(ctx, project, settings.given, settings.selection)
    if output_file is not None and len(files) > 1:
        raise UsageError(
            f"--output-file names one list, but there are {len(files)} score files",
            hint="Choose one with --metadata-file or --frequency, or leave --output-file out.",
        )
    places = [output_file or list_path(project, file) for file in files]
    check_own_list_each(files, places)
    force = settings.replacing.force
    for place in () if dry_run else places:
        list_to_replace(place, force=force)
    replaced: dict[Path, str] = {}
    chosen = []
    changes: dict[ScoreFile, list[str]] = {}
    for file, place in zip(files, places, strict=True):
        with terminal.progress(what=file.label) as report:
            source = open_scores(file.path, report)
            exclusions = choose_exclusions(
                source,
                threshold=limit,
                rule=rule.rule,
                upper_threshold=rule.upper_threshold,
                min_occurrences=rule.min_occurrences,
                max_exclusions=rule.max_exclusions,
                mode=rule.mode,
            )
        changes[file] = tell_changes(file, source)
        note = ""
        if settings.decided.review:
            exclusions, note = with_decisions(file, source, exclusions)
        exclusions = with_earlier(exclusions, source.provenance)
        chosen.append((file, source, exclusions, place, note))
    if settings.marking.update_metadata and not dry_run:
        for file, *_ in chosen:
            read_records(records_path(file))  # a broken one stops before a list is written
    diagnoses = Diagnoses()
    for file, source, exclusions, path, note in chosen:
        if not dry_run:
            notes = origin_notes(file.path, source.provenance, note)
            replaced[path] = replace_exclusion_list(path, exclusions, file.path.name, notes, force=force)
            if settings.marking.update_metadata:
                with terminal.progress(what=file.label) as report:
                    marked = mark_excluded(source, exclusions, records_path(file), progress=report)
                terminal.say(f"{count(marked, 'record')} marked in {shown_path(records_path(file))}")
        diagnoses.add(file.label, source, exclusions=exclusions)
    diagnoses.tell()
    for file, source, exclusions, path, note in chosen:
        if note:
            terminal.say(f"{file.label}: {note}")
        if not json and not csv:
            show(
                file,
                label_of(file, source),
                exclusions,
                path,
                dry_run=dry_run,
                custom=trains_itself(ctx),
                replaced=replaced.get(path, ""),
            )
            if not dry_run:
                terminal.path(path)
    if json:
        terminal.json(
            [
                {
                    **to_json(file, exclusions, None if dry_run else path),
                    "replaced": replaced.get(path) or None,
                    "warnings": [*changes[file], *diagnoses.texts(file.label)],
                }
                for file, _, exclusions, path, _ in chosen
            ]
        )
    elif csv:
        write_csv([(file, exclusions) for file, _, exclusions, *_ in chosen])


def with_decisions(file: ScoreFile, source: ScoreSource, exclusions: Exclusions) -> tuple[Exclusions, str]:
    """The list after people's decisions, and what they decided."""
    from tracinctl.project.reviewed import reviewed_exclusions, verdicts_of

    if file.target is None:
        raise UsageError(
            f"review: the name of {file.path} does not say which material and frequency it is of",
            hint="Score files are named <material>_<frequency>_influence_metadata.json.",
        )
    reviewed = reviewed_exclusions(exclusions, source, verdicts_of(file.target))
    return reviewed.exclusions, reviewed.note


def list_path(project: Project, file: ScoreFile) -> Path:
    """Where the list of a score file belongs."""
    if file.target is not None:
        return file.target.list_file
    return project.output_dir / f"{file.path.stem}_excluded_pairs.txt"


def check_own_list_each(files: list[ScoreFile], places: list[Path]) -> None:
    """Refuse two score files whose lists would be the same file."""
    first: dict[Path, ScoreFile] = {}
    for file, place in zip(files, places, strict=True):
        other = first.setdefault(place.absolute(), file)
        if other is not file:
            raise UsageError(
                f"{shown_path(other.path)} and {shown_path(file.path)} would both write {shown_path(place)}",
                hint="Give them one at a time, each with its own --output-file.",
            )


def records_path(file: ScoreFile) -> Path:
    """The users' records that belong to a score file: beside it."""
    if file.beside is not None:
        return file.beside.records
    raise UsageError(
        f"--update-metadata: the name of {file.path} does not say which material and frequency it is of",
        hint="Score files are named <material>_<frequency>_influence_metadata.json.",
    )


def to_json(file: ScoreFile, exclusions: Exclusions, path: Path | None) -> dict[str, Any]:
    """The result in plain values; ``output_file`` is null where nothing was written."""
    return {
        "file": str(file.path),
        "material": file.material,
        "frequency": file.frequency,
        "output_file": None if path is None else str(path),
        "mode": exclusions.mode,
        "rule": exclusions.rule,
        "threshold": exclusions.value,
        "required_votes": exclusions.required_votes,
        "harmful": len(exclusions.harmful),
        "excluded": list(exclusions.ids),
        "excluded_before": len(exclusions.earlier),
    }


def write_csv(results: list[tuple[ScoreFile, Exclusions]]) -> None:
    """Write a line for every id on the lists; votes and mean score are those of a pair, influence that of an item."""
    lines: list[list[Any]] = []
    for file, exclusions in results:
        by_id = {pair.id: pair for pair in exclusions.listed}
        for name in exclusions.ids:
            pair = by_id.get(name)
            lines.append(
                [
                    shown_path(file.path),
                    name,
                    exclusions.mode,
                    pair.votes if pair else None,
                    pair.mean if pair else None,
                    exclusions.sample_scores.get(name),
                ]
            )
    terminal.csv(["file", "id", "mode", "votes", "mean_score", "sample_influence"], lines)


def show(
    file: ScoreFile, label: str, exclusions: Exclusions, path: Path, *, dry_run: bool, custom: bool, replaced: str = ""
) -> None:
    """Print what was, or would be, listed."""
    from tracinctl.project.workflow import next_command

    what = "items" if exclusions.mode != "ranking_pair" else "pairs"
    title = f"{label}: {count(len(exclusions.new_ids), what[:-1])} to leave out"
    if exclusions.mode == "sample":
        columns = [Column("item"), Column("item-level influence", "right")]
        scores = exclusions.sample_scores
        names = exclusions.new_ids[:_SHOWN]
        rows = [[*row] for row in zip(names, aligned([scores[name] for name in names]), strict=True)]
    else:
        total = exclusions.rule == "total"
        what = "total score" if total else "mean score"
        columns = [Column("harmful training pair"), Column("votes", "right"), Column(what, "right")]
        pairs = exclusions.listed[:_SHOWN]
        shown = aligned([pair.total if total else pair.mean for pair in pairs])
        rows = [[pair.id, f"{pair.votes:,}", score] for pair, score in zip(pairs, shown, strict=True)]
    if rows:
        terminal.table(title, columns, rows)
    else:
        terminal.text(title, style="bold")
    entries = len(exclusions.sample_scores) if exclusions.mode == "sample" else len(exclusions.listed)
    lines = []
    if entries > _SHOWN:
        lines.append(f"... and {entries - _SHOWN:,} more")
    if exclusions.mode == "ranking_pair" and exclusions.mirrored:
        own = len(exclusions.new_ids) - len(exclusions.mirrored)
        mirrors = count(len(exclusions.mirrored), "mirror image")
        lines.append(f"{count(own, 'harmful pair')} and {mirrors}: the same comparison, the other way round.")
    if exclusions.mode != "sample" and exclusions.rule == "total":
        lines.append(f"Harmful: the scores on all test pairs add up to less than {number(exclusions.value)}.")
        lines.append(f"{SIGNS.capitalize()}.")
    elif exclusions.mode != "sample":
        lines.append(
            f"Harmful: {count(exclusions.required_votes, 'vote')} or more of "
            f"{count(exclusions.active_test_pairs, 'active test pair')}, below {number(exclusions.value)}."
        )
        lines.append(f"{SIGNS.capitalize()}.")
    if exclusions.earlier:
        lines.append(f"The list begins with the {count(len(exclusions.earlier), 'id')} of the rounds before.")
    terminal.text("\n".join(lines), style="dim")
    if dry_run:
        terminal.text(f"Dry run: {shown_path(path)} was not written.\n")
        return
    terminal.text(f"Written: {shown_path(path)}")
    if replaced:
        terminal.text(f"Replaced: was {replaced}", style="dim")
    if file.target is not None:
        terminal.line(f"Next: {next_command(file.target, shown_path(path), custom=custom)}")
        terminal.text("")
