"""``tracinctl exclude``: the exclusion list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli import options
from tracinctl.cli.options import check_one_form, has_own_training, named_target, project_of, selected_files, was_flag
from tracinctl.cli.output.diagnoses import Diagnoses, label_of, warn_if_changed
from tracinctl.cli.output.groups import group_table, read_groups, rule_text
from tracinctl.cli.output.tables import Column, number_columns, scored_pairs
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.project.commands import ExcludeCommand
from tracinctl.text import SIGNS, aligned, count, number

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
    *, ctx: typer.Context, settings: ExcludeCommand, json: options.Json = False, csv: options.Csv = False
) -> None:
    """Write the exclusion list that training reads: # comments, then one id per line.

    A vote is a score below the threshold; a pair with enough votes is harmful. Positive scores are helpful, negative
    ones harmful. Pairs with the most votes come first, then those with the lowest mean score.
    """
    from tracinctl.scores.files.exclusion_list import list_to_replace

    check_one_form(json=json, csv=csv)
    check(ctx, settings)
    project = project_of(ctx, settings.scores, settings.lists)
    files = selected_files(ctx, project, settings.score_files, settings.selection)
    paths = list_paths(project, files, settings.output_file)
    for path in () if settings.dry_run else paths:
        list_to_replace(path, force=settings.writing.force)
    choices = [choose(file, path, settings) for file, path in zip(files, paths, strict=True)]
    replaced = {} if settings.dry_run else write_lists(choices, settings)
    diagnoses = Diagnoses()
    for choice in choices:
        diagnoses.add(choice.file.label, choice.source, choice.exclusions)
    diagnoses.show()
    for choice in choices:
        if choice.note:
            terminal.say(f"{choice.file.label}: {choice.note}")
        if not json and not csv:
            show(choice, dry_run=settings.dry_run, custom=has_own_training(ctx), replaced=replaced.get(choice.path, ""))
    if json:
        answers = [to_json(choice, None if settings.dry_run else choice.path) for choice in choices]
        for choice, answer in zip(choices, answers, strict=True):
            answer["replaced"] = replaced.get(choice.path) or None
            answer["warnings"] = [*choice.changes, *diagnoses.texts(choice.file.label)]
        terminal.json(answers)
    elif csv:
        write_csv(choices, by=settings.grouping.by)


@dataclass(frozen=True)
class Choice:
    """What one list leaves out.

    ``path`` is the file of the list, ``note`` people's decisions in words, ``grouped`` the scores of groups if whole
    groups are listed, and ``changes`` what changed after the scores were made.
    """

    file: ScoreFile
    source: ScoreSource
    exclusions: Exclusions
    path: Path
    note: str
    grouped: GroupScores | None
    changes: list[str]


def check(ctx: typer.Context, settings: ExcludeCommand) -> None:
    """Refuse settings that contradict each other before any work."""
    from tracinctl.scores.votes import parse_threshold

    if settings.grouping.by is not None and settings.rule.mode != "ranking_pair":
        raise UsageError(
            f"`by` leaves out pairs, and `pair_mode` {settings.rule.mode} leaves out items",
            hint="Leave out one of the two.",
        )
    if settings.output_file is not None and was_flag(ctx, "output_dir"):
        raise UsageError("`output_file` and `output_dir` exclude each other", hint="Give one of them.")
    parse_threshold(settings.rule.threshold)


def choose(file: ScoreFile, path: Path, settings: ExcludeCommand) -> Choice:
    """Choose what to leave out from one score file and people's decisions."""
    from tracinctl.project.reviewed import reviewed_exclusions, verdicts_of
    from tracinctl.scores.exclusion import choose_exclusions, choose_groups, with_earlier
    from tracinctl.scores.files.open import open_scores

    grouped = None
    with terminal.progress(title=file.label) as report:
        source = open_scores(file.path, report)
        if settings.grouping.by is None:
            exclusions = choose_exclusions(source, settings.rule)
        else:
            grouped = read_groups(file, source, settings.grouping.by, report)
            exclusions = choose_groups(source, grouped, settings.rule)
    changes = warn_if_changed(file, source)
    verdicts = verdicts_of(named_target(file, "`review`: ")) if settings.decided.review else None
    exclusions, note = reviewed_exclusions(exclusions, source, verdicts)
    return Choice(file, source, with_earlier(exclusions, source.provenance), path, note, grouped, changes)


