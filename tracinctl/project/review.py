"""From a project's scores and items to a review of its suspects. Prints nothing."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracinctl.errors import ReviewError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.settings import ReviewSettings, SourceSettings
from tracinctl.project.sources import load_data, make_model
from tracinctl.project.staleness import recordings_of
from tracinctl.project.target import Target
from tracinctl.review.suspects import ItemView, Review, Suspect
from tracinctl.scores.caption import caption
from tracinctl.text import number
from tracinctl.user_code import call_function, has_function

if TYPE_CHECKING:
    import numpy.typing as npt

    from tracinctl.data.pairs import RankingData
    from tracinctl.scores.effects import PairEffects
    from tracinctl.scores.source import ScoreSource

_MOST_COMPARISONS = 40
_MOST_FEATURES = 4096


def open_review(
    target: Target,
    origin: SourceSettings,
    settings: ReviewSettings,
    progress: ProgressCallback = no_progress,
    *,
    checkpoint_prefix: str = "model_epoch_",
) -> Review:
    """Gather all that a person needs to review the training pairs of a target.

    Raises:
        TracinctlError: scores, items or checkpoints are missing, or the scores are of other pairs than the project's.
    """
    from tracinctl.data.bradley_terry import contradiction
    from tracinctl.scores.effects import pair_effects
    from tracinctl.scores.files.open import open_scores

    source = open_scores(target.score_file)
    data = load_data(target, origin, progress)
    evidence = _Evidence(
        target=target,
        data=data,
        source=source,
        row=_rows_of(source, data, target),
        effects=pair_effects(source, progress=progress),
        chance=contradiction(data.train_pairs, len(data.train), _features(data.train.inputs)),
        scores=_item_scores(target, origin, data, checkpoint_prefix, progress),
        settings=settings,
    )
    suspects = evidence.suspects()
    if not suspects:
        raise ReviewError(f"{target.label}: no training pair is suspect", hint="Try --order error.")
    describe = _describer(target, origin)
    classes = evidence.class_names()

    def item(name: str) -> ItemView:
        return describe(name, classes.get(name, ""))

    return Review(
        title=f"{target.label}: {len(suspects):,} suspects, {evidence.made_from()}",
        order=settings.order,
        suspects=suspects,
        card=evidence.card,
        item=functools.lru_cache(maxsize=None)(item),
        decisions=target.review_file,
        who=settings.who,
        classes=sorted(set(classes.values()), key=lambda name: (len(name), name)),
    )


def _rows_of(source: ScoreSource, data: RankingData, target: Target) -> Mapping[str, tuple[int, int]]:
    """Pair id -> its row in the scores and in the data.

    Raises:
        ReviewError: the scores are of other pairs than those of the data.
    """
    there = {name: k for k, name in enumerate(data.train_pairs.row_ids(data.train.ids))}
    both = {name: (k, there[name]) for k, name in enumerate(source.train_ids) if name in there}
    if len(both) < len(source.train_ids):
        missing = len(source.train_ids) - len(both)
        raise ReviewError(
            f"{target.label}: {missing:,} of {len(source.train_ids):,} scored pairs are not among the training pairs",
            hint=f"Compute the scores again: tracinctl compute {target.command_flags}",
        )
    return both


def _features(inputs: Any) -> npt.NDArray[np.float64] | None:
    """Numbers by which items can be compared: their inputs, averaged over the last axes; None where shapes differ."""
    try:
        rows = [np.asarray(inputs[k], dtype=np.float64) for k in range(len(inputs))]
    except (TypeError, ValueError, KeyError, RuntimeError):
        return None
    # spectrograms differ in their number of frames, which an average over time leaves out
    rows = [row.mean(axis=-1) if row.ndim > 1 else row for row in rows]
    flat = [row.ravel() for row in rows]
    same = len({row.shape for row in flat}) == 1
    return np.stack(flat) if same and flat and 0 < flat[0].size <= _MOST_FEATURES else None


def _item_scores(
    target: Target, origin: SourceSettings, data: RankingData, prefix: str, progress: ProgressCallback
) -> tuple[Sequence[str], npt.NDArray[np.float64]]:
    """Names of the checkpoints and the scores of the training items at each; none where the checkpoints are gone."""
    from tracinctl.engine.checkpoints.listing import list_checkpoints
    from tracinctl.engine.item_scores import item_scores
    from tracinctl.errors import CheckpointError

    try:
        paths = list_checkpoints(target.checkpoints, prefix)
    except CheckpointError:
        return [], np.zeros((0, len(data.train)))
    scores = item_scores(data.train, make_model(origin, paths[0]), paths, score=data.score, progress=progress)
    return [path.name for path in paths], scores


def _describer(target: Target, origin: SourceSettings) -> Callable[[str, str], ItemView]:
    """How items are shown: recordings by their sound, others by ``describe(item)`` in the module of the source."""
    if origin.source is None:
        sounds = recordings_of(target)
        return lambda name, label: ItemView(name, label, sound=sounds.get(name))
    name_of = f"{origin.source.partition(':')[0]}:describe"
    if not has_function(name_of, "source"):
        return ItemView

    def describe(name: str, label: str) -> ItemView:
        given = call_function(name_of, "describe", name)
        if isinstance(given, Path):
            pictured = given.suffix.lower() in {".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"}
            return ItemView(name, label, picture=given if pictured else None, sound=None if pictured else given)
        if not isinstance(given, str):
            raise UsageError(
                f"describe({name!r}) gave a {type(given).__name__}",
                hint="Give a text, or the Path of a picture or sound.",
            )
        return ItemView(name, label, text=given)

    return describe


@dataclass(frozen=True)
class _Evidence:
    """All that is known of the training pairs."""

    target: Target
    data: RankingData
    source: ScoreSource
    row: Mapping[str, tuple[int, int]]
    effects: PairEffects
    chance: npt.NDArray[np.float64]
    scores: tuple[Sequence[str], npt.NDArray[np.float64]]
    settings: ReviewSettings

    def suspects(self) -> list[Suspect]:
        """Pairs that hurt in total, or that other comparisons contradict, the most suspect first."""
        by_harm = self.settings.order == "harm"
        annotators = self.data.train_pairs.groups.get("annotator")
        found = []
        for name, (row, place) in self.row.items():
            suspicion = -float(self.effects.total[row]) if by_harm else float(self.chance[place])
            if suspicion > (0.0 if by_harm else 0.5):
                winner, loser = self._sides(place)
                label = f"{self._class_of(winner)} above {self._class_of(loser)}" if self._labelled else ""
                who = "" if annotators is None else str(annotators[place])
                found.append(Suspect(name, (winner, loser), label, suspicion, float(self.chance[place]), who))
        return sorted(found, key=lambda suspect: (-suspect.suspicion, suspect.id))

    def made_from(self) -> str:
        """What the scores are of, in a few words."""
        return caption(self.source.provenance) or "scores of unknown origin"

    @property
    def _labelled(self) -> bool:
        return self.data.train.labels is not None

    @functools.cached_property
    def _place(self) -> Mapping[str, int]:
        return {name: k for k, name in enumerate(self.data.train.ids)}

    def _class_of(self, item: str) -> str:
        return self.class_names().get(item, "")

    def class_names(self) -> Mapping[str, str]:
        """Item id -> name of its class; empty where items have none."""
        return self._class_names

    @functools.cached_property
    def _class_names(self) -> Mapping[str, str]:
        labels = self.data.train.labels
        return {} if labels is None else {name: _plain(v) for name, v in zip(self.data.train.ids, labels, strict=True)}

    def _sides(self, place: int) -> tuple[str, str]:
        """Ids of the item that ranks above and of the one below."""
        pairs, ids = self.data.train_pairs, self.data.train.ids
        i, j = ids[pairs.first[place]], ids[pairs.second[place]]
        return (i, j) if pairs.target[place] >= 0 else (j, i)

    def card(self, name: str) -> dict[str, Any]:
        """What the card of a suspect says."""
        row, place = self.row[name]
        winner, loser = self._sides(place)
        effects, tests = self.effects, self.source.test_ids
        own = self.source.self_influence
        reasons: list[tuple[str, Any]] = [
            ("total influence on held-out pairs", float(effects.total[row])),
            ("held-out pairs that it hurts", f"{effects.votes[row]:,} of {effects.active:,}"),
            ("chance that a further comparison says the opposite", f"{self.chance[place]:.0%}"),
        ]
        if own is not None:
            reasons.append(("self-influence", float(own[row])))
        return {
            "claim": f"{winner} ranks above {loser}"
            if self.data.train_pairs.target[place]
            else f"{winner} ties {loser}",
            "reasons": reasons,
            "losses": self._losses(place),
            "hurts": [
                (tests[column], float(score))
                for column, score in zip(effects.hurt[row], effects.hurt_by[row], strict=True)
                if score < 0
            ],
            "comparisons": {item: self._comparisons(item, place) for item in (winner, loser)},
            "strips": {item: strip for item in (winner, loser) if (strip := self._strip(item)) is not None},
        }

    def _losses(self, place: int) -> list[tuple[str, float]]:
        """Checkpoint and loss of a pair, for the losses that have a name."""
        import torch

        from tracinctl.engine.losses import NAMED_LOSSES, pair_loss_values

        names, scores = self.scores
        loss, margin = self.source.provenance.get("loss"), self.source.provenance.get("margin", 1.0)
        if not names or loss not in NAMED_LOSSES:
            return []
        pairs = self.data.train_pairs
        s_i, s_j = (torch.from_numpy(scores[:, side[place]].copy()) for side in (pairs.first, pairs.second))
        target = torch.full((len(names),), float(pairs.target[place]), dtype=torch.float64)
        values = pair_loss_values(str(loss), s_i, s_j, target, float(margin))
        return list(zip(names, values.tolist(), strict=True))

    @functools.cached_property
    def _rows_by_item(self) -> Mapping[int, list[int]]:
        rows: dict[int, list[int]] = defaultdict(list)
        pairs = self.data.train_pairs
        for place, (i, j) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
            rows[i].append(place)
            rows[j].append(place)
        return rows

    def _comparisons(self, item: str, but: int) -> list[tuple[str, str]]:
        """Id and outcome of an item's other comparisons."""
        ids = self.data.train_pairs.row_ids(self.data.train.ids)
        said: list[tuple[str, str]] = []
        for place in self._rows_by_item[self._place[item]]:
            if place != but and len(said) < _MOST_COMPARISONS:
                winner, loser = self._sides(place)
                said.append((ids[place], f"ranks above {loser}" if winner == item else f"ranks below {winner}"))
        return said

    def _strip(self, item: str) -> dict[str, Any] | None:
        """The item's score at the last checkpoint beside those of the other items of its class."""
        names, scores = self.scores
        if not names:
            return None
        classes = self.class_names()
        mine = self._place[item]
        others = [
            float(scores[-1, k])
            for k, name in enumerate(self.data.train.ids)
            if k != mine and classes.get(name) == classes.get(item)
        ]
        return {"score": float(scores[-1, mine]), "others": others}


def _plain(value: Any) -> str:
    """A class as people write it: 36 and not 36.0."""
    return number(float(value)) if isinstance(value, (int, float, np.integer, np.floating)) else str(value)
