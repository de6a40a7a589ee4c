"""Influence of groups of training pairs, such as those of an annotator, an item, a class or a session."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.pair_ids import class_of_items, pair_items
from tracinctl.scores.source import FloatArray, MemoryScores, ScoreMeta, ScoreSource
from tracinctl.scores.student import student_t
from tracinctl.text import did_you_mean, natural_key

ITEM: Final = "item"
CLASS: Final = "class"
USUAL: Final = "annotator"

CONTRADICTED_ABOVE: Final = 0.5
"""A pair is contradicted if more than this share of the out-of-fold rankers rank it the other way."""

_MOST_BYTES = 1 << 30
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class GroupInfluence:
    """The influence of a group of training pairs on the held-out pairs; negative is harmful.

    Attributes:
        name, pairs: the group's name and its number of training pairs.
        total, mean: their total influence on all held-out pairs, and the total per training pair.
        low, high: 95 % interval of the mean for pairs like these; infinite for a group of one pair.
        harmful: number of its pairs with a negative total.
        contradicted: share of its pairs that most rankers trained without them rank the other way, 0 to 1; None if
            unknown.
    """

    name: str
    pairs: int
    total: float
    mean: float
    low: float
    high: float
    harmful: int
    contradicted: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The group for JSON; an infinite end is null, and unknown values are left out."""
        plain = {key: None if isinstance(v, float) and math.isinf(v) else v for key, v in asdict(self).items()}
        return plain if self.contradicted is not None else {k: v for k, v in plain.items() if k != "contradicted"}


@dataclass(frozen=True)
class Members:
    """The training pairs of each group.

    Attributes:
        by: the column, ``item`` or ``class``.
        names: names of the groups, in natural order.
        rows: rows of training pairs, ascending; a pair in several groups occurs several times.
        groups: for each of ``rows``, the place in ``names``.
    """

    by: str
    names: Sequence[str]
    rows: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    @classmethod
    def of(cls, by: str, names_of_rows: Iterable[Collection[str]]) -> Members:
        """Put each training pair in the groups of its names."""
        rows: list[int] = []
        name_of: list[str] = []
        for row, names in enumerate(names_of_rows):
            rows += [row] * len(names)
            name_of += names
        ordered = sorted(set(name_of), key=natural_key)
        place = {name: k for k, name in enumerate(ordered)}
        groups = np.fromiter((place[name] for name in name_of), dtype=np.int64, count=len(name_of))
        return cls(by, ordered, np.array(rows, dtype=np.int64), groups)

    def rows_of(self, names: Iterable[str]) -> list[int]:
        """The different training pairs of some groups, group by group."""
        parts = (self._rows_by_name[name].tolist() for name in names)
        return list(dict.fromkeys(row for part in parts for row in part))

    @cached_property
    def _rows_by_name(self) -> dict[str, npt.NDArray[np.int64]]:
        order = np.argsort(self.groups, kind="stable")
        ends = np.searchsorted(self.groups[order], np.arange(1, len(self.names)))
        return dict(zip(self.names, np.split(self.rows[order], ends), strict=True))


def group_influence(
    totals: FloatArray, members: Members, contradicted: FloatArray | None = None
) -> list[GroupInfluence]:
    """Influence by group, in the order of the groups.

    Args:
        totals: total influence of each training pair on the held-out pairs, shape (train pairs,).
        members: the groups.
        contradicted: share of the out-of-fold rankers that rank each training pair the other way, same shape.
    """
    # divide by the largest, so that no square overflows
    unit = float(np.abs(totals).max(initial=0.0)) or 1.0
    n, which, values = len(members.names), members.groups, totals[members.rows] / unit
    pairs = np.bincount(which, minlength=n)
    total = np.bincount(which, values, minlength=n)
    mean = total / np.maximum(pairs, 1)
    squares = np.bincount(which, (values - mean[which]) ** 2, minlength=n)
    harmful = np.bincount(which, values < 0, minlength=n)
    doubted = None if contradicted is None else contradicted[members.rows] > CONTRADICTED_ABOVE
    share = None if doubted is None else np.bincount(which, doubted, minlength=n) / np.maximum(pairs, 1)
    result = []
    for k, name in enumerate(members.names):
        degrees = int(pairs[k]) - 1
        half = unit * (student_t(degrees) * math.sqrt(squares[k] / degrees / pairs[k])) if degrees else math.inf
        group_total, group_mean = min(max(unit * float(total[k]), -_LARGEST), _LARGEST), unit * float(mean[k])
        doubt = None if share is None else float(share[k])
        result.append(
            GroupInfluence(
                name, degrees + 1, group_total, group_mean, group_mean - half, group_mean + half, int(harmful[k]), doubt
            )
        )
    return result


def most_harmful_first(groups: Iterable[GroupInfluence]) -> list[GroupInfluence]:
    """The groups by their mean per training pair, then by name."""
    return sorted(groups, key=lambda group: (group.mean, natural_key(group.name)))