def write_lists(choices: list[Choice], settings: ExcludeCommand) -> dict[Path, str]:
    """Write the lists, and mark their ids in the records if set; return summaries of replaced lists by path."""
    from tracinctl.scores.files.exclusion_list import origin_notes, write_exclusion_list
    from tracinctl.scores.files.records import mark_excluded, read_records

    records = {}
    for file in (choice.file for choice in choices if settings.writing.update_metadata):
        records[file] = named_target(file, "--update-metadata: ", beside=True).records
        read_records(records[file])  # a broken file fails here, before a list is written
    replaced = {}
    for choice in choices:
        file, source, exclusions = choice.file, choice.source, choice.exclusions
        notes = origin_notes(file.path, source.provenance, choice.note)
        replaced[choice.path] = write_exclusion_list(
            choice.path, exclusions, file.path.name, notes, force=settings.writing.force
        )
        if file in records:
            with terminal.progress(title=file.label) as report:
                marked = mark_excluded(source, exclusions, records[file], grouped=choice.grouped, progress=report)
            terminal.say(f"{count(marked, 'record')} marked in {shown_path(records[file])}")
    return replaced


def list_paths(project: Project, files: list[ScoreFile], output_file: Path | None) -> list[Path]:
    """The path of each score file's list; UsageError if two lists would be the same file."""
    if output_file is not None and len(files) > 1:
        raise UsageError(
            f"--output-file names one file, but {len(files)} score files give one list each",
            hint="Choose one with --metadata-file or --frequency, or leave --output-file out.",
        )
    if output_file is not None:
        return [output_file]
    paths: list[Path] = []
    owners: dict[Path, ScoreFile] = {}
    for file in files:
        path = file.target.list_file if file.target else project.output_dir / f"{file.path.stem}_excluded_pairs.txt"
        owner = owners.setdefault(path.absolute(), file)
        if owner is not file:
            raise UsageError(
                f"{shown_path(owner.path)} and {shown_path(file.path)} would both write {shown_path(path)}",
                hint="Run the command once per score file, each with its own --output-file.",
            )
        paths.append(path)
    return paths


def to_json(choice: Choice, path: Path | None) -> dict[str, Any]:
    """The result for JSON; ``output_file`` is null if nothing was written."""
    exclusions = choice.exclusions
    answer: dict[str, Any] = {
        "file": str(choice.file.path),
        "material": choice.file.material,
        "frequency": choice.file.frequency,
        "output_file": None if path is None else str(path),
        "mode": exclusions.mode,
        "rule": exclusions.rule,
        "threshold": exclusions.value,
        "required_votes": exclusions.required_votes,
        "harmful": len(exclusions.harmful),
        "excluded": list(exclusions.ids),
        "excluded_before": len(exclusions.earlier),
    }
    if choice.grouped is not None:
        influence = {group.name: group for group in choice.grouped.influence}
        groups = [influence[group.id].to_json() | {"votes": group.votes} for group in exclusions.listed]
        answer |= {"by": exclusions.by, "groups": groups}
    return answer


def write_csv(choices: list[Choice], *, by: str | None = None) -> None:
    """Write one line per listed id: votes and mean score for a pair, influence for an item.

    For a list of whole groups, each line has the group's name, votes and mean score.
    """
    lines: list[list[Any]] = []
    for choice in choices:
        exclusions = choice.exclusions
        by_id = {pair.id: pair for pair in exclusions.listed}
        group_of = group_of_ids(choice)
        for name in exclusions.ids:
            pair = by_id.get(group_of.get(name, name))
            values = [pair.votes if pair else None, pair.mean if pair else None]
            more = exclusions.sample_scores.get(name) if by is None else group_of.get(name)
            lines.append([shown_path(choice.file.path), name, exclusions.mode, *values, more])
    terminal.csv(["file", "id", "mode", "votes", "mean_score", by or "sample_influence"], lines)


