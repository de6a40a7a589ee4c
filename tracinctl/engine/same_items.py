"""Equal items with different ids: held-out items that also train, and pairs that compare an item with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, Pairs
from tracinctl.text import count, first_few

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SamePairs:
    """Pairs whose two items the model cannot distinguish.

    Attributes:
        input: whether both items of a pair have equal inputs, shape (pairs,).
        score: whether both have equal scores at every checkpoint, shape (pairs,); true if ``input`` is.
    """

    input: BoolArray
    score: BoolArray


def same_pairs(pairs: Pairs, contents: Sequence[str], scores: Sequence[FloatArray]) -> SamePairs:
    """Find pairs of equal items, from digests of the items' inputs, and the items' scores at each checkpoint."""
    last = {content: k for k, content in enumerate(contents)}
    number = np.fromiter(map(last.__getitem__, contents), np.int64, len(contents))
    equal = number[pairs.first] == number[pairs.second]
    score = np.ones(len(pairs), dtype=np.bool_)
    for own_scores in scores:
        score &= own_scores[pairs.first] == own_scores[pairs.second]
    return SamePairs(equal, equal | score)


def notes_on_same_pairs(same: SamePairs, pairs: Pairs, item_ids: Sequence[str], side: str) -> list[str]:
    """Notes on pairs that compare equal items; ``side`` names the pairs."""
    kinds = (
        (same.input, "with the same input"),
        (same.score & ~same.input, "with the same score at every checkpoint"),
    )
    notes = []
    for rows, why in kinds:
        if rows.any():
            names = pairs.take(rows).row_ids(item_ids)
            effect = "are never listed" if side == "training" else "never vote"
            notes.append(f"{count(len(names), f'{side} pair')} of two items {why}, which {effect}: {first_few(names)}")
    return notes


def notes_on_copies(ids: Sequence[str], contents: Sequence[str], train: int) -> list[str]:
    """Notes on held-out items that equal a training item; the first ``train`` items are the training items."""
    id_of = dict(zip(reversed(contents[:train]), reversed(ids[:train]), strict=True))
    copies = [
        f"{name} (as {id_of[content]})"
        for name, content in zip(ids[train:], contents[train:], strict=True)
        if content in id_of
    ]
    if not copies:
        return []
    of = f"{len(copies):,} of {count(len(ids) - train, 'held-out item')}"
    return [
        f"{of} have the same content as a training item, so the ranker looks better than it is: {first_few(copies)}"
    ]
