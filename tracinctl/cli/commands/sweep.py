"""``tracinctl sweep``: what each threshold would exclude."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli import options
from tracinctl.cli.options import check_one_form, project_of, selected_files
from tracinctl.cli.output.diagnoses import SIGNS, Diagnoses, label_of, tell_changes
from tracinctl.cli.output.groups import sweep_groups
from tracinctl.cli.output.retraining import judge_thresholds, show_verdict, sweep_judging
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.project.commands import SweepCommand
from tracinctl.text import aligned, count, number

if TYPE_CHECKING:
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.sweep import SweepResult, SweepRow

EXAMPLES = """tracinctl sweep --thresholds -5,-10
tracinctl sweep --frequency 500hz --min-occurrences 2 --json
tracinctl sweep --frequency 500hz --by annotator --top 10
tracinctl sweep --frequency 500hz --thresholds 0,-10 --retrain"""

_VOTE_COLUMNS = 6
_FEWEST_VOTE_COLUMNS = 3
_MOST_CSV_COLUMNS = 20


def sweep(
    *,
    ctx: typer.Context,
    settings: SweepCommand,
    json: options.Json = False,
    csv: options.Csv = False,
) -> None:
    """Show what each threshold would exclude, at every number of votes.

    A vote is a score below the threshold; a pair with enough votes is harmful. Positive scores are helpful, negative
    ones harmful.
    """
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.sweep import sweep_thresholds
    from tracinctl.scores.votes import parse_thresholds

    check_one_form(json=json, csv=csv)
    if settings.grouping.by is not None:
        project = project_of(ctx, settings.scores)
        files = selected_files(ctx, project, settings.given, settings.selection)
        tried = parse_thresholds(settings.tried.thresholds)
        sweep_groups(files, settings.grouping.by, tried, settings, "json" if json else "csv" if csv else "")
        return
    if csv and settings.retraining.retrain:
        raise UsageError("`csv` cannot show the result of `retrain`", hint="Use `json` instead.")
    if csv and settings.top:
        raise UsageError("`csv` cannot show the pairs that `top` lists", hint="Use `json` instead.")
    tried, votes = parse_thresholds(settings.tried.thresholds), settings.votes
    project = project_of(ctx, settings.scores)
    judging = sweep_judging(ctx, settings.retraining.how) if settings.retraining.retrain else None
    extra: dict[Path, dict[str, Any]] = {}
    results = []
    diagnoses = Diagnoses()
    for file in selected_files(ctx, project, settings.given, settings.selection):
        with terminal.progress(what=file.label) as report:
            source = open_scores(file.path, report)
            result = sweep_thresholds(source, tried, votes.min_occurrences, votes.upper_threshold, rule=votes.rule)
        changes = tell_changes(file, source)
        results.append((file, result))
        top = top_pairs(list(source.train_ids), result, settings.top)
        if not json and not csv:
            with_upper = votes.upper_threshold is not None
            show(label_of(file, source), result, votes.min_occurrences, with_upper=with_upper)
            show_top(result, top)
        diagnoses.add(file.label, source, sweep=result)
        extra[file.path] = {"top": top, "warnings": [*changes, *diagnoses.texts(file.label)]}
        if judging is not None:
            verdict = judge_thresholds(file, source, judging, tried, votes)
            extra[file.path]["retraining"] = verdict.to_json()
            if not json and not csv:
                show_verdict(file.label, verdict)
    diagnoses.tell()
    if json:
        terminal.json(
            [
                {**result.to_json(str(file.path), file.material, file.frequency), **extra[file.path]}
                for file, result in results
            ]
        )
    elif csv:
        write_csv(results)


def show(label: str, result: SweepResult, rule: str, *, with_upper: bool) -> None:
    """Print one file's table."""
    required = result.rows[0].required_votes
    for most in range(_VOTE_COLUMNS, _FEWEST_VOTE_COLUMNS - 1, -1):
        shown = vote_columns(result.active_test_pairs, required, most) if result.rule == "votes" else []
        columns = [
            Column("threshold", "right"),
            *(Column(f"{k:,}+", "right") for k in shown),
            Column("harmful", "right", "bold"),
            Column("of pairs", "right"),
            Column("of items", "right"),
        ]
        rows = [_row(row, shown) for row in result.rows]
        if terminal.has_room(columns, rows):
            break
    title = (
        f"{label}: {count(result.train_pairs, 'training pair')}, "
        f"{count(result.active_test_pairs, 'active test pair')} of {result.test_pairs:,}"
    )
    asked = f" ({rule})" if rule != str(required) else ""
    also = " or above the upper one" if with_upper else ""
    terminal.table(title, columns, rows)
    if result.rule == "total":
        text = "Harmful: the sum of a pair's scores on all test pairs is below the threshold"
        terminal.text(f"{text}. {SIGNS.capitalize()}.\n", style="dim")
        return
    terminal.text(
        f"A vote: a score below the threshold{also}; {shown[0] if shown else 1}+: pairs with that many votes or more.\n"
        f"Harmful: {count(required, 'vote')} or more{asked}. {SIGNS.capitalize()}.\n",
        style="dim",
    )


