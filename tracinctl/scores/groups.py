"""Influence of groups of training pairs: of an annotator, an item, a class, a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.scores.pair_ids import class_of_items, pair_items
from tracinctl.scores.source import ScoreSource
from tracinctl.scores.student import student_t
from tracinctl.text import nearest

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupInfluence:
    """What the training pairs of one group do to the held-out pairs together.

    Attributes:
        name: of the group.
        pairs: training pairs in it.
        total: their summed influence on all held-out pairs; negative is harmful.
        mean: total per training pair.
        low, high: 95 % interval of the mean over pairs like these; infinite for a group of one pair.
        harmful: pairs of the group with a negative total.
    """

    name: str
    pairs: int
    total: float
    mean: float
    low: float
    high: float
    harmful: int


def group_influence(totals: FloatArray, groups: Sequence[Sequence[str]]) -> list[GroupInfluence]:
    """Influence by group, the most harmful mean first, then by name.

    Args:
        totals: summed influence of each training pair on the held-out pairs, shape (train pairs,).
        groups: the groups of each training pair, of the same length: one name, or several where a pair is in several
            (it has two items, say).

    Raises:
        ScoreFileError: the two differ in length.
    """
    if len(totals) != len(groups):
        raise ScoreFileError(f"there are {len(totals):,} training pairs and {len(groups):,} rows of groups")
    names = sorted({name for row in groups for name in row})
    place = {name: k for k, name in enumerate(names)}
    rows = np.array([row for row, of in enumerate(groups) for _ in of], dtype=np.int64)
    which = np.array([place[name] for of in groups for name in of], dtype=np.int64)
    values = totals[rows]
    count = np.bincount(which, minlength=len(names))
    total = np.bincount(which, values, minlength=len(names))
    mean = total / np.maximum(count, 1)
    squares = np.bincount(which, (values - mean[which]) ** 2, minlength=len(names))
    harmful = np.bincount(which, values < 0, minlength=len(names))
    found = []
    for k, name in enumerate(names):
        n = int(count[k])
        half = student_t(n - 1) * float(np.sqrt(squares[k] / (n - 1) / n)) if n > 1 else np.inf
        found.append(
            GroupInfluence(
                name, n, float(total[k]), float(mean[k]), float(mean[k]) - half, float(mean[k]) + half, int(harmful[k])
            )
        )
    return sorted(found, key=lambda group: (group.mean, group.name))


def groups_of(source: ScoreSource, by: str) -> list[tuple[str, ...]]:
    """The groups of each training pair.

    Args:
        source: the scores.
        by: ``item`` (both items of a pair), ``class`` (the classes of both), or a further column of the pairs.

    Raises:
        UsageError: the pairs have no such column.
        ScoreFileError: the ids do not show items or classes.
    """
    if by in source.groups:
        return [(value,) for value in source.groups[by]]
    if by == "item":
        return [tuple(dict.fromkeys(pair)) for pair in pair_items(source)]
    if by == "class":
        pairs = pair_items(source)
        classes = class_of_items(list(dict.fromkeys(item for pair in pairs for item in pair)))
        if not classes:
            raise ScoreFileError("the items' ids do not show their classes", hint="Group by item instead.")
        return [tuple(dict.fromkeys(classes[item] for item in pair)) for pair in pairs]
    known = [*source.groups, "item", "class"]
    near = nearest(by, known)
    raise UsageError(
        f"the training pairs have no column {by!r} to group by",
        hint=f"Did you mean {near}?" if near else f"There is {', '.join(known)}.",
    )
