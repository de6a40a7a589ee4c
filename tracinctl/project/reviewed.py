"""Apply the decisions of a review to lists and training data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tracinctl.errors import ReviewError, UsageError
from tracinctl.project.target import Target
from tracinctl.review.decisions import KEEP, LEAVE_OUT, TURN, UNSURE, Verdicts, read_decisions, settle
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.source import ScoreSource
from tracinctl.text import count, first_few

if TYPE_CHECKING:
    from tracinctl.data.pairs import RankingData


def verdicts_of(target: Target) -> Verdicts:
    """People's decisions on a target; a UsageError if there are none."""
    decisions = read_decisions(target.review_file)
    if not decisions:
        raise UsageError(
            f"{target.label}: no decisions in {target.review_file}",
            hint=f"Make them with: tracinctl review {target.command_flags}",
        )
    return settle(decisions)


def reviewed_exclusions(
    exclusions: Exclusions, source: ScoreSource, verdicts: Verdicts | None
) -> tuple[Exclusions, str]:
    """Apply decisions to a list; a pair's decision includes its mirror image, a group's decision its pairs.

    Returns:
        The list without kept and turned pairs, and with every pair and item that people left out; and their decisions
        on one line, which is empty without decisions.
    """
    if verdicts is None:
        return exclusions, ""
    note = note_of(verdicts)
    verdicts = of_pairs(verdicts, source.train_ids, source.groups)
    mirror = _mirror_ids(source)
    cleared = _with_mirrors([*verdicts.ids(KEEP), *verdicts.ids(TURN)], mirror)
    left_out = _with_mirrors(verdicts.ids(LEAVE_OUT), mirror)
    scored = {*source.train_ids, *source.sample_ids, *(item for pair in source.train_items for item in pair)}
    decided = [name for decision in (LEAVE_OUT, KEEP, TURN) for name in verdicts.ids(decision)]
    unknown = [
        name
        for name in decided
        if name.removesuffix("#1") not in scored and name.partition(":")[0] not in source.groups
    ]
    if unknown:
        note += f"; {count(len(unknown), 'decision')} on no training pair or item: {first_few(unknown)}"
    # the first of several comparisons of two items may be listed as a_b#1
    chosen = [name for name in exclusions.ids if name not in cleared and name.removesuffix("#1") not in cleared]
    added = [name for name in left_out if name in scored and name not in set(chosen)]
    reviewed = replace(
        exclusions,
        ids=[*chosen, *added],
        listed=[pair for pair in exclusions.listed if pair.id not in cleared],
        mirrored=[name for name in exclusions.mirrored if name not in cleared],
    )
    return reviewed, note


def note_of(verdicts: Verdicts) -> str:
    """People's decisions on one line."""
    parts = [
        f"{len(verdicts.ids(decision)):,} {done}"
        for decision, done in ((LEAVE_OUT, "left out"), (KEEP, "kept"), (TURN, "turned round"))
    ]
    parts += [f"{len(verdicts.relabelled()):,} relabelled"] if verdicts.relabelled() else []
    parts += [f"{len(verdicts.disputed):,} disputed and ignored"] if verdicts.disputed else []
    return f"{count(len(verdicts.agreed) + len(verdicts.disputed), 'decision')} by people: {', '.join(parts)}"


def _mirror_ids(source: ScoreSource) -> Mapping[str, list[str]]:
    """Map each pair id to the ids of the same two items in the opposite order."""
    pairs = list(zip(source.train_ids, source.train_items, strict=False))
    ids: dict[tuple[str, str], list[str]] = {}
    for name, (i, j) in pairs:
        ids.setdefault((i, j), []).append(name)
    return {name: ids.get((j, i), []) for name, (i, j) in pairs if i != j}


def _with_mirrors(names: list[str], mirror: Mapping[str, list[str]]) -> dict[str, None]:
    return dict.fromkeys(same for name in names for same in (name, *mirror.get(name, ())))


