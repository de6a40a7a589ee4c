"""``tracinctl workflow``: scores, exclusion lists and the next command, for several frequencies."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tracinctl.cli import options
from tracinctl.cli.options import given_names, has_own_training, project_of, settings_without_flags
from tracinctl.cli.output.diagnoses import Diagnoses, label_of
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.cli.processes import joined_processes, start_processes
from tracinctl.errors import UsageError
from tracinctl.project.commands import SweepCommand, TrainCommand, WorkflowCommand
from tracinctl.text import SIGNS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tracinctl.cli.output.tables import Cell
    from tracinctl.progress import ProgressCallback
    from tracinctl.project.report_cards import Suspects
    from tracinctl.project.settings import ComputeSettings, WorkflowSettings
    from tracinctl.project.target import Target
    from tracinctl.project.workflow import Run
    from tracinctl.scores.options import Rule
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.sweep import SweepResult

EXAMPLES = """tracinctl workflow --frequencies 500hz,1000hz
tracinctl workflow --threshold -5 --evaluate-only
tracinctl workflow --frequencies 500hz,1000hz --retrain"""

DAILY = frozenset(
    {
        *("material", "frequency", "checkpoint_dir", "metadata_dir", "output_dir", "loss_type", "method", "threshold"),
        *("min_occurrences", "max_exclusions", "pair_mode", "evaluate_only", "retrain", "plot", "report", "json"),
        *("quiet", "verbose", "help", "help_all"),
    }
)
"""The flags that most people use."""


def workflow(*, ctx: typer.Context, settings: WorkflowCommand, json: options.Json = False) -> None:
    """Compute influence scores, write exclusion lists and name the next command, for several frequencies.

    A frequency that fails does not stop the others; the exit code is then 1. Without checkpoints, existing score files
    are used. Positive scores are helpful, negative ones harmful.
    """
    # other commands are imported here, so that help and completion stay quick
    from tracinctl.cli.commands.compute import interrupt_note
    from tracinctl.cli.output.retraining import judge_run, retraining_settings, show_verdicts
    from tracinctl.project.selection import sets_of_source, workflow_sets

    check(settings, json=json)
    compute = settings.workflow.compute
    project = project_of(ctx, settings.places, settings.scores, settings.lists)
    retraining = settings.retraining
    judging = retraining_settings(ctx, compute.origin, retraining.how) if retraining.retrain else None
    chosen, own_source = settings.selection, compute.origin.source is not None
    targets = (sets_of_source if own_source else workflow_sets)(project, chosen.material, chosen.frequency)
    tried = settings_without_flags(ctx, "sweep", SweepCommand) if settings.workflow.evaluate_only else None
    workflow = replace(settings.workflow, list_later=judging is not None, given_names=given_names(ctx))
    diagnoses = Diagnoses()
    terminal.interrupt_note = interrupt_note(cache=compute.cache)
    finished = functools.partial(show_run, settings=settings, tried=tried, diagnoses=diagnoses, json=json)
    runs = run_targets(ctx, targets, settings, workflow, finished)
    diagnoses.show()
    if judging is not None:
        runs = [judge_run(run, workflow, judging) for run in runs]
    custom = own_source or has_own_training(ctx)
    if json:
        terminal.json(answers(runs, settings.report, diagnoses, tried))
    else:
        show(runs, custom=custom)
        show_verdicts(runs)
    if settings.report is not None:
        report_on(ctx, runs, settings.report, compute, custom=custom)
    raise typer.Exit(exit_code(runs))


def check(settings: WorkflowCommand, *, json: bool) -> None:
    """Refuse wrong settings before any work."""
    from tracinctl.project.report import check_report_path
    from tracinctl.scores.votes import parse_threshold

    parse_threshold(settings.workflow.rule.threshold)
    if settings.report is not None:
        check_report_path(settings.report)
    if json and settings.plot is not None:
        raise UsageError("`json` and `plot` exclude each other", hint="For a view's numbers, run plot VIEW --json")
    if not settings.workflow.compute.influence:
        raise UsageError(
            "workflow needs the scores that `compute_influence` writes",
            hint="Leave `compute_influence` on, or run tracinctl compute.",
        )


def run_targets(
    ctx: Any,
    targets: list[Target],
    settings: WorkflowCommand,
    workflow: WorkflowSettings,
    finished: Callable[[Run], None],
) -> list[Run]:
    """Run all frequencies, in rounds, in several processes, or one after another."""
    from tracinctl.project.workflow import run_workflow

    def watch(target: Target) -> AbstractContextManager[ProgressCallback]:
        return terminal.progress(title=target.label)

    if settings.rounds > 1:
        train, rounds = trainer_of_rounds(ctx, settings), settings.rounds
        return run_workflow(targets, workflow, watch=watch, finished=finished, rounds=rounds, train=train)
    start_processes(settings.processes.processes)
    with joined_processes() as shared:
        runs = run_workflow(targets, workflow, watch=watch, finished=finished, processes=shared)
    if shared is not None and shared.rank:
        raise typer.Exit(exit_code(runs))
    return runs


def show_run(
    run: Run, *, settings: WorkflowCommand, tried: SweepCommand | None, diagnoses: Diagnoses, json: bool
) -> None:
    """Show the result of one frequency, and keep its diagnoses for later."""
    from tracinctl.cli.commands.compute import show_notes

    if run.status == "done":
        terminal.interrupt_note = (
            f"Frequencies up to {run.target.frequency} are finished and kept; run the same command to continue."
        )
    if run.computed is not None:
        show_notes(run.computed)
    if run.error is not None:
        terminal.failure(run.error, run.target.label)
    if run.exclusions is not None and run.source is not None:
        diagnoses.add(run.target.label, run.source, run.exclusions)
    if tried is not None and not json:
        evaluate(run, tried)
    if settings.plot is not None and not json:
        draw_view(run, settings.plot, settings.workflow.rule)


def answers(
    runs: list[Run], report: Path | None, diagnoses: Diagnoses, tried: SweepCommand | None
) -> list[dict[str, Any]]:
    """The last result of each material and frequency for JSON, with those of all rounds if there are several."""
    rounds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        notes = run.computed.notes if run.computed is not None else ()
        answer = run.to_json() | {"report": None if report is None else str(report)}
        answer["warnings"] = [*notes, *diagnoses.texts(run.target.label)]
        if tried is not None and run.source is not None:
            answer["thresholds"] = swept(run.source, tried).to_json("")["thresholds"]
        rounds.setdefault((run.target.material, run.target.frequency), []).append(answer)
    return [every[-1] | ({"rounds": every} if len(every) > 1 else {}) for every in rounds.values()]


def trainer_of_rounds(ctx: Any, settings: WorkflowCommand) -> Callable[[Target, ProgressCallback], None]:
    """The function that trains a round; settings that contradict rounds are refused before any work."""
    from tracinctl.cli.commands.train import show_notes, train_settings
    from tracinctl.project.train import train_round

    for name, is_set in (
        ("retrain", settings.retraining.retrain),
        ("evaluate_only", settings.workflow.evaluate_only),
        ("processes", settings.processes.processes > 1),
        ("review", settings.workflow.decided.review),
    ):
        if is_set:
            raise UsageError(f"`rounds` and `{name}` exclude each other", hint="Give one of them.")
    as_train, origin = settings_without_flags(ctx, "train", TrainCommand), settings.workflow.compute.origin
    if as_train.command is not None:
        raise UsageError(
            "`rounds` trains the built-in ranker, but tracinctl.toml names your own training command",
            hint="Run your command with each list, and give its checkpoints with `checkpoint_dir`.",
        )
    if origin.source is not None or origin.model is not None:
        raise UsageError(
            "`rounds` trains the built-in ranker and cannot train your own model",
            hint="Train with each list yourself, and give the new checkpoints with `checkpoint_dir`.",
        )
    training, force = train_settings(as_train), settings.workflow.writing.force

    def train(target: Target, progress: ProgressCallback) -> None:
        outcome = train_round(target, origin, training, progress, force=force)
        if outcome is not None:
            show_notes(outcome)

    return train


def exit_code(runs: list[Run]) -> int:
    """0 if all are done, 2 if every failure is wrong usage, else 1."""
    codes = {run.error.exit_code for run in runs if run.error is not None}
    return min(codes, default=0)


def draw_view(run: Run, view: str, rule: Rule) -> None:
    """Draw a view of the scores, with the rule's threshold marked."""
    from tracinctl.plots.picture import draw
    from tracinctl.plots.request import Request
    from tracinctl.scores.votes import parse_threshold

    if run.source is None:
        return
    request = Request(
        run.source,
        terminal.width,
        terminal.colour,
        [parse_threshold(rule.threshold)],
        min_occurrences=rule.min_occurrences,
        height=terminal.height,
    )
    terminal.show(draw(view, request, f"{run.target.label}: {view}"), width=terminal.width)
    terminal.text("")


