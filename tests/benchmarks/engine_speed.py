"""The speed of the engine, compared with plain passes and with other tools: ``python engine_speed.py``.

All contenders take turns in one process, so that a slow moment of the machine affects them all. Each ratio is a
contender's time over the floor's time in the same round. The floor is one plain forward and backward pass of every item
at every checkpoint, which every gradient method needs, in batches of 1, 4, 8, 16, 32 and all items. Ratios use the
batch size with the fastest median.

The rivals compute one gradient per pair. They are timed at one checkpoint on a share of the training pairs, and their
times are scaled up, because their cost is linear in both. They get five held-out pairs; the engine gets all.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from tracinctl.training.models import build_ranker

TRAIN, TEST, CLASSES, CHECKPOINTS = 37, 17, 6, 6
RIVALS_TEST_PAIRS = 5
BATCH = 32  # pairs per batch of the rivals

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """Items, pairs, a model and checkpoints, and the share of the pairs for the rivals."""

    name: str
    architecture: str
    data: RankingData
    paths: Sequence[Path]
    states: Sequence[dict[str, torch.Tensor]]
    few: RankingData
    share: float

    def model(self) -> nn.Module:
        return build_ranker(self.architecture)

    def loaded(self, index: int) -> nn.Module:
        model = self.model()
        model.load_state_dict(self.states[index])
        return model.eval()


def make_workload(
    architecture: str, shape: tuple[int, int], folder: Path, rivals_pairs: int, items: tuple[int, int] = (TRAIN, TEST)
) -> Workload:
    """Items of random numbers; their values do not affect the cost."""
    generator = torch.Generator().manual_seed(0)

    def side(count: int, letter: str) -> tuple[Samples, Pairs]:
        inputs = torch.rand(count, 1, *shape, generator=generator) ** 3
        label = np.arange(count) % CLASSES
        first, second = np.triu_indices(count, 1)
        differ = label[first] != label[second]
        first, second = first[differ], second[differ]
        target = np.where(label[first] > label[second], 1, -1)
        return Samples([f"{letter}{k}" for k in range(count)], inputs), Pairs(first, second, target)

    data = RankingData(*side(items[0], "t"), *side(items[1], "h"))
    paths, states = [], []
    torch.manual_seed(0)
    for k in range(CHECKPOINTS):
        model = build_ranker(architecture)
        path = folder / f"{architecture}_{shape[1]}" / f"model_epoch_{k + 1}.pt"
        path.parent.mkdir(exist_ok=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.save(
            {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "epoch": k}, path
        )
        paths.append(path)
        states.append(model.state_dict())
    rows = np.linspace(0, len(data.train_pairs) - 1, min(rivals_pairs, len(data.train_pairs))).astype(np.int64)
    some = np.linspace(0, len(data.test_pairs) - 1, RIVALS_TEST_PAIRS).astype(np.int64)
    few = RankingData(data.train, data.train_pairs.take(rows), data.test, data.test_pairs.take(some))
    size = sum(p.numel() for p in build_ranker(architecture).parameters())
    name = f"{size:,} parameters, 1x{shape[0]}x{shape[1]}"
    return Workload(name, architecture, data, paths, states, few, len(rows) / len(data.train_pairs))


def floor(work: Workload, block: int) -> None:
    """One plain forward and backward pass of every item at every checkpoint, in batches of this size."""
    inputs = torch.cat([work.data.train.inputs, work.data.test.inputs])
    model = work.model().eval()
    for state in work.states:
        model.load_state_dict(state)
        model.zero_grad(set_to_none=True)
        for part in inputs.split(block):
            model(part).sum().backward()


def engine(work: Workload, margin: float = 1.0, cache: Path | None = None) -> Scores:
    """tracinctl, from checkpoint files to the table of scores."""
    options = ComputeOptions(loss=LossSettings(margin=margin), device="cpu", cache=cache)
    return compute_scores(work.data, work.model(), work.paths, options).scores.table().scores


def engine_on_few(work: Workload) -> Scores:
    """tracinctl on the rivals' task: few pairs, one checkpoint."""
    return compute_scores(work.few, work.model(), work.paths[:1], ComputeOptions(device="cpu")).scores.table().scores


class PairLoss(nn.Module):
    """Both scores of each pair, (pairs, 2), so that a pair is one example for the rivals."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.model(x1).reshape(-1), self.model(x2).reshape(-1)], 1)


def pair_losses(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.margin_ranking_loss(scores[:, 0], scores[:, 1], target, margin=1.0, reduction="none")


pair_losses.reduction = "none"  # type: ignore[attr-defined]  # captum asks for it


def tensors(samples: Samples, pairs: Pairs) -> tuple[torch.Tensor, ...]:
    return samples.inputs[pairs.first], samples.inputs[pairs.second], torch.from_numpy(pairs.target).float()


def loader(samples: Samples, pairs: Pairs) -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors(samples, pairs)), batch_size=BATCH)


def autograd(work: Workload) -> Scores:
    """One backward pass per pair, with torch only."""
    few, pairs = work.few, PairLoss(work.loaded(0))
    wanted = list(pairs.parameters())

    def gradients(samples: Samples, chosen: Pairs) -> torch.Tensor:
        rows = []
        for x1, x2, y in zip(*tensors(samples, chosen), strict=True):
            loss = pair_losses(pairs(x1[None], x2[None]), y[None]).sum()
            rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, wanted)]))
        return torch.stack(rows)

    on_test = gradients(few.test, few.test_pairs)
    return (gradients(few.train, few.train_pairs) @ on_test.T).double().numpy()


def dattri(work: Workload) -> Scores:
    """dattri's TracInAttributor without its projection, so that it is exact."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    few, pairs = work.few, PairLoss(work.loaded(0))

    def loss(parameters: Any, example: Any) -> torch.Tensor:
        x1, x2, y = example
        scores = torch.func.functional_call(pairs, parameters, (x1.unsqueeze(0), x2.unsqueeze(0)))
        return pair_losses(scores, y.unsqueeze(0)).sum()

    task = AttributionTask(loss, pairs, [str(work.paths[0])], checkpoints_load_func=lambda model, _: model)
    attributor = TracInAttributor(task, weight_list=torch.ones(1), normalized_grad=False)
    attributor.projector_kwargs = None
    batches = loader(few.train, few.train_pairs), loader(few.test, few.test_pairs)
    return attributor.attribute(*batches).double().numpy()


