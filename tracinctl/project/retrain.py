"""Choose a list from a target's scores by retraining, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tracinctl.engine.devices import choose_device
from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.project.candidates import (
    item_candidates,
    margin_candidates,
    rule_candidate,
    scores_by_method,
    suspicion_candidates,
    threshold_candidates,
    total_candidates,
    with_unseen,
)
from tracinctl.project.doubts import write_doubts
from tracinctl.project.settings import ComputeSettings, SourceSettings
from tracinctl.project.sources import load_data
from tracinctl.project.target import Target
from tracinctl.project.workflow import Run, compare_with_planted, planted_of
from tracinctl.retraining.builtin_trainer import RankerTrainer
from tracinctl.retraining.choice import Candidate, ChoiceSettings, choose, scoring_halves, too_few_to_choose
from tracinctl.retraining.command_trainer import METRICS_FILE, CommandTrainer, check_command
from tracinctl.retraining.crossfit import cross_fit
from tracinctl.retraining.judging import divide_held_out, pairs_within
from tracinctl.retraining.margins import mean_margins
from tracinctl.retraining.options import RetrainSettings
from tracinctl.retraining.runs import run_trainings
from tracinctl.retraining.trainer import Recipe, Trained, Training
from tracinctl.retraining.trial import CAPPED, EVERYTHING, RetrainResult, nothing_left_out, retrain
from tracinctl.scores.exclusion import harmful_pairs, with_earlier
from tracinctl.scores.source import ScoreSource, SomeColumns
from tracinctl.training.options import TrainSettings
from tracinctl.user_code import as_a_guest

if TYPE_CHECKING:
    from tracinctl.scores.options import Rule, Votes
    from tracinctl.scores.votes import Threshold

CHOOSING_SEEDS: Final = 3
"""Number of training seeds for the choice; the verdict uses one per repeat."""


@dataclass(frozen=True)
class ProjectRetraining:
    """The settings that judge a project's lists.

    Attributes:
        how: the number of repeats, the loss, and so on.
        origin: the source of items and pairs; its seed divides the held-out items.
        train: the built-in ranker's training settings.
        command, metrics_file: a training command to run instead, and the file where it writes its metrics; see
            ``training_command``.
    """

    how: RetrainSettings = field(default_factory=RetrainSettings)
    origin: SourceSettings = field(default_factory=SourceSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    command: str | None = None
    metrics_file: str = METRICS_FILE

    def check(self) -> None:
        """Raise UsageError if nothing can train; call this before the work begins."""
        if self.command is not None:
            check_command(self.command, self.metrics_file)
        elif self.origin.source is not None or self.origin.model is not None:
            raise UsageError(
                "`retrain` trains the built-in ranker on recordings and cannot train your own model",
                hint="Name your training command in tracinctl.toml:\n[train]\n"
                "command = 'python train.py --exclusions-file {exclusions_file} --metrics {metrics_file}'",
            )

    def at_once(self, progress: ProgressCallback) -> int:
        """Number of trainings in parallel: one if they all write their metrics to the same file."""
        if self.command is None or "{output_dir}" in self.metrics_file or self.how.parallel == 1:
            return self.how.parallel
        note = "one training at a time, because metrics_file is the same for all; use a file in {output_dir}"
        progress(Progress("retraining", 0, 1, "trainings", note=note))
        return 1


@as_a_guest()  # a model, dataset or loss may print, and stdout is for results
def retrain_project(
    target: Target,
    source: ScoreSource,
    rule: Rule,
    compute: ComputeSettings,
    settings: ProjectRetraining,
    progress: ProgressCallback = no_progress,
) -> RetrainResult:
    """Choose a list and a training recipe, and judge both by held-out items that took no part in the choice.

    Args:
        target: the scores' material and frequency.
        source: scores on held-out pairs; only those of the scoring pairs are used.
        rule: the user's rule, whose list is one of the candidates.
        compute: the settings that the scores were computed with; other methods use them too.
        settings: the training settings.
        progress: receives trainings, and epochs within them.

    Raises:
        TracinctlError: data are missing or broken, or a training fails. Finished trainings are kept.
    """
    work = _Work(target, settings, progress, compute.engine.device)
    source = work.scoring_scores(source)
    usual = rule_candidate(source, work.half_pairs, rule)
    can = settings.command is None and settings.train.loss_type != "capped" and settings.train.margin > 0
    capped = [Candidate(CAPPED, loss="capped")] if can else []

    def candidates() -> list[Candidate]:
        if rule.mode != "ranking_pair":
            return [usual, *capped]
        sources = scores_by_method(target, compute, work.data, work.division, source, progress)
        totals = total_candidates(sources, work.half_pairs)
        of_scores = [usual, *totals, *item_candidates(work.data, source)]
        if settings.command is not None:
            return of_scores
        loss = "capped" if can else None
        fold = cross_fit(work.train, work.data, settings.how.seed, loss=loss)
        suspicion = fold.suspicion(work.data)
        write_doubts(target, work.data, suspicion)
        margins = mean_margins(work.train, work.data, settings.how.seed, loss=loss)
        of_scores += suspicion_candidates(work.data, suspicion, totals)
        of_training = [*margin_candidates(work.data, margins, suspicion), *capped]
        return [*of_scores, *with_unseen(of_training, work.train, work.data, fold)]

    return work.judged(candidates, usual)


@as_a_guest()  # a model, dataset or loss may print, and stdout is for results
def judge_project_sweep(
    target: Target,
    source: ScoreSource,
    thresholds: Sequence[Threshold],
    votes: Votes,
    settings: ProjectRetraining,
    progress: ProgressCallback = no_progress,
) -> RetrainResult:
    """Like ``retrain_project``, with the votes rule at each threshold as candidates.

    Raises:
        ScoreFileError: there are no scores of scoring pairs.
        TracinctlError: data are missing or broken, or a training fails. Finished trainings are kept.
    """
    work = _Work(target, settings, progress)
    candidates = threshold_candidates(work.scoring_scores(source), work.half_pairs, thresholds, votes)
    return work.judged(lambda: candidates, candidates[0])


class _Work:
    """The data of a target, the halves that choose and judge, and the trainer."""

    def __init__(
        self, target: Target, settings: ProjectRetraining, progress: ProgressCallback, device: str = "auto"
    ) -> None:
        settings.check()
        self.target, self.settings, self.progress = target, settings, progress
        self.data = load_data(target, settings.origin, progress)
        self.division = divide_held_out(self.data, settings.origin.seed)
        self.halves = scoring_halves(self.data, self.division)
        ids = self.data.test_pairs.row_ids(self.data.test.ids)
        first, second = ({ids[row] for row in pairs_within(self.data, half)} for half in self.halves)
        self.half_pairs = (first, second)
        self.trainer = self._trainer(device)
        self.at_once = settings.at_once(progress)

    def _trainer(self, device: str) -> RankerTrainer | CommandTrainer:
        settings, target = self.settings, self.target
        if settings.command is None:
            # the optimizer of a stack has float64 rates, which MPS lacks
            chosen = choose_device(device)
            place = str(chosen) if chosen.type == "cuda" else "cpu"
            return RankerTrainer(self.data, self.division, settings.train, place)
        return CommandTrainer(
            self.data,
            self.division,
            settings.command,
            settings.metrics_file,
            target.project.root,
            target.retraining_dir,
            target.material,
            target.frequency,
        )

    def scoring_scores(self, source: ScoreSource) -> ScoreSource:
        """The scores on the scoring pairs; they do not depend on the other test pairs.

        Raises:
            ScoreFileError: there are none.
        """
        scoring = self.data.test_pairs.take(self.division.rows(self.data, "scoring"))
        view = SomeColumns(source, scoring.row_ids(self.data.test.ids))
        if not view.test_ids:
            raise ScoreFileError(
                f"no test pair in the scores of {self.target.label} has both items in the half that scores influence",
                hint=f"Compute them for all held-out pairs: tracinctl compute {self.target.command_flags}",
            )
        return view

    def train(self, plan: Sequence[Training]) -> list[Trained]:
        """Run trainings, in parallel as the trainer allows."""
        folder = self.target.retraining_dir
        return run_trainings(self.trainer, plan, folder, at_once=self.at_once, progress=self.progress)

    def judged(self, candidates: Callable[[], Sequence[Candidate]], usual: Candidate) -> RetrainResult:
        """Choose one of the candidates and judge it; judge ``usual`` if none can be chosen."""
        why_not = self._cannot_choose()
        if why_not:
            return replace(self._trial(usual.ids, Recipe(), Recipe()), why_no_choice=why_not)
        stronger = max(0.01, 10 * self.settings.train.weight_decay)
        decays = (None, stronger) if self.settings.command is None else (None,)
        settings = ChoiceSettings(self.settings.how.seeds[:CHOOSING_SEEDS], decays)
        choice = choose(self.train, self.data, self.halves, candidates(), settings)
        if not choice.exclusions and not choice.chosen.recipe.loss:
            return replace(nothing_left_out(self.data, self.division, self.settings.how), choice=choice)
        return replace(self._trial(choice.exclusions, choice.chosen.recipe, choice.tuned), choice=choice)

    def _cannot_choose(self) -> str:
        """Why no list can be chosen; empty if one can."""
        few = too_few_to_choose(self.data, self.halves)
        if few:
            return few
        trained = self.train([Training(EVERYTHING, 1, self.settings.how.seeds[0], ())])[0]
        if all(name in trained.scores for name in self.division.scoring):
            return ""
        return "the training command gives no scores for the held-out items that score influence"

    def _trial(self, exclusions: Sequence[str], recipe: Recipe, tuned: Recipe) -> RetrainResult:
        target, trainer = self.target, self.trainer
        return retrain(
            trainer,
            self.data,
            self.division,
            exclusions,
            replace(self.settings.how, at_once=self.at_once),
            target.retraining_dir,
            recipe=recipe,
            tuned=tuned,
            rivals=not isinstance(trainer, CommandTrainer),
            truth=set().union(*planted_of(target)),
            trust_means=not isinstance(trainer, CommandTrainer) or trainer.knows_judges,
            progress=self.progress,
        )


def with_choice(run: Run, result: RetrainResult) -> Run:
    """The run with the chosen list in place of its rule's list."""
    choice, exclusions, source = result.choice, run.exclusions, run.source
    if choice is None or exclusions is None or source is None:
        return replace(run, retraining=result)
    ids = list(choice.exclusions)
    place = {name: row for row, name in enumerate(source.train_ids)}
    listed = harmful_pairs(source, exclusions.counted, [place[name] for name in ids if name in place])
    rule_text = f"{choice.chosen.name}; chosen by tracinctl workflow --retrain"
    chosen = replace(exclusions, ids=ids, listed=listed, mirrored=[], cut=0, chosen_by=rule_text, earlier=())
    chosen = with_earlier(chosen, source.provenance)
    planted = compare_with_planted(*planted_of(run.target), source, chosen)
    return replace(run, exclusions=chosen, retraining=result, planted=planted)


def recipe_notes(run: Run) -> list[str]:
    """The comment in a list that says how to train with it; empty without a chosen recipe."""
    if run.retraining is None or run.retraining.choice is None:
        return []
    return [f"train with: tracinctl train {run.target.command_flags} --exclusions-file THIS_FILE{run.recipe}"]