def report_on(ctx: Any, runs: list[Run], path: Path, compute: ComputeSettings, *, custom: bool) -> None:
    """Write the report."""
    import shlex

    from tracinctl.cli.output.usage import shown_value
    from tracinctl.project.report import write_report
    from tracinctl.project.report_cards import report_suspects

    def suspects(run: Run) -> Suspects:
        with terminal.progress(title=run.target.label) as progress:
            return report_suspects(run, compute, path, progress)

    settings = {
        name.replace("_", "-"): shown_value(value)
        for name, value in ctx.params.items()
        if name not in {"report", "json"} and shown_value(value) != "not set"
    }
    command = shlex.join(["tracinctl", *terminal.arguments])
    write_report(path, runs, command=command, settings=settings, shown=shown_path, custom=custom, suspects=suspects)
    terminal.say(f"Report: {shown_path(path)}")
    terminal.path(path)


def swept(source: ScoreSource, settings: SweepCommand) -> SweepResult:
    """What each threshold would exclude, computed as ``tracinctl sweep`` does."""
    from tracinctl.scores.sweep import sweep_thresholds
    from tracinctl.scores.votes import parse_thresholds

    votes, thresholds = settings.votes, parse_thresholds(settings.tried.thresholds)
    return sweep_thresholds(source, thresholds, votes.min_occurrences, votes.upper_threshold, rule=votes.rule)


