"""A disk that takes only the first bytes of a file: old files stay unchanged, and no temporary file stays."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from crash_projects import contents
from score_tables import full

from tracinctl.errors import TracinctlError
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.files.exclusion_list import write_exclusion_list
from tracinctl.scores.files.open import write_scores
from tracinctl.scores.files.per_checkpoint import write_per_checkpoint_scores
from tracinctl.scores.files.records import mark_excluded, write_self_influence
from tracinctl.scores.options import Rule

resource = pytest.importorskip("resource", reason="this system has no limit for the size of a file")


@contextlib.contextmanager
def files_end_at(size):
    """Make every write beyond ``size`` bytes of a file short, then fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def scores(seed):
    drawn = np.random.default_rng(seed).normal(size=(60, 5))
    return full(drawn, per_checkpoint=np.stack([drawn / 2, drawn / 2]))


def listed(source):
    return choose_exclusions(source, Rule(threshold="0", min_occurrences="1"))


WRITERS = {
    "scores in JSON": lambda folder, source: write_scores(source, folder / "m_f_influence_metadata.json"),
    "scores in Parquet": lambda folder, source: write_scores(source, folder / "m_f_influence.parquet"),
    "checkpoints in JSON": lambda folder, source: write_per_checkpoint_scores(
        source, folder / "m_f_per_checkpoint_influence_metadata.json"
    ),
    "checkpoints in Parquet": lambda folder, source: write_per_checkpoint_scores(
        source, folder / "m_f_per_checkpoint_influence.parquet"
    ),
    "list": lambda folder, source: write_exclusion_list(folder / "list.txt", listed(source), "s.json"),
    "records": lambda folder, source: write_self_influence(source, folder / "m_f_metadata.json"),
    "marks": lambda folder, source: mark_excluded(source, listed(source), folder / "m_f_metadata.json"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_changes_nothing(tmp_path, name):
    write = WRITERS[name]
    write(tmp_path, scores(0))
    before = contents(tmp_path)
    write(tmp_path / "new", scores(1))
    largest = max(path.stat().st_size for path in (tmp_path / "new").iterdir())
    refused = 0
    for size in range(0, largest + 300, max(1, largest // 23)):
        try:
            with files_end_at(size):
                write(tmp_path, scores(1))
        except TracinctlError as error:
            assert "cannot write" in error.message  # noqa: PT017  both results are right, but the message must be right too
            refused += 1
            assert {k: v for k, v in contents(tmp_path).items() if "new/" not in k} == before
        else:
            break
    assert refused >= 20
    write(tmp_path, scores(1))
    write(tmp_path / "other", scores(0))
    write(tmp_path / "other", scores(1))
    here = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    undisturbed = {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir() if path.is_file()}
    assert here == undisturbed
