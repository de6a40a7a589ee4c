"""``--by``: groups of training pairs, as tables for people, and as JSON and CSV for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracinctl.cli.output.diagnoses import SIGNS, Diagnoses, label_of, tell_changes
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.text import aligned, count, number, share

if TYPE_CHECKING:
    from tracinctl.progress import ProgressCallback
    from tracinctl.project.commands import SweepCommand
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.groups import GroupInfluence, GroupScores
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.sweep import SweepResult, SweepRow
    from tracinctl.scores.votes import Threshold

_SHOWN = 20


def read_groups(file: ScoreFile, source: ScoreSource, by: str, progress: ProgressCallback) -> GroupScores:
    """The scores of the groups, with the contradictions if known."""
    from tracinctl.project.unseeing import doubts_of_scores
    from tracinctl.scores.groups import group_scores

    known = doubts_of_scores(file.target if file.in_project else None, source.train_ids)
    return group_scores(source, by, contradicted=known, progress=progress)


def group_table(by: str, groups: Sequence[GroupInfluence]) -> tuple[list[Column], list[list[str]]]:
    """Columns and rows of a table of groups, with a column for contradictions if they are known."""
    known = any(group.contradicted is not None for group in groups)
    columns = [
        Column(by),
        Column("pairs", "right"),
        Column("total", "right"),
        Column("per pair", "right", "bold"),
        Column("95 % interval", "right"),
        Column("harmful pairs", "right"),
        *([Column("contradicted", "right")] if known else []),
    ]
    totals, means = aligned([group.total for group in groups]), aligned([group.mean for group in groups])
    rows = [
        [
            group.name or "(empty)",
            f"{group.pairs:,}",
            total,
            mean,
            interval(group),
            share(group.harmful, group.pairs),
            *([share(group.contradicted, 1)] if group.contradicted is not None else []),
        ]
        for group, total, mean in zip(groups, totals, means, strict=True)
    ]
    return columns, rows


def interval(group: GroupInfluence) -> str:
    """The interval of a group's mean; a dash for a group of one pair."""
    return "-" if math.isinf(group.low) else f"{number(group.low)} to {number(group.high)}"


@dataclass(frozen=True)
class GroupSweep:
    """The groups of one score file that each threshold would exclude."""

    file: ScoreFile
    source: ScoreSource
    grouped: GroupScores
    result: SweepResult

    def harmful(self, row: SweepRow, k: int) -> Any:
        """Whether each group is harmful at the k-th threshold."""
        counted = self.result.counted
        if self.result.rule == "total":
            return counted.totals < row.value
        return counted.votes[k] >= row.required_votes

    def pairs(self, row: SweepRow, k: int) -> int:
        """Number of different training pairs in the harmful groups."""
        members = self.grouped.members
        return len(set(members.rows[self.harmful(row, k)[members.groups]].tolist()))

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        from tracinctl.scores.groups import most_harmful_first

        plain = self.result.to_json(str(self.file.path), self.file.material, self.file.frequency)
        for k, (row, threshold) in enumerate(zip(self.result.rows, plain["thresholds"], strict=True)):
            threshold["harmful_pairs"] = self.pairs(row, k)
        plain["train_pairs"] = len(self.source.train_ids)
        groups = [group.to_json() for group in most_harmful_first(self.grouped.influence)]
        return {**plain, "by": self.grouped.members.by, "groups": groups}


