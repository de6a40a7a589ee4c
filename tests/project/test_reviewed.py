"""People's decisions in lists and in training data."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.errors import ReviewError
from tracinctl.project.reviewed import class_names, note_of, reviewed_data, reviewed_exclusions
from tracinctl.review.decisions import Decision, settle
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.files.exclusion_list import list_text
from tracinctl.scores.options import Rule
from tracinctl.scores.table import InfluenceTable

ITEMS = [f"box_deg{angle:03}_1hz_{take:02}" for angle in (0, 36, 72) for take in range(2)]
PAIRS = [(0, 2), (2, 0), (0, 4), (1, 3), (2, 4), (3, 5)]


def named(i, j):
    return f"{ITEMS[i]}_{ITEMS[j]}"


def table():
    """The first four pairs are harmful; the second is the mirror image of the first."""
    scores = np.where(np.arange(6)[:, None] < 4, -1.0, 1.0) * np.ones((6, 3))
    return InfluenceTable(
        [named(*pair) for pair in PAIRS],
        ["t1", "t2", "t3"],
        scores,
        train_items=[(ITEMS[i], ITEMS[j]) for i, j in PAIRS],
    )


def decided(**made):
    return settle([Decision(name, decision, who="Anna") for name, decision in made.items()])


def listed(verdicts):
    exclusions = choose_exclusions(table(), Rule(threshold="0"))
    return list(reviewed_exclusions(exclusions, table(), verdicts)[0].ids)


def test_without_decisions_the_list_is_the_rules():
    assert set(listed(settle([]))) == {named(*pair) for pair in PAIRS[:4]}


@pytest.mark.parametrize("decision", ["keep", "turn"])
def test_kept_and_turned_pairs_and_their_mirror_images_are_not_listed(decision):
    assert set(listed(decided(**{named(0, 2): decision}))) == {named(0, 4), named(1, 3)}


def test_pairs_and_items_left_out_by_people_are_listed():
    ids = listed(decided(**{named(2, 4): "leave_out", ITEMS[5]: "leave_out", "no such pair": "leave_out"}))
    assert set(ids) == {named(*pair) for pair in PAIRS[:5]} | {ITEMS[5]}


def test_disputed_and_unsure_decisions_change_nothing():
    verdicts = settle(
        [
            Decision(named(0, 4), "keep", who="Anna"),
            Decision(named(0, 4), "leave_out", who="Ben"),
            Decision(named(1, 3), "unsure", who="Anna"),
        ]
    )
    assert set(listed(verdicts)) == {named(*pair) for pair in PAIRS[:4]}
    assert note_of(verdicts) == ("2 decisions by people: 0 left out, 0 kept, 0 turned round, 1 disputed and ignored")


def test_the_list_counts_the_decisions():
    exclusions = choose_exclusions(table(), Rule(threshold="0"))
    verdicts = decided(**{named(0, 4): "keep"})
    reviewed, note = reviewed_exclusions(exclusions, table(), verdicts)
    text = list_text(reviewed, "scores.json", [f"review: {note}"])
    assert "# review: 1 decision by people: 0 left out, 1 kept, 0 turned round" in text
    assert text.startswith("# excluded: 3 ")


def test_decisions_on_nothing_that_is_known_are_told():
    exclusions = choose_exclusions(table(), Rule(threshold="0"))
    verdicts = decided(**{named(0, 4): "keep", f"{named(1, 3)}#1": "keep", ITEMS[5]: "leave_out", "gone": "leave_out"})
    _, note = reviewed_exclusions(exclusions, table(), verdicts)
    assert note.endswith("; 1 decision on no training pair or item: gone")


def data():
    i, j = (np.array(side) for side in zip(*PAIRS, strict=True))
    labels = np.array([0.0, 0, 36, 36, 72, 72])
    train = Samples(ITEMS, np.zeros((6, 2)), labels)
    return RankingData(train, Pairs(i, j, np.sign(labels[i] - labels[j]).astype(int)), train, Pairs([0], [2], [-1]))


def test_turned_pairs_are_trained_the_other_way_round():
    changed, left_out = reviewed_data(data(), decided(**{named(0, 2): "turn", named(1, 3): "leave_out"}))
    assert left_out == [named(1, 3)]
    turned = (changed.train_pairs.target * data().train_pairs.target).tolist()
    assert turned == [-1, -1, 1, 1, 1, 1], "the second pair is the mirror image of the first"


def test_a_comparison_with_the_opposite_outcome_is_not_turned():
    pairs = Pairs([0, 2], [2, 0], [1, 1], ids=["Anna says", "Ben says"])
    changed, _ = reviewed_data(replace(data(), train_pairs=pairs), settle([Decision("Anna says", "turn")]))
    assert changed.train_pairs.target.tolist() == [-1, 1]


class TestGroups:
    """Decisions on an annotator apply to that person's comparisons."""

    GROUPS: ClassVar = {"annotator": np.array(["Anna", "Ben", "Anna", "Ben", "Cy", "Cy"])}

    def grouped(self):
        return replace(data(), train_pairs=replace(data().train_pairs, groups=self.GROUPS))

    def verdicts(self, **more):
        made = {"annotator:Anna": "leave_out", "annotator:Cy": "turn", "annotator:Ben": "unsure", **more}
        return decided(**made)

    def test_pairs_of_the_group_are_left_out_or_turned(self):
        changed, left_out = reviewed_data(self.grouped(), self.verdicts())
        assert set(left_out) == {named(*PAIRS[0]), named(*PAIRS[2])}
        turned = (changed.train_pairs.target * data().train_pairs.target).tolist()
        assert turned == [1, 1, 1, 1, -1, -1]

    def test_a_decision_on_the_pair_itself_comes_first(self):
        _, left_out = reviewed_data(self.grouped(), self.verdicts(**{named(*PAIRS[0]): "keep"}))
        assert left_out == [named(*PAIRS[2])]

    def test_lists_follow_decisions_on_groups(self):
        scores = replace(table(), groups={name: values.tolist() for name, values in self.GROUPS.items()})
        exclusions = choose_exclusions(scores, Rule(threshold="0"))
        verdicts = decided(**{"annotator:Ben": "keep", "annotator:Cy": "leave_out"})
        reviewed, note = reviewed_exclusions(exclusions, scores, verdicts)
        # Ben's second pair is a mirror image of Anna's first
        assert set(reviewed.ids) == {named(*PAIRS[2]), named(*PAIRS[4]), named(*PAIRS[5])}
        assert note == "2 decisions by people: 1 left out, 1 kept, 0 turned round"

    def test_groups_that_contradict_each_other_decide_nothing(self):
        groups = {**self.GROUPS, "day": np.array(["Monday"] * 6)}
        both = replace(data(), train_pairs=replace(data().train_pairs, groups=groups))
        _, left_out = reviewed_data(both, decided(**{"annotator:Anna": "leave_out", "day:Monday": "keep"}))
        assert left_out == []


def test_items_are_relabelled_by_class_names():
    named_classes = replace(data(), classes=("low", "middle", "high"))
    assert class_names(named_classes) == {0.0: "low", 36.0: "middle", 72.0: "high"}
    changed, _ = reviewed_data(named_classes, decided(**{ITEMS[0]: "relabel:high"}))
    assert changed.train.labels[0] == 72


def test_a_relabelled_item_changes_all_of_its_pairs():
    changed, left_out = reviewed_data(data(), decided(**{ITEMS[0]: "relabel:72"}))
    assert changed.train.labels[0] == 72
    assert changed.train_pairs.target.tolist()[:2] == [1, -1], "the item now ranks above deg036"
    assert left_out == [named(0, 4)], "a pair of one class has no order"
    assert changed.train_pairs.target.tolist()[3:] == data().train_pairs.target.tolist()[3:]


def test_a_class_that_no_item_has_is_refused():
    with pytest.raises(ReviewError, match="no item has the class 99") as error:
        reviewed_data(data(), decided(**{ITEMS[0]: "relabel:99"}))
    assert error.value.hint == "The classes are 0, 36, 72."
