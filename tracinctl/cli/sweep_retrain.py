"""``sweep --retrain``: the best of the thresholds, chosen and judged as ``workflow --retrain`` does with more rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracinctl.cli.options import settings_without_flags
from tracinctl.cli.output.terminal import terminal
from tracinctl.cli.retrain import retraining_settings
from tracinctl.errors import UsageError
from tracinctl.project.commands import ComputeCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracinctl.project.retrain import ProjectRetraining
    from tracinctl.project.selection import ScoreFile
    from tracinctl.retraining.options import RetrainSettings
    from tracinctl.retraining.trial import RetrainResult
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
) -> RetrainResult:
    """Choose among the lists of the thresholds, and judge the choice.

    Raises:
        UsageError: the score file's name does not say of which material and frequency it is.
    """
    from tracinctl.project.retrain import judge_project_sweep
    from tracinctl.retraining.trainer import KEPT

    if file.target is None:
        raise UsageError(
            f"--retrain needs the items of {file.path}, but its name says no material and frequency",
            hint="Leave out --metadata-file, or name it <material>_<frequency>_influence_metadata.json.",
        )

    terminal.kept = KEPT
    with terminal.progress(what=file.label) as progress:
        return judge_project_sweep(file.target, source, thresholds, votes, settings, progress)
