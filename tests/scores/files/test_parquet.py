"""Parquet score files: damaged, changed, replaced and contradictory files are refused."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from score_tables import PARQUET, full, same_bits, table

from tracinctl.errors import ScoreFileError
from tracinctl.scores.files import parquet as parquet_format
from tracinctl.scores.files.open import open_scores, write_scores
from tracinctl.scores.files.sidecar import read_sidecar, sidecar_path, sidecar_text


@pytest.fixture
def path(tmp_path):
    place = tmp_path / PARQUET
    write_scores(full([[1.0, 2.0], [3.0, 4.0]]), place)
    return place


def scores_of(source):
    return np.concatenate([block for _, block in source.blocks()])


def everything(path):
    found = open_scores(path)
    return (found.train_ids, found.train_items, found.self_influence.tolist(), scores_of(found).tolist())


def bind(path, **changes):
    """Write a sidecar that fits the present file except for some changes, as only a forger would."""
    about = {**read_sidecar(path), "size": path.stat().st_size, **changes}
    groups = [parquet_format.ScoreBytes(*place) for place in about["row_groups"]]
    digest = parquet_format._frame_digest(path, groups, len(about["test_ids"]), about["size"])
    sidecar_path(path).write_text(sidecar_text({**about, "frame_sha256": digest}))


def rewrite(path, change, **packing):
    """Write the file again with another table or metadata, and a sidecar that fits."""
    import pyarrow.parquet as pq

    found = pq.read_table(path)
    about = json.loads(found.schema.metadata[b"tracinctl"])
    found = change(found, about) or found
    found = found.replace_schema_metadata({b"tracinctl": json.dumps(about).encode()})
    pq.write_table(found, path, **{"compression": "none", "use_dictionary": False, **packing})
    bind(path)


def with_column(found, name, values):
    import pyarrow as pa

    return found.set_column(found.schema.get_field_index(name), name, pa.array(values))


def test_parquet_without_a_sidecar_is_refused_and_the_sidecar_named(path):
    sidecar_path(path).unlink()
    with pytest.raises(ScoreFileError, match=f"{PARQUET}.json is missing") as error:
        open_scores(path)
    assert f"Copy {PARQUET}.json too" in error.value.hint


def test_parquet_of_other_programs_is_refused(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "scores": [1.0]}), path)
    bind(path)
    with pytest.raises(ScoreFileError, match="holds no influence scores"):
        open_scores(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, about: with_column(found, "id", ["a", "a"]), "twice"),
        (lambda found, about: with_column(found, "id", ["a", None]), "not texts"),
        (lambda found, about: with_column(found, "id", [1, 2]), "not texts"),
        (lambda found, about: with_column(found, "id1", ["a", None]), "not texts"),
        (lambda found, about: with_column(found, "self_influence", [1.0, math.nan]), "not finite"),
        (lambda found, about: with_column(found, "self_influence", ["1", "2"]), "not finite"),
        (lambda found, about: with_column(found, "row_sum", [1.0, 2.0]), "sums of rows"),
        (lambda found, about: found.slice(0, 1), "is damaged, or was changed"),
        (lambda found, about: found.drop_columns(["id"]), "holds no influence scores"),
        (lambda found, about: found.drop_columns(["row_sum"]), "cannot be read"),
        (lambda found, about: about.update(test_ids=["t", "t"]), "twice"),
        (lambda found, about: about.update(test_ids=["t", 3]), "not texts"),
        (lambda found, about: about.update(sample_influence={"a": "x"}), "not finite"),
        (lambda found, about: about.update(sample_influence=[1]), "cannot be read"),
        (lambda found, about: about.update(provenance=3), "cannot be read"),
        (lambda found, about: about.__delitem__("checkpoint_names"), "cannot be read"),
    ],
)
def test_a_parquet_file_that_contradicts_itself_is_an_error(path, change, message):
    rewrite(path, change)
    with pytest.raises(ScoreFileError, match=message) as error:
        open_scores(path)
    assert str(path) in error.value.message


@pytest.mark.parametrize("packing", [{"compression": "zstd"}, {"use_dictionary": True}])
def test_a_compressed_parquet_file_is_refused(path, packing):
    rewrite(path, lambda found, about: found, **packing)
    with pytest.raises(ScoreFileError, match="is compressed in a way"):
        open_scores(path)


EVERY_BIT = """\
import sys
from pathlib import Path
import numpy as np
from tracinctl.errors import ScoreFileError
from tracinctl.scores.files.open import open_scores

