"""``tracinctl train``: the built-in ranker, with or without an exclusion list."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracinctl.cli import compute_options as co
from tracinctl.cli import options
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.cli.score_files import one_or_list, project_of
from tracinctl.data.classes import shown_order
from tracinctl.errors import UsageError
from tracinctl.project.selection import training_sets
from tracinctl.text import count, first_few, number

if TYPE_CHECKING:
    from tracinctl.project.settings import SourceSettings
    from tracinctl.project.train import TrainOutcome
    from tracinctl.training.ranker import TrainSettings

EXAMPLES = """tracinctl train --frequency 500hz --material plastic
tracinctl train --exclusions-file exclusions/plastic_500hz_excluded_pairs.txt"""

TRAINING = "How it is trained"

_NAMED = 5


def train(
    *,
    ctx: typer.Context,
    frequency: options.Frequency = None,
    material: options.Material = None,
    exclusions_file: Annotated[
        Path | None,
        typer.Option(
            "--exclusions-file",
            metavar="FILE",
            help="Leave out the pairs and items that this list names.",
            rich_help_panel=co.DATA,
        ),
    ] = None,
    data_root: co.DataRoot = None,
    checkpoint_dir: co.CheckpointDir = None,
    pairs_file: co.PairsFile = None,
    epochs: Annotated[
        int, typer.Option("--epochs", metavar="N", min=1, help="Passes over the pairs.", rich_help_panel=TRAINING)
    ] = 30,
    checkpoint_interval: Annotated[
        int,
        typer.Option(
            "--checkpoint-interval", metavar="N", min=1, help="Epochs between checkpoints.", rich_help_panel=TRAINING
        ),
    ] = 5,
    loss_type: Annotated[
        str,
        typer.Option("--loss-type", metavar="LOSS", help="standard, logistic or ghm.", rich_help_panel=TRAINING),
    ] = "standard",
    margin: Annotated[
        float,
        typer.Option("--margin", metavar="X", help="Of the losses standard and ghm.", rich_help_panel=TRAINING),
    ] = 1.0,
    learning_rate: Annotated[
        float,
        typer.Option("--learning-rate", metavar="X", help="Of Adam, at the start.", rich_help_panel=TRAINING),
    ] = 0.003,
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", min=1, help="Pairs a step.", rich_help_panel=TRAINING)
    ] = 32,
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", metavar="X", help="Of Adam.", rich_help_panel=TRAINING)
    ] = 1e-5,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", help="Of the first weights and of the order of the pairs.", rich_help_panel=TRAINING
        ),
    ] = 42,
    json: options.Json = False,
) -> None:
    """Train the built-in ranker, with or without an exclusion list, and write its checkpoints.

    Without a list they are written to checkpoints/<material>_<frequency>; with one, to checkpoints/retrained/..., so
    that the checkpoints which the scores were made from stay. The pairs trained on lie beside them as pairs.csv.
    """
    from tracinctl.project.train import train_project_ranker

    project = project_of(ctx, data_root=data_root, checkpoint_dir=checkpoint_dir)
    origin = co.source_settings(ctx, source=None, model=None, pairs_file=pairs_file, seed=42)
    settings = train_settings(
        origin,
        epochs=epochs,
        checkpoint_interval=checkpoint_interval,
        loss_type=loss_type,
        margin=margin,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weight_decay=weight_decay,
        seed=seed,
    )
    targets = training_sets(project, material, frequency)
    if exclusions_file is not None and len(targets) > 1:
        raise UsageError(
            f"--exclusions-file is of one frequency, but there are {', '.join(target.frequency for target in targets)}",
            hint=f"For example --frequency {targets[0].frequency}",
        )
    terminal.kept = "Checkpoints that were written are kept; the same command goes on from the last one."
    outcomes = []
    for target in targets:
        with terminal.progress(what=target.label) as report:
            outcome = train_project_ranker(target, origin, settings, exclusions_file, report)
        outcomes.append(outcome)
        tell(outcome)
        if not json:
            show(outcome, listed=exclusions_file is not None)
    if json:
        terminal.json(one_or_list([outcome.to_json() for outcome in outcomes]))


def train_settings(origin: "SourceSettings", **flags: Any) -> "TrainSettings":
    """Settings of training, from its flags and from what the settings say of the ranker."""
    from tracinctl.training.ranker import TrainSettings

    return TrainSettings(architecture=origin.architecture or "small", normalise=origin.normalise, **flags)


def usual_train_settings(ctx: Any, origin: "SourceSettings") -> "TrainSettings":
    """Settings of training as ``tracinctl train`` without a flag has them, asked for by another command."""
    asked_by = terminal.command
    flags = ctx.find_root().command.commands["train"].make_context("train", [], parent=ctx.parent).params
    terminal.command = asked_by
    names = (
        "epochs", "checkpoint_interval", "loss_type", "margin", "learning_rate", "batch_size", "weight_decay", "seed"
    )  # fmt: skip
    return train_settings(origin, **{name: flags[name] for name in names})


def tell(outcome: "TrainOutcome") -> None:
    """Warn of ids on the list that had no effect, and of what is odd in the recordings and pairs."""
    result = outcome.result
    for note in outcome.notes:
        terminal.warn(f"{outcome.target.label}: {note}")
    for ids, what in (
        (result.unknown_ids, ("names no training pair or item", "name no training pair or item")),
        (result.held_out_ids, ("is held out, and was let be", "are held out, and were let be")),
    ):
        if ids:
            terminal.warn(
                f"{count(len(ids), 'id')} on the list {what[len(ids) > 1]}: {first_few(ids, _NAMED)}",
                "Is the list of this material and frequency?" if ids is result.unknown_ids else "",
            )


def show(outcome: "TrainOutcome", *, listed: bool) -> None:
    """Print what was trained."""
    result = outcome.result
    terminal.text(f"{outcome.target.label}: trained on {count(len(result.train_pairs), 'pair')}")
    terminal.text(f"  {count(len(result.checkpoints), 'checkpoint')} in {shown_path(outcome.folder)}", style="dim")
    if outcome.classes:
        terminal.text(f"  classes, lowest first: {shown_order(outcome.classes)}", style="dim")
    if listed:
        terminal.text(
            f"  left out: {count(len(result.left_out_pairs), 'pair')} and {count(len(result.left_out_items), 'item')} "
            f"of the list, {count(result.rows_left_out, 'training pair')} in all"
        )
    if result.held_out_accuracy is not None and result.held_out_loss is not None:
        terminal.text(f"  held-out pairs: accuracy {result.held_out_accuracy:.1%}, loss {number(result.held_out_loss)}")
    terminal.path(outcome.folder)
