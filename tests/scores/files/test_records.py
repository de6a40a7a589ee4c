"""Marks in a person's own metadata: their records stay, and old marks are removed."""

import json

import numpy as np
import pytest
from score_tables import table

from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.files.records import mark_excluded
from tracinctl.scores.options import Rule

SOURCE = table([[-9.0, -9.0], [-1.0, -3.0], [5.0, 5.0]])
FIRST = "m_0_m_1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m_1hz_metadata.json"


def mark(path, records=None, threshold="-5", **more):
    """The records after marking pairs below the threshold."""
    if records is not None:
        path.write_text(json.dumps(records))
    mark_excluded(SOURCE, choose_exclusions(SOURCE, Rule(threshold=threshold, **more)), path)
    return json.loads(path.read_text())


def test_a_pair_is_marked_with_a_reason_and_the_votes(path):
    record = mark(path)[FIRST]
    assert record["excluded"] is True
    assert record["notes"] == "tracinctl: excluded as ranking_pair"
    assert record["tracin_info"].pop("exclusion_date")
    assert record["tracin_info"] == {
        "negative_occurrences": 2,
        "average_influence": -9.0,
        "affected_test_samples": ["m_0_m_900", "m_1_m_901"],
    }


@pytest.mark.parametrize(
    ("mine", "marked"),
    [
        ({"notes": ["loud", 3]}, {"notes": ["loud", 3, "tracinctl: excluded as ranking_pair"], "excluded": True}),
        ({"notes": "loud; near"}, {"notes": "loud; near; tracinctl: excluded as ranking_pair", "excluded": True}),
        ({"notes": {"by": "Anna"}}, {"notes": {"by": "Anna"}, "excluded": True}),
        ({"notes": 5}, {"notes": 5, "excluded": True}),
        ({"excluded": "2024-05-01 by Anna"}, {"excluded": "2024-05-01 by Anna"}),
        ({"excluded": True}, {"excluded": True}),
        ({"excluded": False}, {"excluded": True}),
    ],
)
def test_a_persons_records_stay_unchanged(path, mine, marked):
    once = mark(path, {FIRST: {"angle": 36, **mine}})[FIRST]
    assert {**once, **marked, "angle": 36} == once
    assert mark(path)[FIRST].keys() == once.keys()
    assert mark(path)[FIRST]["notes"] == once["notes"], "marking again adds no second reason"
    after = mark(path, threshold="-50")[FIRST]
    if mine.get("excluded") is False:
        mine = {}  # with the same meaning
    assert after == {"angle": 36, **mine}


@pytest.mark.parametrize(
    "foreign",
    [
        {"by": "another tool"},
        "yes",
        # from the older scripts: the same form, but without our reason in the notes
        {"exclusion_date": "x", "negative_occurrences": 1, "average_influence": 0.5, "affected_test_samples": []},
    ],
)
def test_information_of_another_tool_stays_beside_ours(path, foreign):
    record = mark(path, {FIRST: {"tracin_info": foreign}})[FIRST]
    assert record["tracin_info"] == foreign
    assert record["tracinctl_info"]["negative_occurrences"] == 2
    assert mark(path)[FIRST] == record
    assert mark(path, threshold="-50")[FIRST] == {"tracin_info": foreign}


def test_only_our_marks_of_earlier_lists_are_removed(path):
    theirs = {"excluded": True, "notes": "too loud", "tracin_self_influence": 1.5}
    first = mark(path, {"other": theirs}, threshold="0")
    assert [key for key, record in first.items() if record.get("excluded")] == ["other", FIRST, "m_1_m_2"]
    second = mark(path)
    assert second["other"] == theirs
    assert "m_1_m_2" not in second, "it contained only the mark"
    items = mark(path, mode="full_pair")
    assert list(items) == ["other", "m_0", "m_1"]
    assert items["m_1"]["notes"] == "tracinctl: excluded as full_pair"


def test_marks_of_items_have_their_influence(path):
    source = table([[1.0]], sample_ids=["a", "b", "c", "d", "e"], sample_influence=np.array([0.0, 0, 0, 0, 9.0]))
    mark_excluded(source, choose_exclusions(source, Rule(threshold="0", mode="sample")), path)
    assert json.loads(path.read_text())["e"]["tracin_info"]["average_influence"] == 9.0