def group_of_ids(choice: Choice) -> dict[str, str]:
    """The first listed group that contains each listed id."""
    from tracinctl.scores.groups import names_for_list

    groups: dict[str, str] = {}
    if choice.grouped is None:
        return groups
    for group in choice.exclusions.listed:
        for name in names_for_list(choice.source, choice.grouped.members.rows_of([group.id])):
            groups.setdefault(name, group.id)
    return groups


def show(choice: Choice, *, dry_run: bool, custom: bool, replaced: str = "") -> None:
    """Print the list that was written, or would be."""
    from tracinctl.project.workflow import next_command

    exclusions, path = choice.exclusions, choice.path
    title, columns, rows = table_of(choice)
    if rows:
        terminal.table(title, columns, rows)
    else:
        terminal.text(title, style="bold")
    terminal.text("\n".join(about_list(exclusions)), style="dim")
    if dry_run:
        terminal.text(f"Dry run: {shown_path(path)} was not written.\n")
        return
    terminal.path(path)
    terminal.text(f"Written: {shown_path(path)}")
    if replaced:
        terminal.text(f"Replaced: was {replaced}", style="dim")
    if choice.file.target is not None and exclusions.new_ids:
        terminal.line(f"Next: {next_command(choice.file.target, shown_path(path), custom=custom)}")
        terminal.text("")


def table_of(choice: Choice) -> tuple[str, list[Column], list[list[str]]]:
    """Title, columns and rows of the listed groups, items or pairs."""
    exclusions, label = choice.exclusions, label_of(choice.file.label, choice.source)
    pairs = exclusions.listed[:_SHOWN]
    if choice.grouped is not None:
        influence = {group.name: group for group in choice.grouped.influence}
        columns, rows = group_table(exclusions.by, [influence[group.id] for group in pairs])
        groups = count(len(exclusions.listed), "group")
        title = f"{label}: {groups} by {exclusions.by} to leave out, {count(len(exclusions.new_ids), 'training pair')}"
        rows = [[*row[:2], f"{group.votes:,}", *row[2:]] for row, group in zip(rows, pairs, strict=True)]
        return title, [*columns[:2], *number_columns("votes"), *columns[2:]], rows
    kind = "pair" if exclusions.mode == "ranking_pair" else "item"
    title = f"{label}: {count(len(exclusions.new_ids), kind)} to leave out"
    if exclusions.mode == "sample":
        names = exclusions.new_ids[:_SHOWN]
        scores = aligned([exclusions.sample_scores[name] for name in names])
        columns = [Column("item"), *number_columns("item-level influence")]
        return title, columns, [[*row] for row in zip(names, scores, strict=True)]
    total = exclusions.rule == "total"
    scored = [(pair.id, pair.votes, pair.total if total else pair.mean) for pair in pairs]
    return title, *scored_pairs("harmful training pair", scored, rule=exclusions.rule)


def about_list(exclusions: Exclusions) -> list[str]:
    """Lines below the table: what it does not show, and what makes a pair or group harmful."""
    entries = len(exclusions.sample_scores) if exclusions.mode == "sample" else len(exclusions.listed)
    lines = [f"... and {entries - _SHOWN:,} more"] if entries > _SHOWN else []
    if exclusions.mode == "ranking_pair" and exclusions.mirrored:
        harmful = count(len(exclusions.new_ids) - len(exclusions.mirrored), "harmful pair")
        mirrors = count(len(exclusions.mirrored), "mirror image")
        lines.append(f"{harmful} and {mirrors}: the same comparisons with the items swapped.")
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
