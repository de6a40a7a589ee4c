"""Quantiles of Student's distribution, against scipy's."""

from __future__ import annotations

import pytest
from scipy import stats

from tracinctl.scores.student import student_t


@pytest.mark.parametrize("degrees", [0.5, 1, 1.37, 2, 4, 7.7, 29, 1000, 3e6])
def test_the_quantile_is_scipys(degrees):
    assert student_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-5)
