"""The evidence against training pairs, items and groups of pairs: which are suspect, and why."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, IntArray, RankingData
from tracinctl.engine.losses import NAMED_LOSSES, pair_loss_values
from tracinctl.project.reviewed import class_names
from tracinctl.review.suspects import Card, Figures, Strip, Suspect
from tracinctl.scores.effects import PairEffects
from tracinctl.scores.groups import GroupInfluence, group_influence, members_of
from tracinctl.scores.source import ScoreSource
from tracinctl.text import count, number

_MOST_COMPARISONS = 40
_CONTRADICTED = 0.5


@dataclass
class Evidence:
    """The evidence on the training pairs from scores, other comparisons and rankers.

    Attributes:
        data: items and pairs.
        source: the scores.
        place: for each scored pair, its row in the training pairs.
        effects: the effect of each scored pair on the held-out pairs.
        chance: for each training pair, the probability that a further comparison says the opposite.
        checkpoints: names of the checkpoints.
        item_scores: scores of the training items at these, shape (checkpoints, items).
        doubts: for each training pair, the share of rankers not trained on it that rank it the other way; NaN if
            unknown.
        changes: descriptions of changes after the scores were made.
    """

    data: RankingData
    source: ScoreSource
    place: IntArray
    effects: PairEffects
    chance: FloatArray
    checkpoints: Sequence[str]
    item_scores: FloatArray
    doubts: FloatArray
    changes: Sequence[str] = ()
    by: str = "pair"
    _groups: dict[str, tuple[GroupInfluence, IntArray]] = field(default_factory=dict)

    def suspects(self, by: str = "pair", order: str = "harm") -> list[Suspect]:
        """The suspects, the most suspect first.

        Args:
            by: ``pair``: pairs that hurt in total or that other comparisons contradict; ``item``: all items; a column
                of the pairs: all its values.
            order: ``harm``: items with the largest item-level influence first, others with the lowest total
                influence; ``error``: those that other comparisons contradict most.

        Raises:
            TracinctlError: the pairs have no such column.
        """
        self.by = by
        suspects = self._suspect_pairs(order) if by == "pair" else self._suspect_groups(order)
        return sorted(suspects, key=lambda suspect: (-suspect.suspicion, suspect.id))

    def _suspect_pairs(self, order: str) -> list[Suspect]:
        annotators = self.data.train_pairs.groups.get("annotator")
        suspicion, least = (-self.effects.total, 0.0) if order == "harm" else (self.chance[self.place], _CONTRADICTED)
        suspects = []
        for row in np.flatnonzero(suspicion > least).tolist():
            place = self.place[row]
            sides = self._sides(place)
            who = "" if annotators is None else str(annotators[place])
            suspects.append(
                Suspect(self.source.train_ids[row], sides, self._classes(sides), float(suspicion[row]), who)
            )
        return suspects

    def _suspect_groups(self, order: str) -> list[Suspect]:
        members, by_item = members_of(self.source, self.by), self.by == "item"
        suspects = []
        for influence in group_influence(self.effects.total, members):
            rows = np.array(members.rows_of([influence.name]), dtype=np.int64)
            name = influence.name if by_item else f"{self.by}:{influence.name}"
            suspicion = -influence.total
            if order != "harm":
                suspicion = float(self.chance[self.place[rows]].mean())
            elif by_item:
                suspicion = self._item_influence.get(name, suspicion)
            self._groups[name] = influence, rows
            items = (name,) if by_item else ()
            suspects.append(Suspect(name, items, self._classes(items), suspicion))
        return suspects

    @functools.cached_property
    def _item_influence(self) -> Mapping[str, float]:
        influence = self.source.sample_influence
        return {} if influence is None else dict(zip(self.source.sample_ids, map(float, influence), strict=True))

    @functools.cached_property
    def _item_place(self) -> Mapping[str, int]:
        return {name: k for k, name in enumerate(self.data.train.ids)}

    @functools.cached_property
    def _row(self) -> Mapping[str, int]:
        return {name: row for row, name in enumerate(self.source.train_ids)}

    @functools.cached_property
    def _pair_ids(self) -> Sequence[str]:
        return self.data.train_pairs.row_ids(self.data.train.ids)

    @functools.cached_property
    def _class_of_item(self) -> Mapping[str, str]:
        labels = self.data.train.labels
        if labels is None:
            return {}
        names = class_names(self.data)
        return {name: names[float(label)] for name, label in zip(self.data.train.ids, labels, strict=True)}

    def class_of(self, item: str) -> str:
        """The name of an item's class; empty if items have no classes."""
        return self._class_of_item.get(item, "")

    def _classes(self, items: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in dict.fromkeys(map(self.class_of, items)) if name)

    def _sides(self, place: int) -> tuple[str, str]:
        """Ids of the higher and the lower item of a pair."""
        pairs, ids = self.data.train_pairs, self.data.train.ids
        i, j = ids[pairs.first[place]], ids[pairs.second[place]]
        return (i, j) if pairs.target[place] >= 0 else (j, i)

    def _claim(self, place: int) -> str:
        winner, loser = self._sides(place)
        return f"{winner} {'ranks above' if self.data.train_pairs.target[place] else 'ties'} {loser}"

    def card(self, name: str) -> Card:
        """The card of a suspect."""
        return self._pair_card(name) if self.by == "pair" else self._group_card(name)

    def _pair_card(self, name: str) -> Card:
        row = self._row[name]
        place, effects = int(self.place[row]), self.effects
        items = self._sides(place)
        reasons: list[tuple[str, float | str]] = [
            ("total influence on held-out pairs", float(effects.total[row])),
            ("held-out pairs that it hurts", f"{effects.votes[row]:,} of {effects.active:,}"),
            ("probability that a further comparison says the opposite", f"{self.chance[place]:.0%}"),
        ]
        if not np.isnan(self.doubts[place]):
            reasons.append(("rankers trained without it that rank it the other way", f"{self.doubts[place]:.0%}"))
        if self.source.self_influence is not None:
            reasons.append(("self-influence", float(self.source.self_influence[row])))
        return Card(
            claim=self._claim(place),
            reasons=reasons,
            losses=self._losses(np.array([place])),
            hurts=[
                (self.source.test_ids[column], float(score))
                for column, score in zip(effects.hurt[row], effects.hurt_by[row], strict=True)
                if score < 0
            ],
            comparisons={item: self._comparisons(item, place) for item in items},
            strips=self._strips(items),
        )

    def _group_card(self, name: str) -> Card:
        influence, rows = self._groups[name]
        places = self.place[rows]
        chance, doubts = self.chance[places], self.doubts[places]
        items = (name,) if self.by == "item" else ()
        reasons: list[tuple[str, float | str]] = []
        if name in self._item_influence:
            reasons.append(("item-level influence", self._item_influence[name]))
        reasons += [
            ("total influence on held-out pairs", influence.total),
            ("influence per comparison, with its 95 % interval", _interval(influence)),
            ("comparisons that hurt in total", f"{influence.harmful:,} of {influence.pairs:,}"),
            ("comparisons that others contradict", f"{(chance > _CONTRADICTED).sum():,} of {influence.pairs:,}"),
        ]
        if not np.isnan(doubts).all():
            share = float(np.nanmean(doubts))
            reasons.append(
                ("rankers trained without a comparison that rank it the other way", f"{share:.0%} on average")
            )
        worst = sorted(rows.tolist(), key=lambda row: (float(self.effects.total[row]), row))
        return Card(
            claim=f"{name}, {count(influence.pairs, 'comparison')}",
            reasons=reasons,
            losses=self._losses(places),
            pairs=[(self.source.train_ids[row], self._pair_line(row)) for row in worst[:_MOST_COMPARISONS]],
            more_pairs=max(0, len(worst) - _MOST_COMPARISONS),
            strips=self._strips(items),
        )

    def _pair_line(self, row: int) -> str:
        place = int(self.place[row])
        total, chance = number(float(self.effects.total[row])), f"{self.chance[place]:.0%}"
        return f"{self._claim(place)}: total influence {total}, contradicted with probability {chance}"

    def _losses(self, places: IntArray) -> Figures:
        """The mean loss of some pairs at each checkpoint, for the named losses."""
        provenance = self.source.provenance
        loss = provenance.get("loss")
        if not self.checkpoints or loss not in NAMED_LOSSES:
            return []
        pairs = self.data.train_pairs
        target = torch.from_numpy(pairs.target[places].astype(np.float64))
        margins = np.full(len(pairs), float(provenance.get("margin", 1.0))) if pairs.margin is None else pairs.margin
        # a pair's own margin shifts the difference of the scores
        shift = 0 if loss == "logistic" else torch.from_numpy(margins[places]) * target
        means = []
        for scores in self.item_scores:
            s_i, s_j = (torch.from_numpy(scores[side[places]]) for side in (pairs.first, pairs.second))
            means.append(float(pair_loss_values(str(loss), s_i - shift, s_j, target, 0.0).mean()))
        return list(zip(self.checkpoints, means, strict=True))

    @functools.cached_property
    def _places_by_item(self) -> Mapping[int, list[int]]:
        places: dict[int, list[int]] = defaultdict(list)
        pairs = self.data.train_pairs
        for place, (i, j) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
            places[i].append(place)
            places[j].append(place)
        return places

    def _comparisons(self, item: str, but: int) -> list[tuple[str, str]]:
        """Id and outcome of an item's other comparisons."""
        comparisons: list[tuple[str, str]] = []
        for place in self._places_by_item[self._item_place[item]]:
            if place != but and len(comparisons) < _MOST_COMPARISONS:
                winner, loser = self._sides(place)
                rival, outcome = (loser, "ranks above") if winner == item else (winner, "ranks below")
                outcome = outcome if self.data.train_pairs.target[place] else "ties"
                of_class = f", class {self.class_of(rival)}" if self.class_of(rival) else ""
                comparisons.append((self._pair_ids[place], f"{outcome} {rival}{of_class}"))
        return comparisons

    def _strips(self, items: Sequence[str]) -> Mapping[str, Strip]:
        """The items' scores at the last checkpoint, with those of the other items of their class."""
        if not self.checkpoints:
            return {}
        last = self.item_scores[-1]
        low, high = float(last.min()), float(last.max())
        return {item: Strip(float(last[self._item_place[item]]), self._peers(item, last), low, high) for item in items}

    def _peers(self, item: str, scores: FloatArray) -> list[float]:
        item_class = self.class_of(item)
        return [
            float(score)
            for name, score in zip(self.data.train.ids, scores, strict=True)
            if name != item and self.class_of(name) == item_class
        ]


def _interval(influence: GroupInfluence) -> str:
    mean, low, high = map(number, (influence.mean, influence.low, influence.high))
    return f"{mean} ({low} to {high})" if np.isfinite(influence.low) else mean
