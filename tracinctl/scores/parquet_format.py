"""Scores in Parquet: a row a training pair, the scores of all test pairs in one list column, read in row groups.

Columns ``id``, ``id1``, ``id2`` (where the items are known), ``self_influence`` (where it was computed) and ``scores``.
Test pairs' ids, item-level influence and provenance stand in the file's metadata, with a digest. Pages carry checksums,
which the first reading verifies: a flipped bit would else be a wrong number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_path
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.checked import checked_blocks
from tracinctl.scores.json_text import AGAIN, json_text
from tracinctl.scores.parquet_pages import check_pages
from tracinctl.scores.table import FloatArray, ScoreSource, rows_per_block

_KEY, _DIGEST = b"tracinctl", b"tracinctl_sha256"
_PARTS = 8  # of a row group, read one after the other: what fits into the processor's cache is worked on twice as fast


def write_parquet_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write scores block by block, a row group a block.

    Raises:
        NonFiniteError: a score is not finite.
        ScoreFileError: an id cannot be written.
        TracinctlError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    own, sample = source.self_influence, source.sample_influence
    about = {
        "train_pairs": len(source.train_ids),
        "test_ids": list(source.test_ids),
        "sample_influence": None if sample is None else dict(zip(source.sample_ids, sample.tolist(), strict=True)),
        "checkpoint_names": list(source.checkpoint_names),
        "provenance": dict(source.provenance),
    }
    names = ["id", *(("id1", "id2") if source.train_items else ())]
    fields = [pa.field(name, pa.string(), nullable=False) for name in names]
    if own is not None:
        fields.append(pa.field("self_influence", pa.float64(), nullable=False))
    # values that cannot be null are stored without marks for those that are, and read twice as quickly
    width = len(source.test_ids)
    scores_type = pa.list_(pa.field("element", pa.float64(), nullable=False), width)
    fields.append(pa.field("scores", scores_type, nullable=False))
    text = json_text(about).encode()
    schema = pa.schema(fields, metadata={_KEY: text, _DIGEST: hashlib.sha256(text).hexdigest().encode()})
    total = len(source.train_ids)

    def group(start: int, block: FloatArray) -> Any:
        rows = slice(start, start + len(block))
        items = source.train_items[rows]
        columns = [source.train_ids[rows], *([[pair[k] for pair in items] for k in (0, 1)] if items else [])]
        arrays = [pa.array(column, pa.string()) for column in columns]
        if own is not None:
            arrays.append(pa.array(own[rows], pa.float64()))
        flat = np.ascontiguousarray(block, dtype=np.float64).reshape(-1)
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), type=scores_type))
        return pa.Table.from_arrays(arrays, schema=schema)

    options = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    try:
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
            for start, block in checked_blocks(source):
                writer.write_table(group(start, block), row_group_size=max(1, len(block)))
                progress(Progress("writing scores", start + len(block), total, "pairs", path.name))
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise ScoreFileError(f"cannot write {path} as Parquet: {_first_line(error)}", hint="--format json") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


class ParquetScores:
    """A Parquet score file, opened; scores are read when they are asked for. A ``ScoreSource``.

    ``progress`` is told of every block that is read.

    Raises:
        ScoreFileError: the file is missing, broken, or not a score file.
    """

    def __init__(self, path: Path, progress: ProgressCallback = no_progress) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._progress = progress
        self._verified = False
        try:
            if not path.is_file():
                raise ScoreFileError(f"cannot read {path}: there is no such file", hint=AGAIN)
            self._stamp = _stamp(path)
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                schema = file.schema_arrow
                raw = (schema.metadata or {}).get(_KEY)
                if raw is None or "scores" not in schema.names or "id" not in schema.names:
                    raise ScoreFileError(f"{path} is Parquet, but holds no influence scores of tracinctl", hint=AGAIN)
                if schema.metadata.get(_DIGEST) != hashlib.sha256(raw).hexdigest().encode():
                    raise ScoreFileError(f"{path} is damaged: what it says of its scores is not as written", hint=AGAIN)
                about = json.loads(raw)
                self.test_ids: Sequence[str] = _texts(about["test_ids"])
                wanted_type = schema.field("scores").type
                if not pa.types.is_fixed_size_list(wanted_type) or wanted_type.list_size != len(self.test_ids):
                    raise ScoreFileError(f"{path} does not hold one score for each of its test pairs", hint=AGAIN)
                _check_packing(path, file.metadata)
                check_pages(path, file.metadata)
                beside = [name for name in ("id", "id1", "id2", "self_influence") if name in schema.names]
                table = file.read(columns=beside, use_threads=False)
            self.train_ids: Sequence[str] = _texts(table["id"].to_pylist())
            if len(self.train_ids) != about["train_pairs"]:
                raise ScoreFileError(f"{path} is damaged: it does not hold as many pairs as it says", hint=AGAIN)
            self.train_items: Sequence[tuple[str, str]] = (
                list(
                    zip(
                        _texts(table["id1"].to_pylist(), once=False),
                        _texts(table["id2"].to_pylist(), once=False),
                        strict=True,
                    )
                )
                if {"id1", "id2"} <= set(beside)
                else ()
            )
            own = table["self_influence"].to_numpy() if "self_influence" in beside else None
            self.self_influence: FloatArray | None = None if own is None else _finite(own)
            sample = about["sample_influence"]
            self.sample_ids: Sequence[str] = [] if sample is None else _texts(list(sample))
            self.sample_influence: FloatArray | None = None if sample is None else _finite(list(sample.values()))
            self.checkpoint_names: Sequence[str] = _texts(about["checkpoint_names"], once=False)
            self.provenance: Mapping[str, Any] = dict(about["provenance"])
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ScoreFileError(
                f"{path} cannot be read as Parquet scores: {_first_line(error)}", hint=AGAIN
            ) from error

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last.

        Raises:
            ScoreFileError: the file broke or changed, or a score is not finite.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        start, total, width = 0, len(self.train_ids), len(self.test_ids)
        try:
            self._check_same()
            # once verified, the file needs it no more, and is read several times as quickly
            verify = not self._verified
            with pq.ParquetFile(
                self._path, page_checksum_verification=verify, pre_buffer=False, buffer_size=1 << 20
            ) as file:
                for batch in file.iter_batches(
                    max(1, rows_per_block(width) // _PARTS), columns=["scores"], use_threads=False
                ):
                    flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
                    block = np.asarray(flat, dtype=np.float64).reshape(-1, width)
                    if len(block) != batch.num_rows or start + len(block) > total:
                        raise ScoreFileError(f"{self._path} changed while it was read", hint=AGAIN)
                    if not np.isfinite(block).all():
                        row, column = np.argwhere(~np.isfinite(block))[0].tolist()
                        raise ScoreFileError(
                            f"{self._path}: the score of {self.train_ids[start + row]!r} on "
                            f"{self.test_ids[column]!r} is not a finite number",
                            hint=AGAIN,
                        )
                    yield start, block
                    start += len(block)
                    self._progress(Progress("reading scores", start, total, "pairs", self._path.name))
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise ScoreFileError(f"{self._path} broke while it was read: {_first_line(error)}", hint=AGAIN) from error
        self._check_same()
        if start != total:
            raise ScoreFileError(f"{self._path} changed while it was read", hint=AGAIN)
        self._verified = True

    def _check_same(self) -> None:
        """Make sure that ids, and what several readings found, are of one file."""
        try:
            same = _stamp(self._path) == self._stamp
        except OSError:
            same = False
        if not same:
            raise ScoreFileError(f"{self._path} changed while it was read", hint="Run again when nobody writes to it.")


def _check_packing(path: Path, about: Any) -> None:
    """Refuse a file that would unpack to far more than it is; what is written here is not packed at all."""
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    columns = [group.column(k) for group in groups for k in range(group.num_columns)]
    packed = any(
        each.compression != "UNCOMPRESSED" or each.has_dictionary_page or not set(each.encodings) <= {"PLAIN", "RLE"}
        for each in columns
    )
    if packed or about.num_rows > path.stat().st_size:
        raise ScoreFileError(f"{path} is packed in a way that tracinctl does not write", hint=AGAIN)


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _texts(values: Any, *, once: bool = True) -> list[str]:
    if not isinstance(values, list) or (not values and once) or set(map(type, values)) - {str}:
        raise ValueError("ids are missing, or are no text")
    if once and len(set(values)) != len(values):
        raise ValueError("an id stands there twice")
    return values


def _finite(values: Any) -> FloatArray:
    found = np.asarray(values)
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise ValueError("self-influence or item-level influence is not finite")
    return found.astype(np.float64)