def sweep_groups(
    files: Sequence[ScoreFile], by: str, tried: Sequence[Threshold], settings: SweepCommand, form: str
) -> None:
    """Print the groups of each score file, and which of them each threshold would exclude."""
    from tracinctl.scores.diagnoses import diagnose_scores
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.sweep import sweep_thresholds

    if settings.retraining.retrain:
        raise UsageError("`retrain` judges lists of single pairs", hint="Leave out `by` or `retrain`.")
    votes, sweeps, warnings, diagnoses = settings.votes, [], [], Diagnoses()
    for file in files:
        with terminal.progress(what=file.label) as report:
            source = open_scores(file.path, report)
            grouped = read_groups(file, source, by, report)
        result = sweep_thresholds(grouped, tried, votes.min_occurrences, votes.upper_threshold, rule=votes.rule)
        one = GroupSweep(file, source, grouped, result)
        changes = tell_changes(file, source)
        diagnoses.put(file.label, diagnose_scores(result.test_pairs, result.active_test_pairs, source.provenance))
        if not form:
            _show_sweep(one, settings.top or _SHOWN)
        sweeps.append(one)
        warnings.append([*changes, *([result.never_fires] if result.never_fires else [])])
    diagnoses.tell()
    if form == "json":
        terminal.json(
            [
                {**one.to_json(), "warnings": [*notes, *diagnoses.texts(one.file.label)]}
                for one, notes in zip(sweeps, warnings, strict=True)
            ]
        )
    elif form == "csv":
        _write_csv(sweeps)


def _show_sweep(one: GroupSweep, top: int) -> None:
    from tracinctl.scores.groups import most_harmful_first

    result, by = one.result, one.grouped.members.by
    groups = most_harmful_first(one.grouped.influence)
    title = (
        f"{label_of(one.file, one.source)}, by {by}: {count(len(groups), 'group')} of "
        f"{count(len(one.source.train_ids), 'training pair')}, {count(result.active_test_pairs, 'active test pair')} "
        f"of {result.test_pairs:,}"
    )
    terminal.table(title, *group_table(by, groups[:top]))
    more = [f"... and {len(groups) - top:,} less harmful ones; --top shows more."] if len(groups) > top else []
    known = any(group.contradicted is not None for group in groups)
    explained = ["Contradicted: pairs that most rankers trained without them order the other way."] if known else []
    what = f"Total, per pair: influence on all {result.test_pairs:,} test pairs. {SIGNS.capitalize()}."
    terminal.text("\n".join([*more, what, *explained, ""]), style="dim")
    columns = [
        Column("threshold", "right"),
        Column("harmful groups", "right", "bold"),
        Column("of groups", "right"),
        Column("their pairs", "right"),
        Column("of pairs", "right"),
    ]
    rows = []
    for k, row in enumerate(result.rows):
        pairs = one.pairs(row, k)
        name = row.threshold.text if not row.threshold.quantile else f"{row.threshold.text} = {number(row.value)}"
        shares = share(row.harmful, len(groups)), share(pairs, len(one.source.train_ids))
        rows.append([name, f"{row.harmful:,}", shares[0], f"{pairs:,}", shares[1]])
    terminal.table("", columns, rows)
    terminal.text(f"{rule_text(result.rule, result.rows[0].required_votes)}\n", style="dim")


def rule_text(rule: str, required: int, below: str = "the threshold") -> str:
    """The sentence that says when a group is harmful."""
    if rule == "total":
        return f"Harmful: the total per pair is below {below}."
    return f"Harmful: the mean score of the group's pairs is below {below} on {count(required, 'test pair')} or more."


def _write_csv(sweeps: Sequence[GroupSweep]) -> None:
    """Write one line per group, with a column per threshold that says whether the group is harmful."""
    from tracinctl.scores.groups import most_harmful_first

    header = ["file", "material", "frequency", "by", "group", "pairs", "total", "per_pair", "low", "high"]
    header += ["harmful_pairs", "contradicted", *(f"harmful_at_{row.threshold.text}" for row in sweeps[0].result.rows)]
    lines: list[list[Any]] = []
    for one in sweeps:
        marks = [one.harmful(row, k) for k, row in enumerate(one.result.rows)]
        place = {name: k for k, name in enumerate(one.grouped.members.names)}
        about = [shown_path(one.file.path), one.file.material, one.file.frequency, one.grouped.members.by]
        for group in most_harmful_first(one.grouped.influence):
            ends = [None if math.isinf(end) else end for end in (group.low, group.high)]
            values = [group.name, group.pairs, group.total, group.mean, *ends, group.harmful, group.contradicted]
            lines.append([*about, *values, *(int(mark[place[group.name]]) for mark in marks)])
    terminal.csv(header, lines)