def evaluate(run: Run, settings: SweepCommand) -> None:
    """Print what each threshold would exclude, as ``tracinctl sweep`` does."""
    from tracinctl.cli.commands.sweep import show as show_sweep

    if run.source is None:
        return
    show_sweep(label_of(run.target.label, run.source), swept(run.source, settings), settings.votes)


def show(runs: list[Run], *, custom: bool) -> None:
    """Print the table of all frequencies, and the next commands."""
    from tracinctl.project.workflow import next_command

    show_table(runs)
    written = [(run, run.output_file) for run in runs if run.output_file is not None]
    if not written:
        return
    terminal.text("\nExclusion lists")
    for run, path in written:
        terminal.text(f"  {shown_path(path)}{_about_list(run)}")
        if run.replaced:
            terminal.text(f"    replaced: was {run.replaced}", style="dim")
        terminal.path(path)
    last = {run.target.frequency: run for run in runs}.values()
    useful = [(run, path) for run, path in written if run in last and run.exclusions and run.exclusions.new_ids]
    if useful:
        terminal.text("\nNext: retrain without these pairs")
    for run, path in useful:
        terminal.line(f"  {next_command(run.target, shown_path(path), custom=custom, recipe=run.recipe)}")
    if useful and all(run.retraining is None for run in runs):
        terminal.text("This rule is cautious; --retrain may find a list that helps more.", style="dim")


def show_table(runs: list[Run]) -> None:
    """Print one row per frequency and round."""
    from tracinctl.cli.output.tables import Cell, Column, number_columns

    planted = any(run.planted is not None for run in runs)
    rounds = any(run.target.round > 1 for run in runs)
    numbers = ["pairs", "active", "harmful", "listed", *(["planted", "caught", "wrong"] if planted else [])]
    columns = [Column("frequency"), *number_columns(*(["round"] if rounds else []))]
    columns += [Column("status"), *number_columns(*numbers, bold="harmful")]
    rows: list[list[str | Cell]] = []
    for run in runs:
        status = Cell(run.status_text, {"done": "green", "failed": "bold red"}.get(run.status, "yellow"))
        names = [run.target.frequency, *([str(run.target.round)] if rounds else [])]
        cells = [*_numbers(run), *["-"] * len(numbers)][: len(numbers)]
        rows.append([*names, status, *cells])
    terminal.table(runs[0].target.material, columns, rows)
    terminal.text(f"Scores: {SIGNS}. Active test pairs can vote.", style="dim")
    if planted:
        explained = "Planted: known bad pairs (planted.csv); caught: planted and listed; wrong: listed but not planted."
        terminal.text(explained, style="dim")


def _numbers(run: Run) -> list[str]:
    """The numbers of a run in the order of the table; empty if it failed."""
    if run.exclusions is None or run.source is None:
        return []
    exclusions, source, planted = run.exclusions, run.source, run.planted
    active = f"{exclusions.active_test_pairs:,}/{len(source.test_ids):,}"
    numbers = [f"{len(source.train_ids):,}", active, f"{len(exclusions.harmful):,}", f"{len(exclusions.new_ids):,}"]
    if planted is not None:
        numbers += [f"{planted.planted:,}", f"{planted.caught:,}", f"{planted.wrong:,}"]
    return numbers


def _about_list(run: Run) -> str:
    """What is printed behind the path of a list: its new and its earlier ids."""
    exclusions = run.exclusions
    if exclusions is None or not exclusions.ids:
        return "  (empty)"
    if not exclusions.earlier:
        return ""
    return f"  ({len(exclusions.new_ids):,} new, {len(exclusions.earlier):,} from earlier rounds)"
