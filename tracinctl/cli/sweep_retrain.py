"""``sweep --retrain``: the judged accuracy against the threshold, and the choice judged once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracinctl.cli.options import settings_without_flags
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import terminal
from tracinctl.cli.retrain import COLOURS, UNDECIDED, retraining_settings, wrapped
from tracinctl.errors import UsageError
from tracinctl.project.settings import ComputeCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracinctl.project.retrain import ProjectRetraining
    from tracinctl.project.selection import ScoreFile
    from tracinctl.retraining.options import RetrainSettings
    from tracinctl.retraining.sweep import SweepJudgement
    from tracinctl.scores.options import Votes
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.votes import Threshold


def sweep_judging(ctx: Any, how: RetrainSettings) -> ProjectRetraining:
    """How thresholds are judged, from the settings of the project."""
    return retraining_settings(ctx, settings_without_flags(ctx, "compute", ComputeCommand).compute.origin, how)


def judge_thresholds(
    file: ScoreFile,
    source: ScoreSource,
    settings: ProjectRetraining,
    thresholds: Sequence[Threshold],
    votes: Votes,
) -> SweepJudgement:
    """Train with the list of each threshold and judge.

    Raises:
        UsageError: the score file's name does not say of which material and frequency it is.
    """
    from tracinctl.project.retrain import judge_project_sweep
    from tracinctl.retraining.trainer import KEPT
    from tracinctl.scores.exclusion import choose_exclusions

    if file.target is None:
        raise UsageError(
            f"--retrain needs the items of {file.path}, but its name says no material and frequency",
            hint="Leave out --metadata-file, or name it <material>_<frequency>_influence_metadata.json.",
        )

    def lists_of(scoring: ScoreSource) -> dict[str, Sequence[str]]:
        return {
            each.text: choose_exclusions(
                scoring,
                threshold=each,
                rule=votes.rule,
                min_occurrences=votes.min_occurrences,
                upper_threshold=votes.upper_threshold,
            ).ids
            for each in thresholds
        }

    terminal.kept = KEPT
    with terminal.progress(what=file.label) as progress:
        return judge_project_sweep(file.target, source, lists_of, settings, progress)


def show_thresholds(label: str, found: SweepJudgement) -> None:
    """Print the accuracy at each threshold, its picture, the choice and the verdict on it."""
    from tracinctl.plots.differences import interval_lines
    from tracinctl.retraining.wording import choice_words, division_of_sweep, threshold_rows

    columns = [
        Column("threshold", "right"),
        Column("left out", "right"),
        Column("accuracy", "right", "bold"),
        Column("spread", "right"),
        Column("points", "right"),
        Column("95 % interval", "right"),
    ]
    terminal.table(
        f"{label}: trained without each list, {len(found.everything)} repeats", columns, threshold_rows(found)
    )
    terminal.text("")
    rows = [
        (each.threshold, *((each.difference.mean, each.difference.low, each.difference.high))) for each in found.rows
    ]
    for line in interval_lines(rows, terminal.width - 1, colour=terminal.colour):
        terminal.show(line)
    if rows:
        terminal.text("● points, ├─┤ 95 % interval, ┊ no difference", style="dim")
    terminal.text(wrapped(division_of_sweep(found)), style="dim")
    terminal.text(wrapped(choice_words(found)) + "\n", style=COLOURS.get(found.judgement.verdict, UNDECIDED))
