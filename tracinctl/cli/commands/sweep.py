"""``tracinctl sweep``: what each threshold would exclude."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli import options
from tracinctl.cli.options import check_one_form, project_of, selected_files, settings_without_flags
from tracinctl.cli.output.diagnoses import Diagnoses, label_of, warn_if_changed
from tracinctl.cli.output.groups import sweep_groups
from tracinctl.cli.output.retraining import judge_thresholds, retraining_settings, show_verdict
from tracinctl.cli.output.tables import number_columns, scored_pairs
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.project.commands import ComputeCommand, SweepCommand
from tracinctl.text import SIGNS, count

if TYPE_CHECKING:
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.options import Votes
    from tracinctl.scores.sweep import SweepResult, SweepRow

EXAMPLES = """tracinctl sweep --thresholds -5,-10
tracinctl sweep --frequency 500hz --min-occurrences 2 --json
tracinctl sweep --frequency 500hz --by annotator --top 10
tracinctl sweep --frequency 500hz --thresholds 0,-10 --retrain"""

_VOTE_COLUMNS = 6
_FEWEST_VOTE_COLUMNS = 3
_MOST_CSV_COLUMNS = 20


def sweep(*, ctx: typer.Context, settings: SweepCommand, json: options.Json = False, csv: options.Csv = False) -> None:
    """Show what each threshold would exclude, at every number of votes.

    A vote is a score below the threshold; a pair with enough votes is harmful. Positive scores are helpful, negative
    ones harmful.
    """
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.sweep import sweep_thresholds
    from tracinctl.scores.votes import parse_thresholds

    check_one_form(json=json, csv=csv)
    tried, votes = parse_thresholds(settings.tried.thresholds), settings.votes
    project = project_of(ctx, settings.scores)
    if settings.grouping.by is not None:
        files = selected_files(ctx, project, settings.score_files, settings.selection)
        sweep_groups(files, settings.grouping.by, tried, settings, "json" if json else "csv" if csv else "")
        return
    if csv and (settings.retraining.retrain or settings.top):
        missing = "result of `retrain`" if settings.retraining.retrain else "pairs that `top` lists"
        raise UsageError(f"`csv` cannot show the {missing}", hint="Use `json` instead.")
    judging = None
    if settings.retraining.retrain:
        origin = settings_without_flags(ctx, "compute", ComputeCommand).compute.origin
        judging = retraining_settings(ctx, origin, settings.retraining.how)
    results, answers, diagnoses = [], [], Diagnoses()
    for file in selected_files(ctx, project, settings.score_files, settings.selection):
        with terminal.progress(title=file.label) as report:
            source = open_scores(file.path, report)
            result = sweep_thresholds(source, tried, votes.min_occurrences, votes.upper_threshold, rule=votes.rule)
        changes = warn_if_changed(file, source)
        results.append((file, result))
        top = top_pairs(list(source.train_ids), result, settings.top)
        if not json and not csv:
            show(label_of(file.label, source), result, votes)
            show_top(result, top)
        diagnoses.add(file.label, source, result)
        answer = result.to_json(str(file.path), file.material, file.frequency)
        answer |= {"top": top, "warnings": [*changes, *diagnoses.texts(file.label)]}
        if judging is not None:
            verdict = judge_thresholds(file, source, judging, tried, votes)
            answer["retraining"] = verdict.to_json()
            if not json and not csv:
                show_verdict(file.label, verdict)
        answers.append(answer)
    diagnoses.show()
    if json:
        terminal.json(answers)
    elif csv:
        write_csv(results)


def show(label: str, result: SweepResult, rule: Votes) -> None:
    """Print one file's table."""
    from tracinctl.plots.views.sweep import vote_lines

    required = result.rows[0].required_votes
    for most in range(_VOTE_COLUMNS, _FEWEST_VOTE_COLUMNS - 1, -1):
        shown = vote_lines(result.active_test_pairs, required, most) if result.rule == "votes" else []
        votes = (f"{k:,}+" for k in shown)
        columns = number_columns("threshold", *votes, "harmful", "of pairs", "of items", bold="harmful")
        rows = [_row(row, shown) for row in result.rows]
        if terminal.has_room(columns, rows):
            break
    title = (
        f"{label}: {count(result.train_pairs, 'training pair')}, "
        f"{count(result.active_test_pairs, 'active test pair')} of {result.test_pairs:,}"
    )
    as_given = f" ({rule.min_occurrences})" if rule.min_occurrences != str(required) else ""
    upper = " or above the upper one" if rule.upper_threshold is not None else ""
    terminal.table(title, columns, rows)
    if result.rule == "total":
        text = "Harmful: the sum of a pair's scores on all test pairs is below the threshold"
        terminal.text(f"{text}. {SIGNS.capitalize()}.\n", style="dim")
        return
    first = shown[0] if shown else 1
    terminal.text(
        f"A vote: a score below the threshold{upper}; {first}+: pairs with that many votes or more.\n"
        f"Harmful: {count(required, 'vote')} or more{as_given}. {SIGNS.capitalize()}.\n",
        style="dim",
    )


