"""A disk that fills up during the writing of a kernel is an error, and never leaves a kernel with zeros."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from full_disk import small_disk
from small_models import make_checkpoints, make_data
from torch import nn

from tracinctl import compute_influence
from tracinctl.errors import TracinctlError


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A function that computes scores with a cache folder, and the right scores."""
    folder = tmp_path_factory.mktemp("work")
    torch.manual_seed(1)
    model = nn.Linear(6, 1)
    data = make_data((6,), train=30, test=15)
    paths = make_checkpoints(model, folder)[:1]

    def scores(cache):
        return compute_influence(data, model, paths, cache=cache, dtype="float64").scores

    return scores, scores(folder / "cache")


PAGE = 4096
PAGES = 6
"""One page for ``.gitignore``, the others for the kernel."""


@pytest.mark.parametrize("pages", range(1, PAGES + 1))
def test_a_full_disk_is_an_error_and_the_next_run_is_right(work, tmp_path, pages):
    scores, truth = work
    with small_disk(tmp_path / "disk", pages * PAGE) as disk:
        if pages < PAGES:
            with pytest.raises(TracinctlError, match="No space left on device"):
                scores(disk / "cache")
        else:
            assert np.array_equal(scores(disk / "cache"), truth)
        shutil.copytree(disk, tmp_path / "kept")
    assert np.array_equal(scores(tmp_path / "kept" / "cache"), truth)
