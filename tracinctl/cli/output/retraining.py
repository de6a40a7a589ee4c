"""``--retrain`` of ``workflow`` and ``sweep``: choose a list by retraining, and show the verdict."""

from __future__ import annotations

import os
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracinctl.cli.options import named_target, settings_without_flags
from tracinctl.cli.output.streams import PIPE_WIDTH
from tracinctl.cli.output.tables import Column, number_columns
from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import TracinctlError
from tracinctl.project.commands import TrainCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracinctl.project.retrain import ProjectRetraining
    from tracinctl.project.selection import ScoreFile
    from tracinctl.project.settings import SourceSettings, WorkflowSettings
    from tracinctl.project.workflow import Run
    from tracinctl.retraining.options import RetrainSettings
    from tracinctl.retraining.trial import RetrainResult
    from tracinctl.scores.options import Votes
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.votes import Threshold

COLOURS = {"helped": "bold green", "hurt": "bold red"}
UNDECIDED = "bold yellow"


def retraining_settings(ctx: Any, origin: SourceSettings, how: RetrainSettings) -> ProjectRetraining:
    """The settings of retraining; what cannot work is refused before any work."""
    from tracinctl.cli.commands.train import train_settings
    from tracinctl.project.retrain import ProjectRetraining

    as_train = settings_without_flags(ctx, "train", TrainCommand)
    train = train_settings(as_train)
    at_once = how.at_once or (processors() if as_train.command is None else 1)  # a user's command may need all of them
    how = replace(how, seed=train.seed, at_once=at_once, loss_type=train.loss_type, margin=train.margin)
    settings = ProjectRetraining(how, origin, train, as_train.command, as_train.metrics_file)
    settings.check()
    return settings


def processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def judge_run(run: Run, workflow: WorkflowSettings, settings: ProjectRetraining) -> Run:
    """Add the chosen list and its verdict to a run; a run without scores is returned unchanged."""
    from tracinctl.project.retrain import recipe_notes, retrain_project, with_choice
    from tracinctl.project.workflow import write_list
    from tracinctl.retraining.trainer import KEPT

    if run.status != "done" or run.source is None:
        return run
    terminal.interrupt_note = KEPT
    try:
        with terminal.progress(title=run.target.label) as progress:
            result = retrain_project(run.target, run.source, workflow.rule, workflow.compute, settings, progress)
            chosen = with_choice(run, result)
            return write_list(chosen, workflow, progress, recipe_notes(chosen))
    except TracinctlError as error:
        terminal.failure(error, run.target.label)
        return replace(run, status="failed", error=error)


def judge_thresholds(
    file: ScoreFile, source: ScoreSource, settings: ProjectRetraining, thresholds: Sequence[Threshold], votes: Votes
) -> RetrainResult:
    """Choose one of the thresholds' lists, and judge it; UsageError if the file's name does not show its target."""
    from tracinctl.project.retrain import judge_project_sweep
    from tracinctl.retraining.trainer import KEPT

    target = named_target(file, "--retrain: ")
    terminal.interrupt_note = KEPT
    with terminal.progress(title=file.label) as progress:
        return judge_project_sweep(target, source, thresholds, votes, settings, progress)


def show_verdicts(runs: list[Run]) -> None:
    """Print each frequency's chosen list and its effect."""
    from tracinctl.retraining.wording import together_words

    for run in runs:
        if run.retraining is not None:
            terminal.text("")
            show_verdict(run.target.label, run.retraining)
    if together := together_words([run.retraining for run in runs if run.retraining is not None]):
        terminal.text("\n" + wrapped(together), style="bold")


def show_verdict(label: str, result: RetrainResult) -> None:
    """Print the tried rules, the arms, their differences, and what to do."""
    from tracinctl.retraining import wording

    if result.choice is not None:
        terminal.table(f"{label}: which list?", _columns(wording.RULE_COLUMNS), wording.rule_rows(result.choice))
    if note := wording.choice_note(result):
        terminal.text(f"{wrapped(note)}\n", style="dim")
    loss = result.choice and result.choice.chosen.recipe.loss
    change = f"the {loss} loss" if loss else "leaving them out"
    title = f"{label}: does {change} help? {len(result.seeds)} repeats"
    if result.arms:
        terminal.table(title, _columns(wording.ARM_COLUMNS), wording.arm_rows(result))
        terminal.text("")
        terminal.table("", _columns(wording.DIFFERENCE_COLUMNS), wording.difference_rows(result))
        terminal.text(wrapped(wording.note_words(result)), style="dim")
    elif result.choice is None:
        terminal.text(title, style="bold")
    terminal.text(wrapped(wording.division_words(result)), style="dim")
    verdict = wording.verdict_words(result)
    terminal.text(wrapped(verdict[0].upper() + verdict[1:]), style=COLOURS.get(result.judgement.verdict, UNDECIDED))
    if action := wording.action_words(result):
        terminal.text(wrapped(action), style="bold")


def wrapped(text: str) -> str:
    """Wrap sentences to the terminal's width, or to a width that is easy to read."""
    return textwrap.fill(text, min(PIPE_WIDTH, terminal.width) - 1)


def _columns(names: tuple[str, ...]) -> list[Column]:
    return [Column(names[0]), *number_columns(*names[1:])]
