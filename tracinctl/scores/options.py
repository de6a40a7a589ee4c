"""The settings of the rule that makes a pair harmful: each is declared once, with its type, default and help.

``--help`` and completion import this module, so it imports only the standard library.
"""

from dataclasses import dataclass, field
from typing import Any

MODES = {
    "ranking_pair": "leave out the pair, keep both items",
    "full_pair": "leave out both items of each harmful pair",
    "sample": "leave out single items",
}

RULES = {
    "votes": "enough test pairs score below the threshold",
    "total": "the total score on all test pairs is below the threshold, or among the lowest share (10%) of totals",
}


def setting(default: Any, text: str, **more: Any) -> Any:
    """A setting: its default, its help text, and more data for the command line and ``tracinctl.toml``."""
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RequiredVotes:
    """The number of votes that makes a pair harmful."""

    min_occurrences: str = setting(
        "60%",
        "Votes that make a pair harmful: a number (3) or a share of the active test pairs (60%).",
        metavar="VOTES",
        kind="score",
        suggestions={"60%": "of the active test pairs", "3": "votes"},
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Votes(RequiredVotes):
    """The rule, the upper threshold, and the required votes."""

    rule: str = setting(
        "votes",
        "\n\n".join(["When a pair is harmful.", *(f"{name}: {line}." for name, line in RULES.items())]),
        metavar="RULE",
        choices=RULES,
    )

    upper_threshold: float | None = setting(
        None, "Scores above this value are votes too.", metavar="SCORE", usual="none"
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rule(Votes):
    """The rule for what to leave out; see ``scores.exclusion.choose_exclusions``."""

    threshold: str = setting(
        "0",
        "A score (-5) or a share of all scores (1%); scores below it are votes against the pair.",
        metavar="SCORE",
        kind="score",
    )
    max_exclusions: int | None = setting(
        None, "List at most this many, the most harmful first.", usual="no limit", least=1
    )
    mode: str = setting(
        "ranking_pair",
        "\n\n".join(["What to leave out.", *(f"{name}: {line}." for name, line in MODES.items())]),
        name="pair_mode",
        metavar="MODE",
        choices=MODES,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Thresholds:
    """Several thresholds to try."""

    thresholds: str = setting(
        "0,-5,-10,-15",
        "Comma-separated thresholds to try: scores (-5) or shares of all scores (1%).",
        metavar="SCORES",
        kind="list",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Grouping:
    """The column that groups pairs."""

    by: str | None = setting(
        None,
        "Use groups of training pairs instead of single pairs: annotator or another column of the pairs file, item, or "
        "class.",
        metavar="COLUMN",
        one_call=True,
    )
