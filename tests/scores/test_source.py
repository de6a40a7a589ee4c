"""What a source of scores gives."""

from __future__ import annotations

import numpy as np

from tracinctl.scores.source import SomeColumns
from tracinctl.scores.table import InfluenceTable


def test_scores_of_some_columns_are_those_of_the_table():
    scores = np.arange(12.0).reshape(3, 4)
    some = SomeColumns(InfluenceTable(list("abc"), list("wxyz"), scores), ["y", "w", "not there"])
    assert some.test_ids == ["w", "y"]
    assert np.array_equal(np.concatenate([block for _, block in some.blocks()]), scores[:, [0, 2]])
