"""Changed kernels are never used."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import make_checkpoints, make_data
from torch import nn

from tracinctl import compute_influence, files
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.kernel import array_file
from tracinctl.engine.kernel.cache import KernelCache
from tracinctl.engine.kernel.file import _NAMES as NAMES
from tracinctl.engine.losses import LossSettings
from tracinctl.errors import CacheError
from tracinctl.files import atomic_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache with one kernel, a function that computes scores with a cache, and the true scores."""
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
    (path,) = folder.glob("v*/*.kernel")
    return path


def assert_not_used(kept, tmp_path, change):
    folder, scores, truth = kept
    shutil.copytree(folder, tmp_path / "cache")
    path = kernel_in(tmp_path / "cache")
    content = path.read_bytes()
    path.write_bytes(change(content))
    table = scores(tmp_path / "cache")
    assert np.array_equal(table.scores, truth.scores)
    assert np.array_equal(table.self_influence, truth.self_influence)
    assert np.array_equal(table.sample_influence, truth.sample_influence)
    assert path.read_bytes() == content, "the kernel was made again"


@pytest.mark.parametrize("place", [0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_kernel_with_a_flipped_bit_is_made_again(kept, tmp_path, place):
    def change(data):
        at = int(place * len(data))
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    assert_not_used(kept, tmp_path, change)


def sealed(change):
    """A change of a file that also writes the matching digest."""

    def changed(data):
        content = change(data[:-32])
        assert content != data[:-32]
        return content + hashlib.sha256(content).digest()

    return changed


def exchange(old, new):
    """Replace some bytes by others of the same length."""

    def changed(content):
        assert old in content
        assert len(old) == len(new)
        return content.replace(old, new, 1)

    return sealed(changed)


@pytest.mark.parametrize(
    "change",
    [
        exchange(b"'shape': (10, 10)", b"'shape': (20, 5) "),
        exchange(b"'shape': (10, 10)", b"'shape': (9, 10) "),
        exchange(b"'shape': (10, 10)", b"'shape': (5, 20) "),
        exchange(b"'shape': (10, 10)", b"'shape': (-1, 9) "),
        exchange(b"'shape': (10, 10)", b"'shape': 100     "),
        exchange(
            b"'descr': '<f8', 'fortran_order': False, 'shape': (10,)",
            b"'descr': '<i8', 'fortran_order': False, 'shape': (10,)",
        ),
        exchange(b"\x93NUMPY", b"\x93NUMPX"),
        sealed(lambda content: content + b"\0"),
        sealed(lambda content: content[:-8]),
        sealed(lambda content: b""),
        lambda data: data + b"\0",
        lambda data: data[:-1],
        lambda data: b"",
    ],
    ids=range(13),
)
def test_a_kernel_with_false_headers_is_made_again(kept, tmp_path, change):
    assert_not_used(kept, tmp_path, change)


def test_another_checkpoints_kernel_under_this_name_is_made_again(kept, tmp_path):
    torch.manual_seed(2)
    others = tmp_path / "others"
    model = nn.Linear(6, 1)
    paths = make_checkpoints(model, tmp_path, seed=7)[:1]
    compute_influence(make_data((6,)), model, paths, cache=others, dtype="float64")
    kernel, another = kernel_in(kept[0]), kernel_in(others)
    assert kernel.name == another.name, "the items are the same"
    assert kernel.parent.name != another.parent.name
    assert_not_used(kept, tmp_path, lambda content: another.read_bytes())


def test_a_kernel_of_another_dtype_under_this_name_is_made_again(kept, tmp_path):
    folder, _, _ = kept
    identity = json.loads(array_file.ArrayFile(kernel_in(folder), NAMES).read("identity").tobytes())
    assert identity.keys() == {"version", "checkpoint", "model", "parameters", "dtype", "projection"}
    assert identity["dtype"] == "float64"
    assert_not_used(kept, tmp_path, exchange(b'"float64"', b'"float32"'))


def test_a_kernel_of_other_items_under_this_name_is_made_again(kept, tmp_path):
    torch.manual_seed(2)
    others = tmp_path / "others"
    data = make_data((6,), seed=5)
    model = nn.Linear(6, 1)
    compute_influence(data, model, make_checkpoints(model, tmp_path)[:1], cache=others, dtype="float64")
    assert_not_used(kept, tmp_path, lambda content: kernel_in(others).read_bytes())


def test_an_unfinished_kernel_of_another_run_is_neither_used_nor_deleted(kept, tmp_path):
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
        assert path.is_file(), "this run made its own kernel"
        assert temporary.is_file()
        since = path.stat().st_mtime
        assert cache.prune([], older_than=since) == 0
        assert path.is_file(), "files newer than this run are kept"
    assert cache.prune([]) > 0
    assert not path.parent.exists()


def test_a_folder_that_another_run_prunes_during_writing_is_made_again(tmp_path, monkeypatch):
    path = tmp_path / "v2-0" / "a.kernel"
    clear = files.clear_leftovers

    def prune(folder):
        clear(folder)
        folder.rmdir()

    monkeypatch.setattr(files, "clear_leftovers", prune)
    files.write_bytes_atomic(path, b"kernel")
    assert path.read_bytes() == b"kernel"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot delete an open file")
@pytest.mark.parametrize("held_open", [256, 0])
def test_a_deleted_kernel_stays_readable_or_is_an_error(tmp_path, monkeypatch, held_open):
    monkeypatch.setattr(array_file, "_MOST_OPEN", held_open)
    torch.manual_seed(1)
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    truth = compute_influence(data, model, paths, dtype="float64", cache=tmp_path / "cache")
    # kernels do not fit into this memory
    options = ComputeOptions(LossSettings(), dtype="float64", memory=4_000, cache=tmp_path / "cache")
    result = compute_scores(data, model, paths, options)
    shutil.rmtree(tmp_path / "cache")
    if held_open:
        assert np.abs(result.scores.table().scores - truth.scores).max() <= 1e-12 * np.abs(truth.scores).max()
    else:
        with pytest.raises(CacheError, match="deleted or changed"):
            result.scores.table()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
def test_a_kernels_file_is_closed_with_its_last_reference(kept):
    before = set(Path("/proc/self/fd").iterdir())
    folder, _, _ = kept
    opened = array_file.ArrayFile(kernel_in(folder), NAMES)
    assert len(set(Path("/proc/self/fd").iterdir()) - before) == 1
    del opened
    assert set(Path("/proc/self/fd").iterdir()) <= before
