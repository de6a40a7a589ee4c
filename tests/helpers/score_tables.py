"""Small tables of influence scores for tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tracinctl import InfluenceTable


def table(scores, **more):
    """Training pairs m_0 m_1, m_1 m_2, ... on test pairs m_0 m_900, m_1 m_901, ..."""
    scores = np.asarray(scores, dtype=np.float64)
    items = more.pop("train_items", [(f"m_{k}", f"m_{k + 1}") for k in range(len(scores))])
    return InfluenceTable(
        train_ids=[f"{a}_{b}" for a, b in items],
        test_ids=[f"m_{k}_m_{k + 900}" for k in range(scores.shape[1])],
        scores=scores,
        train_items=items,
        **more,
    )


PARQUET = "m_500hz_influence.parquet"


def full(scores, **more):
    """A table with all metadata."""
    scores = np.asarray(scores, dtype=np.float64)
    known = {
        "self_influence": np.arange(len(scores)) / 3,
        "sample_ids": ["m_0", "m_1"],
        "sample_influence": np.array([0.5, 2.0]),
        "checkpoint_names": ["a.pt", "b.pt"],
        "provenance": {"method": "tracin", "checkpoints": [{"name": "a.pt", "learning_rate": None}]},
    }
    return table(scores, **(known | more))


def same_bits(one, other):
    return np.array_equal(np.asarray(one).view(np.uint64), np.asarray(other).view(np.uint64))


class InBlocks:
    """A table that is read in blocks of a few rows and counts the readings."""

    def __init__(self, inner, rows):
        self.inner, self.rows, self.readings = inner, rows, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def blocks(self):
        self.readings += 1
        for start in range(0, len(self.inner.train_ids), self.rows):
            yield start, self.inner.scores[start : start + self.rows]


# many equal scores, zeros of both signs, the smallest and the largest numbers
scores_of_any_size = st.one_of(
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e308, -1e308, 1.0, -1.0]),
    st.integers(-3, 3).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)
plain_scores = st.floats(-100, 100, allow_nan=False).map(lambda v: 0.0 if abs(v) < 20 else v)


def matrices(scores=plain_scores, rows=9, columns=6):
    return st.integers(1, columns).flatmap(
        lambda c: st.lists(st.lists(scores, min_size=c, max_size=c), min_size=1, max_size=rows)
    )
