"""The format of numbers, the order of names, and guesses for misspelt names."""

import pytest

from tracinctl.scores.votes import parse_threshold
from tracinctl.text import aligned, count, first_few, natural_key, nearest, number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-5.0, "-5"),
        (0.0, "0"),
        (-0.0312512, "-0.03125"),
        (12.345, "12.35"),
        (1681.4, "1681"),
        (-9712.4, "-9712"),
        (123456.7, "123457"),
        (1e9, "1e9"),
        (-1.234e-7, "-1.23e-7"),
        (0.001, "0.001"),
        (-1.2e300, "-1.2e300"),
        (float("inf"), "infinite"),
        (float("-inf"), "-infinite"),
        (float("nan"), "not a number"),
    ],
)
def test_a_number_has_four_digits_in_few_characters(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize("value", [-1681.4, -0.0312512, -1.2e300, -123456.7, -3e-9])
def test_a_shown_score_can_be_given_as_a_threshold(value):
    assert parse_threshold(number(value)).value == pytest.approx(value, rel=5e-3)


def test_scores_of_a_column_have_aligned_decimal_points():
    assert aligned([-22.19, -18.1, -6.193]) == ["-22.19", "-18.10", "-6.19"]
    assert aligned([1234.6, 0.4]) == ["1235", "0"]
    assert aligned([0.51234, -0.02]) == ["0.5123", "-0.0200"]
    assert aligned([-5.0, -10.0]) == ["-5", "-10"]
    assert aligned([1e9, 1.0]) == [number(1e9), "1"]
    assert aligned([float("inf"), 0.0]) == [number(float("inf")), "0"]
    assert aligned([float("nan"), 0.5]) == ["not a number", "0.5000"]
    assert aligned([]) == []


def test_counts_have_their_unit():
    assert [count(1, "pair"), count(1200, "pair"), count(0, "entry", "entries")] == [
        "1 pair",
        "1,200 pairs",
        "0 entries",
    ]


def test_the_first_few_names_give_the_number_of_others():
    assert first_few([]) == ""
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few([*"abcd"]) == "a, b, c and 1 more"
    assert first_few([str(k) for k in range(1202)], 2) == "0, 1 and 1,200 more"


def test_natural_order_is_numeric_and_total():
    names = ["1000hz", "500hz", "box", "3000hz", "epoch_10", "epoch_2", "take_01", "take_1", "9" * 5000, ""]
    wanted = ["", "500hz", "1000hz", "3000hz", "9" * 5000, "box", "epoch_2", "epoch_10", "take_01", "take_1"]
    assert sorted(names, key=natural_key) == wanted
    names.reverse()
    names.sort(key=natural_key)
    assert names == wanted


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("500Hz", "500hz"),
        ("--re", "--retrain"),
        ("--thresold", "--thresholds"),
        ("--soruce", "--source"),
        ("plstic", "plastic"),
        ("--", ""),
        ("zzzzzzz", ""),
        ("box_02_box_01", "box_01_box_02"),
        ("Box_02_box_01", "box_01_box_02"),
    ],
)
def test_a_misspelt_name_is_guessed(typed, meant):
    known = ["1000hz", "500hz", "--source", "--retrain", "--thresholds", "plastic", "box_02_box_03", "box_01_box_02"]
    assert nearest(typed, known) == meant


def test_without_names_nothing_is_guessed():
    assert nearest("a", []) == ""
