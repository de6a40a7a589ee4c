"""``tracinctl workflow``: scores, exclusion lists and the next command, for several frequencies."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracinctl.cli import compute_options as co
from tracinctl.cli import options
from tracinctl.cli.base import shown_value
from tracinctl.cli.output.tables import Cell, Column
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.cli.processes import joined_processes, start_processes
from tracinctl.cli.score_files import SIGNS, Diagnoses, label_of, project_of, trains_itself
from tracinctl.progress import ProgressCallback
from tracinctl.project.selection import ScoreFile, workflow_sets
from tracinctl.project.target import Target

if TYPE_CHECKING:
    from tracinctl.project.workflow import Run

EXAMPLES = """tracinctl workflow --frequencies 500hz,1000hz
tracinctl workflow --threshold -5 --evaluate-only
tracinctl workflow --frequencies 500hz,1000hz --retrain"""


def workflow(
    *,
    ctx: typer.Context,
    frequencies: Annotated[
        str | None,
        typer.Option(
            "--frequencies",
            "--frequency",
            metavar="NAMES",
            help="Frequencies, with commas; `all` stands for every one found.",
            rich_help_panel=co.DATA,
            show_default="the settings', else all",
        ),
    ] = None,
    material: options.Material = None,
    data_root: co.DataRoot = None,
    checkpoint_dir: co.CheckpointDir = None,
    checkpoint_prefix: co.CheckpointPrefix = "model_epoch_",
    pairs_file: co.PairsFile = None,
    source: co.Source = None,
    model: co.Model = None,
    metadata_dir: options.MetadataDir = None,
    num_test_samples: co.NumTestSamples = None,
    seed: co.Seed = 42,
    threshold: options.Threshold = options.DEFAULT_THRESHOLD,
    upper_threshold: options.UpperThreshold = None,
    min_occurrences: options.MinOccurrences = options.DEFAULT_MIN_OCCURRENCES,
    max_exclusions: options.MaxExclusions = None,
    pair_mode: options.Mode = "ranking_pair",
    method: co.Method = "tracin",
    loss_type: co.LossType = "standard",
    margin: co.Margin = 1.0,
    ghm_bins: co.GhmBins = 10,
    ghm_alpha: co.GhmAlpha = 0.75,
    batch_size: co.BatchSize = 32,
    checkpoint_weights: co.CheckpointWeights = "relative",
    device: co.Device = "auto",
    dtype: co.Dtype = "float32",
    layers: co.Layers = None,
    memory: co.Memory = None,
    num_workers: co.NumWorkers = 0,
    projection_dim: co.ProjectionDim = None,
    cache: co.Cache = True,
    processes: co.Processes = 1,
    format: co.Format = "auto",  # noqa: A002 - the flag's name is the setting's name
    evaluate_only: Annotated[
        bool,
        typer.Option(
            "--evaluate-only",
            help="Compute and show what each threshold would exclude; write no list.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at the first frequency that fails.", rich_help_panel=options.OUTPUT),
    ] = False,
    output_dir: options.OutputDir = None,
    retrain: co.Retrain = False,
    repeats: co.Repeats = 5,
    at_once: co.AtOnce = 0,
    plot: Annotated[
        options.ViewName | None,
        typer.Option(
            "--plot",
            metavar="VIEW",
            help="Draw this view of each frequency as well: overview, distribution, top, ...",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write a report with pictures, lists and what to do next: .html or .md.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Do the whole way for several frequencies: influence scores, votes, exclusion lists, and the next command.

    A frequency that fails does not stop the others; the exit code is then 1. Where there are no checkpoints, score
    files that are there are used. A positive score is helpful, a negative one harmful.
    """
    # other commands too are loaded when the work begins, and not for help and completion
    from tracinctl.cli.commands.compute import tell
    from tracinctl.cli.retrain import judge_run, retraining_settings, show_verdicts
    from tracinctl.plots.report import check_report_path
    from tracinctl.project.workflow import Rule, WorkflowSettings, run_workflow
    from tracinctl.scores.votes import parse_threshold

    parse_threshold(threshold)
    if report is not None:
        check_report_path(report)
    project = project_of(
        ctx, data_root=data_root, checkpoint_dir=checkpoint_dir, metadata_dir=metadata_dir, output_dir=output_dir
    )
    origin = co.source_settings(ctx, source=source, model=model, pairs_file=pairs_file, seed=seed)
    compute = co.compute_settings(
        origin,
        checkpoint_prefix=checkpoint_prefix,
        num_test_samples=num_test_samples,
        test_pair=None,
        method=method,
        loss_type=loss_type,
        margin=margin,
        ghm_bins=ghm_bins,
        ghm_alpha=ghm_alpha,
        batch_size=batch_size,
        checkpoint_weights=checkpoint_weights,
        device=device,
        dtype=dtype,
        layers=layers,
        memory=memory,
        num_workers=num_workers,
        projection_dim=projection_dim,
        file_format=format,
        cache=cache,
        divide=retrain,
    )
    judging = retraining_settings(ctx, origin, repeats=repeats, at_once=at_once) if retrain else None
    rule = Rule(threshold, upper_threshold, min_occurrences, max_exclusions, pair_mode)
    targets = workflow_sets(project, material, frequencies, custom_source=source is not None)

    def watch(target: Target) -> AbstractContextManager[ProgressCallback]:
        return terminal.progress(what=target.label)

    def finished(run: "Run") -> None:
        if run.status == "done":
            terminal.kept = (
                f"Finished frequencies are kept, up to {run.target.frequency}; the same command goes on from there."
            )
        if run.computed is not None:
            tell(run.computed)
        if run.error is not None:
            terminal.error(f"{run.target.label}: {run.error.message}", run.error.hint)
        if run.exclusions is not None and run.source is not None:
            diagnoses.add(run.target.label, run.source, exclusions=run.exclusions)
        if evaluate_only and not json:
            evaluate(run, min_occurrences)
        if plot is not None and not json:
            draw_view(run, plot, threshold, min_occurrences)

    diagnoses = Diagnoses()
    terminal.kept = co.kept(cache=cache)
    settings = WorkflowSettings(compute, rule, evaluate_only, fail_fast)
    start_processes(processes)
    with joined_processes() as shared:
        runs = run_workflow(targets, settings, watch=watch, finished=finished, processes=shared)
    if shared is not None and shared.rank:
        raise typer.Exit(int(any(run.status != "done" for run in runs)))
    diagnoses.tell()
    if judging is not None:
        runs = [judge_run(run, judging) for run in runs]
    custom = source is not None or trains_itself(ctx)
    if json:
        terminal.json({"runs": [run.to_json() for run in runs]})
    else:
        show(runs, custom=custom)
        show_verdicts(runs)
    if report is not None:
        report_on(ctx, runs, report, custom=custom)
    if any(run.status != "done" for run in runs):
        raise typer.Exit(1)


