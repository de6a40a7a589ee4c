"""The built-in ranker as a trainer.

It trains as ``tracinctl train`` does, but many rankers as one stack. Training uses held-out pairs only to halve the
learning rate when their loss stops falling; here these are the scoring pairs only, and judging items are only scored.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Final

import torch
from torch import nn

from tracinctl.data.leave_out import leave_out
from tracinctl.data.pairs import Pairs, RankingData
from tracinctl.errors import TrainingError
from tracinctl.retraining.judging import Division
from tracinctl.retraining.stack import Member, train_stack
from tracinctl.retraining.stacked_model import pays
from tracinctl.retraining.trainer import END, Epochs, Trained, Training
from tracinctl.training.loss import joined
from tracinctl.training.models import build_ranker
from tracinctl.training.options import TrainSettings
from tracinctl.training.ranker import add_data

_VERSION = 3  # version of the meaning of kept results
_TOGETHER: Final = 16
_STOPS: Final = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800)


def stops_until(epochs: int) -> tuple[int, ...]:
    """The epochs after which a training is judged, including the last one."""
    return (*(stop for stop in _STOPS if stop < epochs), epochs)


@dataclass(frozen=True)
class DividedData:
    """The items and pairs of a trainer, including all held-out ones, and the held-out items that score and judge."""

    data: RankingData
    division: Division

    @functools.cached_property
    def data_digest(self) -> str:
        """SHA-256 of the items, the pairs and the division."""
        digest = hashlib.sha256(json.dumps(self.division.to_json(), sort_keys=True).encode())
        add_data(digest, self.data)
        return digest.hexdigest()


@dataclass(frozen=True)
class RankerTrainer(DividedData):
    """Trains the built-in ranker; each training has its own seed instead of the one of the settings."""

    settings: TrainSettings
    device: str = "cpu"
    needs_process: ClassVar = False

    @property
    def together(self) -> int:
        """The best number of rankers per call."""
        return _TOGETHER if pays(self._build(), torch.device(self.device)) else 1

    def key(self, training: Training) -> str:
        """A digest of everything that the result depends on, in 16 characters."""
        changes = {"seed": training.seed, "weight_decay": self._decay(training), "epochs": self._epochs(training)}
        settings = asdict(self.settings) | changes | {"checkpoint_interval": 1}
        parts = [_VERSION, torch.__version__, settings, training.loss, training.added, training.all_items]
        parts += [self.data_digest, sorted(training.exclusions)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, trainings: Sequence[Training], report: Epochs) -> list[Trained]:
        """Train, and score the held-out items after each stop.

        Raises:
            TrainingError: no pair is left to train on, or a training diverges.
        """
        together: dict[int, list[Training]] = {}
        for training in trainings:
            together.setdefault(self._epochs(training), []).append(training)
        done = {epochs: iter(self._train(group, report)) for epochs, group in together.items()}
        return [next(done[self._epochs(training)]) for training in trainings]

    def _epochs(self, training: Training) -> int:
        return self.settings.epochs if training.stop == END else min(training.stop, self.settings.epochs)

    def _decay(self, training: Training) -> float:
        return self.settings.weight_decay if training.weight_decay is None else training.weight_decay

    def _train(self, trainings: Sequence[Training], report: Epochs) -> list[Trained]:
        """Train rankers with the same number of epochs."""
        settings, stops = self.settings, stops_until(self._epochs(trainings[0]))
        train, held_out = self.data.train, self.data.test
        # the scoring pairs, if they are added to the training, are of held-out items
        inputs = [*train.inputs, *held_out.inputs] if any(training.added for training in trainings) else train.inputs
        members = [self._member(training) for training in trainings]
        report(0, stops[-1])
        all_items = any(training.all_items for training in trainings)
        scored = [*held_out.inputs, *train.inputs] if all_items else held_out.inputs
        scores = train_stack(
            self._build, inputs, scored, members, settings, stops, device=self.device, report=report
        ).double()
        trained = []
        for training, by_stop, member in zip(trainings, scores, members, strict=True):
            ids = [*held_out.ids, *(train.ids if training.all_items else ())]
            by_item = map(tuple, by_stop.T.tolist())
            trained.append(Trained(dict(zip(ids, by_item, strict=False)), stops, train_pairs=len(member.pairs)))
        return trained

    def _build(self) -> nn.Module:
        return build_ranker(self.settings.architecture, self.settings.normalise)

    def _member(self, training: Training) -> Member:
        pairs = leave_out(self.data, training.exclusions).pairs
        if not len(pairs):
            raise TrainingError(
                f"none of the {len(self.data.train_pairs):,} training pairs is left {training.arm}",
                hint="Make a shorter list: tracinctl exclude with a lower threshold, more votes or a cap.",
            )
        if training.added:
            pairs = joined(pairs, self._scoring_pairs, len(self.data.train), self.settings)
        return Member(pairs, self._scoring_pairs, training.seed, self._decay(training), training.loss)

    @functools.cached_property
    def _scoring_pairs(self) -> Pairs:
        return self.data.test_pairs.take(self.division.rows(self.data, "scoring"))