def _row(row: SweepRow, shown: list[int]) -> list[str]:
    name = row.threshold.text if not row.threshold.quantile else f"{row.threshold.text} = {number(row.value)}"
    return [
        name,
        *(f"{row.votes.get(k, 0):,}" for k in shown),
        f"{row.harmful:,}",
        f"{row.pair_share:.1%}",
        "?" if row.item_share is None else f"{row.item_share:.1%}",
    ]


def vote_columns(active: int, required: int, most: int) -> list[int]:
    """The numbers of votes to show: all of them, or the first, the required one, the last and some between."""
    if active <= most:
        return list(range(1, active + 1))
    chosen = {1, min(required, active), active}
    for share in (0.25, 0.75, 0.5):
        if len(chosen) < most:
            chosen.add(max(1, round(share * active)))
    return sorted(chosen)


def top_pairs(ids: list[str], result: SweepResult, top: int) -> list[dict[str, Any]]:
    """The pairs with the most votes at the first threshold, then the lowest mean score; or with the lowest total."""
    counted, total = result.counted, result.rule == "total"
    votes, scores = counted.votes[0], counted.totals if total else counted.mean
    order = sorted(range(len(ids)), key=lambda row: (0 if total else -int(votes[row]), float(scores[row]), ids[row]))
    return [
        {
            "pair": ids[row],
            "votes": int(votes[row]),
            "mean": float(counted.mean[row]),
            "total": float(counted.totals[row]),
        }
        for row in order[:top]
    ]


def show_top(result: SweepResult, pairs: list[dict[str, Any]]) -> None:
    """Print the table of the top pairs."""
    if not pairs:
        return
    total = result.rule == "total"
    columns = [
        Column("training pair"),
        Column("votes", "right"),
        Column("total score" if total else "mean score", "right"),
    ]
    cells = aligned([pair["total" if total else "mean"] for pair in pairs])
    rows = [[pair["pair"], f"{pair['votes']:,}", cell] for pair, cell in zip(pairs, cells, strict=True)]
    title = "Lowest totals" if total else f"Most votes at threshold {result.rows[0].threshold.text}"
    terminal.table(title, columns, rows)
    terminal.text("")


def write_csv(results: list[tuple[ScoreFile, SweepResult]]) -> None:
    """Write one line per file and threshold, with the numbers of votes that the table shows."""
    most = max((len(row.votes) for _, result in results for row in result.rows), default=0)
    numbers = set(range(1, most + 1)) if most <= _MOST_CSV_COLUMNS else set()
    for _, result in results if most > _MOST_CSV_COLUMNS else ():
        numbers |= set(vote_columns(result.active_test_pairs, result.rows[0].required_votes, _VOTE_COLUMNS))
    shown = sorted(numbers)
    header = ["file", "material", "frequency", "train_pairs", "test_pairs", "active_test_pairs", "threshold"]
    header += ["required_votes", "harmful", "pair_share", "item_share", *(f"votes_{k}" for k in shown)]
    lines: list[list[Any]] = [
        [
            shown_path(file.path),
            file.material,
            file.frequency,
            result.train_pairs,
            result.test_pairs,
            result.active_test_pairs,
            row.value,
            row.required_votes,
            row.harmful,
            row.pair_share,
            row.item_share,
            *(row.votes.get(k, 0) for k in shown),
        ]
        for file, result in results
        for row in result.rows
    ]
    terminal.csv(header, lines)
