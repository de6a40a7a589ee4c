"""Scores in Parquet: one row per training pair, all its scores in one list column, read in row groups.

Columns are ``id``, ``id1`` and ``id2`` (if the items are known), ``self_influence`` (if it was computed), ``row_sum``
and ``scores``. The test pairs' ids, item-level influence and provenance are in the file's metadata.

The sidecar has the places of the scores in the file, and a digest of everything else: page headers, ids, and the
footer, because a damaged footer can end the process when pyarrow reads it. The digest is checked before pyarrow opens
the file. Scores are checked by their row's sum in the first reading, which costs a twentieth of a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracinctl.errors import ScoreFileError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.files.json_text import AGAIN, UNENCODABLE, json_text
from tracinctl.scores.files.sidecar import does_not_fit, read_sidecar, writing_with_sidecar
from tracinctl.scores.source import (
    Blocks,
    FloatArray,
    KnownScores,
    ScoreMeta,
    ScoreSource,
    checked_blocks,
    finite_numbers,
    rows_per_block,
)
from tracinctl.user_code import said

_GROUP_COLUMN = "group:"  # prefix of columns that group the training pairs
_ABOUT = b"tracinctl"  # the key of the description in the file's metadata
_GROUP = 4 << 20  # bytes of scores in a row group, which is one page
_PIECE = 1 << 20  # bytes per read, which fit into the processor's cache and so are twice as fast to work on
_PROGRESS_EVERY = 4  # pieces
_OPTIONS = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "write_page_checksum": True,  # for other readers
    "data_page_size": 1 << 30,  # one page per row group, so that its scores are contiguous
}


class ScoreBytes(NamedTuple):
    """The place of a row group's scores: the first byte, and the number of rows."""

    offset: int
    rows: int


