"""Scores in Parquet: a row a training pair, the scores of all test pairs in one list column, read in row groups.

Columns ``id``, ``id1``, ``id2`` (where the items are known), ``self_influence`` (where it was computed), ``row_sum``
and ``scores``. Test pairs' ids, item-level influence and provenance stand in the file's metadata, with a digest. Pages
carry checksums and rows carry sums: a flipped bit would else be a wrong number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_path
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.files.json_text import AGAIN, json_text
from tracinctl.scores.files.parquet_footer import ABOUT_KEY, check_footer
from tracinctl.scores.files.parquet_pages import check_pages
from tracinctl.scores.files.plain_pages import Sums, Values, read_values, row_sums, values_of
from tracinctl.scores.table import FloatArray, KnownScores, ScoreMeta, ScoreSource, checked_blocks, rows_per_block

_DIGEST = b"tracinctl_sha256"
_GROUP = 4 << 20  # bytes of scores in a row group, which is one page
_PIECE = 1 << 20  # bytes read together: what stays in the processor's cache is worked on twice as fast
_TOLD = 4  # pieces after which progress is told again


def write_parquet_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write scores block by block, in row groups.

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
    fields.append(pa.field("row_sum", pa.uint64(), nullable=False))
    # values that cannot be null are stored without marks for those that are, and read twice as quickly
    width = len(source.test_ids)
    scores_type = pa.list_(pa.field("element", pa.float64(), nullable=False), width)
    fields.append(pa.field("scores", scores_type, nullable=False))
    text = json_text(about).encode()
    schema = pa.schema(fields, metadata={ABOUT_KEY: text, _DIGEST: hashlib.sha256(text).hexdigest().encode()})
    total = len(source.train_ids)

    def group(start: int, block: FloatArray) -> Any:
        rows = slice(start, start + len(block))
        items = source.train_items[rows]
        columns = [source.train_ids[rows], *([[pair[k] for pair in items] for k in (0, 1)] if items else [])]
        arrays = [pa.array(column, pa.string()) for column in columns]
        if own is not None:
            arrays.append(pa.array(own[rows], pa.float64()))
        arrays.append(pa.array(row_sums(block)))
        flat = np.ascontiguousarray(block, dtype=np.float64).reshape(-1)
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), type=scores_type))
        return pa.Table.from_arrays(arrays, schema=schema)

    rows = max(1, min(_GROUP // (8 * max(1, width)), rows_per_block(width)))
    options = {
        "compression": "none",
        "use_dictionary": False,
        "write_statistics": False,
        "write_page_checksum": True,
        "data_page_size": 1 << 30,  # a page a row group, see plain_pages
    }
    try:
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
            for start, block in checked_blocks(source):
                for first in range(0, len(block), rows):
                    writer.write_table(group(start + first, block[first : first + rows]), row_group_size=rows)
                progress(Progress("writing scores", start + len(block), total, "pairs", path.name))
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise ScoreFileError(f"cannot write {path} as Parquet: {_first_line(error)}", hint="--format json") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


class ParquetScores(KnownScores):
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
        self._verified = False  # once it is, the file needs it no more, and is read the more quickly
        self._straight: set[int] = set()  # row groups whose scores stand where they should
        try:
            if not path.is_file():
                raise ScoreFileError(f"cannot read {path}: there is no such file", hint=AGAIN)
            self._stamp = _stamp(path)
            check_footer(path)
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                schema = file.schema_arrow
                about = _about(path, schema)
                test_ids = _texts(about["test_ids"])
                wanted_type = schema.field("scores").type
                if not pa.types.is_fixed_size_list(wanted_type) or wanted_type.list_size != len(test_ids):
                    raise ScoreFileError(f"{path} does not hold one score for each of its test pairs", hint=AGAIN)
                _check_packing(path, file.metadata)
                check_pages(path, file.metadata)
                beside = [name for name in ("id", "id1", "id2", "self_influence", "row_sum") if name in schema.names]
                table = file.read(columns=beside, use_threads=False)
                self._values: Sequence[Values] = values_of(file.metadata, "scores", len(test_ids), self._stamp[1])
            train_ids = _texts(table["id"].to_pylist())
            if len(train_ids) != about["train_pairs"]:
                raise ScoreFileError(f"{path} is damaged: it does not hold as many pairs as it says", hint=AGAIN)
            train_items: Sequence[tuple[str, str]] = (
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
            own = _numbers(table["self_influence"], np.float64) if "self_influence" in beside else None
            self._sums: Sums | None = _numbers(table["row_sum"], np.uint64) if "row_sum" in beside else None
            sample = about["sample_influence"]
            super().__init__(
                ScoreMeta(
                    train_ids,
                    test_ids,
                    None if own is None else _finite(own),
                    [] if sample is None else _texts(list(sample)),
                    None if sample is None else _finite(list(sample.values())),
                    train_items,
                    _texts(about["checkpoint_names"], once=False),
                    dict(about["provenance"]),
                )
            )
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

        start, total = 0, len(self.train_ids)
        told = _TOLD * self._step
        try:
            for block in self._pieces():
                if start + len(block) > total:
                    raise ScoreFileError(f"{self._path} changed while it was read", hint=AGAIN)
                yield start, block
                start += len(block)
                if start % told < len(block) or start == total:
                    self._progress(Progress("reading scores", start, total, "pairs", self._path.name))
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise ScoreFileError(f"{self._path} broke while it was read: {_first_line(error)}", hint=AGAIN) from error
        self._check_same()
        if start != total:
            raise ScoreFileError(f"{self._path} changed while it was read", hint=AGAIN)
        self._verified = True

    @property
    def _step(self) -> int:
        """Rows read together."""
        width = len(self.test_ids)
        return max(1, min(_PIECE // (8 * width), rows_per_block(width)))

    def _pieces(self) -> Iterator[FloatArray]:
        """The scores, straight from the file where they stand there as they should, through pyarrow else."""
        first = 0
        with self._path.open("rb", buffering=0) as file:
            self._check_same()  # what is read from here on is what was opened, whoever takes its place
            for group, where in enumerate(self._values):
                row = first
                if self._sums is not None and (not self._verified or group in self._straight):
                    for piece in read_values(file, where, len(self.test_ids), self._step):
                        if not self._verified:
                            if not np.array_equal(row_sums(piece), self._sums[row : row + len(piece)]):
                                break
                            self._check_finite(row, piece)
                        yield piece
                        row += len(piece)
                if row == first + where.rows:
                    self._straight.add(group)
                else:
                    yield from self._decoded(file, group, first, row)
                first += where.rows

    def _decoded(self, opened: FileIO, group: int, first: int, since: int) -> Iterator[FloatArray]:
        """The scores of a row group that begins with row ``first``, from row ``since`` on."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(
            opened, page_checksum_verification=not self._verified, pre_buffer=False, buffer_size=1 << 20
        ) as file:
            row = first
            for batch in file.iter_batches(self._step, row_groups=[group], columns=["scores"], use_threads=False):
                flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
                block = np.asarray(flat, dtype=np.float64).reshape(-1, len(self.test_ids))
                if len(block) != batch.num_rows:
                    raise ScoreFileError(f"{self._path} changed while it was read", hint=AGAIN)
                self._check_finite(row, block)
                if self._sums is not None and not np.array_equal(row_sums(block), self._sums[row : row + len(block)]):
                    raise ScoreFileError(f"{self._path} is damaged: scores are not as they were written", hint=AGAIN)
                if row + len(block) > since:
                    yield block[max(0, since - row) :]
                row += len(block)

    def _check_finite(self, row: int, block: FloatArray) -> None:
        if not np.isfinite(block).all():
            wrong, column = np.argwhere(~np.isfinite(block))[0].tolist()
            raise ScoreFileError(
                f"{self._path}: the score of {self.train_ids[row + wrong]!r} on {self.test_ids[column]!r} is not a "
                "finite number",
                hint=AGAIN,
            )

    def _check_same(self) -> None:
        """Make sure that ids, and what several readings found, are of one file."""
        try:
            same = _stamp(self._path) == self._stamp
        except OSError:
            same = False
        if not same:
            raise ScoreFileError(f"{self._path} changed while it was read", hint="Run again when nobody writes to it.")


