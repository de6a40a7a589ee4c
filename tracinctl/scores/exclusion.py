"""Which training pairs or items to leave out.

``ranking_pair`` leaves out harmful pairs and keeps their items; ``full_pair`` leaves out both items of each harmful
pair; ``sample`` leaves out single items by their item-level influence.

A pair and its mirror image are one comparison, and have the same loss, but training code drops a pair only where its
id stands in a list in that order. So where training saw both, both are named; a cap counts them once and keeps both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.pair_ids import number_items, pair_items
from tracinctl.scores.sweep import never_fires
from tracinctl.scores.table import FloatArray, ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold, VoteTable, count_votes, required_votes

MODES = ("ranking_pair", "full_pair", "sample")

OUTLIER = 3.5
"""How many robust standard deviations above the median an item stands out from (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class HarmfulPair:
    """A training pair on the list or near it.

    Attributes:
        id: the pair's id.
        votes: negative votes against it.
        mean: its mean score over all test pairs.
    """

    id: str
    votes: int
    mean: float


@dataclass(frozen=True)
class Exclusions:
    """What to leave out, and why.

    Attributes:
        mode: one of MODES.
        threshold: as given.
        value: the score it stands for.
        min_occurrences: the rule as given.
        required_votes: votes that make a pair harmful.
        harmful: all harmful pairs, most votes first, then lowest mean score, then by id.
        listed: the pairs that the list is about: the harmful ones in their order, as many as the cap allows, and in
            mode ``ranking_pair`` behind them the mirror images that are not harmful by their own scores.
        ids: what to write: pair ids, or item ids.
        mirrored: ids in ``ids`` that are there only as mirror images of harmful pairs.
        cut: harmful pairs (or items) that a cap left off.
        max_exclusions: the cap; None where there is none.
        active_test_pairs: test pairs that can vote.
        never_fires: why the rule can never fire; empty where it can.
        sample_scores: item-level influence of the items on the list, in mode ``sample``.
        counted: the votes.
    """

    mode: str
    threshold: Threshold
    value: float
    min_occurrences: str
    required_votes: int
    harmful: Sequence[HarmfulPair]
    listed: Sequence[HarmfulPair]
    ids: Sequence[str]
    mirrored: Sequence[str]
    cut: int
    max_exclusions: int | None
    active_test_pairs: int
    never_fires: str
    sample_scores: Mapping[str, float]
    counted: VoteTable


def choose_exclusions(
    source: ScoreSource,
    *,
    threshold: Threshold,
    upper_threshold: float | None = None,
    min_occurrences: str = DEFAULT_OCCURRENCES,
    max_exclusions: int | None = None,
    mode: str = "ranking_pair",
    outlier: float = OUTLIER,
    progress: ProgressCallback = no_progress,
) -> Exclusions:
    """Choose what to leave out.

    ``max_exclusions`` caps comparisons (a pair and its mirror image count once; in mode ``full_pair`` each may name two
    items), or items in mode ``sample``. ``outlier`` says how far an item must stand out there; votes and thresholds
    have no part in that mode.

    Raises:
        UsageError: the mode, the rule or the cap makes no sense.
        ScoreFileError: ``full_pair`` needs the pairs' items, or ``sample`` the item-level influence, and the scores do
            not say them.
    """
    if mode not in MODES:
        raise UsageError(f"unknown pair mode {mode!r}", hint=f"one of {', '.join(MODES)}")
    if max_exclusions is not None and max_exclusions < 1:
        raise UsageError(
            f"max-exclusions {max_exclusions} leaves nothing to exclude", hint="1 or more, or no cap at all"
        )
    required_votes(min_occurrences, 0)
    suspicious = suspicious_items(source, outlier) if mode == "sample" else {}

    table = count_votes(source, [threshold], upper_threshold, progress)
    active = table.active_test_pairs
    required = required_votes(min_occurrences, active)
    votes, mean, ids = table.votes[0], table.mean, source.train_ids
    order = sorted(
        np.flatnonzero(votes >= required).tolist(), key=lambda row: (-int(votes[row]), float(mean[row]), ids[row])
    )

    rows, mirrors = order, []
    if mode == "sample":
        written = list(suspicious)[:max_exclusions]
        cut = len(suspicious) - len(written)
    else:
        items = _items(source, needed=mode == "full_pair")
        mirror = _mirror_rows(items) if items else {}
        rows = _capped(order, mirror, max_exclusions)
        cut = len(order) - len(rows)
        if mode == "ranking_pair":
            named = set(rows)
            mirrors = [mirror[row] for row in rows if mirror.get(row, row) not in named]
            written = [ids[row] for row in [*rows, *mirrors]]
        else:
            written = list(dict.fromkeys(each for row in rows for each in items[row]))

    def harm(rows: Sequence[int]) -> list[HarmfulPair]:
        return [HarmfulPair(ids[row], int(votes[row]), float(mean[row])) for row in rows]

    return Exclusions(
        mode=mode,
        threshold=threshold,
        value=float(table.values[0]),
        min_occurrences=min_occurrences,
        required_votes=required,
        harmful=harm(order),
        listed=harm([*rows, *mirrors]),
        ids=written,
        mirrored=[ids[row] for row in mirrors],
        cut=cut,
        max_exclusions=max_exclusions,
        active_test_pairs=active,
        never_fires="" if mode == "sample" else never_fires(min_occurrences, required, active, len(source.test_ids)),
        sample_scores={name: suspicious[name] for name in written} if mode == "sample" else {},
        counted=table,
    )


def _items(source: ScoreSource, *, needed: bool) -> Sequence[tuple[str, str]]:
    try:
        return pair_items(source)
    except ScoreFileError:
        if needed:
            raise
        return ()


def _mirror_rows(items: Sequence[tuple[str, str]]) -> dict[int, int]:
    """Row -> row of its mirror image, where training saw both."""
    first, second, count = number_items(items)
    there, back = first * count + second, second * count + first
    order = np.argsort(there)
    at = np.minimum(np.searchsorted(there, back, sorter=order), len(order) - 1)
    rows = np.flatnonzero((there[order[at]] == back) & (first != second))
    return dict(zip(rows.tolist(), order[at[rows]].tolist(), strict=True))


def _capped(order: list[int], mirror: Mapping[int, int], cap: int | None) -> list[int]:
    """The first rows up to the cap; a pair whose mirror image is kept is kept with it."""
    if cap is None or len(order) <= cap:
        return order
    kept: dict[int, None] = {}
    counted = 0
    for row in order:
        mirrored = mirror.get(row) in kept
        if not mirrored and counted >= cap:
            continue
        counted += not mirrored
        kept[row] = None
    return list(kept)


def suspicious_items(source: ScoreSource, outlier: float = OUTLIER) -> dict[str, float]:
    """Item-level influence of the items that stand out, highest first, then by id.

    An item stands out where it lies more than ``outlier`` robust standard deviations above the median. The robust
    standard deviation is 1.4826 times the median absolute deviation or, where more than half of the items are alike and
    that is zero, 1.2533 times the mean absolute deviation.

    Raises:
        ScoreFileError: the scores say nothing of single items.
        UsageError: ``outlier`` is not a number above zero.
    """
    if not (math.isfinite(outlier) and outlier > 0):
        raise UsageError(f"outlier {outlier} is not a number of deviations above zero", hint=f"{OUTLIER} by default")
    influence = source.sample_influence
    if influence is None or not len(source.sample_ids):
        raise ScoreFileError(
            "these scores say nothing of single items, which --pair-mode sample needs",
            hint="compute them again: tracinctl compute",
        )
    size: FloatArray = np.asarray(influence, dtype=np.float64)
    # in units of the largest, so that no sum overflows
    size = size / (float(np.abs(size).max()) or 1.0)
    distance = size - np.median(size)
    spread = 1.4826 * float(np.median(np.abs(distance))) or 1.2533 * float(np.abs(distance).mean())
    # where all items are alike but for rounding, none stands out
    level = max(outlier * spread, 1e-9)
    order = sorted(
        np.flatnonzero(distance > level).tolist(), key=lambda k: (-float(influence[k]), source.sample_ids[k])
    )
    return {source.sample_ids[k]: float(influence[k]) for k in order}
