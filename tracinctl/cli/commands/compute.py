"""``tracinctl compute``: influence of each training pair on the held-out pairs."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracinctl.cli import compute_options as co
from tracinctl.cli import options
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.cli.processes import joined_processes, start_processes
from tracinctl.cli.score_files import SIGNS, Diagnoses, one_or_list, project_of
from tracinctl.data.classes import shown_order
from tracinctl.project.selection import training_sets
from tracinctl.text import count, duration, number

if TYPE_CHECKING:
    from tracinctl.project.settings import ComputeOutcome

EXAMPLES = """tracinctl compute --frequency 500hz --material plastic
tracinctl compute --frequency all --loss-type logistic --device cuda"""


def compute(
    *,
    ctx: typer.Context,
    frequency: options.Frequency = None,
    material: options.Material = None,
    data_root: co.DataRoot = None,
    checkpoint_dir: co.CheckpointDir = None,
    checkpoint_prefix: co.CheckpointPrefix = "model_epoch_",
    pairs_file: co.PairsFile = None,
    source: co.Source = None,
    model: co.Model = None,
    num_test_samples: co.NumTestSamples = None,
    test_pair: co.TestPair = None,
    seed: co.Seed = 42,
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
    prune_cache: Annotated[
        bool,
        typer.Option(
            "--prune-cache", help="Delete kernels that these checkpoints do not use.", rich_help_panel=co.INFLUENCE
        ),
    ] = False,
    metadata_dir: options.MetadataDir = None,
    compute_influence: Annotated[
        bool,
        typer.Option(
            "--compute-influence/--no-compute-influence",
            help="Write <material>_<frequency>_influence_metadata.json.",
            rich_help_panel=co.WRITTEN,
        ),
    ] = True,
    compute_self_influence: Annotated[
        bool,
        typer.Option(
            "--compute-self-influence/--no-compute-self-influence",
            help="Add self-influence and item-level influence to <material>_<frequency>_metadata.json.",
            rich_help_panel=co.WRITTEN,
        ),
    ] = True,
    save_per_checkpoint: Annotated[
        bool,
        typer.Option(
            "--save-per-checkpoint",
            help="Write the scores of each checkpoint as well.",
            rich_help_panel=co.WRITTEN,
        ),
    ] = False,
    format: co.Format = "auto",  # noqa: A002 - the flag's name is the setting's name
    json: options.Json = False,
) -> None:
    """Compute the influence (TracInCP) of each training pair on the held-out pairs.

    A positive score is helpful: training on the pair lowers the loss of the held-out pair. A negative one is harmful.
    It takes one gradient an item and checkpoint, and keeps what it can reuse: another margin, loss or choice of test
    pairs takes none.
    """
    from tracinctl.project.compute import compute_project_scores

    project = project_of(ctx, data_root=data_root, checkpoint_dir=checkpoint_dir, metadata_dir=metadata_dir)
    origin = co.source_settings(ctx, source=source, model=model, pairs_file=pairs_file, seed=seed)
    settings = co.compute_settings(
        origin,
        checkpoint_prefix=checkpoint_prefix,
        num_test_samples=num_test_samples,
        test_pair=test_pair,
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
        influence=compute_influence,
        self_influence=compute_self_influence,
        save_per_checkpoint=save_per_checkpoint,
        file_format=format,
        cache=cache,
        prune_cache=prune_cache,
    )
    targets = training_sets(project, material, frequency, custom_source=source is not None)
    terminal.kept = co.kept(cache=cache)
    start_processes(processes)
    outcomes = []
    diagnoses = Diagnoses()
    with joined_processes() as shared:
        for target in targets:
            with terminal.progress(what=target.label) as report, shared.part() if shared else nullcontext():
                outcome = compute_project_scores(target, settings, report, shared)
            if outcome is None:
                continue
            outcomes.append(outcome)
            tell(outcome)
            diagnoses.put(target.label, outcome.diagnoses)
            if prune_cache and not outcome.freed_bytes:
                terminal.say(f"{target.label}: no kernel in the cache is unused")
            if not json:
                show(outcome, metadata_dir)
    diagnoses.tell()
    if json:
        terminal.json(one_or_list([outcome.to_json() for outcome in outcomes]))


def tell(outcome: "ComputeOutcome") -> None:
    """Say on stderr what a user should know of how the scores came about."""
    label = outcome.target.label
    for note in outcome.notes:
        terminal.warn(f"{label}: {note}")
    if outcome.freed_bytes:
        terminal.say(f"{label}: {_size(outcome.freed_bytes)} of unused kernels deleted")
    for (name, weight), taken in zip(outcome.checkpoints, outcome.taken, strict=True):
        how = "taken from the cache" if taken else "computed"
        terminal.detail(f"  {name}: weight {number(weight)}, {how}")
    terminal.detail(f"  kernels kept: {_size(outcome.cache_bytes)}")


def show(outcome: "ComputeOutcome", metadata_dir: Path | None) -> None:
    """Print what was computed."""
    kept = sum(outcome.taken)
    reused = f", {kept} taken from the cache" if kept else ""
    terminal.text(
        f"{outcome.target.label}: {count(outcome.train_pairs, 'training pair')} on "
        f"{count(outcome.test_pairs, 'test pair')} ({outcome.active_test_pairs:,} active)"
    )
    terminal.text(
        f"  {count(len(outcome.checkpoints), 'checkpoint')}{reused}, "
        f"{count(outcome.gradients_computed, 'gradient')}, {duration(outcome.seconds)}"
    )
    if outcome.classes:
        terminal.text(f"  classes, lowest first: {shown_order(outcome.classes)}", style="dim")
    for path in outcome.written:
        terminal.text(f"  {shown_path(path)}", style="dim")
        terminal.path(path)
    if outcome.output_file is not None:
        terminal.text(f"Scores: {SIGNS}.")
        where = "" if metadata_dir is None else f" --metadata-dir {shlex.quote(str(metadata_dir))}"
        terminal.line(f"Next: tracinctl sweep {outcome.target.command_flags}{where}\n")


def _size(size: int) -> str:
    value: Any = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:  # noqa: PLR2004 - bytes in the next unit
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
