"""Train with the list of each threshold, choose the best by some held-out items, and judge the choice by others.

The best of several is the luckiest too: on the items that chose it, it looks better than it is. So the judging items
are divided once more, by class, half and half: one half chooses the threshold, the other alone judges the choice
against training on everything, as ``retraining`` does. Nothing is chosen where no list is better than everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.data.pairs import Pairs, RankingData
from tracinctl.errors import TrainingError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.retraining.judging import (
    Difference,
    Division,
    FloatArray,
    Judgement,
    difference_of,
    divide,
    judge,
    pair_correct,
    pairs_within,
)
from tracinctl.retraining.options import RetrainSettings
from tracinctl.retraining.runs import run_trainings
from tracinctl.retraining.trainer import END, Trained, Trainer, Training
from tracinctl.retraining.trial import EVERYTHING


@dataclass(frozen=True)
class ThresholdResult:
    """One threshold.

    Attributes:
        threshold: as given.
        left_out: ids that its list names.
        accuracy: on the choosing pairs, of each repeat.
        difference: of that to training on everything.
    """

    threshold: str
    left_out: int
    accuracy: FloatArray
    difference: Difference


@dataclass(frozen=True)
class SweepJudgement:
    """What training with the list of each threshold showed.

    Attributes:
        division: who scored and who judged.
        choosing, confirming: the judging items that chose the threshold, and those that judge the choice.
        choosing_pairs, confirming_pairs: how many pairs there are of either.
        everything: accuracy on the choosing pairs of training on everything, of each repeat.
        rows: one a threshold.
        chosen: the row that was chosen; None where no list was better than everything.
        confirmed: its difference to everything on the confirming pairs; None without a choice.
        judgement: the verdict on the choice.
    """

    division: Division
    choosing: Sequence[str]
    confirming: Sequence[str]
    choosing_pairs: int
    confirming_pairs: int
    everything: FloatArray
    rows: Sequence[ThresholdResult]
    chosen: ThresholdResult | None
    confirmed: Difference | None
    judgement: Judgement

    def to_json(self) -> dict[str, Any]:
        """The result in plain values."""
        return {
            "verdict": self.judgement.verdict,
            "why": self.judgement.why,
            "chosen": None if self.chosen is None else self.chosen.threshold,
            "confirmed": None if self.confirmed is None else self.confirmed.to_json(),
            "everything": self.everything.tolist(),
            "thresholds": [
                {
                    "threshold": row.threshold,
                    "left_out": row.left_out,
                    "accuracy": row.accuracy.tolist(),
                    "difference": row.difference.to_json(),
                }
                for row in self.rows
            ],
            "division": {
                **self.division.to_json(),
                "choosing": list(self.choosing),
                "confirming": list(self.confirming),
            },
        }


def judge_sweep(
    trainer: Trainer,
    data: RankingData,
    division: Division,
    lists: Mapping[str, Sequence[str]],
    settings: RetrainSettings,
    folder: Path,
    *,
    progress: ProgressCallback = no_progress,
) -> SweepJudgement:
    """Train everything and each list, choose, and judge the choice.

    ``lists`` holds, by threshold, what each would leave out, chosen by scoring pairs alone. Trainings are those of
    ``retraining.retrain``, and kept with them.

    Raises:
        TrainingError: a training command gives no score a judging item.
        TracinctlError: a training fails.
    """
    choosing, confirming = _divide_judges(data, division)
    to_choose, to_confirm = (data.test_pairs.take(pairs_within(data, part)) for part in (choosing, confirming))
    arms: dict[str, tuple[str, ...]] = {EVERYTHING: ()}
    arms |= {f"threshold {name}": tuple(ids) for name, ids in lists.items() if ids}
    plan = [Training(arm, k + 1, seed, left) for k, seed in enumerate(settings.seeds) for arm, left in arms.items()]
    done = run_trainings(trainer, plan, folder, at_once=settings.parallel, progress=progress)
    if not all(each.scores for each in done):
        raise TrainingError(
            "[train] command gives accuracies, but a sweep has two groups of items to judge by",
            hint='Let it write {"scores": {item id: score}} for every judging item.',
        )
    by_arm = {arm: done[at :: len(arms)] for at, arm in enumerate(arms)}

    def right(arm: str, pairs: Pairs) -> FloatArray:
        return pair_correct(_scores(by_arm[arm], data), pairs)

    base = right(EVERYTHING, to_choose)
    rows = []
    for name, ids in lists.items():
        values = right(f"threshold {name}", to_choose) if ids else base
        rows.append(ThresholdResult(name, len(ids), _means(values), difference_of(values - base, to_choose)))
    better = [row for row in rows if row.left_out and row.difference.mean > 0]
    chosen = max(better, key=lambda row: (row.difference.mean, -row.left_out)) if better else None
    confirmed = None
    if chosen is None:
        judgement = Judgement(
            "no difference seen", "on the items that choose, no list is better than training on everything."
        )
    else:
        before = right(EVERYTHING, to_confirm)
        confirmed = difference_of(right(f"threshold {chosen.threshold}", to_confirm) - before, to_confirm)
        judgement = judge(
            confirmed,
            errors=1 - float(before.mean()) if len(to_confirm) else 0.0,
            items=len(np.unique([to_confirm.first, to_confirm.second])),
            repeats=settings.repeats,
        )
    return SweepJudgement(
        division,
        choosing,
        confirming,
        len(to_choose),
        len(to_confirm),
        _means(base),
        rows,
        chosen,
        confirmed,
        judgement,
    )


def _divide_judges(data: RankingData, division: Division) -> tuple[list[str], list[str]]:
    place = {name: k for k, name in enumerate(data.test.ids)}
    labels = data.test.labels
    own = None if labels is None else np.asarray(labels)[[place[name] for name in division.judging]]
    return divide(division.judging, own, division.seed + 1)


def _means(values: FloatArray) -> FloatArray:
    return np.asarray(values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan), dtype=np.float64)


def _scores(trained: Sequence[Trained], data: RankingData) -> FloatArray:
    return np.array([each.scores_at(END, data.test.ids) for each in trained], dtype=np.float64)
