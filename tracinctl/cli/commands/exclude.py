"""``tracinctl exclude``: the exclusion list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli import options
from tracinctl.cli.options import check_one_form, project_of, selected_files, trains_itself, was_flag
from tracinctl.cli.output.diagnoses import SIGNS, Diagnoses, label_of, tell_changes
from tracinctl.cli.output.groups import group_table, read_groups, rule_text
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.project.commands import ExcludeCommand
from tracinctl.text import aligned, count, number

if TYPE_CHECKING:
    from tracinctl.project.config import Project
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.exclusion import Exclusions
    from tracinctl.scores.groups import GroupScores
    from tracinctl.scores.source import ScoreSource

EXAMPLES = """tracinctl exclude --threshold -5 --dry-run
tracinctl exclude --frequency 500hz --min-occurrences 2 --max-exclusions 50
tracinctl exclude --frequency 500hz --by annotator --rule total --threshold 5%"""

_SHOWN = 10


def exclude(
    *,
    ctx: typer.Context,
    settings: ExcludeCommand,
    json: options.Json = False,
    csv: options.Csv = False,
) -> None:
    """Write the exclusion list that training reads: # comments, then one id per line.

    A vote is a score below the threshold; a pair with enough votes is harmful. Positive scores are helpful, negative
    ones harmful. Pairs with the most votes come first, then those with the lowest mean score.
    """
    from tracinctl.scores.files.exclusion_list import list_to_replace
    from tracinctl.scores.votes import parse_threshold

    check_one_form(json=json, csv=csv)
    check_grouping(settings)
    if settings.output_file is not None and was_flag(ctx, "output_dir"):
        raise UsageError("`output_file` and `output_dir` exclude each other", hint="Give one of them.")
    parse_threshold(settings.rule.threshold)
    project = project_of(ctx, settings.scores, settings.lists)
    files = selected_files(ctx, project, settings.given, settings.selection)
    places = list_paths(project, files, settings.output_file)
    for place in () if settings.dry_run else places:
        list_to_replace(place, force=settings.replacing.force)
    chosen = [choose(file, place, settings) for file, place in zip(files, places, strict=True)]
    replaced = {} if settings.dry_run else write_lists(chosen, settings)
    diagnoses = Diagnoses()
    for one in chosen:
        diagnoses.add(one.file.label, one.source, exclusions=one.exclusions)
    diagnoses.tell()
    for one in chosen:
        if one.note:
            terminal.say(f"{one.file.label}: {one.note}")
        if not json and not csv:
            show(one, dry_run=settings.dry_run, custom=trains_itself(ctx), replaced=replaced.get(one.path, ""))
            if not settings.dry_run:
                terminal.path(one.path)
    if json:
        terminal.json(
            [
                {
                    **to_json(one, None if settings.dry_run else one.path),
                    "replaced": replaced.get(one.path) or None,
                    "warnings": [*one.changes, *diagnoses.texts(one.file.label)],
                }
                for one in chosen
            ]
        )
    elif csv:
        write_csv(chosen, by=settings.grouping.by)


@dataclass(frozen=True)
class Chosen:
    """A chosen list.

    Attributes:
        file: the score file.
        source: its scores.
        exclusions: the content of the list.
        path: the file of the list.
        note: people's decisions in words.
        grouped: the scores of groups, if whole groups are listed.
        changes: changes after the scores were made.
    """

    file: ScoreFile
    source: ScoreSource
    exclusions: Exclusions
    path: Path
    note: str
    grouped: GroupScores | None
    changes: list[str]


def check_grouping(settings: ExcludeCommand) -> None:
    """Refuse settings that do not work with groups of pairs."""
    if settings.grouping.by is not None and settings.rule.mode != "ranking_pair":
        raise UsageError(
            f"`by` leaves out pairs, and `pair_mode` {settings.rule.mode} leaves out items",
            hint="Leave out one of the two.",
        )


def choose(file: ScoreFile, place: Path, settings: ExcludeCommand) -> Chosen:
    """Choose what to leave out from one score file and people's decisions."""
    from tracinctl.scores.exclusion import choose_exclusions, choose_groups, with_earlier
    from tracinctl.scores.files.open import open_scores

    grouped, note = None, ""
    with terminal.progress(what=file.label) as report:
        source = open_scores(file.path, report)
        if settings.grouping.by is None:
            exclusions = choose_exclusions(source, settings.rule)
        else:
            grouped = read_groups(file, source, settings.grouping.by, report)
            exclusions = choose_groups(source, grouped, settings.rule)
    changes = tell_changes(file, source)
    if settings.decided.review:
        exclusions, note = with_decisions(file, source, exclusions)
    return Chosen(file, source, with_earlier(exclusions, source.provenance), place, note, grouped, changes)


