"""What retraining showed, in words and in rows of text, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracinctl.retraining.judging import Difference, FloatArray, combined
from tracinctl.retraining.sweep import SweepJudgement
from tracinctl.retraining.trial import RANDOM, WITHOUT, ArmResult, Comparison, RetrainResult

ARM_COLUMNS = ("trained on", "pairs", "accuracy", "spread", "loss", "spread")
DIFFERENCE_COLUMNS = ("difference", "points", "95 % interval", "loss", "95 % interval")
NOTE = (
    "Accuracy: share of the judging pairs that are ranked rightly, mean over repeats. "
    "Spread: standard deviation over repeats. Points: of accuracy. "
    "The intervals allow for other seeds and for other held-out items of the same kind."
)
NOTE_OF_SEEDS = (
    "Accuracy and loss are the training command's own, mean over repeats. "
    "Spread: standard deviation over repeats. Points: of accuracy. "
    "The intervals allow for other seeds, but not for other held-out items."
)


def division_words(result: RetrainResult) -> str:
    """How the held-out items were divided."""
    division = result.division
    return (
        f"Of {len(division.scoring) + len(division.judging):,} held-out items, drawn by class with seed "
        f"{division.seed}, {len(division.scoring):,} score influence and chose the list "
        f"({result.scoring_pairs:,} pairs), {len(division.judging):,} judge ({result.judging_pairs:,} pairs). "
        "Pairs of one item of each count for neither."
    )


def verdict_words(result: RetrainResult) -> str:
    """The verdict, and why, in a sentence or two."""
    judgement = result.judgement
    if not result.comparisons:
        return f"{judgement.verdict}: {judgement.why}"
    first, random = result.comparisons[0].accuracy, result.comparisons[1].accuracy
    said = f"{judgement.verdict}: {points(first.mean)} points of accuracy without the list"
    if math.isfinite(first.low):
        said += f", 95 % interval {points(first.low)} to {points(first.high)}"
    if judgement.verdict == "cannot tell":
        return f"{said}; {judgement.why}"
    if not math.isfinite(random.low):
        return f"{said}."
    against = f"({points(random.low)} to {points(random.high)})"
    if random.low > 0:
        return f"{said}. It is better than leaving out as many at random {against}."
    if random.high < 0:
        return f"{said}. It is worse than leaving out as many at random {against}."
    return f"{said}. From leaving out as many at random it cannot be told apart {against}."


def together_words(results: Sequence[RetrainResult]) -> str:
    """What several frequencies say together, which is more than each alone; empty for fewer than two."""
    told = [result.comparisons[0].accuracy for result in results if result.comparisons]
    told = [each for each in told if math.isfinite(each.low)]
    if len(told) < 2:  # noqa: PLR2004 - one says nothing new
        return ""
    both = combined(told)
    return (
        f"All {len(told)} together: {points(both.mean)} points of accuracy without the lists, 95 % interval "
        f"{points(both.low)} to {points(both.high)}."
    )


def note_words(result: RetrainResult) -> str:
    """What the numbers mean."""
    by_items = any(each.accuracy.item_error > 0 for each in result.comparisons)
    return NOTE if by_items else NOTE_OF_SEEDS


def arm_rows(result: RetrainResult) -> list[list[str]]:
    """A row for each arm, under ARM_COLUMNS."""
    return [_arm(arm) for arm in result.arms]


def _arm(arm: ArmResult) -> list[str]:
    name = arm.name if arm.name != WITHOUT else f"{arm.name} ({arm.left_out:,} ids)"
    cells = [name, "?" if arm.train_pairs is None else f"{arm.train_pairs:,.0f}"]
    for values, scale, unit, digits in ((arm.accuracy, 100, "%", 1), (arm.loss, 1, "", 3)):
        mean = float(values.mean()) * scale
        spread = float(values.std(ddof=1)) * scale if len(values) > 1 else math.nan
        cells += [_number(mean, digits) + (unit if math.isfinite(mean) else ""), _number(spread, digits)]
    return cells


def difference_rows(result: RetrainResult) -> list[list[str]]:
    """A row for each comparison, under DIFFERENCE_COLUMNS."""
    return [_difference(each) for each in result.comparisons]


_SHORT = {WITHOUT: "list", RANDOM: "random"}


def _difference(each: Comparison) -> list[str]:
    name = f"{_SHORT.get(each.arm, 'truly bad')} - {_SHORT.get(each.less, each.less)}"
    return [
        name,
        points(each.accuracy.mean),
        _interval(each.accuracy, 100, 1),
        _signed(each.loss.mean, 3),
        _interval(each.loss, 1, 3),
    ]


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return _signed(share * 100, 1)


def _interval(each: Difference, scale: float, digits: int) -> str:
    if not math.isfinite(each.low):
        return "?"
    return f"{_signed(each.low * scale, digits)} to {_signed(each.high * scale, digits)}"


def _signed(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "?"
    rounded = round(value, digits) + 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "?"


def threshold_rows(found: SweepJudgement) -> list[list[str]]:
    """A row for training on everything, then one for each threshold; ``*`` marks the choice."""
    rows = [["everything", "0", *_mean_and_spread(found.everything), "", ""]]
    for row in found.rows:
        chosen = "* " if row is found.chosen else ""
        gain = [points(row.difference.mean), _interval(row.difference, 100, 1)]
        rows.append([chosen + row.threshold, f"{row.left_out:,}", *_mean_and_spread(row.accuracy), *gain])
    return rows


def _mean_and_spread(values: FloatArray) -> list[str]:
    spread = float(values.std(ddof=1)) * 100 if len(values) > 1 else math.nan
    mean = float(values.mean()) * 100
    return [f"{_number(mean, 1)}%" if math.isfinite(mean) else "?", _number(spread, 1)]


def division_of_sweep(found: SweepJudgement) -> str:
    """How the held-out items were divided in three."""
    return (
        f"Of {len(found.division.scoring) + len(found.division.judging):,} held-out items "
        f"{len(found.division.scoring):,} score influence and make the lists, {len(found.choosing):,} choose the "
        f"threshold ({found.choosing_pairs:,} pairs, the table above), and {len(found.confirming):,} judge the choice "
        f"({found.confirming_pairs:,} pairs). The best of several looks better than it is on those who chose it."
    )


def choice_words(found: SweepJudgement) -> str:
    """The choice and the verdict on it."""
    verdict = found.judgement.verdict
    if found.chosen is None or found.confirmed is None:
        return f"Chosen: no threshold. {verdict.capitalize()}: {found.judgement.why}"
    gain = found.confirmed
    said = f"Chosen: threshold {found.chosen.threshold}. On the items that had no part in the choice it "
    said += {"helped": "helped", "hurt": "hurt"}.get(verdict, f"gives: {verdict}")
    if math.isfinite(gain.mean):
        said += f", {points(gain.mean)} points"
    if math.isfinite(gain.low):
        said += f", 95 % interval {points(gain.low)} to {points(gain.high)}"
    return f"{said}; {found.judgement.why}" if verdict == "cannot tell" else f"{said}."
