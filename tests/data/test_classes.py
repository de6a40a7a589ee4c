"""The order of the classes."""

from __future__ import annotations

import pytest

from tracinctl.data.classes import order_classes, shown_order
from tracinctl.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("lowest_first", "ranks"),
    [
        (("deg000", "deg036", "deg180"), (0, 36, 180)),
        (("-90", "-45", "0", "45"), (-90, -45, 0, 45)),
        (("\N{MINUS SIGN}30", "-20", "+5.5"), (-30, -20, 5.5)),
        (("\N{EN DASH}60", "\N{EN DASH}30", "0"), (-60, -30, 0)),
        (("-10dB", "-5dB", "0dB", "+3dB"), (-10, -5, 0, 3)),
        (("0,25m", "0,5m", "10m"), (0.25, 0.5, 10)),
        (("-1e-3", "1e-3", "2.5e-2", "1E1"), (-0.001, 0.001, 0.025, 10)),
        (("at0,25", "at0,5"), (0.25, 0.5)),
        (("angle-30", "angle-60", "angle-90"), (30, 60, 90)),
        (("mic2-deg030", "mic2-deg060", "mic2-deg090"), (30, 60, 90)),
        (("v2.5m", "v10m"), (2.5, 10)),
        (("near5", "Near10"), (5, 10)),
    ],
)
def test_the_number_in_the_name_ranks_a_class(lowest_first, ranks):
    rank, note = order_classes(set(lowest_first))
    assert tuple(rank) == lowest_first
    assert tuple(rank.values()) == ranks
    assert not note


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("near", "far", "middle"), "alphabetical"),
        (("left30", "right60"), "differ in more than their numbers"),
        (("10cm", "2m"), "differ in more than their numbers"),
    ],
)
def test_an_uncertain_order_has_a_note(names, note):
    assert note in order_classes(names)[1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("left30", "left60", "right30"), "left30 and right30 have the same rank, 30"),
        (("a1", "a01"), "have the same rank, 1"),
        (("-0", "0"), "have the same rank"),
        (("deg000", "deg036", "background"), "background has no number in its name, but deg000 has one"),
        (("mic1-deg030", "mic2-deg060"), "more than one number"),
        (("deg030", "mic2-deg060"), "more than one number"),
    ],
)
def test_an_unknown_order_is_an_error_with_a_hint(names, message):
    with pytest.raises(DataError, match=message) as caught:
        order_classes(names)
    assert "classes = [" in caught.value.hint
    assert all(repr(name) in caught.value.hint for name in names)


def test_a_given_order_may_name_missing_classes():
    rank, _ = order_classes({"left30", "right30", "centre"}, ["left30", "far", "centre", "right30"])
    assert rank == {"left30": 0, "centre": 2, "right30": 3}
    assert shown_order(tuple(rank)) == "left30 < centre < right30"


@pytest.mark.parametrize(
    ("given", "message"), [(["a", "b"], "c has recordings"), (["a", "b", "c", "a"], "`classes` has a twice")]
)
def test_a_given_order_names_each_class_once(given, message):
    with pytest.raises(UsageError, match=message):
        order_classes({"a", "b", "c"}, given)