def write_lists(chosen: list[Chosen], settings: ExcludeCommand) -> dict[Path, str]:
    """Write the lists, and mark their ids in the records if set; return summaries of replaced lists by path."""
    from tracinctl.scores.files.exclusion_list import origin_notes, write_exclusion_list
    from tracinctl.scores.files.records import read_records

    if settings.marking.update_metadata:
        for one in chosen:
            read_records(records_path(one.file))  # a broken file fails here, before a list is written
    replaced = {}
    for one in chosen:
        notes = origin_notes(one.file.path, one.source.provenance, one.note)
        replaced[one.path] = write_exclusion_list(
            one.path, one.exclusions, one.file.path.name, notes, force=settings.replacing.force
        )
        if settings.marking.update_metadata:
            mark(one)
    return replaced


def mark(one: Chosen) -> None:
    """Mark the listed ids in the user's records."""
    from tracinctl.scores.files.records import mark_excluded

    place = records_path(one.file)
    with terminal.progress(what=one.file.label) as report:
        marked = mark_excluded(one.source, one.exclusions, place, grouped=one.grouped, progress=report)
    terminal.say(f"{count(marked, 'record')} marked in {shown_path(place)}")


def with_decisions(file: ScoreFile, source: ScoreSource, exclusions: Exclusions) -> tuple[Exclusions, str]:
    """The list after people's decisions, and a note of what they decided."""
    from tracinctl.project.reviewed import reviewed_exclusions, verdicts_of

    if file.target is None:
        raise UsageError(
            f"`review`: the name of {file.path} does not show its material and frequency",
            hint="Score files are named <material>_<frequency>_influence_metadata.json.",
        )
    reviewed = reviewed_exclusions(exclusions, source, verdicts_of(file.target))
    return reviewed.exclusions, reviewed.note


def list_paths(project: Project, files: list[ScoreFile], output_file: Path | None) -> list[Path]:
    """The path of each score file's list.

    Raises:
        UsageError: two lists would be the same file.
    """
    if output_file is not None and len(files) > 1:
        raise UsageError(
            f"--output-file names one file, but {len(files)} score files give one list each",
            hint="Choose one with --metadata-file or --frequency, or leave --output-file out.",
        )
    places: list[Path] = []
    owners: dict[Path, ScoreFile] = {}
    for file in files:
        own = file.target.list_file if file.target else project.output_dir / f"{file.path.stem}_excluded_pairs.txt"
        places.append(output_file or own)
        other = owners.setdefault(places[-1].absolute(), file)
        if other is not file:
            raise UsageError(
                f"{shown_path(other.path)} and {shown_path(file.path)} would both write {shown_path(own)}",
                hint="Run the command once per score file, each with its own --output-file.",
            )
    return places


def records_path(file: ScoreFile) -> Path:
    """The user's records of a score file, which are beside it."""
    if file.beside is not None:
        return file.beside.records
    raise UsageError(
        f"--update-metadata: the name of {file.path} does not show its material and frequency",
        hint="Score files are named <material>_<frequency>_influence_metadata.json.",
    )


def to_json(one: Chosen, path: Path | None) -> dict[str, Any]:
    """The result for JSON; ``output_file`` is null if nothing was written."""
    exclusions = one.exclusions
    plain = {
        "file": str(one.file.path),
        "material": one.file.material,
        "frequency": one.file.frequency,
        "output_file": None if path is None else str(path),
        "mode": exclusions.mode,
        "rule": exclusions.rule,
        "threshold": exclusions.value,
        "required_votes": exclusions.required_votes,
        "harmful": len(exclusions.harmful),
        "excluded": list(exclusions.ids),
        "excluded_before": len(exclusions.earlier),
    }
    if one.grouped is None:
        return plain
    influence = {group.name: group for group in one.grouped.influence}
    groups = [influence[group.id].to_json() | {"votes": group.votes} for group in exclusions.listed]
    return {**plain, "by": exclusions.by, "groups": groups}


def write_csv(results: list[Chosen], *, by: str | None = None) -> None:
    """Write one line per listed id: votes and mean score for a pair, influence for an item.

    For a list of whole groups, each line has the group's name, votes and mean score.
    """
    lines: list[list[Any]] = []
    for one in results:
        exclusions = one.exclusions
        by_id = {pair.id: pair for pair in exclusions.listed}
        group_of = group_of_ids(one)
        for name in exclusions.ids:
            pair = by_id.get(group_of.get(name, name))
            values = [pair.votes if pair else None, pair.mean if pair else None]
            more = exclusions.sample_scores.get(name) if by is None else group_of.get(name)
            lines.append([shown_path(one.file.path), name, exclusions.mode, *values, more])
    terminal.csv(["file", "id", "mode", "votes", "mean_score", by or "sample_influence"], lines)