def _row(row: SweepRow, shown: list[int]) -> list[str]:
    return [
        row.threshold.named(row.value),
        *(f"{row.votes.get(k, 0):,}" for k in shown),
        f"{row.harmful:,}",
        f"{row.pair_share:.1%}",
        "?" if row.item_share is None else f"{row.item_share:.1%}",
    ]


def top_pairs(ids: list[str], result: SweepResult, top: int) -> list[dict[str, Any]]:
    """The pairs with the most votes at the first threshold, then the lowest mean score; or with the lowest total."""
    counted, total = result.counted, result.rule == "total"
    votes, scores = counted.votes[0], counted.totals if total else counted.mean
    order = sorted(range(len(ids)), key=lambda row: (0 if total else -int(votes[row]), float(scores[row]), ids[row]))
    mean, totals = counted.mean, counted.totals
    return [
        {"pair": ids[row], "votes": int(votes[row]), "mean": float(mean[row]), "total": float(totals[row])}
        for row in order[:top]
    ]


def show_top(result: SweepResult, pairs: list[dict[str, Any]]) -> None:
    """Print the table of the top pairs."""
    if not pairs:
        return
    total = result.rule == "total"
    scored = [(pair["pair"], pair["votes"], pair["total" if total else "mean"]) for pair in pairs]
    title = "Lowest totals" if total else f"Most votes at threshold {result.rows[0].threshold.text}"
    terminal.table(title, *scored_pairs("training pair", scored, rule=result.rule))
    terminal.text("")


def write_csv(results: list[tuple[ScoreFile, SweepResult]]) -> None:
    """Write one line per file and threshold, with the numbers of votes that the table shows."""
    from tracinctl.plots.views.sweep import vote_lines

    most = max((len(row.votes) for _, result in results for row in result.rows), default=0)
    numbers = set(range(1, most + 1)) if most <= _MOST_CSV_COLUMNS else set()
    for _, result in results if most > _MOST_CSV_COLUMNS else ():
        numbers |= set(vote_lines(result.active_test_pairs, result.rows[0].required_votes, _VOTE_COLUMNS))
    shown = sorted(numbers)
    header = ["file", "material", "frequency", "train_pairs", "test_pairs", "active_test_pairs", "threshold"]
    header += ["required_votes", "harmful", "pair_share", "item_share", *(f"votes_{k}" for k in shown)]
    lines: list[list[Any]] = []
    for file, result in results:
        about: list[Any] = [shown_path(file.path), file.material, file.frequency]
        about += [result.train_pairs, result.test_pairs, result.active_test_pairs]
        for row in result.rows:
            values = [row.value, row.required_votes, row.harmful, row.pair_share, row.item_share]
            lines.append([*about, *values, *(row.votes.get(k, 0) for k in shown)])
    terminal.csv(header, lines)
