"""Influence of groups, against a loop and against Student's distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracinctl.errors import ScoreFileError
from tracinctl.scores.groups import group_influence
from tracinctl.scores.student import student_t


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
