"""``--by``: groups of training pairs, as tables for people, and as JSON and CSV for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracinctl.cli.output.diagnoses import Diagnoses, label_of, warn_if_changed
from tracinctl.cli.output.tables import Column, number_columns
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.text import SIGNS, aligned, count, number, share

if TYPE_CHECKING:
    from tracinctl.progress import ProgressCallback
    from tracinctl.project.commands import SweepCommand
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.groups import GroupInfluence, GroupScores
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.sweep import SweepResult
    from tracinctl.scores.votes import Threshold

_SHOWN = 20


def read_groups(file: ScoreFile, source: ScoreSource, by: str, progress: ProgressCallback) -> GroupScores:
    """The scores of the groups, with the contradictions if known."""
    from tracinctl.project.doubts import doubts_of_scores
    from tracinctl.scores.groups import group_scores

    contradicted = doubts_of_scores(file.target if file.in_project else None, source.train_ids)
    return group_scores(source, by, contradicted=contradicted, progress=progress)


def group_table(by: str, groups: Sequence[GroupInfluence]) -> tuple[list[Column], list[list[str]]]:
    """Columns and rows of a table of groups, with a column for contradictions if they are known."""
    contradicted = ["contradicted"] if any(group.contradicted is not None for group in groups) else []
    numbers = ("pairs", "total", "per pair", "95 % interval", "harmful pairs", *contradicted)
    columns = [Column(by), *number_columns(*numbers, bold="per pair")]
    totals, means = aligned([group.total for group in groups]), aligned([group.mean for group in groups])
    rows = [
        [
            group.name or "(empty)",
            f"{group.pairs:,}",
            total,
            mean,
            "-" if math.isinf(group.low) else f"{number(group.low)} to {number(group.high)}",
            share(group.harmful, group.pairs),
            *([share(group.contradicted, 1)] if group.contradicted is not None else []),
        ]
        for group, total, mean in zip(groups, totals, means, strict=True)
    ]
    return columns, rows


@dataclass(frozen=True)
class GroupSweep:
    """The groups of one score file that each threshold would exclude."""

    file: ScoreFile
    source: ScoreSource
    grouped: GroupScores
    result: SweepResult

    @property
    def groups(self) -> Sequence[GroupInfluence]:
        """The groups, the most harmful first."""
        from tracinctl.scores.groups import most_harmful_first

        return most_harmful_first(self.grouped.influence)

    def harmful(self, k: int) -> Any:
        """Whether each group is harmful at the k-th threshold."""
        counted, row = self.result.counted, self.result.rows[k]
        if self.result.rule == "total":
            return counted.totals < row.value
        return counted.votes[k] >= row.required_votes

    def pairs(self, k: int) -> int:
        """Number of different training pairs in the harmful groups at the k-th threshold."""
        members = self.grouped.members
        return len(set(members.rows[self.harmful(k)[members.groups]].tolist()))

    def to_json(self, warnings: Sequence[str]) -> dict[str, Any]:
        """The result for JSON."""
        answer = self.result.to_json(str(self.file.path), self.file.material, self.file.frequency)
        for k, threshold in enumerate(answer["thresholds"]):
            threshold["harmful_pairs"] = self.pairs(k)
        groups = [group.to_json() for group in self.groups]
        answer |= {"train_pairs": len(self.source.train_ids), "by": self.grouped.members.by, "groups": groups}
        return answer | {"warnings": list(warnings)}


def sweep_groups(
    files: Sequence[ScoreFile], by: str, tried: Sequence[Threshold], settings: SweepCommand, form: str
) -> None:
    """Print the groups of each score file, and which of them each threshold would exclude."""
    from tracinctl.scores.diagnoses import diagnose_scores
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.sweep import sweep_thresholds

    if settings.retraining.retrain:
        raise UsageError("`retrain` judges lists of single pairs", hint="Leave out `by` or `retrain`.")
    votes, sweeps, answers, diagnoses = settings.votes, [], [], Diagnoses()
    for file in files:
        with terminal.progress(title=file.label) as report:
            source = open_scores(file.path, report)
            grouped = read_groups(file, source, by, report)
        result = sweep_thresholds(grouped, tried, votes.min_occurrences, votes.upper_threshold, rule=votes.rule)
        sweep = GroupSweep(file, source, grouped, result)
        sweeps.append(sweep)
        changes = warn_if_changed(file, source)
        diagnoses.put(file.label, diagnose_scores(result.test_pairs, result.active_test_pairs, source.provenance))
        if form == "json":
            unreachable = [result.never_fires] if result.never_fires else []
            answers.append(sweep.to_json([*changes, *unreachable, *diagnoses.texts(file.label)]))
        elif not form:
            _show_sweep(sweep, settings.top or _SHOWN)
    diagnoses.show()
    if form == "json":
        terminal.json(answers)
    elif form == "csv":
        _write_csv(sweeps)


def _show_sweep(sweep: GroupSweep, top: int) -> None:
    result, groups, by = sweep.result, sweep.groups, sweep.grouped.members.by
    train_pairs = len(sweep.source.train_ids)
    title = (
        f"{label_of(sweep.file.label, sweep.source)}, by {by}: {count(len(groups), 'group')} of "
        f"{count(train_pairs, 'training pair')}, {count(result.active_test_pairs, 'active test pair')} "
        f"of {result.test_pairs:,}"
    )
    terminal.table(title, *group_table(by, groups[:top]))
    lines = [f"... and {len(groups) - top:,} less harmful ones; --top shows more."] if len(groups) > top else []
    lines.append(f"Total, per pair: influence on all {result.test_pairs:,} test pairs. {SIGNS.capitalize()}.")
    if any(group.contradicted is not None for group in groups):
        lines.append("Contradicted: pairs that most rankers trained without them order the other way.")
    terminal.text("\n".join([*lines, ""]), style="dim")
    titles = ("threshold", "harmful groups", "of groups", "their pairs", "of pairs")
    rows = []
    for k, row in enumerate(result.rows):
        pairs, of_groups = sweep.pairs(k), share(row.harmful, len(groups))
        name = row.threshold.named(row.value)
        rows.append([name, f"{row.harmful:,}", of_groups, f"{pairs:,}", share(pairs, train_pairs)])
    terminal.table("", number_columns(*titles, bold="harmful groups"), rows)
    terminal.text(f"{rule_text(result.rule, result.rows[0].required_votes)}\n", style="dim")


def rule_text(rule: str, required: int, below: str = "the threshold") -> str:
    """The sentence that says when a group is harmful."""
    if rule == "total":
        return f"Harmful: the total per pair is below {below}."
    return f"Harmful: the mean score of the group's pairs is below {below} on {count(required, 'test pair')} or more."


def _write_csv(sweeps: Sequence[GroupSweep]) -> None:
    """Write one line per group, with a column per threshold that says whether the group is harmful."""
    header = ["file", "material", "frequency", "by", "group", "pairs", "total", "per_pair", "low", "high"]
    header += ["harmful_pairs", "contradicted", *(f"harmful_at_{row.threshold.text}" for row in sweeps[0].result.rows)]
    lines: list[list[Any]] = []
    for sweep in sweeps:
        harmful = [sweep.harmful(k) for k in range(len(sweep.result.rows))]
        place = {name: k for k, name in enumerate(sweep.grouped.members.names)}
        about = [shown_path(sweep.file.path), sweep.file.material, sweep.file.frequency, sweep.grouped.members.by]
        for group in sweep.groups:
            ends = [None if math.isinf(end) else end for end in (group.low, group.high)]
            values = [group.name, group.pairs, group.total, group.mean, *ends, group.harmful, group.contradicted]
            lines.append([*about, *values, *(int(at_threshold[place[group.name]]) for at_threshold in harmful)])
    terminal.csv(header, lines)
