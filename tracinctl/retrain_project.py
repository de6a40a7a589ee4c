"""From a workflow's list to the verdict on it: the project's data, who judges, the trainer. Prints nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracinctl.config import Project, file_name_part
from tracinctl.data.planted import PLANTED_FILE, planted_ids
from tracinctl.errors import UsageError
from tracinctl.pipeline import SourceSettings, load_data
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.retraining import RetrainResult, RetrainSettings, retrain
from tracinctl.training import TrainSettings
from tracinctl.training_command import METRICS_FILE, CommandTrainer, check_command

if TYPE_CHECKING:
    from tracinctl.scores.exclusion import Exclusions

FOLDER = "retraining"


@dataclass(frozen=True)
class ProjectRetraining:
    """How a project's lists are judged.

    Attributes:
        how: how often, and by which loss.
        origin: where items and pairs come from; its seed divides the held-out items.
        train: how the built-in ranker trains.
        command, metrics_file: a training command to run in its place, and where that leaves its metrics; see
            ``training_command``.
    """

    how: RetrainSettings = field(default_factory=RetrainSettings)
    origin: SourceSettings = field(default_factory=SourceSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    command: str | None = None
    metrics_file: str = METRICS_FILE

    def check(self) -> None:
        """Raise UsageError where there is nothing that could train; to be asked before the work begins."""
        if self.command is not None:
            check_command(self.command, self.metrics_file)
        elif self.origin.source is not None or self.origin.model is not None:
            raise UsageError(
                "--retrain trains the built-in ranker on recordings, and knows no way to train a model of your own",
                hint="Name your training command in tracinctl.toml:\n[train]\n"
                "command = 'python train.py --exclusions-file {exclusions_file} --metrics {metrics_file}'",
            )


def retrain_project(
    project: Project,
    material: str,
    frequency: str,
    exclusions: Exclusions,
    settings: ProjectRetraining,
    progress: ProgressCallback = no_progress,
) -> RetrainResult:
    """Train with and without a list, and judge it by held-out items that did not choose it.

    The list must come from scores that were computed with ``ComputeSettings.divide``.

    Raises:
        TracinctlError: data are missing or broken, or a training fails. Trainings that were finished are kept.
    """
    from tracinctl.arm_trainer import RankerTrainer
    from tracinctl.judging import divide_held_out

    settings.check()
    data = load_data(project, material, frequency, settings.origin, progress)
    division = divide_held_out(data, settings.origin.seed)
    truth = project.root / PLANTED_FILE
    bad = set().union(*planted_ids(truth, material, frequency)) if truth.is_file() else set()
    folder = project.cache_dir.parent / FOLDER / file_name_part(material, frequency)
    trainer: RankerTrainer | CommandTrainer = RankerTrainer(data, division, settings.train)
    if settings.command is not None:
        trainer = CommandTrainer(
            settings.command, settings.metrics_file, project.root, folder, material, frequency, data, division
        )
    trusted = not isinstance(trainer, CommandTrainer) or trainer.told_who_judges
    return retrain(
        trainer,
        data,
        division,
        exclusions.ids,
        settings.how,
        folder,
        truth=bad,
        trust_means=trusted,
        progress=progress,
    )
