"""Retrain without a list, and judge whether that helped.

Every repeat trains with one seed, which is the same in all arms:

- ``everything``,
- ``without the list``,
- ``without as many at random``: without as many random training comparisons (with their mirror images) or items,
- ``without the truly bad``, if there are planted errors,
- with ``rivals``, ``with the scoring pairs added``, which shows the value of the held-out pairs that made the list as
  training pairs, and ``everything, capped loss``, under which a pair far on the wrong side has almost no gradient.

If a choice leaves nothing out and uses the capped loss, that arm replaces ``without the list``.

All arms train for the same number of epochs, as a user would, so leaving pairs out also means fewer steps. The random
arm has as few steps, so the comparison of list and random is at equal steps.

The seeds differ from that of ``tracinctl train``, because its checkpoints chose the list. Those checkpoints used the
judging pairs in one way: the learning rate was halved when the loss of all held-out pairs stopped falling. This sets a
few moments in a training on everything, independent of the list.

The verdict is on the pair accuracy of ``without the list`` minus that of ``everything``. This is fixed before any
training; the other differences are shown with their intervals and change no verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, Pairs, RankingData
from tracinctl.engine.losses import pair_loss_values, resolve_loss
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.retraining.choice import Choice
from tracinctl.retraining.judging import (
    Difference,
    Division,
    Judgement,
    cannot_tell,
    difference_of,
    difference_of_means,
    judge,
    pair_correct,
)
from tracinctl.retraining.options import RetrainSettings
from tracinctl.retraining.runs import run_trainings
from tracinctl.retraining.trainer import Recipe, Trained, Trainer, Training

EVERYTHING: Final = "everything"
WITHOUT: Final = "without the list"
RANDOM: Final = "without as many at random"
TRUTH: Final = "without the truly bad"
ADDED: Final = "with the scoring pairs added"
CAPPED: Final = "everything, capped loss"

_USUAL: Final = Recipe()


@dataclass(frozen=True)
class ArmResult:
    """The result of an arm on the judging pairs.

    Attributes:
        name: description of what was left out.
        train_pairs: mean number of training pairs; None if unknown.
        accuracy, loss: accuracy and loss of each repeat, shape (repeats,).
    """

    name: str
    left_out: int
    train_pairs: float | None
    accuracy: FloatArray
    loss: FloatArray

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        return {**vars(self), "accuracy": _spread(self.accuracy), "loss": _spread(self.loss)}


@dataclass(frozen=True)
class Comparison:
    """The difference of two arms, repeat by repeat, in ``accuracy`` and ``loss``."""

    arm: str
    less: str
    accuracy: Difference
    loss: Difference

    def to_json(self) -> dict[str, Any]:
        """The comparison for JSON."""
        return {**vars(self), "accuracy": self.accuracy.to_json(), "loss": self.loss.to_json()}


@dataclass(frozen=True)
class RetrainResult:
    """The result of retraining.

    Attributes:
        scoring_pairs, judging_pairs: number of pairs on each side.
        arms: the result of each arm; empty if there was nothing to train.
        comparisons: first list minus everything, then list minus each rival, then truth minus everything.
        choice: the choice before; None if the list was given.
        why_no_choice: why a given list was judged; empty if there was a choice or none was requested.
    """

    division: Division
    scoring_pairs: int
    judging_pairs: int
    seeds: Sequence[int]
    arms: Sequence[ArmResult]
    comparisons: Sequence[Comparison]
    judgement: Judgement
    choice: Choice | None = None
    why_no_choice: str = ""

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        return {
            "choice": None if self.choice is None else self.choice.to_json(),
            "why_no_choice": self.why_no_choice,
            "verdict": self.judgement.verdict,
            "why": self.judgement.why,
            "repeats": len(self.seeds),
            "seeds": list(self.seeds),
            "scoring_pairs": self.scoring_pairs,
            "judging_pairs": self.judging_pairs,
            "division": self.division.to_json(),
            "arms": [arm.to_json() for arm in self.arms],
            "differences": [comparison.to_json() for comparison in self.comparisons],
        }


def retrain(
    trainer: Trainer,
    data: RankingData,
    division: Division,
    exclusions: Sequence[str],
    settings: RetrainSettings,
    folder: Path,
    *,
    recipe: Recipe = _USUAL,
    tuned: Recipe = _USUAL,
    rivals: bool = False,
    truth: Collection[str] = (),
    trust_means: bool = True,
    progress: ProgressCallback = no_progress,
) -> RetrainResult:
    """Train all arms and judge; ``folder`` keeps finished trainings.

    Only scoring pairs chose the list ``exclusions``. ``recipe`` says how to train with it, and without random or truly
    bad ids; if it names a loss, the list is empty. ``tuned`` says how to train the other arms. ``rivals`` adds the arms
    ``ADDED`` and ``CAPPED``. ``truth`` has the ids of the planted errors, and is empty if they are unknown.
    ``trust_means`` says whether accuracies that the trainer measured itself are on the judging pairs.

    Raises:
        TracinctlError: a training fails.
    """
    pairs = data.test_pairs.take(division.rows(data, "judging"))
    nothing = _nothing_to_judge(exclusions, pairs, division, recipe)
    counts = (len(division.rows(data, "scoring")), len(pairs))
    if nothing is not None:
        return RetrainResult(division, *counts, settings.seeds, [], [], nothing)
    arms = _arms(data, exclusions, settings, recipe, tuned, truth, rivals=rivals)
    plan = [arm.training(k, seed) for k, seed in enumerate(settings.seeds) for arm in arms]
    done = run_trainings(trainer, plan, folder, at_once=settings.parallel, progress=progress)
    by_arm = {arm.name: done[at :: len(arms)] for at, arm in enumerate(arms)}
    measured = {arm.name: _measure(by_arm[arm.name], arm.recipe.stop, data, pairs, settings) for arm in arms}
    results = [_result(arm, by_arm[arm.name], measured[arm.name]) for arm in arms]
    by_items = all(trained.scores for trained in done)
    judged = CAPPED if recipe.loss else WITHOUT
    differences = _comparisons(judged, measured, pairs, by_items=by_items)
    judgement = _cannot_be_judged(by_arm[EVERYTHING], by_items=by_items, trust_means=trust_means) or judge(
        differences[0].accuracy,
        errors=1 - float(results[0].accuracy.mean()),
        items=len(np.unique([pairs.first, pairs.second])) if by_items else None,
        repeats=settings.repeats,
    )
    return RetrainResult(division, *counts, settings.seeds, results, differences, judgement)


@dataclass(frozen=True)
class _Arm:
    """One way of training: a list per repeat, and the rest of the recipe."""

    name: str
    lists: Sequence[tuple[str, ...]]
    recipe: Recipe
    added: bool = False

    def training(self, k: int, seed: int) -> Training:
        how = self.recipe
        return Training(self.name, k + 1, seed, self.lists[k], how.weight_decay, how.loss, self.added, stop=how.stop)


def _arms(
    data: RankingData,
    exclusions: Sequence[str],
    settings: RetrainSettings,
    recipe: Recipe,
    tuned: Recipe,
    truth: Collection[str],
    *,
    rivals: bool,
) -> list[_Arm]:
    nothing: list[tuple[str, ...]] = [()] * settings.repeats
    arms = [_Arm(EVERYTHING, nothing, tuned)]
    if not recipe.loss:
        random = [as_many_at_random(data, exclusions, seed) for seed in settings.seeds]
        arms += [_Arm(WITHOUT, [tuple(exclusions)] * settings.repeats, recipe), _Arm(RANDOM, random, recipe)]
    if truth:
        with_list = tuned if recipe.loss else recipe
        arms.append(_Arm(TRUTH, [tuple(sorted(truth))] * settings.repeats, with_list))
    if rivals:
        arms.append(_Arm(ADDED, nothing, tuned, added=True))
    if recipe.loss or (rivals and settings.margin > 0):
        arms.append(_Arm(CAPPED, nothing, recipe if recipe.loss else replace(tuned, loss="capped")))
    return arms


def _result(arm: _Arm, trained: Sequence[Trained], measured: tuple[FloatArray, FloatArray]) -> ArmResult:
    accuracy, loss = (values.mean(axis=1) for values in measured)
    counts = [result.train_pairs for result in trained if result.train_pairs is not None]
    mean_pairs = sum(counts) / len(counts) if len(counts) == len(trained) else None
    return ArmResult(arm.name, len(arm.lists[0]), mean_pairs, accuracy, loss)


def _comparisons(
    judged: str, measured: Mapping[str, tuple[FloatArray, FloatArray]], pairs: Pairs, *, by_items: bool
) -> list[Comparison]:
    """The judged arm minus everything and minus each rival, then the truth minus everything."""

    def less(arm: str, rival: str) -> Comparison:
        gains = [ours - theirs for ours, theirs in zip(measured[arm], measured[rival], strict=True)]
        accuracy, loss = (difference_of(gain, pairs) if by_items else difference_of_means(gain[:, 0]) for gain in gains)
        return Comparison(arm, rival, accuracy, loss)

    rivals = [name for name in (RANDOM, ADDED, CAPPED) if name in measured and name != judged]
    differences = [less(judged, EVERYTHING), *(less(judged, name) for name in rivals)]
    return differences + ([less(TRUTH, EVERYTHING)] if TRUTH in measured else [])


def nothing_left_out(data: RankingData, division: Division, settings: RetrainSettings) -> RetrainResult:
    """The result of a choice to leave nothing out."""
    counts = (len(division.rows(data, "scoring")), len(division.rows(data, "judging")))
    why = "nothing tried is clearly better than training on everything."
    return RetrainResult(division, *counts, settings.seeds, [], [], Judgement("leave nothing out", why))


def _nothing_to_judge(exclusions: Sequence[str], pairs: Pairs, division: Division, recipe: Recipe) -> Judgement | None:
    if not exclusions and not recipe.loss:
        return cannot_tell("the list is empty, so there is nothing to leave out.")
    if not len(pairs):
        return cannot_tell(f"the {len(division.judging)} judging items form no pair.")
    return None


def _cannot_be_judged(repeats: Sequence[Trained], *, by_items: bool, trust_means: bool) -> Judgement | None:
    if len(repeats) > 1 and all(trained == repeats[0] for trained in repeats):
        return cannot_tell("all repeats gave the same result, so chance is unknown. Let the training use {seed}.")
    if not by_items and not trust_means:
        return cannot_tell(
            "the command gives an accuracy, but not on which pairs, and those may have chosen the list. Let it write "
            "a score for each judging item, or measure on {judging_pairs_file}."
        )
    return None


def as_many_at_random(data: RankingData, exclusions: Sequence[str], seed: int) -> tuple[str, ...]:
    """Draw as many training comparisons and items as are on the list.

    A comparison is a pair and, if training saw it, its mirror image; like the list, the draw includes both.
    """
    random = np.random.default_rng([seed, 7])  # a different stream from other draws with this seed
    ids, pairs = data.train.ids, data.train_pairs
    of: dict[tuple[int, int], dict[str, None]] = {}
    place: dict[str, tuple[int, int]] = {}
    for name, i, j in zip(pairs.row_ids(ids), pairs.first.tolist(), pairs.second.tolist(), strict=True):
        comparison = (min(i, j), max(i, j))
        of.setdefault(comparison, {})[name] = None
        place[name] = comparison
    comparisons, items = list(of), sorted({*pairs.first.tolist(), *pairs.second.tolist()})
    listed = len({place[name] for name in exclusions if name in place})
    listed_items = len({ids[k] for k in items}.intersection(exclusions))
    drawn = random.permutation(len(comparisons))[:listed].tolist()
    drawn_items = random.permutation(len(items))[:listed_items].tolist()
    return (*(name for k in drawn for name in of[comparisons[k]]), *(ids[items[k]] for k in drawn_items))


def _measure(
    trained: Sequence[Trained], stop: int, data: RankingData, pairs: Pairs, settings: RetrainSettings
) -> tuple[FloatArray, FloatArray]:
    """Accuracy and loss by repeat and judging pair, shape (repeats, pairs), or (repeats, 1) if only means are known."""
    if not all(result.scores for result in trained):
        means = np.array([[result.accuracy, result.loss] for result in trained], dtype=np.float64)
        return means[:, :1], means[:, 1:]
    scores = np.array([result.scores_at(stop, data.test.ids) for result in trained])
    loss = resolve_loss(settings.loss_type)
    s_i, s_j = (torch.from_numpy(scores[:, side].ravel()) for side in (pairs.first, pairs.second))
    target = torch.from_numpy(np.tile(pairs.target, len(trained))).double()
    with torch.no_grad():
        losses = pair_loss_values(loss, s_i, s_j, target, settings.margin).numpy().reshape(len(trained), -1)
    return pair_correct(scores, pairs), losses


def _spread(values: FloatArray) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    return {
        "mean": float(finite.mean()) if len(finite) else None,
        "standard_deviation": float(finite.std(ddof=1)) if len(finite) > 1 else None,
        "repeats": [float(value) if np.isfinite(value) else None for value in values],
    }
