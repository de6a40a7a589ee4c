"""Several rounds of a target: train, score, list, and repeat without the listed pairs.

After an interruption, finished checkpoints, score files and lists are kept, and the same call continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracinctl.errors import TracinctlError, UsageError
from tracinctl.project.config import holds_checkpoints
from tracinctl.project.settings import SourceSettings, WorkflowSettings
from tracinctl.project.target import Target
from tracinctl.project.train import TrainOutcome, train_project_ranker
from tracinctl.project.workflow import Run, Watch, run_one
from tracinctl.training.options import TrainSettings


@dataclass(frozen=True)
class RoundSettings:
    """The number of rounds and their training settings.

    Attributes:
        number: number of rounds.
        origin: the source of the recordings and pairs.
        train: the built-in ranker's training settings.
    """

    number: int
    origin: SourceSettings
    train: TrainSettings

    def check(self) -> None:
        """Raise UsageError if the built-in ranker cannot train the rounds."""
        if self.origin.source is not None or self.origin.model is not None:
            raise UsageError(
                "`rounds` trains the built-in ranker and cannot train your own model",
                hint="Train with each list yourself, and give the new checkpoints with `checkpoint_dir`.",
            )


def run_rounds(
    targets: Sequence[Target],
    rounds: RoundSettings,
    settings: WorkflowSettings,
    *,
    watch: Watch,
    trained: Callable[[TrainOutcome], None],
    finished: Callable[[Run], None],
) -> list[Run]:
    """Run the rounds of each target; a target ends early if a round lists nothing new or fails.

    Args:
        targets: the targets in order, each at its first round.
        rounds: the number of rounds, and how to train.
        settings: how to score and list.
        watch: opens a progress callback for the time of a round.
        trained: called after each training.
        finished: called after each run.
    """
    runs: list[Run] = []
    for first in targets:
        if settings.fail_fast and any(run.status == "failed" for run in runs):
            runs.append(Run(first, "skipped"))
            finished(runs[-1])
            continue
        for target in (first.at_round(first.round + k) if k else first for k in range(rounds.number)):
            runs.append(_run(target, rounds, settings, watch, trained))
            finished(runs[-1])
            if runs[-1].exclusions is None or not runs[-1].exclusions.new_ids:
                break
    return runs


def _run(
    target: Target,
    rounds: RoundSettings,
    settings: WorkflowSettings,
    watch: Watch,
    trained: Callable[[TrainOutcome], None],
) -> Run:
    """Run one round; a failed run holds its error."""
    try:
        with watch(target) as progress:
            list_before = target.at_round(target.round - 1).list_file if target.round > 1 else None
            if list_before is not None or not holds_checkpoints(target.checkpoints):
                outcome = train_project_ranker(
                    target, rounds.origin, rounds.train, list_before, progress, force=settings.writing.force
                )
                trained(outcome)
            return run_one(target, settings, progress)
    except TracinctlError as error:
        return Run(target, "failed", error=error)


def last_of_each(runs: Sequence[Run]) -> list[Run]:
    """The last run of each material and frequency, in order."""
    return list({(run.target.material, run.target.frequency): run for run in runs}.values())