def parquet_test_ids(path: Path) -> Sequence[str]:
    """The test pairs of a Parquet score file; nothing else of it is read.

    Raises:
        ScoreFileError: the file is missing, broken, or not a score file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_footer(path)
        return _texts(_about(path, pq.read_schema(path))["test_ids"])
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ScoreFileError(f"{path} cannot be read as Parquet scores: {_first_line(error)}", hint=AGAIN) from error


def _about(path: Path, schema: Any) -> Any:
    """What a file says of its scores."""
    raw = (schema.metadata or {}).get(ABOUT_KEY)
    if raw is None or "scores" not in schema.names or "id" not in schema.names:
        raise ScoreFileError(f"{path} is Parquet, but holds no influence scores of tracinctl", hint=AGAIN)
    if schema.metadata.get(_DIGEST) != hashlib.sha256(raw).hexdigest().encode():
        raise ScoreFileError(f"{path} is damaged: what it says of its scores is not as written", hint=AGAIN)
    return json.loads(raw)


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


def _numbers(column: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A column's values; ``to_numpy`` would load pandas for it, which takes longer than most files."""
    import pyarrow as pa

    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray) or whole.null_count or whole.type != pa.from_numpy_dtype(dtype):
        raise ValueError("self-influence or sums of rows are not finite numbers, or missing")
    found = np.frombuffer(whole.buffers()[1], dtype=dtype)
    return found[whole.offset : whole.offset + len(whole)]


def _finite(values: Any) -> FloatArray:
    found = np.asarray(values)
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise ValueError("self-influence or item-level influence is not finite")
    return found.astype(np.float64)
