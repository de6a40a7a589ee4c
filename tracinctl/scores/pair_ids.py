"""Read ids: the two items of a pair id ``<first id>_<second id>``, and the class of an item."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from tracinctl.errors import ScoreFileError
from tracinctl.scores.source import ScoreSource

ItemNumbers = npt.NDArray[np.int64]

MOST_CLASSES = 20


def split_pair_id(pair_id: str) -> tuple[str, str]:
    """Split a pair id into the ids of its two items, where its first token, the material, occurs again.

    Raises:
        ScoreFileError: no split fits, or several do.
    """
    material = pair_id.partition("_")[0]
    halves = [(pair_id[: match.start()], pair_id[match.start() + 1 :]) for match in re.finditer("_", pair_id)]
    begin = f"{material}_"
    fitting = [(first, second) for first, second in halves if first.startswith(begin) and second.startswith(begin)]
    if len(fitting) == 1:
        return fitting[0]
    problem = "fits no two items" if not fitting else f"can be split in {len(fitting)} ways"
    raise ScoreFileError(
        f"pair id {pair_id!r} {problem}",
        hint="Use scores from `tracinctl compute`, which have the items' ids, or ids that begin each item with the "
        "material.",
    )


def pair_items(source: ScoreSource) -> Sequence[tuple[str, str]]:
    """The ids of the two items of each training pair, from the source or from the pair ids."""
    return source.train_items or [split_pair_id(pair_id) for pair_id in source.train_ids]


def items_if_known(source: ScoreSource) -> Sequence[tuple[str, str]]:
    """``pair_items``, but empty if they are unknown."""
    try:
        return pair_items(source)
    except ScoreFileError:
        return ()


def number_items(pairs: Sequence[tuple[str, str]]) -> tuple[ItemNumbers, ItemNumbers, list[str]]:
    """Number the items from 0: the first and second items of pairs, and the names of the items."""
    number = {name: k for k, name in enumerate(dict.fromkeys(chain.from_iterable(pairs)))}
    flat = np.fromiter(map(number.__getitem__, chain.from_iterable(pairs)), dtype=np.int64, count=2 * len(pairs))
    return flat[0::2], flat[1::2], list(number)


def mirror_rows(pairs: Sequence[tuple[str, str]]) -> dict[int, int]:
    """Map the rows of pairs to the rows of their mirror images, if both are there."""
    if not pairs:
        return {}
    first, second, names = number_items(pairs)
    forward, backward = first * len(names) + second, second * len(names) + first
    order = np.argsort(forward)
    at = np.minimum(np.searchsorted(forward, backward, sorter=order), len(order) - 1)
    rows = np.flatnonzero((forward[order[at]] == backward) & (first != second))
    return dict(zip(rows.tolist(), order[at[rows]].tolist(), strict=True))


def class_of_items(item_ids: Sequence[str]) -> dict[str, str]:
    """The class of each item: the token ``deg<number>`` of its id, else the token with the fewest values.

    Empty if no token looks like a class: ids differ in their number of tokens, or every token has more than
    MOST_CLASSES values or more than one value per two items.
    """
    angles = {name: re.search(r"(?:^|_)(deg\d+)(?:_|$)", name) for name in item_ids}
    if all(angles.values()):
        return {name: match.group(1) for name, match in angles.items() if match}
    tokens = {name: name.split("_") for name in item_ids}
    counts = {len(parts) for parts in tokens.values()}
    if len(counts) != 1:
        return {}
    values = [(len({parts[k] for parts in tokens.values()}), k) for k in range(counts.pop())]
    like_classes = [(n, k) for n, k in values if 1 < n <= min(MOST_CLASSES, len(tokens) // 2)]
    if not like_classes:
        return {}
    place = min(like_classes)[1]
    return {name: parts[place] for name, parts in tokens.items()}
