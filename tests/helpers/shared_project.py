"""A project of a user's own source and model, for runs of several processes.

The processes import it as a module. Environment variables make them also write their number, wait or fail.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch

from tracinctl import Pairs, RankingData, Samples

RANK = int(os.environ.get("RANK", "0"))
ITEMS, HELD_OUT = 14, 6


class Scorer(torch.nn.Module):
    """A small network; ``SLOW`` is the seconds that each pass takes, and ``BREAK`` the rank that fails."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))

    def forward(self, x):
        time.sleep(float(os.environ.get("SLOW", "0")))
        marker = Path(f"working.{RANK}")
        if marker.parent.joinpath("checkpoints").is_dir() and not marker.exists():
            marker.write_text(str(os.getpid()))
        if os.environ.get("BREAK") == str(RANK):
            return self.body(x) * float("nan")
        return self.body(x)


def build_model():
    return Scorer()


def every_pair(count, seed):
    first, second = np.triu_indices(count, 1)
    return Pairs(first, second, np.random.default_rng(seed).choice([-1, 1], len(first)))


def load(frequency, material):
    del frequency, material
    inputs = torch.randn(ITEMS + HELD_OUT, 6, generator=torch.Generator().manual_seed(1))
    if os.environ.get("OTHER_DATA") == str(RANK):
        inputs += 1
    names = [f"item{k}" for k in range(len(inputs))]
    print("a source may print")  # noqa: T201 - and only the first process's word is heard
    return RankingData(
        train=Samples(names[:ITEMS], inputs[:ITEMS]),
        train_pairs=every_pair(ITEMS, 1),
        test=Samples(names[ITEMS:], inputs[ITEMS:]),
        test_pairs=every_pair(HELD_OUT, 2),
    )


def make_project(folder, checkpoints):
    """Checkpoints and settings."""
    (folder / "tracinctl.toml").write_text(
        "source = 'shared_project:load'\nmodel = 'shared_project:build_model'\n"
        "[compute]\nloss_type = 'logistic'\ndtype = 'float64'\n"
    )
    where = folder / "checkpoints" / "b_a"
    where.mkdir(parents=True)
    for k in range(checkpoints):
        torch.manual_seed(k)
        torch.save(Scorer().state_dict(), where / f"model_epoch_{k}.pt")