def draw_view(run: "Run", view: str, threshold: str, min_occurrences: str) -> None:
    """Draw a view of the scores, with the rule's threshold marked."""
    from tracinctl.plots.picture import draw
    from tracinctl.plots.request import Request, ViewSettings
    from tracinctl.scores.votes import parse_threshold

    if run.source is None:
        return
    settings = ViewSettings(
        width=terminal.width,
        colour=terminal.colour,
        thresholds=[parse_threshold(threshold)],
        min_occurrences=min_occurrences,
        height=terminal.height,
    )
    picture = draw(view, Request(run.source, settings), f"{run.target.label}: {view}")
    terminal.show(picture, width=settings.width)
    terminal.text("")


def report_on(ctx: Any, runs: "list[Run]", path: Path, *, custom: bool) -> None:
    """Write the report."""
    import shlex

    from tracinctl.plots.report import write_report
    from tracinctl.project.report import workflow_report

    settings = {
        name.replace("_", "-"): shown_value(value)
        for name, value in ctx.params.items()
        if name not in {"report", "json"} and shown_value(value) != "not set"
    }
    command = shlex.join(["tracinctl", *terminal.arguments])
    write_report(path, workflow_report(runs, command=command, settings=settings, shown=shown_path, custom=custom))
    terminal.say(f"Report: {shown_path(path)}")
    terminal.path(path)


def evaluate(run: "Run", rule: str) -> None:
    """Print what each threshold would exclude."""
    from tracinctl.cli.commands.sweep import show as show_sweep
    from tracinctl.scores.sweep import sweep_thresholds
    from tracinctl.scores.votes import parse_thresholds

    if run.source is None or run.score_file is None:
        return
    result = sweep_thresholds(run.source, parse_thresholds(options.DEFAULT_THRESHOLDS), rule)
    label = label_of(ScoreFile(run.score_file, run.target), run.source)
    show_sweep(label, result, rule, with_upper=False)


def show(runs: "list[Run]", *, custom: bool) -> None:
    """Print the table of all frequencies, and the commands that come next."""
    from tracinctl.project.workflow import next_command

    planted = any(run.planted is not None for run in runs)
    columns = [
        Column("frequency"),
        Column("status"),
        Column("pairs", "right"),
        Column("active", "right"),
        Column("harmful", "right", "bold"),
        Column("listed", "right"),
    ]
    if planted:
        columns += [Column("planted", "right"), Column("caught", "right"), Column("wrong", "right")]
    terminal.table(runs[0].target.material, columns, [_row(run, planted=planted) for run in runs])
    notes = [f"Scores: {SIGNS}. Active test pairs can vote."]
    if planted:
        notes.append("Planted: bad pairs by planted.csv. Wrong: listed, not planted, no planted item.")
    terminal.text("\n".join(notes), style="dim")
    written = [(run, run.output_file) for run in runs if run.output_file is not None]
    if not written:
        return
    terminal.text("\nExclusion lists")
    for run, path in written:
        terminal.text(f"  {shown_path(path)}" + ("" if run.exclusions and run.exclusions.ids else "  (empty)"))
        terminal.path(path)
    useful = [(run, path) for run, path in written if run.exclusions is not None and run.exclusions.ids]
    if useful:
        terminal.text("\nNext, train without what they name")
    for run, path in useful:
        terminal.line(f"  {next_command(run.target, shown_path(path), custom=custom)}")


def _row(run: "Run", *, planted: bool) -> list[str | Cell]:
    status = Cell(run.status, {"done": "green", "failed": "bold red"}.get(run.status, "yellow"))
    if run.exclusions is None or run.source is None:
        return [run.target.frequency, status, *["-"] * (7 if planted else 4)]
    cells: list[str | Cell] = [
        run.target.frequency,
        status,
        f"{len(run.source.train_ids):,}",
        f"{run.exclusions.active_test_pairs:,}/{len(run.source.test_ids):,}",
        f"{len(run.exclusions.harmful):,}",
        f"{len(run.exclusions.ids):,}",
    ]
    if planted:
        truth = run.planted
        cells += ["-"] * 3 if truth is None else [f"{truth.planted:,}", f"{truth.caught:,}", f"{truth.wrong:,}"]
    return cells
