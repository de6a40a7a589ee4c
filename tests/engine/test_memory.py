"""``memory`` limits the growth of the process; the tests measure it independently of the engine's plan."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import tracemalloc

import memory_use
import numpy as np
import pytest
import torch
from places import HELPERS
from small_models import MODELS, make_checkpoints, make_data
from torch import nn

from tracinctl import Pairs, RankingData, Samples, compute_influence
from tracinctl.engine.allocations import AllocationWatch
from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.losses import LossSettings
from tracinctl.engine.memory import Budget
from tracinctl.engine.methods import check_method
from tracinctl.errors import MemoryBudgetError

MIB = 1 << 20
ALLOWANCE = 2 * MIB
"""Memory of Python objects, such as ids of pairs, and of library pages that are used for the first time."""


def requested_memory(error, more_than):
    named = re.search(r"need at least (\d+)KiB, but `memory` is", error.message)
    assert named, error.message
    assert f"`memory` {named[1]}KiB or more" in error.hint
    assert int(named[1]) << 10 > more_than
    return int(named[1]) << 10


def test_the_error_on_too_little_memory_names_enough_memory(tmp_path):
    build, kind = MODELS["linear"]
    data, model = make_data(kind), build()
    paths = make_checkpoints(model, tmp_path)
    with pytest.raises(MemoryBudgetError) as refused:
        compute_influence(data, model, paths, memory=100)
    allowed = requested_memory(refused.value, more_than=100)
    assert compute_influence(data, model, paths, memory=allowed) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mebibytes", [48, 96])
def test_the_process_grows_by_at_most_memory(mebibytes):
    program = HELPERS / "memory_use.py"
    command = [sys.executable, program, str(mebibytes * MIB), "gradients", "scores"]
    environment = {"OMP_NUM_THREADS": "1", "PATH": ""}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    above = json.loads(answer.stdout)
    assert set(above) == {"gradients", "scores"}
    for case, size in above.items():
        assert size > mebibytes * MIB // 4, f"{case}: the case uses too little memory to test the limit"
        assert size <= mebibytes * MIB + ALLOWANCE, case


def test_gradients_stay_within_their_share_of_memory(tmp_path):
    memory = 4 * MIB
    data, model, paths = memory_use.make(memory_use.layers(128, 1), 60, memory_use.every_pair, 10, 1, tmp_path)
    with AllocationWatch() as plain:
        copy.deepcopy(model)
        load_checkpoint(paths[0])
    with AllocationWatch() as watch:
        compute_scores(data, model, paths, ComputeOptions(device="cpu", memory=memory, cache=tmp_path / "cache"))
    share = memory * 3 // 4
    assert 0.6 * share < watch.peak - plain.peak <= share


@pytest.mark.parametrize("case", ["held", "from files"])
def test_scores_stay_within_their_share_of_memory(case, tmp_path):
    memory = (48 if case == "held" else 8) * MIB
    data, model, paths = memory_use.make(memory_use.layers(4, 0), 400, memory_use.neighbours, 60, 2, tmp_path)
    options = ComputeOptions(LossSettings("logistic"), device="cpu", memory=memory, cache=tmp_path / "cache")
    scores = compute_scores(data, model, paths, options).scores
    assert scores._hold == (case == "held")
    most = {}
    tracemalloc.start()
    try:
        for part, work in {
            "blocks": lambda: sum(float(block.sum()) for _, block in scores.blocks()),
            "pairs": lambda: scores.self_influence,
            "items": lambda: scores.sample_influence,
        }.items():
            tracemalloc.reset_peak()
            work()
            most[part] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(most.values()) > memory // 4
    # scores get half of the memory, and the reader keeps one block while the next is made
    assert max(most.values()) <= memory * 5 // 8, most


def test_the_error_on_a_methods_memory_names_enough_memory():
    rows, none = np.arange(1000), np.zeros((0, 2), dtype=np.int64)
    digests = np.zeros((1000, 16), dtype=np.uint8)
    layout = KernelLayout(rows, None, 1000, none, rows[:800], rows[800:], rows[:800], digests, digests)
    with pytest.raises(MemoryBudgetError, match="fisher needs at least 123MiB for 1,000 items") as refused:
        check_method("fisher", layout, 1, Budget(100 * MIB))
    assert "`memory` 123MiB" in refused.value.hint
    check_method("fisher", layout, 1, Budget(123 * MIB))
    check_method("margin", layout, 1, Budget(100 * MIB))


class Read(torch.utils.data.Dataset):
    """Items that are read one by one."""

    def __init__(self, count, numbers):
        self.count, self.numbers = count, numbers

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.randn(self.numbers, generator=torch.Generator().manual_seed(index))


@pytest.mark.parametrize("lazily", [False, True], ids=["in memory", "read lazily"])
@pytest.mark.parametrize(("numbers", "width"), [(16, 64), (20_000, 8), (200_000, 2), (1000, 500)])
def test_the_named_memory_is_enough_and_close_to_the_least(numbers, width, lazily, tmp_path):
    def side(count, letter):
        first = np.arange(count - 1)
        inputs = Read(count, numbers)
        inputs = inputs if lazily else torch.stack([inputs[k] for k in range(count)])
        return Samples([f"{letter}{k}" for k in range(count)], inputs), Pairs(first, first + 1, np.ones_like(first))

    data = RankingData(*side(20, "t"), *side(6, "h"))
    model = nn.Sequential(nn.Linear(numbers, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
    path = tmp_path / "model_epoch_1.pt"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, path)

    def needed(memory):
        with pytest.raises(MemoryBudgetError) as refused:
            compute_scores(data, model, [path], ComputeOptions(device="cpu", memory=memory))
        number, unit = re.search(r"`memory` (\d+)(KiB|MiB) or more", refused.value.hint).groups()
        return int(number) << (10 if unit == "KiB" else 20)

    enough = needed(1 << 14)
    assert needed(enough * 2 // 3) == enough
    assert compute_scores(data, model, [path], ComputeOptions(device="cpu", memory=enough)) is not None
