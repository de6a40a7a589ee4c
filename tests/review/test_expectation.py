"""The expected number of errors among the next suspects, against planted errors."""

from __future__ import annotations

import numpy as np
import pytest

from tracinctl.review.expectation import FEWEST, expect_errors


def test_too_few_decisions_give_no_expectation():
    assert expect_errors(np.arange(100.0), [True] * (FEWEST - 1) + [None] * (101 - FEWEST)) is None


def test_expected_errors_agree_with_planted_ones():
    """On average over many reviews, the expectation is right if errors become rarer along the order."""
    random = np.random.default_rng(0)
    expected, real = [], []
    for centre in np.linspace(-1, 2, 200):
        suspicion = np.sort(random.normal(size=300))[::-1]
        error = random.random(300) < 1 / (1 + np.exp(-2 * (suspicion - centre)))
        decided = [bool(wrong) if k < 60 else None for k, wrong in enumerate(error)]
        expectation = expect_errors(suspicion, decided)
        expected.append(expectation.expected)
        real.append(error[60:120].sum())
        assert (expectation.errors, expectation.decided, expectation.next) == (error[:60].sum(), 60, 60)
    assert np.mean(expected) == pytest.approx(np.mean(real), rel=0.1)
    assert np.corrcoef(expected, real)[0, 1] > 0.8


def test_suspicion_without_information_expects_the_share_so_far():
    expectation = expect_errors(np.zeros(100), [k % 4 == 0 for k in range(40)] + [None] * 60)
    assert expectation.expected == pytest.approx(10, abs=0.5)
    assert expectation.sentence() == "10 of 40 were errors; 10 are expected among the next 40"


def test_the_end_of_the_list_is_reported():
    expectation = expect_errors(np.arange(30.0), [True] * 30)
    assert expectation.sentence() == "30 of 30 were errors; none is left"
