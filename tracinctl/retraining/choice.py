"""Choose the list to leave out and how to train with it, by held-out items that did not score.

No fixed rule is right everywhere, and much of what a list seems to gain on an untuned ranker is what stopping earlier
gains. So lists, stops and weight decays are chosen together, against training on everything with stop and weight decay
chosen in the same way. The capped loss is one of the candidates: pairs far on the wrong side count little under it.

**Swapped halves.** Pairs that scored must not choose: judged by them, a list made from a total seems to gain four times
its real gain. So the scoring items are halved. Each rule makes a list from each half, the other half judges the list,
and the mean judges the rule. The rule is chosen, and its list is then made from all scoring items. A rule that uses no
scores, such as out-of-fold rankers, is judged by all scoring pairs.

**Training pairs judge, too.** Held-out pairs are often so few that the gain of a list has an error as large as itself.
A rule that uses rankers of halves, margins or another loss is also judged by the training pairs that its rankers did
not train on (``unseen.py``), and the two estimates are averaged by their precision.

**Cells.** A weight decay with a stop is a cell. Neighbouring cells rank alike, so the accuracy of a cell is averaged
with that of its neighbours before cells are compared. A rule is judged by the mean of its best three cells less that of
the best three with nothing left out, and less a standard error of this difference (bootstrap over items), because the
best of many rules looks better than it is. If training pairs judge too, half an error is subtracted. Only a rule that
remains above zero is chosen over nothing. Then the rule's best cell says how to train. The shares of an error were
settled on separate data, see ``tests/benchmarks/README.md``.

**Cost.** All rules are tried once with the default weight decay. The best few, by the same measure, are then trained
with every weight decay and seed. Stops cost nothing, because one training is scored at each stop.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tracinctl.data.leave_out import leave_out
from tracinctl.data.pairs import FloatArray, Pairs, RankingData
from tracinctl.retraining.judging import Division, divide_items, pair_correct, pairs_within
from tracinctl.retraining.trainer import Recipe, Train, Trained, Training

NOTHING: Final = "nothing"
FEWEST_ITEMS: Final = 3
"""Least number of items of a half that are in a pair within it; with fewer, nothing is chosen."""

BEST_CELLS: Final = 3
"""Number of best cells, or stops, whose mean represents a way to train."""

_DRAWS = 200  # number of bootstrap draws
_STANDARD_ERRORS = 1.0
_STANDARD_ERRORS_BY_BOTH = 0.5
_NEIGHBOUR = 0.5  # weight of a neighbouring cell


@dataclass(frozen=True)
class Estimate:
    """A gain in pair accuracy, as a share, and its standard error over items."""

    mean: float
    error: float

    def averaged_with(self, other: Estimate) -> Estimate:
        """The average of two independent estimates, each weighted by its precision."""
        weight, other_weight = (1 / max(error, 1e-9) ** 2 for error in (self.error, other.error))
        mean = (weight * self.mean + other_weight * other.mean) / (weight + other_weight)
        return Estimate(mean, (weight + other_weight) ** -0.5)


@dataclass(frozen=True)
class Candidate:
    """A rule and its lists.

    Attributes:
        name: name of the rule.
        halves: the ids that it lists from the scores of each half of the scoring items.
        ids: the ids that it lists from all scoring items.
        loss: the loss to train with; None = the default.
        unseen: its gain by training pairs that a ranker did not train on, see ``unseen_gains``; None if unknown.
    """

    name: str
    halves: tuple[Sequence[str], Sequence[str]] = ((), ())
    ids: Sequence[str] = ()
    loss: str | None = None
    unseen: Estimate | None = None


@dataclass(frozen=True)
class ChoiceSettings:
    """Seeds, weight decays with the default first, and the number of rules to train with every one of both."""

    seeds: Sequence[int]
    decays: Sequence[float | None] = (None,)
    finalists: int = 3


@dataclass(frozen=True)
class Gain:
    """A rule's gain over leaving nothing out, on the halves that did not make its lists.

    Attributes:
        name: name of the rule.
        left_out: number of ids on its whole list.
        mean: gain in pair accuracy, as a share, with the best cells of both.
        error: its standard error over items.
        recipe: the rule's best cell.
        final: whether the rule was trained with every weight decay and seed.
        by_both: whether training pairs judged, too, and not held-out pairs alone.
    """

    name: str
    left_out: int
    mean: float
    error: float
    recipe: Recipe
    final: bool
    by_both: bool = False

    def to_json(self) -> dict[str, Any]:
        """The gain for JSON."""
        return {
            "rule": self.name,
            "left_out": self.left_out,
            "gain": self.mean,
            "standard_error": self.error,
            **_recipe_json(self.recipe),
            "final": self.final,
        }


@dataclass(frozen=True)
class Choice:
    """The result of a choice.

    Attributes:
        gains: the gains of all rules, including leaving nothing out, the best first.
        chosen: the gain of the chosen rule.
        exclusions: the chosen list; empty to leave nothing out.
        tuned: the recipe with nothing left out.
        why_not: why there was no choice; empty if there was one.
    """

    gains: Sequence[Gain]
    chosen: Gain
    exclusions: Sequence[str]
    tuned: Recipe
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        """The choice for JSON."""
        return {
            "chosen": self.chosen.name,
            "left_out": len(self.exclusions),
            "tuned": _recipe_json(self.tuned),
            "rules": [gain.to_json() for gain in self.gains],
            "why_not": self.why_not,
        }


def _recipe_json(recipe: Recipe) -> dict[str, Any]:
    return {"weight_decay": recipe.weight_decay, "epochs": recipe.stop, "loss": recipe.loss}


def scoring_halves(data: RankingData, division: Division) -> tuple[list[str], list[str]]:
    """The scoring items in two halves, divided as evenly as possible by query or class."""
    return divide_items(data, division.scoring, division.seed + 1)


def too_few_to_choose(data: RankingData, halves: tuple[Sequence[str], Sequence[str]]) -> str:
    """Why these halves are too small for a choice; empty if they are not."""
    for half in halves:
        pairs = data.test_pairs.take(pairs_within(data, half))
        if len(np.unique([pairs.first, pairs.second])) < FEWEST_ITEMS:
            return "too few held-out items score influence; hold out more"
    return ""


def choose(
    train: Train,
    data: RankingData,
    halves: tuple[Sequence[str], Sequence[str]],
    candidates: Sequence[Candidate],
    settings: ChoiceSettings,
) -> Choice:
    """Choose a rule and a recipe.

    ``train`` scores at least the items of the halves at each stop; ``candidates`` has no rule that leaves nothing out.
    """
    if few := too_few_to_choose(data, halves):
        nothing = Gain(NOTHING, 0, 0.0, 0.0, Recipe(), final=False)
        return Choice([nothing], nothing, (), Recipe(), few)
    nothing_out = Candidate(NOTHING)
    trials = _Trials(train, data, halves, settings)
    trials.run([nothing_out], settings.decays, settings.seeds)
    by_name = {candidate.name: candidate for candidate in candidates if _can_be_tried(candidate, data)}
    tried = list(by_name.values())
    trials.run(tried, settings.decays[:1], settings.seeds[:1])
    first = sorted(tried, key=lambda candidate: -careful(trials.gain(candidate, final=False)))
    finalists = first[: settings.finalists]
    trials.run(finalists, settings.decays, settings.seeds)
    gains = [trials.gain(candidate, final=candidate in finalists) for candidate in tried]
    nothing = trials.gain(nothing_out, final=True)
    best = max([nothing, *(gain for gain in gains if gain.final)], key=careful)
    order = sorted([nothing, *gains], key=lambda gain: (not gain.final, -careful(gain)))
    return Choice(order, best, () if best is nothing else by_name[best.name].ids, nothing.recipe)


def _can_be_tried(candidate: Candidate, data: RankingData) -> bool:
    """Whether a rule changes anything, and its lists leave pairs to train on."""
    if candidate.loss is not None:
        return True
    lists = (candidate.ids, *candidate.halves)
    return len(candidate.ids) > 0 and all(len(leave_out(data, ids).pairs) for ids in lists)


def careful(gain: Gain) -> float:
    """The gain less the share of its error that it has to exceed."""
    errors = _STANDARD_ERRORS_BY_BOTH if gain.by_both else _STANDARD_ERRORS
    return gain.mean - errors * gain.error


class _Trials:
    """The trainings of a choice, and their rankings of the judging pairs."""

    def __init__(
        self, train: Train, data: RankingData, halves: tuple[Sequence[str], Sequence[str]], settings: ChoiceSettings
    ) -> None:
        self.train, self.data, self.settings = train, data, settings
        first, second, both = (
            data.test_pairs.take(pairs_within(data, items)) for items in (*halves, (*halves[0], *halves[1]))
        )
        self.swapped, self.all_pairs = [(0, second), (1, first)], [(0, both)]
        self.done: dict[tuple[str, int, float | None, int], Trained] = {}
        self.shared: set[str] = set()
        self.stops: tuple[int, ...] = ()

    def run(self, candidates: Sequence[Candidate], decays: Sequence[float | None], seeds: Sequence[int]) -> None:
        """Train with the lists of these rules, unless that was done already."""
        # a rule with the same list for both halves is trained once and judged by all scoring pairs
        self.shared |= {rule.name for rule in candidates if rule.halves[0] == rule.halves[1]}
        plan = {}
        for (repeat, seed), decay, rule in itertools.product(enumerate(seeds, 1), decays, candidates):
            arm = "everything" if rule.name == NOTHING else f"without the list of {rule.name}"
            for half in range(1 if rule.name in self.shared else 2):
                training = Training(arm, repeat, seed, tuple(rule.halves[half]), decay, rule.loss)
                plan[rule.name, half, decay, seed] = training
        missing = {key: training for key, training in plan.items() if key not in self.done}
        self.done |= zip(missing, self.train(list(missing.values())) if missing else (), strict=True)
        self.stops = next(iter(self.done.values())).stops

    def gain(self, candidate: Candidate, *, final: bool) -> Gain:
        """A rule's gain from all its trainings so far, compared with the same weight decays and seeds of nothing."""
        decays = self.settings.decays if final else self.settings.decays[:1]
        seeds = self.settings.seeds if final else self.settings.seeds[:1]
        judges = self.all_pairs if candidate.name in self.shared else self.swapped
        right = [self._right(candidate.name, half, pairs, decays, seeds) for half, pairs in judges]
        usual = [self._right(NOTHING, 0, pairs, decays, seeds) for _, pairs in judges]
        best, usual_best = _best_cells(right, len(decays)), _best_cells(usual, len(decays))
        differences = [ours[best].mean(0) - base[usual_best].mean(0) for ours, base in zip(right, usual, strict=True)]
        random = np.random.default_rng([len(self.stops), 13])
        errors = [item_error(gain, pairs, random) for gain, (_, pairs) in zip(differences, judges, strict=True)]
        estimate = Estimate(
            float(np.mean([gain.mean() for gain in differences])), float(np.linalg.norm(errors)) / len(errors)
        )
        if candidate.unseen is not None:
            estimate = estimate.averaged_with(candidate.unseen)
        decay, stop = divmod(int(best[0]), len(self.stops))
        return Gain(
            candidate.name,
            len(candidate.ids),
            estimate.mean,
            estimate.error if candidate.name != NOTHING else 0.0,
            Recipe(decays[decay], self.stops[stop], candidate.loss),
            final,
            by_both=candidate.unseen is not None,
        )

    def _right(
        self, name: str, half: int, pairs: Pairs, decays: Sequence[float | None], seeds: Sequence[int]
    ) -> FloatArray:
        """The share of seeds that rank each pair correctly, shape (cells, pairs)."""
        cells = []
        for decay in decays:
            trained = [self.done[name, half, decay, seed] for seed in seeds]
            for stop in self.stops:
                scores = np.array([ranker.scores_at(stop, self.data.test.ids) for ranker in trained])
                cells.append(pair_correct(scores, pairs).mean(0))
        return np.stack(cells)


