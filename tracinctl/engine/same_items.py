"""Items that are the same under two ids: held-out ones that also train, and pairs that compare an item with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import Pairs
from tracinctl.text import count, first_few

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SamePairs:
    """Pairs whose two items the model cannot tell apart.

    Attributes:
        input: whether both items of a pair are the same input, shape (pairs,).
        score: whether both have the same score at every checkpoint, shape (pairs,); true where ``input`` is.
    """

    input: BoolArray
    score: BoolArray


def same_pairs(pairs: Pairs, contents: Sequence[str], scores: Sequence[FloatArray]) -> SamePairs:
    """Find pairs of equal items.

    Args:
        pairs: by index into the items.
        contents: a digest of each item's input.
        scores: of the items at each checkpoint.
    """
    _, number = np.unique(np.asarray(contents), return_inverse=True)
    equal = number[pairs.first] == number[pairs.second]
    score = np.ones(len(pairs), dtype=np.bool_)
    for own_scores in scores:
        score &= own_scores[pairs.first] == own_scores[pairs.second]
    return SamePairs(equal, equal | score)


def notes_on_same_pairs(same: SamePairs, ids: Sequence[str], what: str) -> list[str]:
    """How many pairs compare equal items, and which; ``what`` names the pairs."""
    kinds = (
        (same.input, "of the same input under two ids"),
        (same.score & ~same.input, "that the model scores the same at every checkpoint"),
    )
    notes = []
    for rows, why in kinds:
        names = [ids[row] for row in np.flatnonzero(rows).tolist()]
        if names:
            effect = "are never listed" if what == "training" else "say nothing"
            notes.append(f"{count(len(names), f'{what} pair')} of two items {why}, which {effect}: {first_few(names)}")
    return notes


def notes_on_copies(ids: Sequence[str], contents: Sequence[str], train: int) -> list[str]:
    """How many held-out items have the content of a training item; the first ``train`` items are those of training."""
    known = dict(zip(reversed(contents[:train]), reversed(ids[:train]), strict=True))
    copies = [
        f"{name} (as {known[content]})"
        for name, content in zip(ids[train:], contents[train:], strict=True)
        if content in known
    ]
    if not copies:
        return []
    of = f"{len(copies):,} of {count(len(ids) - train, 'held-out item')}"
    return [f"{of} have the same content as a training item, so they flatter the ranker: {first_few(copies)}"]
