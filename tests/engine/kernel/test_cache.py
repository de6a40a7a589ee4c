"""Kernels that somebody or something has changed are never calculated with."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import make_checkpoints, make_data
from torch import nn

from tracinctl import compute_influence, files
from tracinctl.engine.compute import ComputeOptions, compute_scores
from tracinctl.engine.influence import LossSettings
from tracinctl.engine.kernel import tensor_file
from tracinctl.engine.kernel.cache import KernelCache
from tracinctl.errors import CacheError
from tracinctl.files import atomic_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache with a kernel in it, and a way to get scores with it."""
    folder = tmp_path_factory.mktemp("kept")
    torch.manual_seed(1)
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, folder)[:1]

    def scores(cache):
        return compute_influence(data, model, paths, cache=cache, dtype="float64")

    truth = scores(folder / "cache")
    return folder / "cache", scores, truth


def kernel_in(folder):
    (path,) = folder.glob("v*/*.safetensors")
    return path


def assert_not_used(kept, tmp_path, change):
    folder, scores, truth = kept
    shutil.copytree(folder, tmp_path / "cache")
    path = kernel_in(tmp_path / "cache")
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    table = scores(tmp_path / "cache")
    assert np.array_equal(table.scores, truth.scores)
    assert np.array_equal(table.self_influence, truth.self_influence)
    assert np.array_equal(table.sample_influence, truth.sample_influence)
    assert path.read_bytes() == whole, "it is still there"


@pytest.mark.parametrize("place", [0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_kernel_with_a_flipped_bit_is_made_again(kept, tmp_path, place):
    def change(data):
        at = int(place * len(data))
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    assert_not_used(kept, tmp_path, change)


def with_header(change):
    def changed(data):
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        text = json.dumps(change(header) or header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return changed


def exchanged(header):
    header["scores"], header["lengths"] = header["lengths"], header["scores"]


def transposed(header):
    header["kernel"]["shape"].reverse()


def of_another_kind(header):
    header["kernel"]["dtype"] = "I64"


def overlapping(header):
    header["scores"]["data_offsets"] = [0, header["scores"]["data_offsets"][1] - header["scores"]["data_offsets"][0]]


@pytest.mark.parametrize(
    "change",
    [
        with_header(exchanged),
        with_header(transposed),
        with_header(of_another_kind),
        with_header(overlapping),
        with_header(lambda header: {**header, "kernel": 3}),
        with_header(lambda header: [1]),
        lambda data: (1 << 60).to_bytes(8, "little") + data[8:],
        lambda data: (100_000).to_bytes(8, "little") + b"[" * 100_000,
        lambda data: data + b"\0",
        lambda data: data[:-1],
        lambda data: b"",
    ],
    ids=range(11),
)
def test_a_kernel_whose_header_lies_is_made_again(kept, tmp_path, change):
    assert_not_used(kept, tmp_path, change)


def test_a_kernel_of_other_items_under_this_name_is_made_again(kept, tmp_path):
    torch.manual_seed(2)
    others = tmp_path / "others"
    data = make_data((6,), seed=5)
    model = nn.Linear(6, 1)
    compute_influence(data, model, make_checkpoints(model, tmp_path)[:1], cache=others, dtype="float64")
    assert_not_used(kept, tmp_path, lambda whole: kernel_in(others).read_bytes())


def test_what_another_run_is_writing_is_no_kernel_and_is_left_alone(kept, tmp_path):
    folder, scores, truth = kept
    shutil.copytree(folder, tmp_path / "cache")
    path = kernel_in(tmp_path / "cache")
    cache = KernelCache(tmp_path / "cache")
    with atomic_path(path) as temporary:
        shutil.copyfile(path, temporary)
        path.unlink()
        assert cache.size() == 0
        assert cache.prune([]) == 0
        scores_now = scores(tmp_path / "cache")
        assert np.array_equal(scores_now.scores, truth.scores)
        assert path.is_file(), "it was not taken from the one in the making"
        assert temporary.is_file()
        since = path.stat().st_mtime
        assert cache.prune([], older_than=since) == 0
        assert path.is_file(), "another run wrote it after this one began"
    assert cache.prune([]) > 0
    assert not path.parent.exists()


def test_a_folder_that_another_run_prunes_under_a_writer_is_made_again(tmp_path, monkeypatch):
    path = tmp_path / "v2-0" / "a.safetensors"
    clear = files.clear_leftovers

    def prune(folder):
        clear(folder)
        folder.rmdir()

    monkeypatch.setattr(files, "clear_leftovers", prune)
    files.write_bytes_atomic(path, b"kernel")
    assert path.read_bytes() == b"kernel"


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="a file that is open cannot be deleted there")
@pytest.mark.parametrize("held_open", [256, 0])
def test_a_kernel_that_is_read_from_its_file_outlives_its_deletion_or_says_so(tmp_path, monkeypatch, held_open):
    monkeypatch.setattr(tensor_file, "_HELD_OPEN", held_open)
    torch.manual_seed(1)
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    truth = compute_influence(data, model, paths, dtype="float64", cache=tmp_path / "cache")
    # too little for kernels in memory
    options = ComputeOptions(LossSettings(), dtype="float64", memory=4_000, cache=tmp_path / "cache")
    result = compute_scores(data, model, paths, options)
    shutil.rmtree(tmp_path / "cache")
    if held_open:
        assert np.abs(result.scores.table().scores - truth.scores).max() <= 1e-12 * np.abs(truth.scores).max()
    else:
        with pytest.raises(CacheError, match="deleted or changed"):
            result.scores.table()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at what Linux says of open files")
def test_files_of_kernels_are_closed_with_the_last_who_knows_of_them(kept):
    before = set(Path("/proc/self/fd").iterdir())
    folder, _, _ = kept
    opened = tensor_file.TensorFile.open(kernel_in(folder))
    assert len(set(Path("/proc/self/fd").iterdir()) - before) == 1
    del opened
    assert set(Path("/proc/self/fd").iterdir()) <= before
