"""Training pairs without those that an exclusion list names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tracinctl.data.pairs import Pairs, RankingData


@dataclass(frozen=True)
class LeftOut:
    """The training pairs that an exclusion list leaves, and what became of each of its ids (see TrainResult)."""

    pairs: Pairs
    rows: int
    pair_ids: list[str]
    item_ids: list[str]
    unknown: list[str]
    held_out: list[str]


def leave_out(data: RankingData, exclusions: Iterable[str] | None) -> LeftOut:
    """Leave training pairs out by their id, or by the id of one of their items."""
    listed = list(dict.fromkeys(exclusions or ()))
    wanted = set(listed)
    pairs, ids = data.train_pairs, data.train.ids
    row_ids = pairs.ids(ids)
    items = wanted & set(ids)
    rows = wanted & set(row_ids)
    held_out = (wanted & (set(data.test.ids) | set(data.test_pairs.ids(data.test.ids)))) - items - rows
    excluded_item = np.array([k in items for k in ids], dtype=bool)
    excluded_row = np.array([k in rows for k in row_ids], dtype=bool)
    keep = ~(excluded_row | excluded_item[pairs.first] | excluded_item[pairs.second])
    known = items | rows | held_out
    return LeftOut(
        pairs=pairs.take(keep),
        rows=len(pairs),
        pair_ids=[k for k in listed if k in rows],
        item_ids=[k for k in listed if k in items],
        unknown=[k for k in listed if k not in known],
        held_out=[k for k in listed if k in held_out],
    )
