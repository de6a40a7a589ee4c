"""Diagnoses: warnings about scores, and about rules and lists made from them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.pair_ids import class_of_items, items_if_known, mirror_rows, number_items
from tracinctl.scores.source import ScoreSource
from tracinctl.scores.sweep import SweepResult
from tracinctl.scores.votes import VoteTable
from tracinctl.text import count, first_few, number

FEW_ACTIVE = 20
"""With fewer active test pairs, votes order training pairs much less well."""

_MOST = 0.5  # a larger share counts as most
_LEFT = 0.1  # an item or class that keeps at most this share of its pairs or items is nearly empty
_PAIRS_TO_TELL = 5  # items in fewer pairs are ignored
_VOTES_TO_TELL = 10


@dataclass(frozen=True)
class Diagnosis:
    """A remark to read before using the scores or the list.

    Attributes:
        code: a stable name, such as ``few-active``.
        finding: the observation in these scores.
        hint: what to do about it; may be empty.
        meaning: what the observation means; may be empty.
    """

    code: str
    finding: str
    hint: str = ""
    meaning: str = ""

    @property
    def text(self) -> str:
        """The observation and its meaning in one sentence."""
        return f"{self.finding}; {self.meaning}" if self.meaning else self.finding


def diagnose(source: ScoreSource, result: SweepResult | Exclusions) -> list[Diagnosis]:
    """All diagnoses of scores and a sweep or list, the most serious first, without reading the scores again."""
    if not isinstance(result, Exclusions):
        return [*_about_pairs(source, result, result.rows[0].required_votes), *_about_checkpoints(source.provenance)]
    of_list = [*_about_empty_list(result), *_about_mean(result), *_about_cap(result)]
    of_list += _about_what_is_left(source, result)
    if result.by:
        of_scores = diagnose_scores(len(source.test_ids), result.active_test_pairs, source.provenance)
        never_fires = result.never_fires if result.active_test_pairs else ""
        return [*of_scores, *([Diagnosis("never-fires", never_fires)] if never_fires else []), *of_list]
    of_pairs = _about_pairs(source, result, result.required_votes)
    return [*of_pairs, *of_list, *_about_checkpoints(source.provenance)]


def _about_pairs(source: ScoreSource, result: SweepResult | Exclusions, required: int) -> Iterator[Diagnosis]:
    yield from _about_mirror_images(source, result.counted)
    if isinstance(result, Exclusions) and result.mode == "sample":
        return
    if result.never_fires:
        yield Diagnosis("never-fires", result.never_fires)
    yield from _about_activity(len(source.test_ids), result.counted.active_test_pairs)
    if result.rule == "votes":
        yield from _about_range(result.counted)
        yield from _about_voters(source, result.counted)
        if not result.never_fires:
            yield from _about_rule(result.counted, required)


def diagnose_scores(test_pairs: int, active: int, provenance: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Diagnoses of the scores themselves: the number of active test pairs, and the checkpoints' parts."""
    if test_pairs and not active:
        yield Diagnosis(
            "none-active",
            f"none of the {test_pairs:,} test pairs is active: every score is zero",
            "Compute with more test pairs or a larger margin.",
        )
    yield from _about_activity(test_pairs, active)
    yield from _about_checkpoints(provenance)


def _about_activity(total: int, active: int) -> Iterator[Diagnosis]:
    if 0 < active < FEW_ACTIVE:
        silent = total - active
        part = f"only {active} of {total:,} test pairs {'is' if active == 1 else 'are'} active"
        score = "scores" if silent == 1 else "score"
        yield Diagnosis(
            "few-active",
            f"{part} (the other {silent:,} {score} 0)"
            if silent
            else f"there {'is' if total == 1 else 'are'} only {count(total, 'test pair')}",
            "Hold out more pairs; tracinctl compute uses all of them unless it is given fewer."
            if total < FEW_ACTIVE
            else "To make more of them active, compute with a larger margin or with earlier checkpoints.",
            meaning="with so few votes, the order of training pairs is unreliable",
        )


def _about_voters(source: ScoreSource, counted: VoteTable) -> Iterator[Diagnosis]:
    votes = counted.test_votes[:, counted.active].sum(axis=1)
    for k in np.flatnonzero(votes >= _VOTES_TO_TELL):
        column = int(counted.test_votes[k].argmax())
        share = counted.test_votes[k, column] / votes[k]
        # one of two test pairs always has half of the votes
        if share > _MOST and counted.active_test_pairs > 2:  # noqa: PLR2004
            yield Diagnosis(
                "one-voter",
                f"a single test pair gives {share:.0%} of all votes below {number(counted.values[k])}, so the list "
                "mostly follows that pair",
                f"Look at it: tracinctl plot top --test-pair {shlex.quote(source.test_ids[column])}\n"
                "With more held-out pairs, each counts less.",
            )
            return


