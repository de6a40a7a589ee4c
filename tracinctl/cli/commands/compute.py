"""``tracinctl compute``: influence of each training pair on the held-out pairs."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tracinctl.cli import options
from tracinctl.cli.options import project_of
from tracinctl.cli.output.diagnoses import Diagnoses
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.cli.processes import joined_processes, start_processes
from tracinctl.data.classes import shown_order
from tracinctl.project.commands import ComputeCommand
from tracinctl.text import SIGNS, count, duration

if TYPE_CHECKING:
    from tracinctl.project.compute import ComputeOutcome

EXAMPLES = """tracinctl compute --frequency 500hz --material plastic
tracinctl compute --frequency all --loss-type logistic --device cuda"""


def compute(*, ctx: typer.Context, settings: ComputeCommand, json: options.Json = False) -> None:
    """Compute the influence (TracInCP) of each training pair on the held-out pairs.

    A positive score is helpful: training on the pair lowers the loss of the held-out pair. A negative one is harmful.
    One gradient is computed per item and checkpoint, and kept: another margin, loss or choice of held-out pairs needs
    no new gradient.
    """
    from tracinctl.project.compute import compute_project_scores
    from tracinctl.project.selection import sets_of_source, training_sets

    project = project_of(ctx, settings.places, settings.scores)
    chosen, compute = settings.selection, settings.compute
    sets = training_sets if compute.origin.source is None else sets_of_source
    targets = sets(project, chosen.material, chosen.frequency)
    terminal.interrupt_note = interrupt_note(cache=compute.cache)
    start_processes(settings.processes.processes)
    outcomes = []
    diagnoses = Diagnoses()
    with joined_processes() as shared:
        for target in targets:
            with terminal.progress(title=target.label) as report, shared.part() if shared else nullcontext():
                outcome = compute_project_scores(target, compute, report, shared)
            if outcome is None:
                continue
            outcomes.append(outcome)
            show_notes(outcome)
            diagnoses.put(target.label, outcome.diagnoses)
            if compute.prune_cache and not outcome.freed_bytes:
                terminal.say(f"{target.label}: the cache has no unused kernels")
            if not json:
                show(outcome, settings.scores.metadata_dir)
    diagnoses.show()
    if json:
        terminal.json([outcome.to_json() for outcome in outcomes])


def show_notes(outcome: ComputeOutcome) -> None:
    """Show the warnings and details of a computation on stderr."""
    label = outcome.target.label
    for note in outcome.notes:
        terminal.warn(f"{label}: {note}")
    if outcome.replaced:
        terminal.say(f"{label}: replaced the scores made with {outcome.replaced}")
    if outcome.freed_bytes:
        terminal.say(f"{label}: {_size(outcome.freed_bytes)} of unused kernels deleted")
    for checkpoint, taken in zip(outcome.checkpoints, outcome.taken, strict=True):
        how = "taken from the cache" if taken else "computed"
        terminal.detail(f"  {checkpoint.name}: {checkpoint.described}, {how}")
    terminal.detail(f"  gradients: {outcome.way}")
    terminal.detail(f"  kernels kept: {_size(outcome.cache_bytes)}")


def show(outcome: ComputeOutcome, metadata_dir: Path | None) -> None:
    """Print what was computed."""
    taken = sum(outcome.taken)
    reused = f", {taken} taken from the cache" if taken else ""
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
    terminal.text(f"  weights of checkpoints: {outcome.weights_in_words}")
    for path in outcome.written:
        terminal.text(f"  {shown_path(path)}", style="dim")
        terminal.path(path)
    if outcome.output_file is not None:
        terminal.text(f"Scores: {SIGNS}.")
        where = "" if metadata_dir is None else f" --metadata-dir {shlex.quote(str(metadata_dir))}"
        terminal.line(f"Next: tracinctl sweep {outcome.target.command_flags}{where}\n")


def interrupt_note(*, cache: bool) -> str:
    """What is kept after an interruption."""
    if not cache:
        return "Nothing was kept because the cache is off."
    return "Finished checkpoints are kept in .tracinctl/cache; run the same command to continue."


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004 - bytes in the next unit
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
