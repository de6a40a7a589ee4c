"""Which training pairs or items to leave out.

``ranking_pair`` leaves out harmful pairs and keeps their items; ``full_pair`` leaves out both items of each harmful
pair; ``sample`` leaves out single items by their item-level influence.

A pair and its mirror image are one comparison, and have the same loss, but training code drops a pair only where its
id stands in a list in that order. So where training saw both, both are named; a cap counts them once and keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.options import MODES, Rule
from tracinctl.scores.pair_ids import number_items, pair_items
from tracinctl.scores.source import FloatArray, ScoreSource
from tracinctl.scores.sweep import never_fires
from tracinctl.scores.votes import (
    BELOW_ZERO,
    DEFAULT_OCCURRENCES,
    DEFAULT_RULE,
    Threshold,
    VoteTable,
    check_rule,
    count_votes,
    parse_threshold,
    required_votes,
    total_below,
)

OUTLIER = 3.5
"""How many robust standard deviations above the median an item stands out from (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class HarmfulPair:
    """A training pair on the list or near it.

    Attributes:
        id: the pair's id.
        votes: negative votes against it.
        mean: its mean score over all test pairs.
        total: the sum of its scores over all test pairs.
    """

    id: str
    votes: int
    mean: float
    total: float


@dataclass(frozen=True)
class Exclusions:
    """What to leave out, and why.

    Attributes:
        mode: one of MODES.
        rule: one of RULES.
        threshold: as given.
        value: what it stands for: a score under rule ``votes``, a total under rule ``total``.
        min_occurrences: how many votes are asked for, as given.
        required_votes: votes that make a pair harmful; 0 under rule ``total``.
        harmful: all harmful pairs. By votes: most votes first, then lowest mean score; by total: lowest total first;
            then by id.
        listed: the pairs that the list is about: the harmful ones in their order, as many as the cap allows, and in
            mode ``ranking_pair`` behind them the mirror images that are not harmful by their own scores.
        ids: what to write: pair ids, or item ids.
        mirrored: ids in ``ids`` that are there only as mirror images of harmful pairs.
        cut: harmful pairs (or items) that a cap left off.
        max_exclusions: the cap; None for no cap.
        active_test_pairs: test pairs that can vote.
        never_fires: why the rule can never fire; empty where it can.
        sample_scores: item-level influence of the items on the list, in mode ``sample``.
        counted: the votes; under rule ``total`` those below 0.
        chosen_by: how the list was chosen, where trainings chose it; empty where the rule did.
        earlier: ids of the rounds before, which stand first in ``ids``.
        by: the column whose groups ``harmful`` and ``listed`` hold; empty where they hold pairs.
    """

    mode: str
    rule: str
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
    chosen_by: str = ""
    by: str = ""
    earlier: Sequence[str] = ()

    @property
    def new_ids(self) -> Sequence[str]:
        """The ids without those of the rounds before."""
        return self.ids[len(self.earlier) :]


def earlier_ids(provenance: Mapping[str, Any]) -> list[str]:
    """What the rounds before had left out, as the scores say."""
    listed = provenance.get("left_out_before")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def with_earlier(exclusions: Exclusions, provenance: Mapping[str, Any]) -> Exclusions:
    """The exclusions with those of the rounds before, so that a list holds all that training leaves out."""
    earlier = earlier_ids(provenance)
    known = set(earlier)
    new = [name for name in exclusions.new_ids if name not in known]
    return replace(exclusions, ids=[*earlier, *new], earlier=earlier)


def choose_by_rule(source: ScoreSource, rule: Rule) -> Exclusions:
    """What a rule leaves out; see ``choose_exclusions``."""
    return choose_exclusions(
        source,
        threshold=parse_threshold(rule.threshold),
        rule=rule.rule,
        upper_threshold=rule.upper_threshold,
        min_occurrences=rule.min_occurrences,
        max_exclusions=rule.max_exclusions,
        mode=rule.mode,
    )


def choose_exclusions(
    source: ScoreSource,
    *,
    threshold: Threshold,
    rule: str = DEFAULT_RULE,
    upper_threshold: float | None = None,
    min_occurrences: str = DEFAULT_OCCURRENCES,
    max_exclusions: int | None = None,
    mode: str = "ranking_pair",
    progress: ProgressCallback = no_progress,
) -> Exclusions:
    """Choose what to leave out.

    Under rule ``votes`` a pair is harmful where enough test pairs score below the threshold. Under rule ``total`` it is
    where the sum of its scores over all test pairs is: below ``0``, below ``-50``, or among the lowest ``10%``.

    ``max_exclusions`` caps comparisons (a pair and its mirror image count once; in mode ``full_pair`` each may name two
    items), or items in mode ``sample``, in which thresholds and rules have no part.

    Raises:
        UsageError: the mode, the rule or the cap makes no sense.
        ScoreFileError: ``full_pair`` needs the pairs' items, or ``sample`` the item-level influence, and the scores do
            not say them.
    """
    _check(mode, max_exclusions)
    check_rule(rule, min_occurrences, upper_threshold)
    suspicious = suspicious_items(source) if mode == "sample" else {}
    if rule == "total":
        harmful = _by_total(source, count_votes(source, [BELOW_ZERO], progress=progress), threshold)
    else:
        harmful = _by_votes(source, count_votes(source, [threshold], upper_threshold, progress), min_occurrences)
    kept, mirrors = ([], []) if mode == "sample" else _kept_rows(source, harmful.rows, mode, max_exclusions)
    if mode == "sample":
        written = list(suspicious)[:max_exclusions]
    elif mode == "full_pair":
        written = _items_of(source, kept)
    else:
        written = [source.train_ids[row] for row in [*kept, *mirrors]]
    active = harmful.counted.active_test_pairs
    why = never_fires(min_occurrences, harmful.required, active, len(source.test_ids))
    return Exclusions(
        mode=mode,
        rule=rule,
        threshold=threshold,
        value=harmful.value,
        min_occurrences=min_occurrences,
        required_votes=harmful.required,
        harmful=harmful.pairs(source, harmful.rows),
        listed=harmful.pairs(source, harmful.rows if mode == "sample" else [*kept, *mirrors]),
        ids=written,
        mirrored=[source.train_ids[row] for row in mirrors],
        cut=len(suspicious) - len(written) if mode == "sample" else len(harmful.rows) - len(kept),
        max_exclusions=max_exclusions,
        active_test_pairs=active,
        never_fires="" if mode == "sample" else why,
        sample_scores={name: suspicious[name] for name in written} if mode == "sample" else {},
        counted=harmful.counted,
    )


@dataclass(frozen=True)
class _Harmful:
    """The rows of the harmful pairs, the worst first, and what made them harmful."""

    rows: list[int]
    value: float
    required: int
    counted: VoteTable

    def pairs(self, source: ScoreSource, rows: Sequence[int]) -> list[HarmfulPair]:
        """Some rows as pairs."""
        votes, mean, totals = self.counted.votes[0], self.counted.mean, self.counted.totals
        return [
            HarmfulPair(source.train_ids[row], int(votes[row]), float(mean[row]), float(totals[row])) for row in rows
        ]


def _by_votes(source: ScoreSource, counted: VoteTable, min_occurrences: str) -> _Harmful:
    required = required_votes(min_occurrences, counted.active_test_pairs)
    votes, mean, ids = counted.votes[0], counted.mean, source.train_ids
    rows = np.flatnonzero(votes >= required).tolist()
    rows.sort(key=lambda row: (-int(votes[row]), float(mean[row]), ids[row]))
    return _Harmful(rows, float(counted.values[0]), required, counted)


def _by_total(source: ScoreSource, counted: VoteTable, threshold: Threshold) -> _Harmful:
    totals, ids = counted.totals, source.train_ids
    value = total_below(totals, threshold)
    rows = np.flatnonzero(totals < value).tolist()
    rows.sort(key=lambda row: (float(totals[row]), ids[row]))
    return _Harmful(rows, value, 0, counted)


def _kept_rows(source: ScoreSource, rows: list[int], mode: str, cap: int | None) -> tuple[list[int], list[int]]:
    """The harmful rows that the cap allows and, in mode ``ranking_pair``, their mirror images that are not harmful."""
    mirror = _mirror_rows(_items(source, needed=mode == "full_pair"))
    kept = _capped(rows, mirror, cap)
    named = set(kept)
    mirrors = [mirror[row] for row in kept if mirror.get(row, row) not in named] if mode == "ranking_pair" else []
    return kept, mirrors


def _check(mode: str, max_exclusions: int | None) -> None:
    if mode not in MODES:
        raise UsageError(f"unknown pair mode {mode!r}", hint=f"One of {', '.join(MODES)}.")
    if max_exclusions is not None and max_exclusions < 1:
        raise UsageError(
            f"`max_exclusions` is {max_exclusions}, which leaves nothing to exclude",
            hint="Give 1 or more, or no cap at all.",
        )


def _items_of(source: ScoreSource, rows: Sequence[int]) -> list[str]:
    """The items of some training pairs, each once."""
    items = pair_items(source)
    return list(dict.fromkeys(name for row in rows for name in items[row]))


def _items(source: ScoreSource, *, needed: bool) -> Sequence[tuple[str, str]]:
    try:
        return pair_items(source)
    except ScoreFileError:
        if needed:
            raise
        return ()


def _mirror_rows(items: Sequence[tuple[str, str]]) -> dict[int, int]:
    """Row -> row of its mirror image, where training saw both; empty where items are not known."""
    if not items:
        return {}
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


def suspicious_items(source: ScoreSource) -> dict[str, float]:
    """Item-level influence of the items that stand out, highest first, then by id.

    An item stands out where it lies more than OUTLIER robust standard deviations above the median. The robust
    standard deviation is 1.4826 times the median absolute deviation or, where more than half of the items are alike and
    that is zero, 1.2533 times the mean absolute deviation.

    Raises:
        ScoreFileError: the scores say nothing of single items.
    """
    influence = source.sample_influence
    if influence is None or not len(source.sample_ids):
        raise ScoreFileError(
            "these scores say nothing of single items, which the pair mode sample needs",
            hint="Compute them again: tracinctl compute",
        )
    size: FloatArray = np.asarray(influence, dtype=np.float64)
    # in units of the largest, so that no sum overflows
    size = size / (float(np.abs(size).max()) or 1.0)
    distance = size - np.median(size)
    spread = 1.4826 * float(np.median(np.abs(distance))) or 1.2533 * float(np.abs(distance).mean())
    # where all items are alike but for rounding, none stands out
    level = max(OUTLIER * spread, 1e-9)
    order = sorted(
        np.flatnonzero(distance > level).tolist(), key=lambda k: (-float(influence[k]), source.sample_ids[k])
    )
    return {source.sample_ids[k]: float(influence[k]) for k in order}
