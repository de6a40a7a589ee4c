"""The results of retraining as sentences and rows of tables, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracinctl.retraining.choice import NOTHING, Choice
from tracinctl.retraining.judging import Difference, combined
from tracinctl.retraining.trainer import END, Recipe
from tracinctl.retraining.trial import ADDED, CAPPED, RANDOM, TRUTH, WITHOUT, ArmResult, Comparison, RetrainResult
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
    text = f"{judgement.verdict}: {points(first.mean)} points of accuracy {how}"
    if math.isfinite(first.low):
        text += f", 95 % interval {points(first.low)} to {points(first.high)}"
    if judgement.verdict == "cannot tell":
        return f"{text}; {judgement.why}"
    random = next((each.accuracy for each in result.comparisons if each.less == RANDOM), None)
    if random is None or not math.isfinite(random.low):
        return f"{text}."
    against = f"({points(random.low)} to {points(random.high)})"
    if random.low > 0:
        return f"{text}. This is better than leaving out as many at random {against}."
    if random.high < 0:
        return f"{text}. This is worse than leaving out as many at random {against}."
    return f"{text}. This does not differ from leaving out as many at random {against}."


def together_words(results: Sequence[RetrainResult]) -> str:
    """The sentence on several frequencies together; empty for fewer than two."""
    known = [result.comparisons[0].accuracy for result in results if result.comparisons]
    known = [gain for gain in known if math.isfinite(gain.low)]
    if len(known) < 2:  # noqa: PLR2004 - one has nothing to add
        return ""
    both = combined(known)
    return (
        f"All {len(known)} together: {points(both.mean)} points of accuracy without the lists, 95 % interval "
        f"{points(both.low)} to {points(both.high)}."
    )


def note_words(result: RetrainResult) -> str:
    """The legend of the numbers."""
    by_items = any(comparison.accuracy.item_error > 0 for comparison in result.comparisons)
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
    return [_difference(comparison) for comparison in result.comparisons]


_SHORT = {WITHOUT: "list", RANDOM: "random", TRUTH: "truly bad", ADDED: "pairs added", CAPPED: "capped loss"}


def _difference(each: Comparison) -> list[str]:
    name = f"{_SHORT[each.arm]} - {_SHORT.get(each.less, each.less)}"
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
        rows.append([mark + gain.name, f"{gain.left_out:,}", mean, *_recipe_cells(gain.recipe)])
    return rows


def _recipe_cells(recipe: Recipe) -> list[str]:
    return ["all" if recipe.stop == END else str(recipe.stop), _decay(recipe)]


def _decay(recipe: Recipe) -> str:
    return "usual" if recipe.weight_decay is None else f"{recipe.weight_decay:g}"


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
    interval = f", 95 % interval {points(gain.low)} to {points(gain.high)}" if math.isfinite(gain.low) else ""
    return f"{text}: {points(gain.mean)} points over tuning alone{interval}."


def _recipe_words(recipe: Recipe) -> str:
    stop = "train to the end" if recipe.stop == END else f"stop after {count(recipe.stop, 'epoch')}"
    decay = "" if recipe.weight_decay is None else f" with weight decay {recipe.weight_decay:g}"
    return (f"use the {recipe.loss} loss and " if recipe.loss else "") + stop + decay


def choice_note(result: RetrainResult) -> str:
    """The sentence on how the choice was made, or why there was none."""
    if result.choice is not None:
        return (
            "Points: gain in pair accuracy over leaving nothing out, with one standard error. Each half of the scoring "
            "items makes a list, and the other half judges it: such a rule is chosen where its gain exceeds its error. "
            "A rule without scores is judged by all of them, and by the training pairs that its rankers did not train "
            "on: it is chosen where its gain exceeds half its error."
        )
    return (
        f"No list was chosen, because {result.why_no_choice}. Your rule's list from the scoring pairs was judged."
        if result.why_no_choice
        else ""
    )
