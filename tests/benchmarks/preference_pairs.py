"""Preference data, with each item in one pair, compared with one gradient per pair: ``python preference_pairs.py``.

Each item is in only one pair, so kernels of items save nothing here. All contenders compute the whole matrix of scores,
summed over the checkpoints, from float32 gradients, and take turns in one process. The others find the checkpoints in
memory; tracinctl reads their files. Each ratio is a contender's time over the time of the loop over pairs in the same
round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.losses import LossSettings

Scores = npt.NDArray[np.float64]
LOOP, BATCHED, OURS = "autograd, a pair at a time", "torch.func, gradients of 32 pairs", "tracinctl, cold"
TOGETHER = "torch.func, gradients of all pairs"
BATCH = 32  # pairs per batch of torch.func
MODELS = ("perceptron", "convolution", "encoder")


class Reward(nn.Module):
    """Tokens, an encoder layer, and a score from the mean over positions."""

    def __init__(self, width: int, tokens: int = 256) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.encoder = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.score = nn.Linear(width, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        score: torch.Tensor = self.score(self.encoder(self.tokens(ids)).mean(1))
        return score


class Perceptron(nn.Sequential):
    """Numbers, through two wide layers."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))


class Convolution(nn.Sequential):
    """Small images, through two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width // 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width // 4, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(8 * width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, 1),
        )


def make(model: str, width: int, pairs: int, held_out: int) -> tuple[RankingData, nn.Module]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def side(count: int, letter: str) -> tuple[Samples, Pairs]:
        shape = (2 * count, 1, 16, 16) if model == "convolution" else (2 * count, 64)
        inputs = (
            torch.randint(0, 256, (2 * count, 24), generator=generator)
            if model == "encoder"
            else torch.randn(shape, generator=generator)
        )
        first = np.arange(0, 2 * count, 2)
        ids = [f"{letter}{k}" for k in range(2 * count)]
        return Samples(ids, inputs), Pairs(first, first + 1, np.where(first % 3, 1, -1))

    models: dict[str, Callable[[int], nn.Module]] = dict(zip(MODELS, (Perceptron, Convolution, Reward), strict=True))
    return RankingData(*side(pairs, "t"), *side(held_out, "h")), models[model](width)


def _tensors(samples: Samples, pairs: Pairs) -> tuple[torch.Tensor, ...]:
    return samples.inputs[pairs.first], samples.inputs[pairs.second], torch.from_numpy(pairs.target).float()


def loop(data: RankingData, model: nn.Module) -> Scores:
    """One backward pass per pair, over both of its items."""
    wanted = list(model.parameters())

    def gradients(samples: Samples, pairs: Pairs) -> torch.Tensor:
        rows = []
        for x1, x2, y in zip(*_tensors(samples, pairs), strict=True):
            first, second = model(torch.stack([x1, x2])).reshape(-1)
            loss = nn.functional.softplus(-y * (first - second))
            rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, wanted)]))
        return torch.stack(rows)

    on_test = gradients(data.test, data.test_pairs)
    return (gradients(data.train, data.train_pairs) @ on_test.T).double().numpy()


def batched(data: RankingData, model: nn.Module, batch: int = BATCH) -> Scores:
    """One gradient per pair, for a batch of pairs at once."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: Any, x1: torch.Tensor, x2: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        first, second = torch.func.functional_call(model, parameters, (torch.stack([x1, x2]),)).reshape(-1)
        return nn.functional.softplus(-y * (first - second))

    gradients_of_pairs = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))

    def gradients(samples: Samples, pairs: Pairs) -> torch.Tensor:
        rows = []
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            for part in zip(*(t.split(batch) for t in _tensors(samples, pairs)), strict=True):
                by_parameter = gradients_of_pairs(parameters, *part)
                rows.append(torch.cat([g.flatten(1) for g in by_parameter.values()], 1))
        return torch.cat(rows)

    on_test = gradients(data.test, data.test_pairs)
    return (gradients(data.train, data.train_pairs) @ on_test.T).double().numpy()


def ours(data: RankingData, model: nn.Module, paths: Sequence[Path]) -> Scores:
    """tracinctl, from the checkpoint files to the table of scores."""
    options = ComputeOptions(loss=LossSettings("logistic"), device="cpu", checkpoint_weights=[1.0] * len(paths))
    return compute_scores(data, model, paths, options).scores.table().scores


def saved(model: nn.Module, checkpoints: int, folder: Path) -> tuple[list[dict[str, torch.Tensor]], list[Path]]:
    """States of the model, each a little further from its own, in memory and in files."""
    states, paths = [], []
    for k in range(checkpoints):
        states.append({name: value + 0.01 * k * torch.randn_like(value) for name, value in model.state_dict().items()})
        paths.append(folder / f"model_epoch_{k + 1}.pt")
        torch.save(states[-1], paths[-1])
    return states, paths


def measure(
    data: RankingData, model: nn.Module, checkpoints: int, folder: Path, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after a warm-up round that compares the scores of all."""
    model.eval()
    states, paths = saved(model, checkpoints, folder)

    def summed(way: Callable[[RankingData, nn.Module], Scores]) -> Scores:
        total = np.zeros((len(data.train_pairs), len(data.test_pairs)))
        for state in states:
            model.load_state_dict(state)
            total += way(data, model)
        return total

    ways: dict[str, Callable[[], Scores]] = {
        LOOP: lambda: summed(loop),
        BATCHED: lambda: summed(batched),
        TOGETHER: lambda: summed(lambda data, model: batched(data, model, len(data.train_pairs))),
        OURS: lambda: ours(data, model, paths),
    }
    want = ways[LOOP]()
    for name, way in ways.items():
        off = np.abs(way() - want).max() / np.abs(want).max()
        if not off < 1e-3:
            raise SystemExit(f"{name} is off by {off:.1e} of the largest score")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = clock()
            way()
            seconds[name].append(clock() - begun)
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append", help="default: all")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=200, help="pairs")
    parser.add_argument("--checkpoints", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="processor time of one thread instead of wall-clock time, for a busy machine",
    )
    options = parser.parse_args(arguments)
    clock = time.perf_counter
    if options.processor_time:
        torch.set_num_threads(1)
        clock = time.process_time
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {sys.platform}")
    for kind in options.model or MODELS:
        data, model = make(kind, options.width, options.pairs, options.held_out)
        size = sum(p.numel() for p in model.parameters())
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(data, model, options.checkpoints, Path(folder), options.rounds, clock)
        title = f"{kind}, {size:,} parameters, {options.pairs:,} pairs on {options.held_out:,} held-out ones"
        print(f"\n{title}\n\n| | seconds | ratio to the loop | range |\n| --- | ---: | ---: | ---: |")
        for name, times in seconds.items():
            ratios = [t / base for t, base in zip(times, seconds[LOOP], strict=True)]
            spread = f"{min(ratios):.2g} - {max(ratios):.2g}"
            print(f"| {name} | {statistics.median(times):.3g} | {statistics.median(ratios):.2g} | {spread} |")


if __name__ == "__main__":
    main()