def _about_rule(counted: VoteTable, required: int) -> Iterator[Diagnosis]:
    """If a rule finds nothing at any threshold although test pairs vote, suggest the nearest rule that does."""
    if not counted.votes.any() or counted.votes.max() >= required:
        return
    k, row = np.unravel_index(counted.votes.argmax(), counted.votes.shape)
    most = int(counted.votes[k, row])
    pairs = int(np.count_nonzero(counted.votes[k] == most))
    yield Diagnosis(
        "nothing-harmful",
        f"the rule needs {required:,} votes, but no training pair has more than {most:,}, "
        f"which {count(pairs, 'pair has', 'pairs have')} below {number(counted.values[k])}",
        f"With `min_occurrences` {most}, the list contains {'it' if pairs == 1 else 'them'}.",
    )


def _about_range(counted: VoteTable) -> Iterator[Diagnosis]:
    if not counted.active.any():
        return
    below = [value for value in counted.values.tolist() if value <= counted.lowest]
    if below and counted.lowest < 0:
        yield Diagnosis(
            "threshold-too-low",
            f"no score is below {', '.join(map(number, below))}; the lowest is {number(counted.lowest)}",
            "Scores have no natural scale. Give a higher threshold, or a share of the scores, such as 1%.",
        )
    elif below:
        yield Diagnosis(
            "no-harm",
            "no score is negative: no training pair was harmful to any test pair",
            "Nothing needs to be left out.",
        )
    above = [value for value in counted.values.tolist() if value > counted.highest]
    if above:
        yield Diagnosis(
            "threshold-too-high",
            f"every score is below {', '.join(map(number, above))}, so every active test pair votes against "
            "every training pair",
            "Give a lower threshold, or a share of the scores, such as 1%.",
        )
    upper = counted.upper_threshold
    if upper is not None and upper >= counted.highest:
        yield Diagnosis(
            "upper-threshold-too-high",
            f"no score is above the upper threshold {number(upper)}; the highest is {number(counted.highest)}",
            "Leave it out, or give a lower one.",
        )


def _about_empty_list(exclusions: Exclusions) -> Iterator[Diagnosis]:
    if not exclusions.ids:
        of = " of the groups" if exclusions.by else ""
        yield Diagnosis(
            "empty-list",
            "the list is empty, so training with it uses every pair",
            f"To list the worst tenth{of}, use `rule` total and `threshold` 10%."
            if exclusions.mode != "sample" and exclusions.rule == "votes"
            else "",
        )


def _about_mean(exclusions: Exclusions) -> Iterator[Diagnosis]:
    harmful = exclusions.harmful if exclusions.mode != "sample" and not exclusions.by else []
    helpful = sum(pair.mean > 0 for pair in harmful)
    if helpful > _MOST * len(harmful):
        yield Diagnosis(
            "helps-on-average",
            f"the mean score of {helpful:,} of {count(len(harmful), 'harmful pair')} is positive: "
            f"{'it hurts' if helpful == 1 else 'they hurt'} {exclusions.required_votes:,} or more test pairs, but "
            f"{'helps' if helpful == 1 else 'help'} on average",
            "To list only pairs that hurt in total, use `rule` total.",
        )


def _about_cap(exclusions: Exclusions) -> Iterator[Diagnosis]:
    if exclusions.cut:
        unit = "suspicious item" if exclusions.mode == "sample" else "harmful pair"
        left_off = count(exclusions.cut, "harmful group" if exclusions.by else unit)
        left_off += f" by {exclusions.by}" if exclusions.by else ""
        yield Diagnosis(
            "cap-cut",
            f"the cap of {exclusions.max_exclusions:,} left {left_off} off the list",
            "To list them too, give a higher `max_exclusions` or none.",
        )


