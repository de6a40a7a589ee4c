"""Small tables of influence scores for tests."""

from __future__ import annotations

import itertools
import re

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


HOSTILE = "m_[red]\x1b]0;owned\x07\n\r\x9b31m\u202e<script>alert(1)</script>&\"'`|"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")

PARQUET = "m_500hz_influence.parquet"


def full(scores, **more):
    """A table with all metadata."""
    scores = np.asarray(scores, dtype=np.float64)
    metadata = {
        "self_influence": np.arange(len(scores)) / 3,
        "sample_ids": ["m_0", "m_1"],
        "sample_influence": np.array([0.5, 2.0]),
        "checkpoint_names": ["a.pt", "b.pt"],
        "provenance": {"method": "tracin", "checkpoints": [{"name": "a.pt", "learning_rate": None}]},
    }
    return table(scores, **(metadata | more))


def drawable(scores):
    """A table that every view can draw."""
    scores = np.asarray(scores, dtype=float)
    rows = len(scores)
    return table(
        scores,
        train_items=[(f"box_deg000_1hz_{k}", f"box_deg036_1hz_{k}") for k in range(rows)],
        self_influence=np.abs(scores[:, 0]),
        sample_ids=[f"m_{k}" for k in range(rows)],
        sample_influence=np.abs(scores[:, -1]),
        per_checkpoint=np.stack([scores / 1.5, scores / 3]),
        checkpoint_names=["epoch_1.pt", "epoch_2.pt"],
    )


def hostile():
    """A table that every view can draw, with hostile ids."""
    scores = np.random.default_rng(1).normal(size=(4, 3)) * 10
    names = [f"{HOSTILE}{k}" for k in range(5)]
    return table(
        scores,
        train_items=list(itertools.pairwise(names)),
        self_influence=np.ones(4),
        sample_ids=names,
        sample_influence=np.ones(5),
        per_checkpoint=np.stack([scores / 2, scores / 2]),
        checkpoint_names=[HOSTILE + "1", HOSTILE + "2"],
        provenance={"labels": {name: f"{HOSTILE}{k % 2}" for k, name in enumerate(names)}, "loss": HOSTILE},
    )


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
