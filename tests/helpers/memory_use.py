"""Measure the growth of a separate process in each case.

``python memory_use.py MEMORY CASE [CASE ...]``: for each case, the highest resident size above that before the work,
in bytes, as a JSON object. It reads Linux's /proc.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.losses import LossSettings


def status(name):
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


def layers(width, count):
    body = [nn.Linear(16, width), nn.Tanh()]
    for _ in range(count):
        body += [nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*body, nn.Linear(width, 1), nn.Flatten(1), nn.AdaptiveAvgPool1d(1))  # mean over positions


def every_pair(count):
    first, second = np.triu_indices(count, 1)
    return Pairs(first, second, np.where((first + second) % 3, 1, -1))


def neighbours(count):
    """Each item with the next two."""
    first = np.concatenate([np.arange(count - 1), np.arange(count - 2)])
    second = np.concatenate([np.arange(1, count), np.arange(2, count)])
    return Pairs(first, second, np.where(first % 3, 1, -1))


# model, items, pairs of them, held-out items, checkpoints, projection; items are of three positions
CASES = {
    # 50 gradients of 2 MiB, some of them in memory at a time
    "gradients": (lambda: layers(512, 2), 38, every_pair, 12, 1, None),
    # the large arrays are items by items, and items by held-out pairs
    "scores": (lambda: layers(4, 0), 1400, neighbours, 110, 2, None),
}


def make(model, items, pairs, held_out, checkpoints, folder):
    """Items and pairs, the model, and checkpoints of other numbers in a folder."""
    generator = torch.Generator().manual_seed(0)

    def side(count, letter, paired):
        ids = [f"{letter}{k}" for k in range(count)]
        return Samples(ids, torch.randn(count, 3, 16, generator=generator)), paired(count)

    data = RankingData(*side(items, "t", pairs), *side(held_out, "h", every_pair))
    paths = []
    for k in range(checkpoints):
        state = {name: torch.randn(v.shape, generator=generator) * 0.1 for name, v in model.state_dict().items()}
        paths.append(Path(folder) / f"model_epoch_{k + 1}.pt")
        torch.save(state, paths[-1])
    return data, model, paths


def measure(name, memory):
    build, items, pairs, held_out, checkpoints, projection = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        data, model, paths = make(build(), items, pairs, held_out, checkpoints, folder)

        def run(data, memory, cache):
            options = ComputeOptions(
                LossSettings("logistic"), device="cpu", memory=memory, cache=cache, projection_dim=projection
            )
            result = compute_scores(data, model, paths, options)
            total = sum(float(np.abs(block).sum()) for _, block in result.scores.blocks())
            return total + result.scores.self_influence.sum() + result.scores.sample_influence.sum()

        # the libraries' first use, the model's copy and a checkpoint are in memory before
        def few(samples):
            return Samples(samples.ids[:4], samples.inputs[:4])

        run(RankingData(few(data.train), every_pair(4), few(data.test), every_pair(4)), 16 << 30, None)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory could be used again unnoticed
        Path("/proc/self/clear_refs").write_text("5")  # measure the highest size from here
        before = status("VmRSS")
        run(data, memory, Path(folder) / "cache")
        return status("VmHWM") - before


if __name__ == "__main__":
    print(json.dumps({name: measure(name, int(sys.argv[1])) for name in sys.argv[2:]}))  # noqa: T201 - its answer
