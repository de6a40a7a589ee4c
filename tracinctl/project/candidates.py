"""The lists that a retraining tries: by votes, by total influence, by what rankers do not fit, and out of fold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tracinctl.engine.options import METHODS
from tracinctl.errors import MemoryBudgetError, UsageError
from tracinctl.progress import Progress, ProgressCallback
from tracinctl.project.compute import compute_options
from tracinctl.project.config import holds_checkpoints
from tracinctl.project.settings import ComputeSettings
from tracinctl.project.sources import make_model
from tracinctl.project.target import Target
from tracinctl.retraining.choice import Candidate, Estimate
from tracinctl.retraining.crossfit import CrossFit
from tracinctl.retraining.trainer import Train
from tracinctl.retraining.unseen import unseen_gains
from tracinctl.scores.exclusion import choose_exclusions, suspicious_items
from tracinctl.scores.options import Rule
from tracinctl.scores.source import ScoreSource, SomeColumns

if TYPE_CHECKING:
    import numpy.typing as npt

    from tracinctl.data.pairs import FloatArray, RankingData
    from tracinctl.retraining.crossfit import BoolArray
    from tracinctl.retraining.judging import Division
    from tracinctl.scores.options import Votes
    from tracinctl.scores.votes import Threshold

Halves = tuple[Collection[str], Collection[str]]

TOTALS: Final = {"total below 0": "0", "lowest 10 % by total": "10%"}
DOUBTED_ABOVE: Final = 0.5
"""Out-of-fold share above which a pair is listed if its influence is negative or rankers do not fit it."""


def of_scores(name: str, source: ScoreSource, halves: Halves, rule: Rule) -> Candidate:
    """A rule on scores: its lists from the test pairs of each half, and of both."""
    first, second = (choose_exclusions(SomeColumns(source, half), rule).ids for half in halves)
    return Candidate(name, (first, second), choose_exclusions(source, rule).ids)


def rule_candidate(source: ScoreSource, halves: Halves, rule: Rule) -> Candidate:
    """The user's own rule."""
    name = "your rule, total" if rule.rule == "total" else f"votes, {rule.min_occurrences}"
    return of_scores(f"{name} below {rule.threshold}", source, halves, rule)


def threshold_candidates(
    source: ScoreSource, halves: Halves, thresholds: Sequence[Threshold], votes: Votes
) -> list[Candidate]:
    """The votes rule at each threshold."""
    rule = Rule(min_occurrences=votes.min_occurrences, upper_threshold=votes.upper_threshold)
    texts = [threshold.text for threshold in thresholds]
    return [of_scores(f"threshold {text}", source, halves, replace(rule, threshold=text)) for text in texts]


def total_candidates(sources: Mapping[str, ScoreSource], halves: Halves) -> list[Candidate]:
    """Total influence under each method, for a few list sizes."""
    return [
        of_scores(f"{method}, {name}", source, halves, Rule(threshold=text, rule="total"))
        for method, source in sources.items()
        for name, text in TOTALS.items()
    ]


def suspicion_candidates(data: RankingData, suspicion: FloatArray, totals: Sequence[Candidate]) -> list[Candidate]:
    """The pairs with a margin total below 0 that most out-of-fold rankers contradict, too."""
    doubted = set(_names(data)[suspicion > DOUBTED_ABOVE].tolist())
    candidates = []
    for total in totals:
        if total.name == "margin, total below 0":
            first, second, both = ([name for name in ids if name in doubted] for ids in (*total.halves, total.ids))
            candidates.append(Candidate("margin total below 0 and out of fold", (first, second), both))
    return candidates


def margin_candidates(data: RankingData, margins: FloatArray, suspicion: FloatArray) -> list[Candidate]:
    """The pairs that rankers do not fit, and those of them that most out-of-fold rankers contradict, too."""
    not_fitted = margins < 0
    return [
        _listed("not fitted", data, not_fitted),
        _listed("not fitted and out of fold", data, not_fitted & (suspicion > DOUBTED_ABOVE)),
    ]


def with_unseen(candidates: Sequence[Candidate], train: Train, data: RankingData, fold: CrossFit) -> list[Candidate]:
    """Rules made from training pairs, with their gains on training pairs that a ranker did not train on.

    A list of whole rankers cannot be made again within a half. Its gain is that of leaving out what the rankers of
    the halves do not fit, in proportion to its length, and at most this gain.
    """
    gains = unseen_gains(train, data, fold)

    def unseen(candidate: Candidate) -> Estimate:
        if candidate.loss is not None:
            return gains.of_loss
        share = min(1.0, len(candidate.ids) / max(1.0, gains.left_out * len(data.train_pairs)))
        return Estimate(share * gains.fitted.mean, share * gains.fitted.error)

    return [replace(candidate, unseen=unseen(candidate)) for candidate in candidates]


def _listed(name: str, data: RankingData, listed: BoolArray) -> Candidate:
    """A rule that lists the same training pairs in both halves, because it uses no scores."""
    ids = tuple(dict.fromkeys(_names(data)[listed].tolist()))
    return Candidate(name, (ids, ids), ids)


def _names(data: RankingData) -> npt.NDArray[np.object_]:
    return np.array(data.train_pairs.row_ids(data.train.ids), dtype=object)


def item_candidates(data: RankingData, source: ScoreSource) -> list[Candidate]:
    """The pairs of the items that stand out by item-level influence; none if the scores do not have it."""
    if source.sample_influence is None or not len(source.sample_ids):
        return []
    pairs, outstanding = data.train_pairs, np.isin(data.train.ids, list(suspicious_items(source)))
    return [_listed("pairs of items that stand out", data, outstanding[pairs.first] | outstanding[pairs.second])]


def scores_by_method(
    target: Target,
    compute: ComputeSettings,
    data: RankingData,
    division: Division,
    source: ScoreSource,
    progress: ProgressCallback,
) -> dict[str, ScoreSource]:
    """The scoring pairs' scores by every method: the given ones, and others from the kept kernels."""
    from tracinctl.engine.checkpoints.listing import list_checkpoints
    from tracinctl.engine.compute import compute_scores

    method_of_given = str(source.provenance.get("method", compute.engine.method))
    sources = {method_of_given: source}
    if compute.origin.source is None and not holds_checkpoints(target.checkpoints):
        return sources
    checkpoints = list_checkpoints(target.checkpoints, compute.checkpoint_prefix)
    scoring = replace(data, test_pairs=data.test_pairs.take(division.rows(data, "scoring")))
    options = compute_options(target, compute)
    for method in METHODS:
        if method == method_of_given:
            continue
        chosen = replace(options, method=method)
        try:
            result = compute_scores(scoring, make_model(compute.origin, checkpoints[0]), checkpoints, chosen, progress)
        except (MemoryBudgetError, UsageError) as error:
            progress(Progress("scores", 0, 1, "methods", method, note=f"not tried: {error.message}"))
            continue
        sources[method] = result.scores
    return sources
