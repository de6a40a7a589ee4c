"""The classes of items, told from their ids."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_CLASSES = 20


def class_of_items(item_ids: Sequence[str]) -> dict[str, str]:
    """The class of each item: the token ``deg<number>`` of its id, else the token with the fewest values.

    Empty where no token looks like a class: where ids differ in their number of tokens, or every token has more than
    MOST_CLASSES values or more than one for two items.
    """
    found = {each: re.search(r"(?:^|_)(deg\d+)(?:_|$)", each) for each in item_ids}
    if all(found.values()):
        return {each: match.group(1) for each, match in found.items() if match}
    tokens = {each: each.split("_") for each in item_ids}
    counts = {len(parts) for parts in tokens.values()}
    if len(counts) != 1:
        return {}
    values = [(len({parts[k] for parts in tokens.values()}), k) for k in range(counts.pop())]
    like_classes = [(n, k) for n, k in values if 1 < n <= min(MOST_CLASSES, len(tokens) // 2)]
    if not like_classes:
        return {}
    place = min(like_classes)[1]
    return {each: parts[place] for each, parts in tokens.items()}
