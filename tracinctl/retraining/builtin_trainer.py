"""The built-in ranker as one arm of a retraining: what it may see, and what the result depends on.

It trains as ``tracinctl train`` does, for the same number of epochs whatever is left out, as a user would. Held-out
pairs have one part in that: the learning rate is halved when their loss stops falling. Here these are the scoring pairs
alone; judging items are not looked at before the last epoch is over.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from tracinctl.data.pairs import RankingData
from tracinctl.progress import Progress
from tracinctl.retraining.judging import Division
from tracinctl.retraining.trainer import Epochs, Trained, Training
from tracinctl.training.options import TrainSettings
from tracinctl.training.ranker import score_items, train_ranker

_VERSION = 1  # of what a kept result means


@dataclass(frozen=True)
class RankerTrainer:
    """Trains the built-in ranker.

    Attributes:
        data: items and pairs, all held-out ones among them.
        division: which held-out items judge.
        settings: how to train; the seed is that of each training.
    """

    data: RankingData
    division: Division
    settings: TrainSettings

    def key(self, training: Training) -> str:
        """What the result depends on, in 16 characters."""
        settings = asdict(replace(self.settings, seed=training.seed, checkpoint_interval=1))
        parts = [_VERSION, torch.__version__, settings, self._data_digest, sorted(training.exclusions)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, training: Training, report: Epochs) -> Trained:
        """Train and score the judging items."""
        data, settings = self._seen, replace(self.settings, seed=training.seed)

        def told(state: Progress) -> None:
            if not state.inner_total:
                report(state.done, state.total)

        report(0, settings.epochs)
        result = train_ranker(data, settings, None, exclusions=training.exclusions, progress=told)
        place = {name: row for row, name in enumerate(self.data.test.ids)}
        rows = [place[name] for name in self.division.judging]
        inputs = self.data.test.inputs
        chosen = inputs[torch.tensor(rows)] if isinstance(inputs, torch.Tensor) else [inputs[row] for row in rows]
        scores = score_items(result.model, chosen).double().tolist()
        return Trained(dict(zip(self.division.judging, scores, strict=True)), train_pairs=len(result.train_pairs))

    @functools.cached_property
    def _seen(self) -> RankingData:
        """The data with the scoring pairs alone held out."""
        data = self.data
        pairs = data.test_pairs.take(self.division.rows(data, "scoring"))
        return RankingData(data.train, data.train_pairs, data.test, pairs, data.score)

    @functools.cached_property
    def _data_digest(self) -> str:
        return data_digest(self.data, self.division)


def data_digest(data: RankingData, division: Division) -> str:
    """SHA-256 of items, pairs and who judges."""
    digest = hashlib.sha256(json.dumps(division.to_json(), sort_keys=True).encode())
    for samples, pairs in ((data.train, data.train_pairs), (data.test, data.test_pairs)):
        digest.update(json.dumps(samples.ids).encode())
        if isinstance(samples.inputs, (torch.Tensor, list)):  # what else a source gives has no bytes of its own
            for x in samples.inputs:
                digest.update(str(tuple(x.shape)).encode() + np.ascontiguousarray(x.numpy()).tobytes())
        for values in (pairs.first, pairs.second, pairs.target):
            digest.update(values.tobytes() + b"|")
    return digest.hexdigest()
