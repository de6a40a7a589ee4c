"""The class of an item: as the scores' provenance says it, or as the item's id shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracinctl.errors import PlotError
from tracinctl.scores.pair_ids import class_of_items
from tracinctl.text import clean, natural_key


def item_classes(item_ids: Sequence[str], provenance: Mapping[str, Any]) -> dict[str, str]:
    """The class of each item: ``provenance["labels"]`` (item id to class) where it names all, else as the ids show it.

    Raises:
        PlotError: neither says it.
    """
    labels = provenance.get("labels")
    if isinstance(labels, Mapping) and all(each in labels for each in item_ids):
        return {each: str(labels[each]) for each in item_ids}
    found = class_of_items(item_ids)
    if not found:
        some = f", {clean(item_ids[0])} for instance," if item_ids else ""
        raise PlotError(
            f"the items' ids{some} do not show which class an item is of, so there are no classes to draw",
            hint="Classes are read from ids like plastic_deg036_500hz_04. The view top needs none.",
        )
    return found


def in_order(classes: Sequence[str]) -> list[str]:
    """Class names once each, in natural order: 9 before 10."""
    return sorted(set(classes), key=natural_key)
