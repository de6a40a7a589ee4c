"""From a workflow's list to the verdict on it: the project's data, who judges, the trainer. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracinctl.data.planted import PLANTED_FILE, planted_ids
from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.files import is_there
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.settings import SourceSettings
from tracinctl.project.sources import load_data
from tracinctl.project.target import Target
from tracinctl.retraining.command_trainer import METRICS_FILE, CommandTrainer, check_command
from tracinctl.retraining.options import RetrainSettings
from tracinctl.retraining.trial import RetrainResult, retrain
from tracinctl.training.options import TrainSettings

if TYPE_CHECKING:
    from tracinctl.data.pairs import RankingData
    from tracinctl.retraining.builtin_trainer import RankerTrainer
    from tracinctl.retraining.judging import Division
    from tracinctl.retraining.sweep import SweepJudgement
    from tracinctl.scores.exclusion import Exclusions
    from tracinctl.scores.source import ScoreSource

    ListsOf = Callable[[ScoreSource], Mapping[str, Sequence[str]]]


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
    target: Target,
    exclusions: Exclusions,
    settings: ProjectRetraining,
    progress: ProgressCallback = no_progress,
) -> RetrainResult:
    """Train with and without a list, and judge it by held-out items that did not choose it.

    The list must come from scores that were computed with ``ComputeSettings.divide``.

    Raises:
        TracinctlError: data are missing or broken, or a training fails. Trainings that were finished are kept.
    """
    from tracinctl.retraining.judging import divide_held_out

    settings.check()
    data = load_data(target, settings.origin, progress)
    division = divide_held_out(data, settings.origin.seed)
    truth = target.project.root / PLANTED_FILE
    bad = set().union(*planted_ids(truth, target.material, target.frequency)) if is_there(truth) else set()
    trainer = _trainer(target, settings, data, division)
    trusted = not isinstance(trainer, CommandTrainer) or trainer.knows_judges
    return retrain(
        trainer,
        data,
        division,
        exclusions.ids,
        settings.how,
        target.retraining_dir,
        truth=bad,
        trust_means=trusted,
        progress=progress,
    )


def judge_project_sweep(
    target: Target,
    source: ScoreSource,
    lists_of: ListsOf,
    settings: ProjectRetraining,
    progress: ProgressCallback = no_progress,
) -> SweepJudgement:
    """Train with the list of each threshold, choose one, and judge it.

    Args:
        target: of the scores.
        source: the scores; those of scoring pairs alone are used.
        lists_of: gives the lists, by threshold, from these.
        settings: how to train.
        progress: is told of trainings, and of epochs within them.

    Raises:
        ScoreFileError: no score is of a scoring pair, or the scores were made under another division.
        TracinctlError: data are missing or broken, or a training fails. Trainings that were finished are kept.
    """
    from tracinctl.retraining.judging import divide_held_out
    from tracinctl.retraining.sweep import judge_sweep
    from tracinctl.scores.source import SomeColumns

    settings.check()
    data = load_data(target, settings.origin, progress)
    division = divide_held_out(data, settings.origin.seed)
    recorded = source.provenance.get("division")
    if recorded is not None and recorded != division.to_json():
        raise ScoreFileError(
            f"the scores of {target.label} were made under another division of the held-out items",
            hint=f"Compute them again: tracinctl compute {target.command_flags}",
        )
    view = SomeColumns(source, data.test_pairs.take(division.rows(data, "scoring")).row_ids(data.test.ids))
    if not view.test_ids:
        raise ScoreFileError(
            f"no test pair of the scores of {target.label} has both items among those that score influence",
            hint=f"Compute with all held-out pairs: tracinctl compute {target.command_flags}",
        )
    trainer = _trainer(target, settings, data, division)
    return judge_sweep(trainer, data, division, lists_of(view), settings.how, target.retraining_dir, progress=progress)


def _trainer(
    target: Target,
    settings: ProjectRetraining,
    data: RankingData,
    division: Division,
) -> RankerTrainer | CommandTrainer:
    from tracinctl.retraining.builtin_trainer import RankerTrainer

    if settings.command is None:
        return RankerTrainer(data, division, settings.train)
    return CommandTrainer(
        settings.command,
        settings.metrics_file,
        target.project.root,
        target.retraining_dir,
        target.material,
        target.frequency,
        data,
        division,
    )
