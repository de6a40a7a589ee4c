"""Items of a torch ``Dataset``: read as rarely as memory allows, by workers on request, and checked."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import MODELS, make_checkpoints, make_data

from tracinctl import Samples, compute_influence
from tracinctl.engine import item_digests
from tracinctl.engine import items as engine_items
from tracinctl.engine.item_forms import rows_of
from tracinctl.engine.items import Items
from tracinctl.errors import DataError


class Reading(torch.utils.data.Dataset):
    """Returns items as tuples of an array and a label, and logs the process that read each."""

    def __init__(self, values, log):
        self.values = values
        self.log = log

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {index}\n")
        return self.values[index].numpy(), -1


@pytest.fixture
def lazy(tmp_path):
    """Data in memory, the same data in datasets, a model, two checkpoints, and the log of the training items."""
    build, kind = MODELS["linear"]
    data, model = make_data(kind, train=12), build()
    log = tmp_path / "log"
    read = dataclasses.replace(
        data,
        train=Samples(data.train.ids, Reading(data.train.inputs, log)),
        test=Samples(data.test.ids, Reading(data.test.inputs, tmp_path / "other")),
    )
    return data, read, model, make_checkpoints(model, tmp_path / "checkpoints"), log


def readings(log):
    return [line.split() for line in log.read_text().splitlines()]


def test_items_that_fit_into_memory_are_read_once(lazy):
    data, read, model, paths, log = lazy
    want = compute_influence(data, model, paths).scores
    assert np.array_equal(compute_influence(read, model, paths).scores, want)
    # a few are read twice and compared
    assert [int(index) for _, index in readings(log)] == [*range(12), 0, 3, 7, 11]


def test_items_that_do_not_fit_are_read_again(lazy):
    data, read, *_, log = lazy
    items = Items([read.train], keep=100)
    assert items.kept_bytes == 96  # four items of six numbers
    got = items.stack(list(range(12)), torch.device("cpu"), torch.float32)
    assert torch.equal(got, data.train.inputs)
    assert [int(index) for _, index in readings(log)] == [*range(12), 0, 3, 7, 11, *range(4, 12)]


# from Python 3.12 on, a fork with threads gives a warning; the workers only read
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_read_the_same_items(lazy):
    data, read, *_, log = lazy
    alone, shared = Items([data.train]), Items([read.train], workers=2)
    assert shared.digests == alone.digests
    got = shared.stack(list(range(12))[::-1], torch.device("cpu"), torch.float32)
    assert torch.equal(got, data.train.inputs.flip(0))
    assert len({process for process, _ in readings(log)} - {str(os.getpid())}) == 4  # two for each pass
    here = [index for process, index in readings(log) if process == str(os.getpid())]
    assert here == ["0", "3", "7", "11"], "items that are read twice"


class Broken(torch.utils.data.Dataset):
    def __init__(self, give):
        self.give = give

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.give() if index == 2 else torch.ones(3)


def fail():
    raise OSError("no such file")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("give", "message"), [(fail, "OSError: no such file"), (lambda: "text", "it is a str"), (sys.exit, "SystemExit")]
)
def test_an_item_that_cannot_be_read_is_named(workers, give, message):
    with pytest.raises(DataError) as caught:
        Items([Samples([*"abcd"], Broken(give))], workers=workers)
    assert str(caught.value).startswith(f"item c cannot be read: {message}")
    assert "\n" not in str(caught.value)


@pytest.fixture
def begin(monkeypatch):
    """Set the interpreter's default start method of processes, and the one that the user chose."""

    def set_methods(default, chosen=None):
        context = multiprocessing.context._default_context
        monkeypatch.setattr(context, "_default_context", multiprocessing.get_context(default))
        monkeypatch.setattr(context, "_actual_context", chosen and multiprocessing.get_context(chosen))

    return set_methods


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="a fork is unsafe on other systems")
def test_on_linux_workers_read_any_dataset_under_any_default_start_method(begin):
    begin("forkserver")  # the default of Python 3.14
    items = Items([Samples([*"abcd"], Broken(lambda: torch.zeros(3)))], workers=2)
    assert items.digests == Items([Samples([*"abcd"], Broken(lambda: torch.zeros(3)))]).digests


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_items_read_by_workers_keep_no_file_open():
    class Many(Broken):
        def __len__(self):
            return 50

    samples = Samples([f"i{k}" for k in range(50)], Many(lambda: torch.zeros(3)))
    items = Items([samples], workers=2)
    before = len([*Path("/proc/self/fd").iterdir()])
    inputs = [value for value, _ in engine_items._read(rows_of(samples.inputs), range(50), samples.ids, 2)]
    assert len(inputs) == 50
    assert len([*Path("/proc/self/fd").iterdir()]) < before + 10
    assert items.digests == Items([samples]).digests


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_a_dataset_that_cannot_be_passed_to_workers_is_refused(begin, monkeypatch, platform):
    begin("spawn", "spawn" if platform == "linux" else None)
    monkeypatch.setattr(engine_items.sys, "platform", platform)
    with pytest.raises(DataError, match=r"the dataset cannot be passed to worker processes: .*lambda") as caught:
        Items([Samples([*"abcd"], Broken(lambda: torch.zeros(3)))], workers=2)
    assert "at the top of a module" in caught.value.hint
    assert "`num_workers` 0" in caught.value.hint