def write_parquet_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write scores in row groups, and the sidecar; both are complete before the first is renamed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    total, width = len(source.train_ids), len(source.test_ids)
    rows = max(1, min(_GROUP // (8 * max(1, width)), rows_per_block(width)))
    try:
        schema = _schema(source)
        with writing_with_sidecar(path) as (temporary, sidecar):
            with pq.ParquetWriter(temporary, schema, **_OPTIONS) as writer:
                for start, block in checked_blocks(source):
                    for k in range(0, len(block), rows):
                        group = _row_group(source, schema, start + k, block[k : k + rows])
                        writer.write_table(group, row_group_size=rows)
                    progress(Progress("writing scores", start + len(block), total, "pairs", path.name))
            sidecar.update(_sidecar(source, temporary, width))
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise ScoreFileError(
            f"cannot write {path} as Parquet: {said(error)}", hint="Write JSON: `format` json."
        ) from error


def _schema(source: ScoreSource) -> Any:
    import pyarrow as pa

    sample = source.sample_influence
    about = {
        "train_pairs": len(source.train_ids),
        "test_ids": list(source.test_ids),
        "sample_influence": None if sample is None else dict(zip(source.sample_ids, sample.tolist(), strict=True)),
        "checkpoint_names": list(source.checkpoint_names),
        "provenance": dict(source.provenance),
    }
    names = ["id", *(("id1", "id2") if source.train_items else ()), *(_GROUP_COLUMN + name for name in source.groups)]
    fields = [pa.field(name, pa.string(), nullable=False) for name in names]
    if source.self_influence is not None:
        fields.append(pa.field("self_influence", pa.float64(), nullable=False))
    fields.append(pa.field("row_sum", pa.uint64(), nullable=False))
    # non-nullable values are stored contiguously, without null marks
    scores = pa.list_(pa.field("element", pa.float64(), nullable=False), len(source.test_ids))
    fields.append(pa.field("scores", scores, nullable=False))
    return pa.schema(fields, metadata={_ABOUT: json_text(about).encode(errors=UNENCODABLE)})


def _row_group(source: ScoreSource, schema: Any, start: int, block: FloatArray) -> Any:
    import pyarrow as pa

    rows = slice(start, start + len(block))
    flat = np.ascontiguousarray(block, dtype=np.float64).reshape(-1)
    columns = {_GROUP_COLUMN + name: values[rows] for name, values in source.groups.items()} | {
        "id": source.train_ids[rows],
        "row_sum": row_sums(block),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field("scores").type),
    }
    if source.train_items:
        columns["id1"], columns["id2"] = zip(*source.train_items[rows], strict=True)
    if source.self_influence is not None:
        columns["self_influence"] = source.self_influence[rows]
    return pa.Table.from_pydict(columns, schema=schema)


def _sidecar(source: ScoreSource, written: Path, width: int) -> dict[str, Any]:
    import pyarrow.parquet as pq

    groups = []
    metadata = pq.read_metadata(written)
    for group in (metadata.row_group(k) for k in range(metadata.num_row_groups)):
        column = group.column(group.num_columns - 1)
        end = column.data_page_offset + column.total_compressed_size
        groups.append(ScoreBytes(end - 8 * width * group.num_rows, group.num_rows))
    size = written.stat().st_size
    return {
        "size": size,
        "frame_sha256": _frame_digest(written, groups, width, size),
        "row_groups": groups,
        "test_ids": list(source.test_ids),
    }


def _frame_digest(path: Path, groups: Sequence[ScoreBytes], width: int, size: int) -> str:
    """SHA-256 of all bytes except the scores."""
    digest = hashlib.sha256()
    at = 0
    with path.open("rb") as file:
        for offset, rows in [*groups, ScoreBytes(size, 0)]:
            file.seek(at)
            while at < offset and (data := file.read(min(_PIECE, offset - at))):
                digest.update(data)
                at += len(data)
            at = offset + 8 * width * rows
    return digest.hexdigest()


def row_sums(scores: FloatArray) -> npt.NDArray[np.uint64]:
    """Sums of the bit patterns of each row's scores, modulo 2^64, shape (rows,); any single flipped bit changes one."""
    words = np.ascontiguousarray(scores, dtype="<f8").view("<u8")
    sums: npt.NDArray[np.uint64] = words.sum(axis=1, dtype=np.uint64)
    return sums


class ParquetScores(KnownScores):
    """An open Parquet score file; scores are read on demand.

    ``progress`` is called for every block.

    Raises:
        ScoreFileError: the file is missing or not a score file, its sidecar is missing, or one of them was changed.
    """

    def __init__(self, path: Path, progress: ProgressCallback = no_progress) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._progress = progress
        self._verified = False  # later readings skip the check
        try:
            if not path.is_file():
                raise ScoreFileError(f"cannot read {path}: there is no such file", hint=AGAIN)
            self._stamp = _stamp(path)
            self._groups = _checked_frame(path)
            with pq.ParquetFile(path) as file:
                about = _about(path, file)
                beside = [name for name in file.schema_arrow.names if name != "scores"]
                table = file.read(columns=beside, use_threads=False)
            columns = {name: table[name] for name in beside}
            super().__init__(_meta(about, columns))
            self._sums = _numbers(columns["row_sum"], np.uint64)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ScoreFileError(f"{path} cannot be read as Parquet scores: {said(error)}", hint=AGAIN) from error
        if not sum(group.rows for group in self._groups) == len(self._sums) == len(self.train_ids):
            raise does_not_fit(path)

    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        start, total = 0, len(self.train_ids)
        width = len(self.test_ids)
        step = max(1, min(_PIECE // (8 * width), rows_per_block(width)))
        try:
            # pyarrow takes twelve times as long to return a list column as to read its bytes
            with self._path.open("rb", buffering=0) as file:
                self._check_same()  # from here on this file is read, even if another replaces it
                for group in self._groups:
                    for piece in read_scores(file, group, width, step):
                        self._check(start, piece)
                        yield start, piece
                        start += len(piece)
                        if start % (_PROGRESS_EVERY * step) < len(piece) or start == total:
                            self._progress(Progress("reading scores", start, total, "pairs", self._path.name))
        except OSError as error:
            raise ScoreFileError(f"{self._path} failed while it was read: {said(error)}", hint=AGAIN) from error
        self._check_same()
        if start != total:
            raise ScoreFileError(f"{self._path} changed while it was read", hint=AGAIN)
        self._verified = True

    def _check(self, row: int, piece: FloatArray) -> None:
        if self._verified:
            return
        if not np.array_equal(row_sums(piece), self._sums[row : row + len(piece)]) or not np.isfinite(piece).all():
            raise does_not_fit(self._path)

    def _check_same(self) -> None:
        """Check that all readings use the same file for ids and scores."""
        try:
            same = _stamp(self._path) == self._stamp
        except OSError:
            same = False
        if not same:
            raise ScoreFileError(
                f"{self._path} changed while it was read", hint="Run the command again when no other program writes it."
            )


def read_scores(file: FileIO, group: ScoreBytes, width: int, step: int) -> Iterator[FloatArray]:
    """Yield the scores of a row group in pieces of ``step`` rows, shape (rows, width); fewer at the file's end."""
    file.seek(group.offset)
    for start in range(0, group.rows, step):
        piece = np.empty((min(step, group.rows - start), width), dtype="<f8")
        remaining = memoryview(piece.data).cast("B")
        while remaining.nbytes:
            got = file.readinto(remaining)
            if not got:
                return
            remaining = remaining[got:]
        yield piece


def _checked_frame(path: Path) -> list[ScoreBytes]:
    """The places of the scores, after checking that everything else is unchanged."""
    beside = read_sidecar(path)
    size, width = beside["size"], len(beside["test_ids"])
    groups = [ScoreBytes(*group) for group in beside["row_groups"]]
    if path.stat().st_size != size or beside["frame_sha256"] != _frame_digest(path, groups, width, size):
        raise does_not_fit(path)
    return groups


def _about(path: Path, file: Any) -> Any:
    """The file's description of its scores."""
    schema = file.schema_arrow
    raw = (schema.metadata or {}).get(_ABOUT)
    if raw is None or schema.names[-1:] != ["scores"] or "id" not in schema.names:
        raise ScoreFileError(f"{path} is Parquet, but holds no influence scores of tracinctl", hint=AGAIN)
    metadata = file.metadata
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    columns = [group.column(k) for group in groups for k in range(group.num_columns)]
    if any(column.compression != "UNCOMPRESSED" or column.has_dictionary_page for column in columns):
        raise ScoreFileError(f"{path} is compressed in a way that tracinctl does not use", hint=AGAIN)
    return json.loads(raw)


def _meta(about: Any, columns: Any) -> ScoreMeta:
    pairs = [_texts(columns[name].to_pylist(), once=False) for name in ("id1", "id2") if name in columns]
    self_influence, sample = columns.get("self_influence"), about["sample_influence"]
    return ScoreMeta(
        train_ids=_texts(columns["id"].to_pylist()),
        test_ids=_texts(about["test_ids"]),
        self_influence=None if self_influence is None else finite_numbers(_numbers(self_influence, np.float64)),
        sample_ids=[] if sample is None else _texts(list(sample)),
        sample_influence=None if sample is None else finite_numbers(list(sample.values())),
        train_items=list(zip(*pairs, strict=True)) if pairs else [],
        checkpoint_names=_texts(about["checkpoint_names"], once=False),
        provenance=dict(about["provenance"]),
        groups={
            name.removeprefix(_GROUP_COLUMN): _texts(column.to_pylist(), once=False)
            for name, column in columns.items()
            if name.startswith(_GROUP_COLUMN)
        },
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _texts(values: Any, *, once: bool = True) -> list[str]:
    if not isinstance(values, list) or (not values and once) or set(map(type, values)) - {str}:
        raise ValueError("ids are missing or not texts")
    if once and len(set(values)) != len(values):
        raise ValueError("an id occurs twice")
    return values


def _numbers(column: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A column's values, without ``to_numpy``, which would import pandas."""
    import pyarrow as pa

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray) or array.null_count or array.type != pa.from_numpy_dtype(dtype):
        raise ValueError("self-influence or sums of rows are not finite numbers, or missing")
    numbers = np.frombuffer(array.buffers()[1], dtype=dtype)
    return numbers[array.offset : array.offset + len(array)]
