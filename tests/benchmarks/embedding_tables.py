"""Embedding tables of users and items, compared with numpy code written for them: ``python embedding_tables.py``.

The size is that of MovieLens 100k: 943 users, 1,682 items, 32 numbers each. A pair compares two items for one user, and
the gradient of a score uses one row of each table. Both programs compute the whole matrix of scores of one checkpoint
and take turns in one process. Times are processor times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.losses import LossSettings

FloatArray = npt.NDArray[np.float64]


class Tables(nn.Module):
    """The score of a user and an item: the inner product of their rows."""

    def __init__(self, users: int, items: int, width: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.users(ids[:, 0]) * self.items(ids[:, 1])).sum(-1)


def make(users: int, items: int, pairs: int, held_out: int) -> RankingData:
    random = np.random.default_rng(0)

    def side(count: int, letter: str) -> tuple[Samples, Pairs]:
        user = random.integers(0, users, count)
        ids = np.stack([np.repeat(user, 2), random.integers(0, items, 2 * count)], 1)
        first = np.arange(0, 2 * count, 2)
        names = [f"{letter}{k}" for k in range(2 * count)]
        return Samples(names, torch.from_numpy(ids)), Pairs(first, first + 1, np.ones(count, dtype=np.int64))

    return RankingData(*side(pairs, "t"), *side(held_out, "h"))


def with_numpy(data: RankingData, model: Tables) -> FloatArray:
    """Scores from products of common rows: a pair's gradient uses one row of users and two of items."""
    users, items = (table.weight.detach().double().numpy() for table in (model.users, model.items))

    def side(samples: Samples, pairs: Pairs) -> tuple[FloatArray, ...]:
        ids = samples.inputs.numpy()
        user, i, j = ids[pairs.first, 0], ids[pairs.first, 1], ids[pairs.second, 1]
        own, difference = users[user], items[i] - items[j]
        slope = -1 / (1 + np.exp((own * difference).sum(1)))
        return user, i, j, own, difference, slope

    user, i, j, own, difference, slope = side(data.train, data.train_pairs)
    user2, i2, j2, own2, difference2, slope2 = side(data.test, data.test_pairs)
    same = (user[:, None] == user2) * (difference @ difference2.T)
    meet = (i[:, None] == i2).astype(float) - (i[:, None] == j2) - (j[:, None] == i2) + (j[:, None] == j2)
    return np.asarray(slope[:, None] * slope2 * (same + meet * (own @ own2.T)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=300, help="pairs")
    parser.add_argument("--users", type=int, default=943)
    parser.add_argument("--items", type=int, default=1682)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data, model = make(given.users, given.items, given.pairs, given.held_out), Tables(given.users, given.items, 32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model_epoch_1.pt"
        torch.save(model.state_dict(), path)
        options = ComputeOptions(loss=LossSettings("logistic"), device="cpu")
        ways: dict[str, Callable[[], FloatArray]] = {
            "numpy code for the tables": lambda: with_numpy(data, model),
            "tracinctl, cold": lambda: compute_scores(data, model, [path], options).scores.table().scores,
        }
        want, found = (way() for way in ways.values())
        if not np.abs(found - want).max() < 1e-5 * np.abs(want).max():
            raise SystemExit("the scores differ")
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                begun = time.process_time()
                way()
                seconds[name].append(time.process_time() - begun)
    print(f"torch {torch.__version__}, {sys.platform}, {given.pairs:,} pairs on {given.held_out:,} held-out ones")
    for name, times in seconds.items():
        print(f"{name:32}{statistics.median(times):.3g} s ({min(times):.3g} - {max(times):.3g})")


if __name__ == "__main__":
    main()