def group_of_ids(one: Chosen) -> dict[str, str]:
    """Map each listed id to the first listed group that contains it."""
    from tracinctl.scores.groups import names_for_list

    groups: dict[str, str] = {}
    if one.grouped is None:
        return groups
    for group in one.exclusions.listed:
        for name in names_for_list(one.source, one.grouped.members.rows_of([group.id])):
            groups.setdefault(name, group.id)
    return groups


def show(one: Chosen, *, dry_run: bool, custom: bool, replaced: str = "") -> None:
    """Print the list that was written, or would be."""
    from tracinctl.project.workflow import next_command

    exclusions, path = one.exclusions, one.path
    title, columns, rows = table_of(one)
    if rows:
        terminal.table(title, columns, rows)
    else:
        terminal.text(title, style="bold")
    terminal.text("\n".join(about_list(exclusions)), style="dim")
    if dry_run:
        terminal.text(f"Dry run: {shown_path(path)} was not written.\n")
        return
    terminal.text(f"Written: {shown_path(path)}")
    if replaced:
        terminal.text(f"Replaced: was {replaced}", style="dim")
    if one.file.target is not None and exclusions.new_ids:
        terminal.line(f"Next: {next_command(one.file.target, shown_path(path), custom=custom)}")
        terminal.text("")


def table_of(one: Chosen) -> tuple[str, list[Column], list[list[str]]]:
    """Title, columns and rows of the listed groups, items or pairs."""
    exclusions, label = one.exclusions, label_of(one.file, one.source)
    pairs = exclusions.listed[:_SHOWN]
    if one.grouped is not None:
        influence = {group.name: group for group in one.grouped.influence}
        columns, rows = group_table(exclusions.by, [influence[group.id] for group in pairs])
        votes = [[f"{group.votes:,}"] for group in pairs]
        groups = count(len(exclusions.listed), "group")
        title = f"{label}: {groups} by {exclusions.by} to leave out, {count(len(exclusions.new_ids), 'training pair')}"
        rows = [[*row[:2], *vote, *row[2:]] for row, vote in zip(rows, votes, strict=True)]
        return title, [*columns[:2], Column("votes", "right"), *columns[2:]], rows
    what = "items" if exclusions.mode != "ranking_pair" else "pairs"
    title = f"{label}: {count(len(exclusions.new_ids), what[:-1])} to leave out"
    if exclusions.mode == "sample":
        scores = exclusions.sample_scores
        names = exclusions.new_ids[:_SHOWN]
        cells = aligned([scores[name] for name in names])
        columns = [Column("item"), Column("item-level influence", "right")]
        return title, columns, [[*row] for row in zip(names, cells, strict=True)]
    total = exclusions.rule == "total"
    columns = [
        Column("harmful training pair"),
        Column("votes", "right"),
        Column("total score" if total else "mean score", "right"),
    ]
    shown = aligned([pair.total if total else pair.mean for pair in pairs])
    return title, columns, [[pair.id, f"{pair.votes:,}", score] for pair, score in zip(pairs, shown, strict=True)]


def about_list(exclusions: Exclusions) -> list[str]:
    """Lines below the table: what it does not show, and what makes a pair or group harmful."""
    entries = len(exclusions.sample_scores) if exclusions.mode == "sample" else len(exclusions.listed)
    lines = [f"... and {entries - _SHOWN:,} more"] if entries > _SHOWN else []
    if exclusions.mode == "ranking_pair" and exclusions.mirrored:
        own = len(exclusions.new_ids) - len(exclusions.mirrored)
        mirrors = count(len(exclusions.mirrored), "mirror image")
        lines.append(f"{count(own, 'harmful pair')} and {mirrors}: the same comparisons with the items swapped.")
    if exclusions.earlier:
        lines.append(f"The list begins with {count(len(exclusions.earlier), 'id')} from earlier rounds.")
    if exclusions.mode == "sample":
        return lines
    if exclusions.by:
        lines.append(rule_text(exclusions.rule, exclusions.required_votes, number(exclusions.value)))
    elif exclusions.rule == "total":
        lines.append(f"Harmful: the scores on all test pairs add up to less than {number(exclusions.value)}.")
    else:
        lines.append(
            f"Harmful: {count(exclusions.required_votes, 'vote')} or more of "
            f"{count(exclusions.active_test_pairs, 'active test pair')}, below {number(exclusions.value)}."
        )
    return [*lines, f"{SIGNS.capitalize()}."]
