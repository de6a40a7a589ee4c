"""Which training pairs or items to leave out.

``ranking_pair`` leaves out harmful pairs and keeps their items; ``full_pair`` leaves out both items of each harmful
pair; ``sample`` leaves out single items by their item-level influence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracinctl.data.pairs import pair_id
from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.scores.sweep import never_fires, pair_items
from tracinctl.scores.table import FloatArray, ScoreSource
from tracinctl.scores.votes import DEFAULT_OCCURRENCES, Threshold, VoteTable, count_votes, required_votes

MODES = ("ranking_pair", "full_pair", "sample")
OUTLIER = 3.5
"""Item-level influence counts as suspicious from this many deviations above the median (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class HarmfulPair:
    """A training pair with enough negative votes.

    Attributes:
        id: the pair's id.
        votes: negative votes against it.
        mean: its mean score over all test pairs.
        voters: the test pairs that voted against it; filled for the pairs that are kept on the list.
    """

    id: str
    votes: int
    mean: float
    voters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exclusions:
    """What to leave out, and why.

    Attributes:
        mode: one of MODES.
        threshold: as given.
        value: the score it stands for.
        required_votes: votes that make a pair harmful.
        harmful: all harmful pairs, most votes first, then lowest mean score.
        listed: the harmful pairs that the list is about (all, or as many as the cap allows).
        ids: what to write: pair ids, or item ids.
        cut: harmful pairs (or items) that a cap left off.
        active_test_pairs: test pairs that can vote.
        never_fires: why the rule can never fire; empty where it can.
        sample_scores: item-level influence of the items on the list, in mode ``sample``.
        counted: the votes.
    """

    mode: str
    threshold: Threshold
    value: float
    required_votes: int
    harmful: Sequence[HarmfulPair]
    listed: Sequence[HarmfulPair]
    ids: Sequence[str]
    cut: int
    active_test_pairs: int
    never_fires: str
    sample_scores: dict[str, float]
    counted: VoteTable


def choose_exclusions(
    source: ScoreSource,
    *,
    threshold: Threshold,
    upper_threshold: float | None = None,
    min_occurrences: str = DEFAULT_OCCURRENCES,
    max_exclusions: int | None = None,
    mode: str = "ranking_pair",
) -> Exclusions:
    """Choose what to leave out. ``max_exclusions`` caps comparisons (a pair and its mirror image count once) or items.

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
    table = count_votes(source, [threshold], upper_threshold)
    active = table.active_test_pairs
    required = required_votes(min_occurrences, active)
    votes = table.votes[0]
    rows = np.flatnonzero(votes >= required)
    ids = source.train_ids
    order = sorted(rows.tolist(), key=lambda row: (-int(votes[row]), float(table.mean[row]), ids[row]))
    sample_scores: dict[str, float] = {}
    if mode == "sample":
        sample_scores = _suspicious_items(source)
        names = list(sample_scores)
        kept = names if max_exclusions is None else names[:max_exclusions]
        written, listed_rows, cut = kept, order, len(names) - len(kept)
        sample_scores = {name: sample_scores[name] for name in kept}
    else:
        listed_rows = _capped(source, order, max_exclusions)
        cut = len(order) - len(listed_rows)
        if mode == "ranking_pair":
            written = [ids[row] for row in listed_rows]
        else:
            items = pair_items(source)
            written = list(dict.fromkeys(each for row in listed_rows for each in items[row]))
    voters = _voters(source, set(listed_rows), float(table.values[0]), upper_threshold)
    harmful = [HarmfulPair(ids[row], int(votes[row]), float(table.mean[row]), voters.get(row, ())) for row in order]
    on_list = set(listed_rows)
    return Exclusions(
        mode=mode,
        threshold=threshold,
        value=float(table.values[0]),
        required_votes=required,
        harmful=harmful,
        listed=[pair for row, pair in zip(order, harmful, strict=True) if row in on_list],
        ids=written,
        cut=cut,
        active_test_pairs=active,
        never_fires="" if mode == "sample" else never_fires(min_occurrences, required, active, len(source.test_ids)),
        sample_scores=sample_scores,
        counted=table,
    )


def _capped(source: ScoreSource, order: list[int], cap: int | None) -> list[int]:
    """The first rows up to the cap; a pair whose mirror image is kept is kept with it."""
    if cap is None or len(order) <= cap:
        return order
    try:
        items = pair_items(source)
    except ScoreFileError:
        return order[:cap]
    kept: set[str] = set()
    rows = []
    counted = 0
    for row in order:
        mirrored = pair_id(items[row][1], items[row][0]) in kept
        if not mirrored and counted >= cap:
            continue
        counted += not mirrored
        kept.add(source.train_ids[row])
        rows.append(row)
    return rows


def _voters(
    source: ScoreSource, rows: set[int], value: float, upper_threshold: float | None
) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for start, block in source.blocks():
        for row in (r for r in range(start, start + len(block)) if r in rows):
            scores = block[row - start]
            below = scores < value
            if upper_threshold is not None:
                below |= scores > upper_threshold
            found[row] = tuple(source.test_ids[k] for k in np.flatnonzero(below).tolist())
    return found


def _suspicious_items(source: ScoreSource) -> dict[str, float]:
    """Items whose item-level influence stands out, highest first.

    Item-level influence spans orders of magnitude, so its square root is compared: an item is suspicious where it lies
    more than OUTLIER median absolute deviations (scaled to a standard deviation) above the median.
    """
    influence = source.sample_influence
    if influence is None or not len(source.sample_ids):
        raise ScoreFileError(
            "these scores say nothing of single items, which --pair-mode sample needs",
            hint="compute them again: tracinctl compute",
        )
    size: FloatArray = np.sqrt(np.maximum(influence, 0.0))
    middle = np.median(size)
    spread = 1.4826 * np.median(np.abs(size - middle))
    chosen = np.flatnonzero(size > middle + OUTLIER * spread) if spread > 0 else np.array([], dtype=np.int64)
    order = sorted(chosen.tolist(), key=lambda k: (-float(influence[k]), source.sample_ids[k]))
    return {source.sample_ids[k]: float(influence[k]) for k in order}
