"""Choose groups of training pairs to leave out, such as an annotator, a session or an item."""

from __future__ import annotations

from dataclasses import replace

from tracinctl.scores.exclusion import Exclusions, choose_by_rule
from tracinctl.scores.groups import GroupScores, names_for_list
from tracinctl.scores.options import Rule
from tracinctl.scores.source import ScoreSource


def choose_groups(source: ScoreSource, grouped: GroupScores, rule: Rule) -> Exclusions:
    """Choose groups by the rule for pairs, applied to the mean scores of each group.

    Args:
        source: the scores of the training pairs.
        grouped: the scores of the groups.
        rule: the rule; ``max_exclusions`` caps groups.

    Returns:
        ``harmful`` and ``listed`` have groups, ``ids`` all training pairs of the listed groups.
    """
    chosen = choose_by_rule(grouped, replace(rule, max_exclusions=None, mode="ranking_pair"))
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