path = Path(sys.argv[1])
data = path.read_bytes()
refused = 0
bits = range(0, 8 * len(data), 23)
for bit in bits:
    path.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
    try:
        list(open_scores(path).blocks())
    except ScoreFileError:
        refused += 1
print(refused, len(bits))
"""


def test_every_flipped_bit_is_refused_and_none_ends_the_process(tmp_path):
    path = tmp_path / PARQUET
    write_scores(table([[1.0, 2.0], [3.0, -4.0]]), path)
    done = subprocess.run(
        [sys.executable, "-c", EVERY_BIT, path], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    refused, tried = map(int, done.stdout.split())
    assert refused == tried > 500


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(size=1),
        lambda about: about.update(frame_sha256="0" * 64),
        lambda about: about.update(row_groups=[[0, 2]]),
        lambda about: about.update(test_ids=["t"]),
        lambda about: about.pop("size"),
        lambda about: about.clear(),
    ],
)
@pytest.mark.parametrize("sealed", [True, False], ids=["digest right", "digest wrong"])
def test_a_changed_sidecar_is_refused(path, change, sealed):
    about = json.loads(sidecar_path(path).read_text())
    change(about)
    about.pop("sha256", None) if sealed else None
    sidecar_path(path).write_text(sidecar_text(about) if sealed else json.dumps(about))
    with pytest.raises(ScoreFileError, match=PARQUET) as error:
        list(open_scores(path).blocks())
    assert "tracinctl compute" in error.value.hint


def test_the_sidecar_of_other_scores_is_refused(path, tmp_path):
    write_scores(full([[1.0, 2.0], [3.0, 4.5]], train_items=[("x", "y"), ("y", "z")]), tmp_path / "other" / PARQUET)
    sidecar_path(path).write_bytes(sidecar_path(tmp_path / "other" / PARQUET).read_bytes())
    with pytest.raises(ScoreFileError, match="is damaged, or was changed after"):
        open_scores(path)


@pytest.mark.parametrize("wrong", [4.5, math.nan])
def test_scores_that_differ_from_their_row_sums_are_refused(path, wrong):
    data = path.read_bytes()
    at = data.index(np.array([3.0, 4.0]).tobytes())
    path.write_bytes(data[:at] + np.array([3.0, wrong]).tobytes() + data[at + 16 :])
    with pytest.raises(ScoreFileError, match="is damaged, or was changed"):
        list(open_scores(path).blocks())


def test_a_parquet_file_of_many_row_groups_is_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_format, "_GROUP", 64 << 10)
    scores = np.random.default_rng(0).standard_normal((3000, 20))
    write_scores(full(scores), tmp_path / PARQUET)
    assert len(read_sidecar(tmp_path / PARQUET)["row_groups"]) == 8
    opened = open_scores(tmp_path / PARQUET)
    for _ in range(2):
        assert same_bits(scores_of(opened), scores)


def test_other_programs_read_the_same_scores(tmp_path):
    import pyarrow.parquet as pq

    scores = np.random.default_rng(0).standard_normal((30, 4))
    write_scores(full(scores), tmp_path / PARQUET)
    with pq.ParquetFile(tmp_path / PARQUET, page_checksum_verification=True) as file:
        assert np.array_equal(np.stack(file.read().column("scores").to_pylist()), scores)


def test_a_parquet_file_that_changes_while_it_is_open_is_noticed(path):
    opened = open_scores(path)
    write_scores(full([[1.0], [2.0], [3.0]]), path)
    with pytest.raises(ScoreFileError, match="changed while it was read"):
        list(opened.blocks())


def test_a_file_that_breaks_while_it_is_read_is_named(path, monkeypatch):
    opened = open_scores(path)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(parquet_format, "read_scores", fail)
    with pytest.raises(ScoreFileError, match=rf"{PARQUET} failed while it was read.*Input/output error"):
        list(opened.blocks())


def test_parquet_is_read_in_blocks_that_stay_small(tmp_path, monkeypatch):
    source = full(np.random.default_rng(0).normal(size=(500, 10)))
    write_scores(source, tmp_path / PARQUET)
    monkeypatch.setattr(parquet_format, "rows_per_block", lambda width: 64)
    blocks = list(open_scores(tmp_path / PARQUET).blocks())
    assert max(len(block) for _, block in blocks) <= 64
    assert [start for start, _ in blocks] == list(np.cumsum([0, *(len(block) for _, block in blocks)])[:-1])
