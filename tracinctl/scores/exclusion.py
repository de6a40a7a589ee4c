"""Choose the training pairs or items to leave out.

``ranking_pair`` leaves out harmful pairs and keeps their items; ``full_pair`` leaves out both items of each harmful
pair; ``sample`` leaves out single items by their item-level influence.

A pair and its mirror image are one comparison with the same loss, but training code only drops pairs whose id is on the
list in that order. So if training saw both, the list names both; a cap counts them once and keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.scores.groups import GroupScores, names_for_list
from tracinctl.scores.options import MODES, Rule
from tracinctl.scores.pair_ids import items_if_known, mirror_rows, pair_items
from tracinctl.scores.source import FloatArray, ScoreSource
from tracinctl.scores.sweep import never_fires
from tracinctl.scores.votes import (
    BELOW_ZERO,
    Threshold,
    VoteTable,
    check_rule,
    count_votes,
    parse_threshold,
    required_votes,
    total_below,
)

OUTLIER = 3.5
"""Robust standard deviations above the median from which an item stands out (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class HarmfulPair:
    """A harmful training pair: negative votes against it, and its mean and total score over all test pairs."""

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
        value: its value: a score under rule ``votes``, a total under rule ``total``.
        min_occurrences: the required votes, as given.
        required_votes: number of votes that make a pair harmful; 0 under rule ``total``.
        harmful: all harmful pairs. By votes: most votes first, then lowest mean score; by total: lowest total first;
            then by id.
        listed: the harmful pairs in order, up to the cap, and in mode ``ranking_pair`` then their mirror images that
            are not harmful by their own scores.
        ids: the ids to write, of pairs or items.
        mirrored: ids in ``ids`` that are only mirror images of harmful pairs.
        cut: number of harmful pairs (or items) that the cap left off.
        max_exclusions: the cap; None for no cap.
        active_test_pairs: number of test pairs that can vote.
        never_fires: why the rule can never fire; empty if it can.
        sample_scores: item-level influence of the items on the list, in mode ``sample``.
        counted: the votes; under rule ``total``, the votes below 0.
        chosen_by: how retraining chose the list; empty if the rule did.
        earlier: ids from earlier rounds, which come first in ``ids``.
        by: the column whose groups are in ``harmful`` and ``listed``; empty if they hold pairs.
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
        """The ids without those from earlier rounds."""
        return self.ids[len(self.earlier) :]


def earlier_ids(provenance: Mapping[str, Any]) -> list[str]:
    """The ids that earlier rounds left out, from the scores' provenance."""
    listed = provenance.get("left_out_before")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def with_earlier(exclusions: Exclusions, provenance: Mapping[str, Any]) -> Exclusions:
    """Add the ids from earlier rounds, so that the list holds everything that training leaves out."""
    earlier = earlier_ids(provenance)
    before = set(earlier)
    new = [name for name in exclusions.new_ids if name not in before]
    return replace(exclusions, ids=[*earlier, *new], earlier=earlier)


def choose_exclusions(source: ScoreSource, rule: Rule) -> Exclusions:
    """Choose what to leave out.

    Under rule ``votes``, a pair is harmful if enough test pairs have a score below the threshold. Under rule ``total``,
    it is harmful if its total score over all test pairs is below ``0``, below ``-50``, or among the lowest ``10%``.

    ``max_exclusions`` caps comparisons (a pair and its mirror image count once; in mode ``full_pair`` each may name two
    items), or items in mode ``sample``, which uses no thresholds and rules.

    Raises:
        UsageError: a setting of the rule is wrong.
        ScoreFileError: the scores lack the pairs' items (``full_pair``) or the item-level influence (``sample``).
    """
    _check(rule)
    threshold = parse_threshold(rule.threshold)
    suspicious = suspicious_items(source) if rule.mode == "sample" else {}
    harmful, value, required, counted = _find_harmful(source, rule, threshold)
    rows, mirrors = _listed_rows(source, harmful, rule)
    active = counted.active_test_pairs
    chosen = Exclusions(
        mode=rule.mode,
        rule=rule.rule,
        threshold=threshold,
        value=value,
        min_occurrences=rule.min_occurrences,
        required_votes=required,
        harmful=harmful_pairs(source, counted, harmful),
        listed=harmful_pairs(source, counted, [*rows, *mirrors]),
        ids=_items_of(source, rows) if rule.mode == "full_pair" else [source.train_ids[k] for k in [*rows, *mirrors]],
        mirrored=[source.train_ids[row] for row in mirrors],
        cut=len(harmful) - len(rows),
        max_exclusions=rule.max_exclusions,
        active_test_pairs=active,
        never_fires=never_fires(rule.min_occurrences, required, active, len(source.test_ids)),
        sample_scores={},
        counted=counted,
    )
    if rule.mode != "sample":
        return chosen
    items = dict(list(suspicious.items())[: rule.max_exclusions])
    return replace(chosen, ids=list(items), sample_scores=items, cut=len(suspicious) - len(items), never_fires="")


def choose_groups(source: ScoreSource, grouped: GroupScores, rule: Rule) -> Exclusions:
    """Choose groups of training pairs by the rule for pairs, applied to the mean scores of each group.

    ``max_exclusions`` caps groups. In the result, ``harmful`` and ``listed`` have groups, and ``ids`` all training
    pairs of the listed groups.
    """
    chosen = choose_exclusions(grouped, replace(rule, max_exclusions=None, mode="ranking_pair"))
    listed = chosen.harmful[: rule.max_exclusions]
    return replace(
        chosen,
        by=grouped.members.by,
        listed=listed,
        ids=names_for_list(source, grouped.members.rows_of(group.id for group in listed)),
        mirrored=[],
        cut=len(chosen.harmful) - len(listed),
        max_exclusions=rule.max_exclusions,
    )


def harmful_pairs(source: ScoreSource, counted: VoteTable, rows: Sequence[int]) -> list[HarmfulPair]:
    """The pairs at some rows, with their votes and scores."""
    votes, mean, totals = counted.votes[0], counted.mean, counted.totals
    return [HarmfulPair(source.train_ids[row], int(votes[row]), float(mean[row]), float(totals[row])) for row in rows]


def _find_harmful(source: ScoreSource, rule: Rule, threshold: Threshold) -> tuple[list[int], float, int, VoteTable]:
    """Rows of the harmful pairs, the worst first; the threshold's value, the required votes, and all votes."""
    ids = source.train_ids
    if rule.rule == "total":
        counted = count_votes(source, [BELOW_ZERO])
        totals, value = counted.totals, total_below(counted.totals, threshold)
        rows = np.flatnonzero(totals < value).tolist()
        rows.sort(key=lambda row: (float(totals[row]), ids[row]))
        return rows, value, 0, counted
    counted = count_votes(source, [threshold], rule.upper_threshold)
    required = required_votes(rule.min_occurrences, counted.active_test_pairs)
    votes, mean = counted.votes[0], counted.mean
    rows = np.flatnonzero(votes >= required).tolist()
    rows.sort(key=lambda row: (-int(votes[row]), float(mean[row]), ids[row]))
    return rows, float(counted.values[0]), required, counted


def _listed_rows(source: ScoreSource, rows: list[int], rule: Rule) -> tuple[list[int], list[int]]:
    """The harmful rows up to the cap and, in mode ``ranking_pair``, their mirror images that are not harmful."""
    if rule.mode == "sample":
        return rows, []
    mirror = mirror_rows(pair_items(source) if rule.mode == "full_pair" else items_if_known(source))
    listed = _capped(rows, mirror, rule.max_exclusions)
    if rule.mode == "full_pair":
        return listed, []
    names = set(listed)
    return listed, [mirror[row] for row in listed if mirror.get(row, row) not in names]


def _check(rule: Rule) -> None:
    if rule.mode not in MODES:
        raise UsageError(f"unknown pair mode {rule.mode!r}", hint=f"Choose one of {', '.join(MODES)}.")
    if rule.max_exclusions is not None and rule.max_exclusions < 1:
        raise UsageError(
            f"`max_exclusions` is {rule.max_exclusions}, which excludes nothing", hint="Give 1 or more, or no cap."
        )
    check_rule(rule.rule, rule.min_occurrences, rule.upper_threshold)


def _items_of(source: ScoreSource, rows: Sequence[int]) -> list[str]:
    items = pair_items(source)
    return list(dict.fromkeys(name for row in rows for name in items[row]))


def _capped(order: list[int], mirror: Mapping[int, int], cap: int | None) -> list[int]:
    """The first rows up to the cap; a pair and its mirror image stay together."""
    if cap is None or len(order) <= cap:
        return order
    chosen: dict[int, None] = {}
    counted = 0
    for row in order:
        mirrored = mirror.get(row) in chosen
        if not mirrored and counted >= cap:
            continue
        counted += not mirrored
        chosen[row] = None
    return list(chosen)


def suspicious_items(source: ScoreSource) -> dict[str, float]:
    """Item-level influence of the items that stand out, highest first, then by id.

    An item stands out if it is more than OUTLIER robust standard deviations above the median. The robust standard
    deviation is 1.4826 times the median absolute deviation. If that is zero, because more than half of the items are
    equal, it is 1.2533 times the mean absolute deviation.

    Raises:
        ScoreFileError: the scores have no item-level influence.
    """
    influence = source.sample_influence
    if influence is None or not len(source.sample_ids):
        raise ScoreFileError(
            "these scores have no item-level influence, which the pair mode sample needs",
            hint="Compute them again: tracinctl compute",
        )
    size: FloatArray = np.asarray(influence, dtype=np.float64)
    # divide by the largest, so that no sum overflows
    size = size / (float(np.abs(size).max()) or 1.0)
    distance = size - np.median(size)
    spread = 1.4826 * float(np.median(np.abs(distance))) or 1.2533 * float(np.abs(distance).mean())
    # if all items are equal up to rounding, none stands out
    level = max(OUTLIER * spread, 1e-9)
    order = sorted(
        np.flatnonzero(distance > level).tolist(), key=lambda k: (-float(influence[k]), source.sample_ids[k])
    )
    return {source.sample_ids[k]: float(influence[k]) for k in order}
