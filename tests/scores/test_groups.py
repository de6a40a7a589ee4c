"""Influence of groups, against a loop and against Student's distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.scores.files.open import open_scores, write_scores
from tracinctl.scores.groups import group_influence, groups_of
from tracinctl.scores.student import student_t
from tracinctl.scores.table import InfluenceTable


def test_groups_equal_a_loop():
    random = np.random.default_rng(0)
    totals = random.normal(size=60)
    names = [[f"a{k}", "all"] for k in random.integers(0, 7, size=60)]
    found = group_influence(totals, names)
    assert [group.mean for group in found] == sorted(group.mean for group in found)
    for group in found:
        mine = [total for total, of in zip(totals, names, strict=True) if group.name in of]
        assert group.pairs == len(mine)
        assert group.total == pytest.approx(sum(mine))
        assert group.mean == pytest.approx(sum(mine) / len(mine))
        assert group.harmful == sum(total < 0 for total in mine)
        error = np.std(mine, ddof=1) / math.sqrt(len(mine))
        assert group.high - group.low == pytest.approx(2 * student_t(len(mine) - 1) * error)


def test_one_pair_has_no_interval():
    [group] = group_influence(np.array([-2.0]), [["Anna"]])
    assert (group.mean, group.low, group.high, group.harmful) == (-2, -math.inf, math.inf, 1)


def test_an_interval_covers_the_mean_of_pairs_like_these():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        [group] = group_influence(random.normal(1, 2, size=8), [["Anna"]] * 8)
        covered += group.low <= 1 <= group.high
    assert 0.93 <= covered / 400 <= 0.97


def test_groups_of_other_pairs_are_refused():
    with pytest.raises(ScoreFileError, match="2 training pairs and 1 rows of groups"):
        group_influence(np.zeros(2), [["Anna"]])


def table_with_groups():
    ids = ["box_deg000_1hz_00", "box_deg036_1hz_00", "box_deg036_1hz_01"]
    pairs = [(ids[0], ids[1]), (ids[2], ids[0]), (ids[1], ids[2])]
    return InfluenceTable(
        [f"{a}_{b}" for a, b in pairs],
        ["box_deg072_1hz_00_box_deg000_1hz_09"],
        np.array([[-1.0], [2.0], [3.0]]),
        train_items=pairs,
        groups={"annotator": ["Anna", "Bén", "Anna"], "session": ["=1", "", "a,b"]},
    )


@pytest.mark.parametrize("name", ["box_1hz_influence_metadata.json", "box_1hz_influence.parquet"])
def test_groups_come_back_from_a_file(tmp_path, name):
    table = table_with_groups()
    write_scores(table, tmp_path / name)
    source = open_scores(tmp_path / name)
    assert source.groups == table.groups
    assert groups_of(source, "annotator") == [("Anna",), ("Bén",), ("Anna",)]


def test_pairs_are_grouped_by_their_items_and_classes():
    table = table_with_groups()
    assert groups_of(table, "item") == [tuple(pair) for pair in table.train_items]
    assert [len(of) for of in groups_of(table, "class")] == [2, 2, 1]


def test_a_column_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="no column 'anotator'") as error:
        groups_of(table_with_groups(), "anotator")
    assert error.value.hint == "Did you mean annotator?"
