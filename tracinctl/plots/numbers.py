"""What a view draws, in plain values: for programs, and to check pictures against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracinctl.errors import PlotError
from tracinctl.plots.checkpoint_survey import survey_checkpoints
from tracinctl.plots.request import Request
from tracinctl.plots.survey import FiniteScores, Survey, second_pass
from tracinctl.plots.views.checkpoints import QUANTILES
from tracinctl.plots.views.distribution import below_thresholds, histogram_of
from tracinctl.plots.views.heatmap import class_means
from tracinctl.plots.views.overview import most_votes
from tracinctl.plots.views.sweep import vote_lines
from tracinctl.plots.views.top import extremes
from tracinctl.scores.exclusion import suspicious_items
from tracinctl.scores.table import FloatArray
from tracinctl.scores.votes import required_votes

Numbers = dict[str, Any]

_BINS = 60


def numbers_of(view: str, request: Request) -> Numbers:
    """The numbers of a view; what is drawn of them depends on the room, they do not.

    Raises:
        PlotError: the scores do not say what the view shows.
    """
    views: dict[str, Callable[[Request], Numbers]] = {
        "overview": _overview,
        "distribution": _distribution,
        "sweep": _sweep,
        "heatmap": _heatmap,
        "top": _top,
        "checkpoints": _checkpoints,
        "self": _self,
    }
    return views[view](request)


def _counts(found: Survey) -> Numbers:
    return {
        "train_pairs": len(found.scores.train_ids),
        "test_pairs": len(found.scores.test_ids),
        "active_test_pairs": found.votes.active_test_pairs,
        "negative": found.negative,
        "positive": found.positive,
        "zero": found.zeros,
        "not_finite": found.strange,
    }


def _overview(request: Request) -> Numbers:
    found = request.survey
    required = required_votes(request.settings.min_occurrences, found.votes.active_test_pairs)
    most = most_votes(found, request.top)
    votes = found.votes.votes[0] if found.votes.thresholds else np.zeros(0, dtype=np.int64)
    listed = [
        {
            "pair": found.scores.train_ids[row],
            "mean": float(found.mean[row]),
            "votes": int(votes[row]),
            "harmful": bool(votes[row] >= required),
        }
        for row in most
    ]
    return {
        **_counts(found),
        "required_votes": required,
        "most_votes": listed,
        "thresholds": _by_threshold(found, required),
    }


def _distribution(request: Request) -> Numbers:
    found = request.survey
    values = found.votes.values.tolist()
    below = [{"threshold": value, "below": n} for value, n in zip(values, below_thresholds(found), strict=True)]
    numbers = {**_counts(found), "thresholds": below}
    if found.negative or found.positive:
        filled = histogram_of(found, _BINS)
        second_pass(found.scores, [lambda _, block: filled.add(block)])
        numbers |= {"edges": filled.edges.tolist(), "counts": filled.counts.tolist()}
    return numbers


def _sweep(request: Request) -> Numbers:
    found = request.survey
    required = required_votes(request.settings.min_occurrences, found.votes.active_test_pairs)
    return {**_counts(found), "required_votes": required, "thresholds": _by_threshold(found, required)}


def _by_threshold(found: Survey, required: int) -> list[Numbers]:
    lines = vote_lines(found.votes.active_test_pairs, required)
    return [
        {
            "threshold": value,
            "votes": {str(k): int(np.count_nonzero(votes >= k)) for k in lines},
            "harmful": int(np.count_nonzero(votes >= required)),
        }
        for value, votes in zip(found.votes.values.tolist(), found.votes.votes, strict=True)
    ]


def _heatmap(request: Request) -> Numbers:
    table = class_means(request.source, request.means.mean)
    means = [[value if np.isfinite(value) else None for value in row] for row in table.means.tolist()]
    return {"classes": table.classes, "means": means, "pairs": table.pairs.tolist()}


def _named(names: Sequence[str], rows: Sequence[int], values: FloatArray, key: str) -> list[Numbers]:
    return [{"pair": names[row], key: float(values[row])} for row in rows]


def _top(request: Request) -> Numbers:
    found = request.means
    harmful, helpful = extremes(found.mean, found.scores.train_ids, request.top)
    return {
        "harmful": _named(found.scores.train_ids, harmful, found.mean, "score"),
        "helpful": _named(found.scores.train_ids, helpful, found.mean, "score"),
    }


def _checkpoints(request: Request) -> Numbers:
    found = survey_checkpoints(request.source, QUANTILES, request.test_pair)
    listed = [
        {"name": name, "percentiles": quantiles, "negative_share": None if quantiles is None else share}
        for name, quantiles, share in zip(found.names, found.quantiles, found.negative_share.tolist(), strict=True)
    ]
    return {"percent": list(QUANTILES), "checkpoints": listed}


def _self(request: Request) -> Numbers:
    source = request.source
    numbers: Numbers = {}
    if source.self_influence is not None:
        rows = _highest(source.self_influence, source.train_ids, request.top)
        numbers["pairs"] = _named(source.train_ids, rows, source.self_influence, "self_influence")
    if source.sample_influence is not None and len(source.sample_ids):
        outstanding = suspicious_items(FiniteScores(source))
        numbers["items"] = [
            {
                "item": source.sample_ids[row],
                "sample_influence": float(source.sample_influence[row]),
                "stands_out": source.sample_ids[row] in outstanding,
            }
            for row in _highest(source.sample_influence, source.sample_ids, request.top)
        ]
    if not numbers:
        raise PlotError(
            "these scores do not say the self-influence of pairs or items",
            hint="compute them again, where the checkpoints still are: tracinctl compute",
        )
    return numbers


def _highest(values: FloatArray, names: Sequence[str], top: int) -> list[int]:
    finite = np.flatnonzero(np.isfinite(values)).tolist()
    return sorted(finite, key=lambda row: (-float(values[row]), names[row]))[:top]
