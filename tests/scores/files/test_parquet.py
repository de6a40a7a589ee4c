"""Score files in columns: what contradicts itself, is packed, damaged or laid out in another way."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest
from score_tables import PARQUET, full, same_bits

from tracinctl.errors import ScoreFileError
from tracinctl.scores.files import parquet as parquet_format
from tracinctl.scores.files.open import open_scores, write_scores


def test_parquet_without_our_metadata_is_no_score_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "scores": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(ScoreFileError, match="holds no influence scores"):
        open_scores(tmp_path / "x.parquet")


def rewrite(path, change, **packing):
    """Write a Parquet score file again with its table or metadata changed; its digest stays right."""
    import pyarrow.parquet as pq

    found = pq.read_table(path)
    about = json.loads(found.schema.metadata[b"tracinctl"])
    found = change(found, about) or found
    text = json.dumps(about).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    found = found.replace_schema_metadata({b"tracinctl": text, b"tracinctl_sha256": digest})
    pq.write_table(found, path, **{"compression": "none", "use_dictionary": False, **packing})


def with_column(found, name, values):
    import pyarrow as pa

    return found.set_column(found.schema.get_field_index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, about: with_column(found, "id", ["a", "a"]), "twice"),
        (lambda found, about: with_column(found, "id", ["a", None]), "no text"),
        (lambda found, about: with_column(found, "id", [1, 2]), "no text"),
        (lambda found, about: with_column(found, "id1", ["a", None]), "no text"),
        (lambda found, about: with_column(found, "self_influence", [1.0, math.nan]), "not finite"),
        (lambda found, about: with_column(found, "self_influence", ["1", "2"]), "not finite"),
        (lambda found, about: with_column(found, "scores", [1.0, 2.0]), "one score for each"),
        (lambda found, about: found.slice(0, 1), "as many pairs as it says"),
        (lambda found, about: found.drop_columns(["id"]), "holds no influence scores"),
        (lambda found, about: about.update(test_ids=["t"]), "one score for each"),
        (lambda found, about: about.update(test_ids=["t", "t"]), "twice"),
        (lambda found, about: about.update(test_ids=["t", 3]), "no text"),
        (lambda found, about: about.update(sample_influence={"a": "x"}), "not finite"),
        (lambda found, about: about.update(sample_influence=[1]), "cannot be read"),
        (lambda found, about: about.update(provenance=3), "cannot be read"),
        (lambda found, about: about.__delitem__("checkpoint_names"), "cannot be read"),
    ],
)
def test_a_parquet_file_that_contradicts_itself_is_an_error(tmp_path, change, message):
    path = tmp_path / PARQUET
    write_scores(full([[1.0, 2.0], [3.0, 4.0]]), path)
    rewrite(path, change)
    with pytest.raises(ScoreFileError, match=message) as error:
        open_scores(path)
    assert str(path) in error.value.message


@pytest.mark.parametrize("packing", [{"compression": "zstd"}, {"use_dictionary": True}])
def test_a_parquet_file_that_would_unpack_to_more_is_refused(tmp_path, packing):
    path = tmp_path / PARQUET
    write_scores(full([[1.0, 2.0], [3.0, 4.0]]), path)
    rewrite(path, lambda found, about: found, **packing)
    with pytest.raises(ScoreFileError, match="is packed in a way"):
        open_scores(path)


def headers(path):
    """Where the headers of the ids' and of the scores' page lie: checksums do not cover them."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        columns = [group.column(k) for k in (0, group.num_columns - 1)]
    return [range(each.data_page_offset, each.data_page_offset + 28) for each in columns]


def everything(path):
    found = open_scores(path)
    scores = np.concatenate([block for _, block in found.blocks()])
    return (found.train_ids, found.train_items, found.self_influence.tolist(), scores.tolist())


BITS, BYTE_STREAM_SPLIT = 8, 9 << 1  # another encoding of numbers, as a header writes it


