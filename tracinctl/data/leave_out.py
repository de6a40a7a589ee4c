"""Leave the pairs and items on an exclusion list out of the training pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tracinctl.data.pairs import Pairs, RankingData
from tracinctl.data.recordings import nfc


@dataclass(frozen=True)
class LeftOut:
    """The remaining training pairs, and how each id on the list was used.

    Attributes:
        pairs, rows: the remaining pairs, and the number before.
        pair_ids, item_ids: ids that left out a training pair or a training item.
        unknown: ids that are neither.
        held_out: ids of held-out items or pairs, which leave nothing out.
    """

    pairs: Pairs
    rows: int
    pair_ids: list[str]
    item_ids: list[str]
    unknown: list[str]
    held_out: list[str]

    @property
    def rows_left_out(self) -> int:
        """Number of training pairs left out, including repeated draws."""
        return self.rows - len(self.pairs)


def leave_out(data: RankingData, exclusions: Iterable[str] | None) -> LeftOut:
    """Leave out training pairs by their id or by an item's id, in any Unicode form.

    The id ``a_b`` means all repeats of the pair with the first one's outcome, as in lists from before repeats had ids.
    ``a_b#1`` means only the first one.
    """
    listed = list(dict.fromkeys(map(nfc, exclusions or ())))
    wanted = set(listed)
    pairs, ids, test_ids = data.train_pairs, [nfc(k) for k in data.train.ids], [nfc(k) for k in data.test.ids]
    names = _names_of_rows(pairs, ids)
    items = wanted & set(ids)
    rows = wanted.intersection(name for row in names for name in row)
    tests = {name for row in _names_of_rows(data.test_pairs, test_ids) for name in row}
    held_out = (wanted & {*test_ids, *tests}) - items - rows
    excluded_item = np.array([k in items for k in ids], dtype=bool)
    excluded_row = np.array([not wanted.isdisjoint(k) for k in names], dtype=bool)
    keep = ~(excluded_row | excluded_item[pairs.first] | excluded_item[pairs.second])
    used = items | rows | held_out
    return LeftOut(
        pairs=pairs.take(keep),
        rows=len(pairs),
        pair_ids=[k for k in listed if k in rows],
        item_ids=[k for k in listed if k in items],
        unknown=[k for k in listed if k not in used],
        held_out=[k for k in listed if k in held_out],
    )


def _names_of_rows(pairs: Pairs, item_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """The ids by which a list can name each row."""
    if pairs.ids is not None:
        return [(nfc(name),) for name in pairs.ids]
    names: list[tuple[str, ...]] = []
    outcome: dict[str, int] = {}
    rows = zip(pairs.pair_ids(item_ids), pairs.repeat.tolist(), pairs.target.tolist(), strict=True)
    for name, number, target in rows:
        alike = outcome.setdefault(name, target) == target
        names.append((f"{name}#{number}", *([name] if alike else [])))
    return names