@pytest.mark.nightly  # each new interpreter loads torch
@pytest.mark.parametrize("how", ["spawn", "forkserver"])
def test_workers_in_new_interpreters_read_the_same_items(lazy, monkeypatch, how):
    data, read, *_ = lazy
    monkeypatch.setattr(engine_items, "_start_method", lambda: how)
    assert Items([read.train], workers=2).digests == Items([data.train]).digests


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_that_ends_early_is_reported():
    with pytest.raises(DataError, match=r"a worker process that reads items stopped: .*exited unexpectedly"):
        Items([Samples([*"abcd"], Broken(lambda: os._exit(3)))], workers=2)


def test_an_item_that_changes_between_readings_is_refused():
    with pytest.raises(DataError, match="item c differs when it is read again") as caught:
        Items([Samples([*"abcd"], Broken(lambda: torch.randn(3)))])
    assert "turn its augmentation off" in caught.value.hint


def test_an_item_that_changes_later_is_refused():
    state = [torch.zeros(3)]
    items = Items([Samples([*"abcd"], Broken(lambda: state[0]))])
    state[0] = torch.ones(3) / 2
    with pytest.raises(DataError, match="item c differs when it is read again"):
        items.stack([1, 2, 3], torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": [[1.0, 2.0], [3.0]], "mask": np.array([True, False])},
        [{"x": torch.tensor([1.0, 2.0]), "mask": torch.tensor(True)}, {"x": [3.0], "mask": False}],
    ],
)
def test_mappings_may_hold_lists_and_items_of_different_lengths(inputs):
    items = Items([Samples([*"ab"], inputs)])
    assert [rows.tolist() for rows in items.groups()] == [[0], [1]]
    got = items.stack([0], torch.device("cpu"), torch.float64)
    assert got["x"].tolist() == [[1.0, 2.0]]
    assert got["x"].dtype == torch.float64
    assert got["mask"].tolist() == [True]


def as_list(inputs):
    """The same items as a list, which is read one by one."""
    if isinstance(inputs, dict):
        return [{name: column[k] for name, column in inputs.items()} for k in range(len(next(iter(inputs.values()))))]
    return list(inputs)


@pytest.mark.parametrize(
    "inputs",
    [
        torch.arange(12.0).reshape(4, 3),
        torch.arange(12.0).reshape(3, 4).T,  # rows are not contiguous in memory
        torch.arange(4),
        torch.zeros(4, 0),
        torch.tensor([[True], [False], [True], [True]]),
        {"b": torch.arange(8.0).reshape(4, 2), "a": torch.arange(4), "none": torch.zeros(4, 0)},
    ],
)
def test_rows_of_tensors_are_the_same_items_as_their_list(inputs, monkeypatch):
    monkeypatch.setattr(item_digests, "_AT_ONCE", 24)  # two rows of floats at a time
    together, alone = Items([Samples([*"abcd"], inputs)]), Items([Samples([*"abcd"], as_list(inputs))])
    assert together.contents == alone.contents
    assert together.digests == alone.digests
    assert len(set(together.digests)) == 4
    got, want = (items.stack([2, 0, 3], torch.device("cpu"), torch.float32) for items in (together, alone))
    for name in inputs if isinstance(inputs, dict) else [...]:
        assert torch.equal(got[name], want[name])


def test_items_of_several_samples_are_stacked_in_the_given_order():
    parts = [{"x": torch.arange(3.0)[:, None]}, {"x": torch.arange(3.0, 5.0)[:, None]}, {"x": [[5.0], [6.0]]}]
    items = Items([Samples([*"abc"], parts[0]), Samples([*"de"], parts[1]), Samples([*"fg"], parts[2])])
    for order in ([4, 0, 3, 2], [6, 1, 4, 5]):
        got = items.stack(order, torch.device("cpu"), torch.float32)["x"]
        assert got.flatten().tolist() == order
