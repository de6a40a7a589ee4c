"""Read ids: the two items of a pair id ``<first id>_<second id>``, and the class of an item."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from tracinctl.errors import ScoreFileError
from tracinctl.scores.source import ScoreSource

ItemNumbers = npt.NDArray[np.int64]

MOST_CLASSES = 20


def split_pair_id(
    pair_id: str, item_ids: Collection[str] | None = None, material: str | None = None
) -> tuple[str, str]:
    """Split a pair id into the ids of its two items.

    With ``item_ids`` (a set, for speed), both halves must be among them. Without, the id is split where the material
    occurs again; ``material`` defaults to the id's first token.

    Raises:
        ScoreFileError: no split fits, or several do.
    """
    cuts = [k for k, letter in enumerate(pair_id) if letter == "_"]
    if item_ids is not None:
        splits = [
            (pair_id[:k], pair_id[k + 1 :]) for k in cuts if pair_id[:k] in item_ids and pair_id[k + 1 :] in item_ids
        ]
    else:
        name = material or pair_id.partition("_")[0]
        splits = [
            (pair_id[:k], pair_id[k + 1 :])
            for k in cuts
            if pair_id.startswith(f"{name}_") and pair_id[k + 1 :].startswith(f"{name}_") and k > len(name)
        ]
    if len(splits) == 1:
        return splits[0]
    what = "fits no two items" if not splits else f"can be split in {len(splits)} ways"
    raise ScoreFileError(
        f"pair id {pair_id!r} {what}",
        hint="Use scores from `tracinctl compute`, which have the items' ids, or ids that begin each item with the "
        "material.",
    )


def split_pair_ids(
    pair_ids: Collection[str], item_ids: Collection[str] | None = None, material: str | None = None
) -> list[tuple[str, str]]:
    """Split many pair ids into the ids of their two items.

    Raises:
        ScoreFileError: an id cannot be split.
    """
    known = set(item_ids) if item_ids is not None else None
    return [split_pair_id(pair_id, known, material) for pair_id in pair_ids]


def pair_items(source: ScoreSource) -> Sequence[tuple[str, str]]:
    """The ids of the two items of each training pair, from the source or from the pair ids.

    Raises:
        ScoreFileError: they are unknown, and an id cannot be split.
    """
    return source.train_items or split_pair_ids(list(source.train_ids))


def number_items(pairs: Sequence[tuple[str, str]]) -> tuple[ItemNumbers, ItemNumbers, int]:
    """Number the items from 0: the first and second items of pairs, and the number of items."""
    number = {name: k for k, name in enumerate(dict.fromkeys(chain.from_iterable(pairs)))}
    flat = np.fromiter(map(number.__getitem__, chain.from_iterable(pairs)), dtype=np.int64, count=2 * len(pairs))
    return flat[0::2], flat[1::2], len(number)


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
