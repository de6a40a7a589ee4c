"""The two halves of a pair id, ``<first id>_<second id>``, where item ids hold underscores themselves."""

from __future__ import annotations

from collections.abc import Collection

from tracinctl.errors import ScoreFileError


def split_pair_id(
    pair_id: str, item_ids: Collection[str] | None = None, material: str | None = None
) -> tuple[str, str]:
    """The ids of a pair's two items.

    With ``item_ids`` (a set, for speed) both halves must be among them. Without, the id is split where the material
    begins again; ``material`` defaults to the id's first token.

    Raises:
        ScoreFileError: no split fits, or more than one does.
    """
    cuts = [k for k, letter in enumerate(pair_id) if letter == "_"]
    if item_ids is not None:
        found = [
            (pair_id[:k], pair_id[k + 1 :]) for k in cuts if pair_id[:k] in item_ids and pair_id[k + 1 :] in item_ids
        ]
    else:
        name = material or pair_id.partition("_")[0]
        found = [
            (pair_id[:k], pair_id[k + 1 :])
            for k in cuts
            if pair_id.startswith(f"{name}_") and pair_id[k + 1 :].startswith(f"{name}_") and k > len(name)
        ]
    if len(found) == 1:
        return found[0]
    what = "fits no two items" if not found else f"can be split in {len(found)} ways"
    raise ScoreFileError(
        f"pair id {pair_id!r} {what}",
        hint="`tracinctl compute` writes the items' ids beside the scores; files without them need ids that repeat "
        "the material in front of each item",
    )


def split_pair_ids(
    pair_ids: Collection[str], item_ids: Collection[str] | None = None, material: str | None = None
) -> list[tuple[str, str]]:
    """The same for many.

    Raises:
        ScoreFileError: the first that cannot be split.
    """
    known = set(item_ids) if item_ids is not None else None
    return [split_pair_id(each, known, material) for each in pair_ids]
