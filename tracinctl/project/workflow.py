"""Steps 1 to 3 for several frequencies: scores, votes, exclusion lists.

After an interruption, finished lists, score files and kernels are kept, and the same call continues from there.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tracinctl.data.planted import PLANTED_FILE, planted_ids
from tracinctl.errors import ScoreFileError, TracinctlError, UsageError
from tracinctl.files import is_there
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.compute import ComputeOutcome, compute_project_scores
from tracinctl.project.config import holds_checkpoints
from tracinctl.project.reviewed import reviewed_exclusions, verdicts_of
from tracinctl.project.selection import unknown_set
from tracinctl.project.settings import WorkflowSettings
from tracinctl.project.staleness import pairs_digests
from tracinctl.project.target import Target
from tracinctl.scores.exclusion import Exclusions, choose_exclusions, with_earlier
from tracinctl.scores.files.exclusion_list import list_to_replace, origin_notes, write_exclusion_list
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.files.records import mark_excluded
from tracinctl.scores.pair_ids import pair_items
from tracinctl.scores.source import ScoreSource
from tracinctl.scores.votes import parse_threshold

if TYPE_CHECKING:
    from tracinctl.engine.distributed.processes import Processes
    from tracinctl.retraining.trial import RetrainResult

Status = Literal["done", "failed", "skipped"]

_OF_GHM = frozenset({"ghm_bins", "ghm_alpha", "batch_size"})
_OF_SCORES = _OF_GHM | frozenset(
    {
        *("loss_type", "margin", "label_smoothing", "centring", "method", "checkpoint_weights", "dtype", "layers"),
        *("projection_dim", "num_test_samples", "test_pair", "save_per_checkpoint"),
    }
)
"""Settings that change the scores."""


@dataclass(frozen=True)
class PlantedCount:
    """Comparison of the list with the planted errors.

    Attributes:
        planted: number of planted bad comparisons (or items, in mode ``sample``).
        caught: number of these on the list.
        wrong: number of listed ids that are not planted and have no planted item.
    """

    planted: int
    caught: int
    wrong: int


@dataclass(frozen=True)
class Run:
    """The result of one frequency.

    Attributes:
        status: ``done``, ``failed``, or ``skipped`` after a failure with ``fail_fast``.
        score_file, source: the scores.
        computed: the computation; None if the score file existed already.
        output_file: the list; None if none was written.
        replaced: a description of the replaced list, ``111 pairs, RULE``; empty without one.
        planted: the comparison with the planted errors; None without any.
        review: people's decisions, if they apply.
    """

    target: Target
    status: Status
    score_file: Path | None = None
    computed: ComputeOutcome | None = None
    source: ScoreSource | None = None
    exclusions: Exclusions | None = None
    output_file: Path | None = None
    replaced: str = ""
    planted: PlantedCount | None = None
    retraining: RetrainResult | None = None
    review: str = ""
    error: TracinctlError | None = None

    @property
    def made_before(self) -> date | None:
        """The date of older scores whose checkpoints are gone; None for other scores."""
        if self.computed is not None or self.score_file is None:
            return None
        return datetime.fromtimestamp(self.score_file.stat().st_mtime, tz=UTC).astimezone().date()

    @property
    def status_text(self) -> str:
        """The status for the table."""
        return self.status if self.made_before is None else f"scores of {self.made_before}, checkpoints gone"

    @property
    def recipe(self) -> str:
        """The flags of ``tracinctl train`` for the recipe chosen with the list; empty without one."""
        choice = None if self.retraining is None else self.retraining.choice
        return "" if choice is None else choice.chosen.recipe.flags

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        source, exclusions, planted = self.source, self.exclusions, self.planted
        values = {
            "material": self.target.material,
            "frequency": self.target.frequency,
            "round": self.target.round,
            "status": self.status,
            "scores_of": None if self.made_before is None else self.made_before.isoformat(),
            "train_pairs": None if source is None else len(source.train_ids),
            "test_pairs": None if source is None else len(source.test_ids),
            "active_test_pairs": None if exclusions is None else exclusions.active_test_pairs,
            "harmful": None if exclusions is None else len(exclusions.harmful),
            "excluded": None if exclusions is None else len(exclusions.ids),
            "excluded_before": None if exclusions is None else len(exclusions.earlier),
            **(dict.fromkeys(("planted", "caught", "wrong")) if planted is None else asdict(planted)),
            "output_file": None if self.output_file is None else str(self.output_file),
            "replaced": self.replaced or None,
            "error": None if self.error is None else self.error.message,
        }
        if self.retraining is not None:
            values["retraining"] = self.retraining.to_json()
        if self.review:
            values["review"] = self.review
        return values


Watch = Callable[[Target], AbstractContextManager[ProgressCallback]]


def run_workflow(
    targets: Sequence[Target],
    settings: WorkflowSettings,
    *,
    watch: Watch = lambda _: nullcontext(no_progress),
    finished: Callable[[Run], None] = lambda _: None,
    processes: Processes | None = None,
    rounds: int = 1,
    train: Callable[[Target, ProgressCallback], None] = lambda _, __: None,
) -> list[Run]:
    """Make scores and exclusion lists for each target in order; a failure does not stop the others.

    Args:
        targets: the targets in order.
        settings: the settings.
        watch: opens a progress callback for the time of a target.
        finished: called after each run.
        processes: processes that share the computing; the first one does the rest alone.
        rounds: number of rounds of each target; fewer if one lists nothing new or fails.
        train: called before each run, to train the target's round.
    """
    runs: list[Run] = []
    for first in targets:
        for target in (first.at_round(first.round + k) if k else first for k in range(rounds)):
            if settings.fail_fast and any(run.status == "failed" for run in runs):
                run = Run(target, "skipped")
            else:
                try:
                    with watch(target) as progress:
                        train(target, progress)
                        run = run_one(target, settings, progress, processes)
                except TracinctlError as error:
                    run = Run(target, "failed", error=error)
            runs.append(run)
            finished(run)
            if run.exclusions is None or not run.exclusions.new_ids:
                break
    return runs


def run_one(
    target: Target,
    settings: WorkflowSettings,
    progress: ProgressCallback,
    processes: Processes | None = None,
) -> Run:
    """Make scores and exclusion list for one target."""
    # refuse a wrong threshold before the work
    parse_threshold(settings.rule.threshold)
    if not settings.evaluate_only:
        list_to_replace(target.list_file, force=settings.writing.force)
    planted = planted_of(target)
    computed = None
    own_source = settings.compute.origin.source is not None and not target.score_file.is_file()
    if own_source or holds_checkpoints(target.checkpoints):
        with processes.part() if processes else nullcontext():
            computed = compute_project_scores(target, settings.compute, progress, processes)
    if processes is not None and processes.rank:
        return Run(target, "done")
    path = target.score_file
    if not path.is_file():
        unknown = unknown_set(target)
        before = shlex.quote(str(target.at_round(target.round - 1).list_file))
        without = f" --exclusions-file {before}" if target.round > 1 else ""
        raise (UsageError if unknown else ScoreFileError)(
            f"no checkpoints in {target.checkpoints}, and no scores in {path}",
            hint=unknown + f"Train first: tracinctl train {target.command_flags}{without}\n"
            "or name the folders with `checkpoint_dir` or `metadata_dir`.",
        )
    source = open_scores(path)
    if computed is None:
        check_old_scores(target, path, settings, source)
    verdicts = verdicts_of(target) if settings.decided.review else None
    exclusions, note = reviewed_exclusions(choose_exclusions(source, settings.rule), source, verdicts)
    exclusions = with_earlier(exclusions, source.provenance)
    run = Run(
        target,
        "done",
        score_file=path,
        computed=computed,
        source=source,
        exclusions=exclusions,
        planted=compare_with_planted(*planted, source, exclusions),
        review=note,
    )
    return run if settings.list_later else write_list(run, settings, progress)


def write_list(run: Run, settings: WorkflowSettings, progress: ProgressCallback, notes: Sequence[str] = ()) -> Run:
    """Write the run's list, unless the run only evaluates; ``notes`` become more comment lines.

    Raises:
        TracinctlError: the list cannot be written, or would replace one that a person made.
    """
    source, exclusions, scores = run.source, run.exclusions, run.score_file
    if settings.evaluate_only or source is None or exclusions is None or scores is None:
        return run
    path = run.target.list_file
    notes = [*origin_notes(scores, source.provenance, run.review), *notes]
    replaced = write_exclusion_list(path, exclusions, scores.name, notes, force=settings.writing.force)
    if settings.writing.update_metadata:
        mark_excluded(source, exclusions, run.target.records, progress=progress)
    return replace(run, output_file=path, replaced=replaced)


def check_old_scores(target: Target, path: Path, settings: WorkflowSettings, source: ScoreSource) -> None:
    """Raise UsageError if scores whose checkpoints are gone do not fit the settings."""
    provenance = source.provenance
    origin = provenance.get("origin", {})
    made_with = {"label_smoothing": 0.0, "centring": 0.0, **provenance} if provenance else {}
    made_with |= {"loss_type": provenance.get("loss"), "projection_dim": provenance.get("projection", {}).get("dim")}
    made_with |= {"source": origin.get("source"), "model": origin.get("model"), **origin}
    compute = settings.compute
    loss = compute.engine.loss
    wanted = {**vars(compute), **vars(compute.engine), **vars(loss), **vars(compute.origin), "loss_type": loss.name}
    wanted["test_pair"] = compute.test_pairs
    if compute.origin.pairs_file is not None and "pairs_file" in settings.given_names:
        _check_old_pairs(compute.origin.pairs_file, path, provenance.get("pairs_file"))
    names = settings.given_names & (_OF_SCORES if loss.name == "ghm" else _OF_SCORES - _OF_GHM)
    for name in sorted(names | (settings.given_names & {"source", "model", *origin})):
        value = list(wanted[name]) if isinstance(wanted[name], tuple) else wanted[name]
        if name not in made_with or made_with[name] != value:
            before = f"were made with {made_with[name]}" if made_with.get(name) is not None else "do not say so"
            raise UsageError(
                f"`{name}` is {value}, but the scores in {path} {before}, and there are no checkpoints in "
                f"{target.checkpoints} to compute new ones",
                hint=f"Give the folder of checkpoints with `checkpoint_dir`, or leave `{name}` out to use these.",
            )


def _check_old_pairs(pairs_file: Path, scores: Path, made_from: object) -> None:
    """Raise UsageError if scores whose checkpoints are gone are not of the pairs in ``pairs_file``."""
    if not isinstance(made_from, Mapping) or pairs_digests(pairs_file)["content"] != made_from.get("content"):
        raise UsageError(
            f"`pairs_file` is {pairs_file}, but the scores in {scores} are of other pairs, and there are no "
            "checkpoints to compute new ones",
            hint="Give the folder of checkpoints with `checkpoint_dir`, or leave `pairs_file` out to use these.",
        )


def planted_of(target: Target) -> tuple[set[str], set[str]]:
    """Ids of the planted pairs and items of a target; empty without a list of planted errors."""
    path = target.project.root / PLANTED_FILE
    return planted_ids(path, target.material, target.frequency) if is_there(path) else (set(), set())


def compare_with_planted(
    pairs: set[str], items: set[str], source: ScoreSource, exclusions: Exclusions
) -> PlantedCount | None:
    """Compare the list with the planted pairs and items; None without planted ones.

    A listed pair is right if it was planted, or if one of its items has a planted wrong class.
    """
    if not pairs and not items:
        return None
    if exclusions.mode == "sample":
        listed = set(exclusions.new_ids)
        return PlantedCount(len(items), len(listed & items), len(listed - items))
    items_of = dict(zip(source.train_ids, pair_items(source), strict=True))
    names = [pair.id for pair in exclusions.listed]
    wrong = [name for name in names if name not in pairs and not items.intersection(items_of[name])]
    return PlantedCount(len(pairs & items_of.keys()), len(pairs.intersection(names)), len(wrong))


def next_command(target: Target, shown: str, *, custom: bool = False, recipe: str = "") -> str:
    """The training command with the list, whose path is ``shown``.

    ``custom``: the user has their own training program; ``recipe``: flags of the chosen recipe.
    """
    if custom:
        return f"your training command with {shown}"
    return f"tracinctl train {target.command_flags} --exclusions-file {shlex.quote(shown)}{recipe}"
