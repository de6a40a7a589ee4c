"""The results of retraining as sentences and rows of tables, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracinctl.retraining.choice import NOTHING, Choice
from tracinctl.retraining.judging import Difference, combined
from tracinctl.retraining.trainer import END, Recipe
from tracinctl.retraining.trial import ADDED, CAPPED, RANDOM, TRUTH, WITHOUT, ArmResult, RetrainResult
from tracinctl.text import count

RULE_COLUMNS = ("rule", "left out", "points", "epochs", "weight decay")
ARM_COLUMNS = ("trained on", "pairs", "accuracy", "spread", "loss", "spread")
DIFFERENCE_COLUMNS = ("difference", "points", "95 % interval", "loss", "95 % interval")
NOTE = (
    "Accuracy: share of the judging pairs that are ranked correctly, mean over repeats. "
    "Spread: standard deviation over repeats. Points: of accuracy. "
    "The intervals cover other seeds and other held-out items of the same kind."
)
NOTE_OF_SEEDS = (
    "Accuracy and loss are the training command's own, mean over repeats. "
    "Spread: standard deviation over repeats. Points: of accuracy. "
    "The intervals cover other seeds, but not other held-out items."
)


def division_words(result: RetrainResult) -> str:
    """The sentence on the division of held-out items."""
    division = result.division
    return (
        f"Of {len(division.scoring) + len(division.judging):,} held-out items, drawn by class with seed "
        f"{division.seed}, {len(division.scoring):,} score influence and chose the list "
        f"({result.scoring_pairs:,} pairs), {len(division.judging):,} judge ({result.judging_pairs:,} pairs). "
        "Pairs that mix a scoring and a judging item are ignored."
    )


def verdict_words(result: RetrainResult) -> str:
    """The verdict and its reason."""
    judgement = result.judgement
    if not result.comparisons:
        return f"{judgement.verdict}: {judgement.why}"
    first = result.comparisons[0].accuracy
    how = "with the capped loss" if result.comparisons[0].arm == CAPPED else "without the list"
    text = f"{judgement.verdict}: {points(first.mean)} points of accuracy {how}{_interval_words(first)}"
    if judgement.verdict == "cannot tell":
        return f"{text}; {judgement.why}"
    random = next((comparison.accuracy for comparison in result.comparisons if comparison.less == RANDOM), None)
    if random is None or not math.isfinite(random.low):
        return f"{text}."
    how = "is better than" if random.low > 0 else "is worse than" if random.high < 0 else "does not differ from"
    return f"{text}. This {how} leaving out as many at random ({_interval(random, 100, 1)})."


def together_words(results: Sequence[RetrainResult]) -> str:
    """The sentence on several frequencies together; empty for fewer than two."""
    gains = [result.comparisons[0].accuracy for result in results if result.comparisons]
    gains = [gain for gain in gains if math.isfinite(gain.low)]
    if len(gains) < 2:  # noqa: PLR2004 - one has nothing to add
        return ""
    mean = combined(gains)
    return (
        f"All {len(gains)} together: {points(mean.mean)} points of accuracy without the lists{_interval_words(mean)}."
    )


def note_words(result: RetrainResult) -> str:
    """The legend of the numbers."""
    by_items = any(comparison.accuracy.item_standard_error > 0 for comparison in result.comparisons)
    return NOTE if by_items else NOTE_OF_SEEDS


def arm_rows(result: RetrainResult) -> list[list[str]]:
    """One row per arm, under ARM_COLUMNS."""
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
    """One row per comparison, under DIFFERENCE_COLUMNS."""
    rows = []
    for comparison in result.comparisons:
        accuracy, loss = comparison.accuracy, comparison.loss
        name = f"{_SHORT[comparison.arm]} - {_SHORT.get(comparison.less, comparison.less)}"
        percent = [points(accuracy.mean), _interval(accuracy, 100, 1)]
        rows.append([name, *percent, _signed(loss.mean, 3), _interval(loss, 1, 3)])
    return rows


_SHORT = {WITHOUT: "list", RANDOM: "random", TRUTH: "truly bad", ADDED: "pairs added", CAPPED: "capped loss"}


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return _signed(share * 100, 1)


def _interval_words(difference: Difference) -> str:
    return f", 95 % interval {_interval(difference, 100, 1)}" if math.isfinite(difference.low) else ""


def _interval(difference: Difference, scale: float, digits: int) -> str:
    if not math.isfinite(difference.low):
        return "?"
    return f"{_signed(difference.low * scale, digits)} to {_signed(difference.high * scale, digits)}"


def _signed(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "?"
    rounded = round(value, digits) + 0.0  # avoids a minus before zero
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "?"


def rule_rows(choice: Choice) -> list[list[str]]:
    """One row per tried rule, under RULE_COLUMNS; ``*`` marks the choice."""
    rows = []
    for gain in choice.gains:
        mark = "* " if gain is choice.chosen else ""
        mean = "" if gain.name == NOTHING else f"{points(gain.mean)} +- {gain.error * 100:.1f}"
        epochs = "all" if gain.recipe.stop == END else str(gain.recipe.stop)
        decay = "usual" if gain.recipe.weight_decay is None else f"{gain.recipe.weight_decay:g}"
        rows.append([mark + gain.name, f"{gain.left_out:,}", mean, epochs, decay])
    return rows


def action_words(result: RetrainResult) -> str:
    """What to do, on one line; empty without a choice."""
    choice = result.choice
    if choice is None:
        return ""
    recipe = choice.chosen.recipe
    text = f"Leave out {count(len(choice.exclusions), 'id')} ({choice.chosen.name}) and {_recipe_words(recipe)}"
    if not choice.exclusions:
        text = f"Leave nothing out; {_recipe_words(recipe)}"
    if not result.comparisons:
        return f"{text}."
    gain = result.comparisons[0].accuracy
    return f"{text}: {points(gain.mean)} points over tuning alone{_interval_words(gain)}."


def _recipe_words(recipe: Recipe) -> str:
    stop = "train to the end" if recipe.stop == END else f"stop after {count(recipe.stop, 'epoch')}"
    decay = "" if recipe.weight_decay is None else f" with weight decay {recipe.weight_decay:g}"
    return (f"use the {recipe.loss} loss and " if recipe.loss else "") + stop + decay


def choice_note(result: RetrainResult) -> str:
    """The sentence on how the choice was made, or why there was none."""
    if result.choice is not None:
        return (
            "Points: gain in pair accuracy over leaving nothing out, with one standard error. For rules with scores, "
            "each half of the scoring items makes a list, and the other judges it. Rules without scores are judged by "
            "all scoring items. A rule may be chosen if its gain exceeds its error, or half its error if it is also "
            "judged by training pairs that its rankers did not train on."
        )
    if not result.why_no_choice:
        return ""
    return f"No list was chosen, because {result.why_no_choice}. Your rule's list from the scoring pairs was judged."
