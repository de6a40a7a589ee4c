"""``tracinctl train``: the built-in ranker, with or without an exclusion list."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from tracinctl.cli import options
from tracinctl.cli.options import project_of, settings_without_flags, was_typed
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.data.classes import shown_order
from tracinctl.errors import UsageError
from tracinctl.project.commands import ComputeCommand, TrainCommand
from tracinctl.text import count, first_few, number
from tracinctl.training.options import TrainSettings

if TYPE_CHECKING:
    from tracinctl.project.train import TrainOutcome

EXAMPLES = """tracinctl train --frequency 500hz --material plastic
tracinctl train --exclusions-file exclusions/plastic_500hz_excluded_pairs.txt"""

_NAMED = 5


def train(*, ctx: typer.Context, settings: TrainCommand, json: options.Json = False) -> None:
    """Train the built-in ranker, with or without an exclusion list, and write its checkpoints.

    Without a list, checkpoints go to checkpoints/<material>_<frequency>. Training with a list is the next round: its
    checkpoints go to checkpoints/retrained/..., those with the list of round 2 to checkpoints/retrained-3/... and so
    on, so that the checkpoints behind the scores are kept. The same folder gets the pairs trained on (pairs.csv) and
    the ids left out (excluded_pairs.txt).
    """
    from tracinctl.project.selection import training_sets
    from tracinctl.project.train import train_project_ranker

    project = project_of(ctx, settings.places)
    exclusions_file = settings.exclusions_file
    origin = replace(settings.origin, seed=settings_without_flags(ctx, "compute", ComputeCommand).compute.origin.seed)
    targets = training_sets(project, settings.selection.material, settings.selection.frequency)
    if exclusions_file is not None and not was_typed(ctx, "frequency"):
        targets = [target for target in targets if target.list_file.name == exclusions_file.name] or targets
    if exclusions_file is not None and len(targets) > 1:
        raise UsageError(
            f"`exclusions_file` is for one frequency, not for {', '.join(target.frequency for target in targets)}",
            hint=f"Choose one, for example `frequency` {targets[0].frequency}",
        )
    terminal.interrupt_note = "Written checkpoints are kept; run the same command to continue from the last one."
    outcomes = []
    for target in targets:
        with terminal.progress(title=target.label) as report:
            outcome = train_project_ranker(
                target,
                origin,
                train_settings(settings),
                exclusions_file,
                report,
                review=settings.decided.review,
                force=settings.force,
            )
        outcomes.append(outcome)
        show_notes(outcome)
        if not json:
            show(outcome, listed=exclusions_file is not None or settings.decided.review)
    if json:
        terminal.json([outcome.to_json() for outcome in outcomes])


def train_settings(settings: TrainCommand) -> TrainSettings:
    """The built-in ranker's training settings, with its architecture."""
    origin = settings.origin
    return replace(settings.training, architecture=origin.architecture or "small", normalise=origin.normalise)


def show_notes(outcome: TrainOutcome) -> None:
    """Warn of listed ids without effect, and of oddities in the recordings and pairs."""
    result = outcome.result
    for note in outcome.notes:
        terminal.warn(f"{outcome.target.label}: {note}")
    if result.ties_left_out:
        terminal.warn(
            f"{outcome.target.label}: {count(result.ties_left_out, 'tied training pair')} left out: this loss "
            "has no gradient for a tie",
            "The logistic loss counts a tie as half a win for each item.",
        )
    if ids := result.left.unknown:
        verb = "names" if len(ids) == 1 else "name"
        terminal.warn(
            f"{count(len(ids), 'id')} on the list {verb} no training pair or item: {first_few(ids, _NAMED)}",
            "Check that the list is for this material and frequency.",
        )
    if ids := result.left.held_out:
        verbs = "is held out and was" if len(ids) == 1 else "are held out and were"
        terminal.warn(f"{count(len(ids), 'id')} on the list {verbs} ignored: {first_few(ids, _NAMED)}")


def show(outcome: TrainOutcome, *, listed: bool) -> None:
    """Print the result of a training."""
    result, left = outcome.result, outcome.result.left
    terminal.text(f"{outcome.target.label}: trained on {count(len(left.pairs), 'pair')}")
    terminal.text(f"  {count(len(result.checkpoints), 'checkpoint')} in {shown_path(outcome.folder)}", style="dim")
    if result.went_on_from:
        terminal.text(f"  continued from epoch {result.went_on_from}", style="dim")
    if outcome.classes:
        terminal.text(f"  classes, lowest first: {shown_order(outcome.classes)}", style="dim")
    if listed:
        terminal.text(
            f"  left out: {count(len(left.pair_ids), 'pair')} and {count(len(left.item_ids), 'item')} "
            f"of the list, {count(left.rows_left_out, 'training pair')} in all"
        )
    if result.held_out_accuracy is not None and result.held_out_loss is not None:
        before = "" if result.untrained_accuracy is None else f" ({result.untrained_accuracy:.1%} before training)"
        terminal.text(
            f"  held-out pairs: accuracy {result.held_out_accuracy:.1%}{before}, loss {number(result.held_out_loss)}"
        )
    if outcome.target.round > 1:
        folder = shlex.quote(shown_path(outcome.target.project.checkpoint_dir))
        terminal.line(f"Next: tracinctl workflow {outcome.target.command_flags} --checkpoint-dir {folder}")
    terminal.path(outcome.folder)
