"""What each threshold would exclude, at every number of votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.scores.options import Thresholds
from tracinctl.scores.pair_ids import ItemNumbers, items_if_known, number_items
from tracinctl.scores.source import ScoreSource
from tracinctl.scores.votes import (
    BELOW_ZERO,
    DEFAULT_OCCURRENCES,
    DEFAULT_RULE,
    Threshold,
    VoteTable,
    check_rule,
    count_votes,
    required_votes,
    total_below,
)

DEFAULT_THRESHOLDS = Thresholds.thresholds


@dataclass(frozen=True)
class SweepRow:
    """One threshold.

    Attributes:
        threshold: as given.
        value: its value, a score or a total.
        votes: number of training pairs with at least k votes, for k from 1 to the test pairs; empty under rule total.
        required_votes: votes that the rule requires; 0 under rule total.
        harmful: number of harmful training pairs.
        pair_share: their share of the training pairs.
        item_share: their items' share of all items; None if items are unknown.
    """

    threshold: Threshold
    value: float
    votes: dict[int, int]
    required_votes: int
    harmful: int
    pair_share: float
    item_share: float | None


@dataclass(frozen=True)
class SweepResult:
    """What each threshold would exclude, one row per threshold, and numbers of pairs.

    ``never_fires`` says why the rule can never fire and what would; it is empty if the rule can. Under rule ``total``,
    ``counted`` has the votes below 0.
    """

    rows: Sequence[SweepRow]
    train_pairs: int
    test_pairs: int
    active_test_pairs: int
    never_fires: str
    counted: VoteTable
    rule: str = "votes"

    def to_json(self, file: str, material: str | None = None, frequency: str | None = None) -> dict[str, Any]:
        """The result of one score file for JSON."""
        return {
            "file": file,
            "material": material,
            "frequency": frequency,
            "train_pairs": self.train_pairs,
            "test_pairs": self.test_pairs,
            "active_test_pairs": self.active_test_pairs,
            "rule": self.rule,
            "thresholds": [
                {
                    "threshold": row.value,
                    "votes": {str(k): n for k, n in row.votes.items()},
                    "required_votes": row.required_votes,
                    "harmful": row.harmful,
                }
                for row in self.rows
            ],
        }


def never_fires(rule: str, required: int, active: int, test_pairs: int) -> str:
    """Why ``required`` votes can never be reached, and which rule can; empty if they can."""
    if not active:
        return (
            f"none of the {test_pairs:,} test pairs is active, because every score is zero, so no pair is harmful; "
            "compute with more test pairs or a larger margin"
        )
    if required > active:
        return (
            f"`min_occurrences` {rule} needs {required:,} votes, but only {active:,} of {test_pairs:,} test pairs are "
            f"active; give `min_occurrences` {active:,} or less, or 60%, which needs "
            f"{required_votes(DEFAULT_OCCURRENCES, active):,}"
        )
    return ""


def sweep_thresholds(
    source: ScoreSource,
    thresholds: Sequence[Threshold],
    min_occurrences: str = DEFAULT_OCCURRENCES,
    upper_threshold: float | None = None,
    *,
    rule: str = DEFAULT_RULE,
) -> SweepResult:
    """What each threshold would exclude, by votes or by total score."""
    check_rule(rule, min_occurrences, upper_threshold)
    if rule == "votes":
        return sweep_of(source, count_votes(source, thresholds, upper_threshold), min_occurrences)
    counted = count_votes(source, [BELOW_ZERO])
    items, totals, active = number_items(items_if_known(source)), counted.totals, counted.active_test_pairs
    values = [total_below(totals, threshold) for threshold in thresholds]
    rows = [_row(threshold, value, totals < value, items) for threshold, value in zip(thresholds, values, strict=True)]
    why = never_fires(min_occurrences, 0, active, len(source.test_ids))
    return SweepResult(rows, len(source.train_ids), len(source.test_ids), active, why, counted, rule)


def sweep_of(source: ScoreSource, table: VoteTable, min_occurrences: str = DEFAULT_OCCURRENCES) -> SweepResult:
    """What each threshold would exclude, from counted votes; the scores are not read again."""
    active, total, most = table.active_test_pairs, len(source.train_ids), len(source.test_ids)
    required = required_votes(min_occurrences, active)
    items = number_items(items_if_known(source))
    rows = []
    for k, threshold in enumerate(table.thresholds):
        tally = np.bincount(table.votes[k], minlength=most + 1)
        at_least = tally[::-1].cumsum()[::-1]
        votes = {n: int(at_least[n]) for n in range(1, most + 1)}
        rows.append(_row(threshold, float(table.values[k]), table.votes[k] >= required, items, votes, required))
    why = never_fires(min_occurrences, required, active, most)
    return SweepResult(rows, total, most, active, why, table)


def _row(
    threshold: Threshold,
    value: float,
    harmful: npt.NDArray[np.bool_],
    items: tuple[ItemNumbers, ItemNumbers, list[str]],
    votes: dict[int, int] | None = None,
    required: int = 0,
) -> SweepRow:
    first, second, names = items
    touched = np.zeros(len(names), dtype=bool)
    touched[first[harmful[: len(first)]]] = True
    touched[second[harmful[: len(second)]]] = True
    count = int(harmful.sum())
    return SweepRow(
        threshold=threshold,
        value=value,
        votes=votes or {},
        required_votes=required,
        harmful=count,
        pair_share=count / len(harmful) if len(harmful) else 0.0,
        item_share=int(touched.sum()) / len(names) if names else None,
    )