def captum(work: Workload) -> Scores:
    """captum's TracInCP, one backward pass per pair; its faster way is wrong for pairs that share an encoder."""
    from captum.influence import TracInCP

    few, pairs = work.few, PairLoss(work.loaded(0))
    tracin = TracInCP(
        pairs,
        loader(few.train, few.train_pairs),
        [str(work.paths[0])],
        checkpoints_load_func=lambda _, __: 1.0,
        loss_fn=pair_losses,
        sample_wise_grads_per_batch=False,
    )
    return tracin.influence(tensors(few.test, few.test_pairs)).detach().double().numpy().T


RIVALS: dict[str, Callable[[Workload], Scores]] = {
    "autograd, a pair at a time": autograd,
    "dattri, exact": dattri,
    "captum, sample-wise": captum,
}
COLD, CACHED = "tracinctl, cold", "tracinctl, cached"
FLOORS = {f"floor, in batches of {block}": block for block in (1, 4, 8, 16, 32)} | {"floor, in one batch": sys.maxsize}


def check(work: Workload, tolerance: float) -> None:
    """Check that all compute the same scores."""
    want = engine_on_few(work)
    for name, rival in RIVALS.items():
        off = np.abs(rival(work) - want).max() / np.abs(want).max()
        if not off < tolerance:
            raise SystemExit(f"{work.name}: {name} is off by {off:.1e} of the largest score")


def measure(
    work: Workload, rounds: int, rivals_rounds: int, folder: Path, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each contender in each round; the rivals' are scaled up to all pairs and checkpoints."""
    cache = folder / "cache"
    ways: dict[str, tuple[Callable[[], object], float]] = {
        name: ((lambda block=block: floor(work, block)), 1.0)  # type: ignore[misc]
        for name, block in FLOORS.items()
    }
    ways |= {
        COLD: (lambda: engine(work), 1.0),
        CACHED: (lambda: engine(work, margin=1.7, cache=cache), 1.0),
    }
    scale = CHECKPOINTS / work.share
    ways |= {name: ((lambda way=way: way(work)), scale) for name, way in RIVALS.items()}  # type: ignore[misc]
    engine(work, cache=cache)
    for name in (*FLOORS, COLD, CACHED):
        ways[name][0]()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(rounds):
        for name, (way, times) in ways.items():
            if name not in RIVALS or k < rivals_rounds:
                begun = clock()
                way()
                seconds[name].append((clock() - begun) * times)
    return seconds


def lines(seconds: dict[str, list[float]]) -> list[tuple[str, str, str, str]]:
    """Rows of the table: contender, median seconds, median ratio to the best floor, and the range of the ratios."""
    best = min(FLOORS, key=lambda name: statistics.median(seconds[name]))
    rows = []
    for name, times in seconds.items():
        if not times:
            continue
        ratios = [t / f for t, f in zip(times, seconds[best], strict=False)]
        spread = f"{min(ratios):.3g} - {max(ratios):.3g}" if len(ratios) > 1 else ""
        rows.append((name, f"{statistics.median(times):.3g}", f"{statistics.median(ratios):.3g}", spread))
    return rows


def show(title: str, rows: Sequence[tuple[str, str, str, str]], *, markdown: bool) -> None:
    head = ("", "seconds", "ratio to the best floor", "range")
    if markdown:
        print(f"\n{title}:\n\n| {' | '.join(head)} |\n| --- | ---: | ---: | ---: |")
        for row in rows:
            print(f"| {' | '.join(row)} |")
        return
    print(f"\n{title}")
    for row in (head, *rows):
        print(f"{row[0]:28}{row[1]:>10}{row[2]:>25}{row[3]:>16}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["small", "wide"], action="append", help="default: both")
    parser.add_argument("--frames", type=int, action="append", help="of a spectrogram; default: 47 and 188")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rivals-rounds", type=int, default=1, help="0 leaves them out")
    parser.add_argument("--rivals-pairs", type=int, default=100, help="training pairs for the rivals")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="processor time of one thread instead of wall-clock time, for a busy machine",
    )
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="very small items, to check that everything runs")
    options = parser.parse_args(arguments)
    items, height = ((7, 4), 40) if options.tiny else ((TRAIN, TEST), 1025)
    clock = time.perf_counter
    if options.processor_time:
        torch.set_num_threads(1)
        clock = time.process_time
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {sys.platform}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for frames in options.frames or (47, 188):
            for architecture in options.model or ("small", "wide"):
                work = make_workload(architecture, (height, frames), folder, options.rivals_pairs, items)
                if options.tiny:
                    check(work, 1e-3)
                seconds = measure(
                    work, options.rounds, options.rivals_rounds, folder / f"{architecture}_{frames}", clock
                )
                pairs = f"{len(work.data.train_pairs)} training pairs of {items[0]} items, {CHECKPOINTS} checkpoints"
                show(f"{work.name}, {pairs}", lines(seconds), markdown=options.markdown)


if __name__ == "__main__":
    main()
