"""Sums and extremes of scores, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from tracinctl.scores import effects as score_effects
from tracinctl.scores import source as score_source
from tracinctl.scores.table import InfluenceTable


@pytest.mark.parametrize(("rows", "columns", "named"), [(7, 11, 3), (5, 2, 5), (4, 0, 2), (6, 6, 6)])
def test_effects_equal_a_loop(rows, columns, named, monkeypatch):
    monkeypatch.setattr(score_source, "BLOCK_BYTES", 8 * max(columns, 1) * 2)
    monkeypatch.setattr(score_effects, "NAMED", named)
    scores = np.random.default_rng(0).integers(-3, 4, size=(rows, columns)).astype(float)
    scores[:, :1] = 0
    table = InfluenceTable([f"t{k}" for k in range(rows)], [f"h{k}" for k in range(columns)], scores)
    effects = score_effects.pair_effects(table)
    assert effects.active == sum(any(scores[r, c] for r in range(rows)) for c in range(columns))
    for r in range(rows):
        assert effects.total[r] == pytest.approx(sum(scores[r]))
        assert effects.votes[r] == sum(1 for value in scores[r] if value < 0)
        assert effects.hurt_by[r].tolist() == sorted(scores[r])[:named]
        assert effects.helped_by[r].tolist() == sorted(scores[r], reverse=True)[:named]
        assert scores[r, effects.hurt[r]].tolist() == effects.hurt_by[r].tolist()
        assert scores[r, effects.helped[r]].tolist() == effects.helped_by[r].tolist()