def of_pairs(verdicts: Verdicts, ids: Sequence[str], groups: Mapping[str, Iterable[Any]]) -> Verdicts:
    """Turn verdicts on groups, ``<column>:<value>``, into verdicts on their pairs; a pair's own decisions come first.

    A pair in several groups with different decisions gets none of them.
    """
    of_groups = [
        [f"{column}:{value}" for value in values]
        for column, values in groups.items()
        if any(name.startswith(f"{column}:") for name in verdicts.agreed)
    ]
    if not of_groups:
        return verdicts
    agreed = dict(verdicts.agreed)
    for name, *names in zip(ids, *of_groups, strict=True):
        decisions = {verdicts.agreed[group] for group in names if verdicts.agreed.get(group, UNSURE) != UNSURE}
        if len(decisions) == 1 and name not in verdicts.disputed and verdicts.agreed.get(name, UNSURE) == UNSURE:
            agreed[name] = decisions.pop()
    return Verdicts(agreed, verdicts.disputed)


def class_names(data: RankingData) -> dict[float, str]:
    """Map item labels to class names, lowest rank first; labels without names are numbers such as 36, not 36.0."""
    labels = [part.labels for part in (data.train, data.test) if part.labels is not None]
    ranks = sorted({float(label) for part in labels for label in part})
    names = data.classes if len(ranks) == len(data.classes) else [f"{rank:.15g}" for rank in ranks]
    return dict(zip(ranks, names, strict=True))


def reviewed_data(data: RankingData, verdicts: Verdicts) -> tuple[RankingData, list[str]]:
    """Apply decisions to training data: turn pairs round and move relabelled items to their new class.

    The mirror image of a turned pair is turned with it.

    Returns:
        The data, and the ids to leave out: those that people left out, and pairs whose items now have the same class.

    Raises:
        ReviewError: an item was given a class that no item has.
    """
    pairs = data.train_pairs
    ids = pairs.row_ids(data.train.ids)
    verdicts = of_pairs(verdicts, ids, pairs.groups)
    turned = set(verdicts.ids(TURN))
    sides = list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True))
    mirrors = {(j, i, -y) for name, (i, j, y) in zip(ids, sides, strict=True) if name in turned}
    turn = [name in turned or side in mirrors for name, side in zip(ids, sides, strict=True)]
    target = np.where(turn, -pairs.target, pairs.target)
    groups = {f"{column}:{value}" for column, values in pairs.groups.items() for value in values}
    left_out = [name for name in verdicts.ids(LEAVE_OUT) if name not in groups]
    items = set(data.train.ids)
    relabelled = {name: new for name, new in verdicts.relabelled().items() if name in items}
    if relabelled:
        labels = _relabelled(data, relabelled)
        moved = np.array([name in relabelled for name in data.train.ids])
        touched = moved[pairs.first] | moved[pairs.second]
        order = np.sign(labels[pairs.first] - labels[pairs.second]).astype(np.int64)
        left_out += [name for name, equal in zip(ids, touched & (order == 0), strict=True) if equal]
        target = np.where(touched & (order != 0), order, target)
        data = replace(data, train=replace(data.train, labels=labels))
    return replace(data, train_pairs=replace(pairs, target=target)), left_out


def _relabelled(data: RankingData, relabelled: Mapping[str, str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if data.train.labels is None:
        raise ReviewError("decisions give items another class, but items have no classes", hint="Remove them.")
    labels = np.asarray(data.train.labels, dtype=np.float64).copy()
    label_of = {name: label for label, name in class_names(data).items()}
    unknown = sorted(set(relabelled.values()) - label_of.keys())
    if unknown:
        raise ReviewError(
            f"no item has the class {first_few(unknown)}", hint=f"The classes are {first_few([*label_of])}."
        )
    for row, name in enumerate(data.train.ids):
        if name in relabelled:
            labels[row] = label_of[relabelled[name]]
    return labels