def _about_what_is_left(source: ScoreSource, exclusions: Exclusions) -> Iterator[Diagnosis]:
    first, second, names = number_items(items_if_known(source))
    if not names:
        return
    # a list may name the first of several comparisons of two items a_b#1
    listed = {*exclusions.ids, *(name.removesuffix("#1") for name in exclusions.ids)}
    item_gone = np.zeros(len(names), dtype=bool)
    if exclusions.mode == "ranking_pair":
        gone = np.array([name in listed for name in source.train_ids], dtype=bool)
    else:
        item_gone = np.array([name in listed for name in names], dtype=bool)
        gone = item_gone[first] | item_gone[second]

    if gone.mean() > _MOST:
        yield Diagnosis(
            "takes-most",
            f"the list leaves out {gone.mean():.0%} of the training pairs",
            "Require more votes (`min_occurrences`), give a lower `threshold`, or cap the list (`max_exclusions`).",
        )
    if gone.mean() >= 1 - _LEFT:
        return  # most pairs are gone, so every item and class is nearly empty
    before = np.bincount(first, minlength=len(names)) + np.bincount(second, minlength=len(names))
    after = before - np.bincount(first[gone], minlength=len(names)) - np.bincount(second[gone], minlength=len(names))
    class_of = class_of_items(names)
    classes = _emptied_classes(np.array([class_of.get(name, "") for name in names]), before, after, item_gone)
    emptied = (before >= _PAIRS_TO_TELL) & (after <= _LEFT * before) & ~item_gone
    ids = [names[k] for k in np.flatnonzero(emptied).tolist() if class_of.get(names[k]) not in classes]
    if ids:
        yield Diagnosis(
            "items-emptied",
            f"the list leaves {count(len(ids), 'item')} (nearly) without training pairs: {first_few(ids)}",
            "To check whether the item itself is bad, use `pair_mode` sample; else cap the list with `max_exclusions`.",
        )
    if classes:
        yield Diagnosis(
            "classes-emptied",
            f"the list leaves {'class' if len(classes) == 1 else 'classes'} {first_few(classes)} (nearly) empty: "
            f"a ranker trained with it cannot learn {'its rank' if len(classes) == 1 else 'their ranks'}",
            "Cap the list with `max_exclusions`, or check the recordings of these classes.",
        )


def _emptied_classes(
    of_items: npt.NDArray[np.str_],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    item_gone: npt.NDArray[np.bool_],
) -> list[str]:
    """The classes, in order, that keep at most a tenth of their items or pairs; '' is not a class."""
    emptied = []
    for name in sorted({*of_items.tolist()} - {""}):
        of_class = of_items == name
        pairs_before = before[of_class].sum()
        few_items = (~item_gone[of_class]).mean() <= _LEFT
        if pairs_before >= _PAIRS_TO_TELL and (few_items or after[of_class].sum() <= _LEFT * pairs_before):
            emptied.append(name)
    return emptied


def _about_checkpoints(provenance: Mapping[str, Any]) -> Iterator[Diagnosis]:
    listed = provenance.get("checkpoints")
    checkpoints = [part for part in listed if isinstance(part, Mapping)] if isinstance(listed, list) else []
    silent = [str(point.get("name")) for point in checkpoints if point.get("gradient_zero") is True]
    if silent:
        all_of = " (all of them)" if len(silent) == len(checkpoints) else ""
        yield Diagnosis(
            "zero-gradient",
            f"{len(silent)} of {len(checkpoints)} checkpoints{all_of} add nothing to any score, because no pair has a "
            f"gradient there: {first_few(silent)}",
            "Every margin is met there. Compute with a larger margin or with earlier checkpoints.",
        )
    without = [str(point.get("name")) for point in checkpoints if point.get("learning_rate", 0) is None]
    if without and provenance.get("checkpoint_weights", "relative") != "uniform":
        yield Diagnosis(
            "no-learning-rate",
            f"the learning rate of {len(without)} of {count(len(checkpoints), 'checkpoint')} is unknown "
            f"({first_few(without)}), so all checkpoints have the same weight",
            "Save the optimizer's state in checkpoints, or give `checkpoint_weights` uniform.",
        )


def _about_mirror_images(source: ScoreSource, counted: VoteTable) -> Iterator[Diagnosis]:
    """If the scores of a pair and its mirror image differ, the scores are wrong, because both have the same loss."""
    rows = [(row, mirror) for row, mirror in mirror_rows(items_if_known(source)).items() if row < mirror]
    if not rows:
        return
    row, mirror = np.array(rows).T
    difference = np.abs(counted.mean[row] - counted.mean[mirror])
    differ = difference > 1e-4 * np.abs(counted.mean).max()
    if differ.any():
        yield Diagnosis(
            "mirror-images-differ",
            f"{int(differ.sum()):,} of {len(rows):,} mirror images score differently, "
            f"by up to {number(difference.max())}",
            "Compute them again: tracinctl compute",
            meaning="a pair and its mirror image have the same loss, so these scores are wrong",
        )