def _best_cells(right: Sequence[FloatArray], decays: int) -> Any:
    """Rows of the best cells by the mean over both halves, best first."""
    means = np.mean([half.mean(1) for half in right], axis=0).reshape(decays, -1)
    return np.argsort(-smoothed(means).ravel(), kind="stable")[:BEST_CELLS]


def smoothed(cells: FloatArray) -> FloatArray:
    """The accuracy of each weight decay (rows) and stop (columns), averaged with that of its neighbours."""
    rows, columns = (_neighbours(count) for count in cells.shape)
    return rows @ cells @ columns.T


def _neighbours(count: int) -> FloatArray:
    """Weights that average each number of a row with its neighbours, shape (count, count)."""
    weights = np.eye(count) + _NEIGHBOUR * (np.eye(count, k=1) + np.eye(count, k=-1))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def item_error(values: FloatArray, pairs: Pairs, random: np.random.Generator) -> float:
    """The standard error of the mean of one value per pair, from a bootstrap of the items."""
    items, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    first, second = places.reshape(2, -1)
    drawn = random.multinomial(len(items), np.full(len(items), 1 / len(items)), size=_DRAWS)
    total, count = np.zeros(_DRAWS), np.zeros(_DRAWS)
    for k, draw in enumerate(drawn):
        weight = draw[first] * draw[second]
        total[k], count[k] = weight @ values, weight.sum()
    drawn_any = count > 0  # a draw of few items may have no pair
    return float((total[drawn_any] / count[drawn_any]).std()) if drawn_any.any() else float("inf")