class GroupScores(MemoryScores):
    """Scores of groups on each held-out pair: the mean of their training pairs' scores, one row per group.

    With means, a threshold has the same meaning as for pairs, and a large group has no more votes than a small one.

    Attributes:
        members: the groups.
        influence: influence of each group, in the same order.
    """

    def __init__(
        self, meta: ScoreMeta, scores: FloatArray, members: Members, influence: Sequence[GroupInfluence]
    ) -> None:
        super().__init__(meta, scores)
        self.members, self.influence = members, influence


def influence_by_group(
    source: ScoreSource, by: str, *, contradicted: FloatArray | None = None
) -> tuple[Members, list[GroupInfluence]]:
    """The groups and the influence of each, from one reading of the scores.

    See ``members_of`` for ``by`` and ``group_influence`` for ``contradicted``.
    """
    members = members_of(source, by)
    ones = np.ones(len(source.test_ids))
    with np.errstate(over="ignore", invalid="ignore"):  # sums of very large scores may be infinite
        totals = np.concatenate([block @ ones for _, block in source.blocks()])
    return members, group_influence(np.nan_to_num(totals), members, contradicted)


def group_scores(
    source: ScoreSource,
    by: str,
    *,
    contradicted: FloatArray | None = None,
    progress: ProgressCallback = no_progress,
) -> GroupScores:
    """Read the scores once and average them by group; UsageError if the column has too many values.

    See ``members_of`` for ``by`` and ``group_influence`` for ``contradicted``.
    """
    members = members_of(source, by)
    if 8 * len(members.names) * len(source.test_ids) > _MOST_BYTES:
        raise UsageError(
            f"the column {by!r} has {len(members.names):,} values, too many to group by",
            hint="Group by a column in which several training pairs have the same value.",
        )
    totals, sums = _sums(source, members, progress)
    influence = group_influence(totals, members, contradicted)
    sums /= np.array([[max(1, group.pairs)] for group in influence])
    provenance = {name: value for name, value in source.provenance.items() if name != "indistinct_pairs"}
    return GroupScores(ScoreMeta(members.names, source.test_ids, provenance=provenance), sums, members, influence)


def _sums(source: ScoreSource, members: Members, progress: ProgressCallback) -> tuple[FloatArray, FloatArray]:
    """Of each training pair's scores, shape (train pairs,), and of each group's on each held-out pair."""
    rows = len(source.train_ids)
    totals, sums = np.zeros(rows), np.zeros((len(members.names), len(source.test_ids)))
    ones = np.ones(len(source.test_ids))
    group_rows = list(sums)  # views, which are made once
    with np.errstate(over="ignore", invalid="ignore"):  # sums of very large scores may be infinite
        for start, block in source.blocks():
            stop = start + len(block)
            totals[start:stop] = block @ ones
            part = slice(*np.searchsorted(members.rows, (start, stop)).tolist())
            # a row at a time takes no room, and costs less than to bring rows of one group together
            for row, group in zip((members.rows[part] - start).tolist(), members.groups[part].tolist(), strict=True):
                group_rows[group] += block[row]
            progress(Progress("groups", min(stop, rows), rows, "pairs"))
    return np.nan_to_num(totals), np.nan_to_num(sums, copy=False)


def members_of(source: ScoreSource, by: str) -> Members:
    """The groups of the training pairs by an additional column, ``item`` or ``class``.

    A pair counts for both its items, or for the classes of both.

    Raises:
        UsageError: the pairs have no such column.
        ScoreFileError: the ids do not show items or classes.
    """
    if by in source.groups:
        return Members.of(by, ((name,) for name in source.groups[by]))
    if by == ITEM:
        return Members.of(by, (dict.fromkeys(pair) for pair in pair_items(source)))
    if by == CLASS:
        pairs = pair_items(source)
        classes = class_of_items(list(dict.fromkeys(item for pair in pairs for item in pair)))
        if not classes:
            raise ScoreFileError("the item ids do not show the items' classes", hint="Group by item instead.")
        return Members.of(by, (dict.fromkeys(classes[item] for item in pair) for pair in pairs))
    columns = [*source.groups, ITEM, CLASS]
    raise UsageError(
        f"the training pairs have no column {by!r} to group by",
        hint=did_you_mean(by, columns, f"Group by {', '.join(columns)}."),
    )


def usual_column(source: ScoreSource) -> str:
    """The default column to group by: annotator, else the first additional column, else class, else item."""
    if source.groups:
        return USUAL if USUAL in source.groups else next(iter(source.groups))
    try:
        members_of(source, CLASS)
    except ScoreFileError:
        return ITEM
    return CLASS


def names_for_list(source: ScoreSource, rows: Iterable[int]) -> list[str]:
    """The ids that an exclusion list uses for exactly these rows.

    In a list, ``a_b`` means all repeats of the pair, so the first of several is ``a_b#1``.
    """
    ids, items = source.train_ids, source.train_items
    repeated = {name.removesuffix("#2") for name in ids if name.endswith("#2")} if items else set()
    return [f"{ids[k]}#1" if ids[k] in repeated and ids[k] == "_".join(items[k]) else ids[k] for k in rows]