def test_a_page_that_contradicts_the_file_is_refused_and_never_another_number(tmp_path):
    path = tmp_path / PARQUET
    write_scores(full([[1.0, 2.0], [3.0, 4.0]]), path)
    whole, data = everything(path), path.read_bytes()
    refused = 0
    for places in headers(path):
        for at in places:
            for new in [*(data[at] ^ 1 << bit for bit in range(BITS)), BYTE_STREAM_SPLIT]:
                path.write_bytes(data[:at] + bytes([new]) + data[at + 1 :])
                try:
                    assert everything(path) == whole
                except ScoreFileError:
                    refused += 1
    assert refused > 300


def test_a_parquet_file_of_many_pages_and_groups_is_whole(tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / PARQUET
    scores = np.random.default_rng(0).standard_normal((3000, 200))
    write_scores(full(scores), path)
    rewrite(path, lambda found, about: found, row_group_size=700, data_page_size=4096, write_statistics=True)
    with pq.ParquetFile(path) as file:
        assert file.metadata.num_row_groups > 4
    assert np.array_equal(np.concatenate([block for _, block in open_scores(path).blocks()]), scores)


def test_a_parquet_score_that_is_no_number_names_its_pairs(tmp_path):
    import pyarrow as pa

    path = tmp_path / PARQUET
    write_scores(full([[1.0, 2.0], [3.0, 4.0]]), path)
    values = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, math.nan, 4.0]), 2)
    rewrite(path, lambda found, about: with_column(found, "scores", values))
    with pytest.raises(ScoreFileError, match="'m_1_m_2' on 'm_0_m_900' is not a finite number"):
        list(open_scores(path).blocks())


@pytest.mark.parametrize(
    ("change", "packing"),
    [
        (lambda found, about: found, {"data_page_size": 100, "write_batch_size": 8}),
        (lambda found, about: found, {"row_group_size": 7}),
        (lambda found, about: found.drop_columns(["row_sum"]), {}),
    ],
    ids=["many pages", "other row groups", "no sums, as in 0.1"],
)
def test_parquet_scores_in_another_layout_are_read_all_the_same(tmp_path, change, packing):
    scores = np.random.default_rng(0).normal(size=(40, 9))
    path = tmp_path / PARQUET
    write_scores(full(scores), path)
    rewrite(path, change, **packing)
    opened = open_scores(path)
    for _ in range(2):
        assert same_bits(np.concatenate([block for _, block in opened.blocks()]), scores)


def test_parquet_scores_that_are_not_what_their_rows_add_up_to_are_damaged(tmp_path):
    import pyarrow as pa

    path = tmp_path / PARQUET
    write_scores(full([[1.0, 2.0], [3.0, 4.0]]), path)
    values = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.5]), 2)
    rewrite(path, lambda found, about: with_column(found, "scores", values))
    with pytest.raises(ScoreFileError, match="are not as they were written"):
        list(open_scores(path).blocks())


def test_a_parquet_file_that_changes_while_it_is_open_is_noticed(tmp_path):
    path = tmp_path / PARQUET
    write_scores(full([[1.0], [2.0]]), path)
    opened = open_scores(path)
    write_scores(full([[1.0], [2.0], [3.0]]), path)
    with pytest.raises(ScoreFileError, match="changed while it was read"):
        list(opened.blocks())


def test_what_was_written_here_is_read_straight(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    source = full(np.random.default_rng(0).normal(size=(50, 3)))
    write_scores(source, tmp_path / PARQUET)
    opened = open_scores(tmp_path / PARQUET)
    monkeypatch.delattr(pq.ParquetFile, "iter_batches")
    assert same_bits(np.concatenate([block for _, block in opened.blocks()]), source.scores)


def test_parquet_is_read_in_blocks_that_stay_small(tmp_path, monkeypatch):
    source = full(np.random.default_rng(0).normal(size=(500, 10)))
    write_scores(source, tmp_path / PARQUET)
    monkeypatch.setattr(parquet_format, "rows_per_block", lambda width: 64)
    blocks = list(open_scores(tmp_path / PARQUET).blocks())
    assert max(len(block) for _, block in blocks) <= 64
    assert [start for start, _ in blocks] == list(np.cumsum([0, *(len(block) for _, block in blocks)])[:-1])
