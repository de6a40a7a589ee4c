"""The choice of a rule and a recipe: who judges what, when nothing is chosen, and what is trained."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.retraining.test_trial import DATA, DIVISION, LISTED
from tracinctl import Pairs
from tracinctl.retraining.choice import (
    NOTHING,
    Candidate,
    ChoiceSettings,
    Estimate,
    Gain,
    careful,
    choose,
    item_error,
    scoring_halves,
    smoothed,
)
from tracinctl.retraining.trainer import Recipe, Trained

HALVES = scoring_halves(DATA, DIVISION)
STOPS = (1, 3, 5)
PLACE = {name: row for row, name in enumerate(DATA.test.ids)}
SETTINGS = ChoiceSettings(seeds=(1, 2, 3), decays=(None, 0.1), finalists=2)


def candidate(name, count):
    """The first ids list from one half, the next from the other; the whole list is both."""
    return Candidate(name, (LISTED[:count], LISTED[count : 2 * count]), LISTED[: 2 * count])


@dataclasses.dataclass
class Noise:
    """Scores are the true rank with noise that depends on how many pairs are left out, on the decay and the stop."""

    noise: dict
    best_stop: int = 3
    best_decay: float | None = None
    log: list = dataclasses.field(default_factory=list)

    def __call__(self, plan):
        self.log += plan
        return [self.trained(training) for training in plan]

    def trained(self, training):
        level = self.noise[len(training.exclusions)] + 0.5 * (training.weight_decay != self.best_decay)
        random = np.random.default_rng(training.seed)
        draws = {name: random.normal() for name in DATA.test.ids}
        return Trained(
            {
                name: tuple(PLACE[name] % 4 + draws[name] * (level + abs(stop - self.best_stop) / 5) for stop in STOPS)
                for name in DATA.test.ids
            },
            STOPS,
        )


TWO = (candidate("good", 3), candidate("bad", 5))


def chosen(noise, *, candidates=TWO, settings=SETTINGS, **more):
    train = Noise(noise, **more)
    return choose(train, DATA, HALVES, candidates, settings), train


def test_a_list_that_clearly_helps_is_chosen_with_its_best_stop_and_decay():
    choice, _ = chosen({0: 3.0, 3: 0.2, 5: 4.0}, best_decay=0.1)
    assert choice.chosen.name == "good"
    assert list(choice.exclusions) == LISTED[:6], "the list is made again from all that score"
    assert choice.chosen.recipe == Recipe(0.1, 3)
    assert choice.tuned.weight_decay == 0.1
    assert [gain.name for gain in choice.gains] == ["good", NOTHING, "bad"]
    assert choice.chosen.mean > choice.chosen.error > 0
    assert json.loads(json.dumps(choice.to_json(), allow_nan=False))["chosen"] == "good"


def test_a_loss_is_chosen_like_a_list():
    class Robust(Noise):
        def trained(self, training):
            assert not training.exclusions
            self.noise[0] = 0.2 if training.loss == "capped" else 3.0
            return super().trained(training)

    train = Robust({})
    choice = choose(train, DATA, HALVES, [Candidate("everything, capped loss", loss="capped")], SETTINGS)
    assert choice.chosen.recipe.loss == "capped"
    assert choice.chosen.recipe.flags.endswith(" --loss-type capped")
    assert list(choice.exclusions) == []
    assert choice.tuned.loss is None


def test_a_rule_without_scores_is_judged_by_all_scoring_pairs():
    """What it ranks wrongly are pairs of an item of either half, which a half alone does not have."""
    halves = [set(half) for half in HALVES]

    class Across(Noise):
        def trained(self, training):
            # within a half in order; with a list the halves are apart the wrong way round
            shift = {name: (10 if name in halves[0] else 0) if training.exclusions else 0 for name in DATA.test.ids}
            return Trained({name: (PLACE[name] % 4 + shift[name],) * 3 for name in DATA.test.ids}, STOPS)

    same = Candidate("same", (LISTED[:3], LISTED[:3]), LISTED[:3])
    gains = {gain.name: gain for gain in choose(Across({}), DATA, HALVES, [same, candidate("own", 3)], SETTINGS).gains}
    assert gains["own"].mean == 0
    assert gains["same"].mean < -0.1


def test_a_rule_that_held_out_pairs_alone_judge_has_to_gain_twice_as_much():
    gain = Gain("rule", 3, 0.008, 0.01, Recipe(), final=True)
    assert careful(gain) == pytest.approx(-0.002)
    assert careful(dataclasses.replace(gain, by_both=True)) == pytest.approx(0.003)
    both = Candidate("both", (LISTED[:3], LISTED[:3]), LISTED[:3], unseen=Estimate(0.01, 0.01))
    held_out = dataclasses.replace(both, name="held out", unseen=None)
    choice, _ = chosen({0: 3.0, 3: 0.2}, candidates=[both, held_out])
    assert {gain.name: gain.by_both for gain in choice.gains} == {"both": True, "held out": False, NOTHING: False}


def test_two_estimates_are_averaged_by_their_precision():
    both = Estimate(0.02, 0.01).averaged_with(Estimate(-0.01, 0.005))
    assert both.mean == pytest.approx((0.02 / 1 + -0.01 * 4) / 5)
    assert both.error == pytest.approx(0.01 / 5**0.5)
    assert Estimate(0.02, float("inf")).averaged_with(Estimate(-0.01, 0.005)).mean == pytest.approx(-0.01)


@pytest.mark.parametrize(("unseen", "name"), [(0.03, "same"), (-0.03, NOTHING)])
def test_training_pairs_decide_where_held_out_pairs_cannot(unseen, name):
    """By held-out pairs, whose error is far larger, the list changes little."""
    same = Candidate("same", (LISTED[:3], LISTED[:3]), LISTED[:3], unseen=Estimate(unseen, 0.002))
    choice, _ = chosen({0: 1.0, 3: 1.1}, candidates=[same])
    assert choice.chosen.name == name
    (gain,) = (gain for gain in choice.gains if gain.name == "same")
    assert gain.mean == pytest.approx(unseen, rel=0.2)
    assert gain.error <= 0.002


def test_a_rule_with_a_smaller_but_surer_gain_is_trained_further():
    sure = Candidate("sure", (LISTED[:3], LISTED[:3]), LISTED[:3], unseen=Estimate(0.02, 0.001))
    settings = dataclasses.replace(SETTINGS, finalists=1)
    choice, _ = chosen({0: 1.0, 3: 1.0, 5: 0.9}, candidates=[candidate("unsure", 5), sure], settings=settings)
    gains = {gain.name: gain for gain in choice.gains}
    assert gains["unsure"].mean > gains["sure"].mean > 0
    assert careful(gains["unsure"]) < 0
    assert (gains["sure"].final, gains["unsure"].final) == (True, False)


def test_neighbouring_cells_are_averaged():
    cells = np.zeros((2, 4))
    cells[0, 1] = 1
    across = np.array([0.5 / 1.5, 1 / 2, 0.5 / 2, 0])
    assert smoothed(cells) == pytest.approx(np.array([[1 / 1.5], [0.5 / 1.5]]) * across)


def test_nothing_is_chosen_where_no_gain_exceeds_its_error():
    choice, _ = chosen({0: 1.0, 3: 1.0, 5: 1.0})
    assert (choice.chosen.name, list(choice.exclusions)) == (NOTHING, [])
    assert choice.chosen.mean == 0
    assert choice.tuned == choice.chosen.recipe


def test_lists_are_judged_by_the_items_that_did_not_make_them():
    """The list of a half ranks its own half perfectly, and the other half the wrong way."""

    class Flattered(Noise):
        def trained(self, training):
            trained = super().trained(training)
            if not training.exclusions:
                return trained
            own = HALVES[0] if training.exclusions[0] == LISTED[0] else HALVES[1]
            return Trained(
                {name: tuple((1 if name in own else -1) * PLACE[name] % 4 for _ in STOPS) for name in trained.scores},
                STOPS,
            )

    train = Flattered({0: 1.0, 3: 0.0, 5: 0.0})
    choice = choose(train, DATA, HALVES, [candidate("flattered", 3)], SETTINGS)
    assert choice.chosen.name == NOTHING
    assert choice.gains[-1].mean < -0.1


def test_the_judging_items_have_no_part():
    noise = {0: 3.0, 3: 0.2, 5: 4.0}
    choice, _ = chosen(noise)

    class Spoilt(Noise):
        def trained(self, training):
            trained = super().trained(training)
            judges = set(DIVISION.judging)
            return Trained({k: (0.0,) * 3 if k in judges else v for k, v in trained.scores.items()}, STOPS)

    again = choose(Spoilt(noise), DATA, HALVES, [candidate("good", 3), candidate("bad", 5)], SETTINGS)
    assert again.to_json() == choice.to_json()


def test_every_rule_is_tried_once_and_the_best_with_every_seed_and_decay():
    candidates = [candidate("good", 3), candidate("bad", 5), candidate("worse", 7)]
    choice, train = chosen({0: 1.0, 3: 0.2, 5: 2.0, 7: 9.0}, candidates=candidates)
    count = {
        name: sum(one.arm == f"without the list of {name}" for one in train.log) for name in ("good", "bad", "worse")
    }
    assert count == {"good": 12, "bad": 12, "worse": 2}
    assert {gain.name for gain in choice.gains if not gain.final} == {"worse"}


def test_too_few_items_choose_nothing_and_say_so():
    train = Noise({})
    choice = choose(train, DATA, (HALVES[0], HALVES[1][:2]), [candidate("good", 3)], SETTINGS)
    assert (list(choice.exclusions), train.log) == ([], [])
    assert "too few" in choice.why_not


def test_a_rule_that_lists_nothing_or_everything_is_not_tried():
    everything = DATA.train_pairs.row_ids(DATA.train.ids)
    candidates = [Candidate("empty", ((), ()), ()), Candidate("all", (everything, LISTED), LISTED)]
    choice, _ = chosen({0: 1.0}, candidates=candidates)
    assert [gain.name for gain in choice.gains] == [NOTHING]


def test_the_error_of_a_mean_is_that_of_other_draws_of_items():
    """Against the spread of the mean over many draws of items from one population."""
    random = np.random.default_rng(0)
    count = 30
    first, second = np.triu_indices(count, 1)
    pairs = Pairs(first, second, np.ones(len(first), dtype=int))
    draws = random.normal(size=(200, count))
    values = draws[:, first] + draws[:, second]
    expected = values.mean(1).std()
    found = np.mean([item_error(row, pairs, np.random.default_rng(1)) for row in values[:20]])
    assert found == pytest.approx(expected, rel=0.15)
