"""Scores in Parquet: a row a training pair, the scores of all test pairs in one list column, read in row groups."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_path
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.table import FloatArray, ScoreSource

_KEY = b"tracinctl"


def write_parquet_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write scores block by block, a row group a block.

    Raises:
        TracinctlError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    own, sample = source.self_influence, source.sample_influence
    about = {
        "test_ids": list(source.test_ids),
        "sample_influence": None if sample is None else dict(zip(source.sample_ids, sample.tolist(), strict=True)),
        "checkpoint_names": list(source.checkpoint_names),
        "provenance": dict(source.provenance),
    }
    fields = [("id", pa.string())]
    if source.train_items:
        fields += [("id1", pa.string()), ("id2", pa.string())]
    if own is not None:
        fields.append(("self_influence", pa.float64()))
    fields.append(("scores", pa.list_(pa.float64(), len(source.test_ids))))
    schema = pa.schema(fields, metadata={_KEY: json.dumps(about, ensure_ascii=False).encode()})
    total = len(source.train_ids)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="none", use_dictionary=False, write_statistics=False) as writer,
    ):
        for start, block in source.blocks():
            stop = start + len(block)
            values = pa.array(np.ascontiguousarray(block).reshape(-1))
            columns = [pa.array(source.train_ids[start:stop], pa.string())]
            if source.train_items:
                columns += [pa.array([pair[k] for pair in source.train_items[start:stop]], pa.string()) for k in (0, 1)]
            if own is not None:
                columns.append(pa.array(own[start:stop]))
            columns.append(pa.FixedSizeListArray.from_arrays(values, len(source.test_ids)))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=max(1, len(block)))
            progress(Progress("writing scores", stop, total, "pairs", path.name))


class ParquetScores:
    """A Parquet score file, opened; scores are read when they are asked for. A ``ScoreSource``.

    Raises:
        ScoreFileError: the file is missing, broken, or not a score file.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                raw = (file.schema_arrow.metadata or {}).get(_KEY)
                names = file.schema_arrow.names
                if raw is None or "scores" not in names:
                    raise ScoreFileError(f"{path} is Parquet, but holds no influence scores of tracinctl")
                about = json.loads(raw)
                wanted = [name for name in ("id", "id1", "id2", "self_influence") if name in names]
                table = file.read(columns=wanted)
            self.train_ids: Sequence[str] = table["id"].to_pylist()
            self.train_items: Sequence[tuple[str, str]] = (
                list(zip(table["id1"].to_pylist(), table["id2"].to_pylist(), strict=True)) if "id1" in wanted else ()
            )
            self.self_influence: FloatArray | None = (
                table["self_influence"].to_numpy() if "self_influence" in wanted else None
            )
            self.test_ids: Sequence[str] = list(about["test_ids"])
            sample = about["sample_influence"]
            self.sample_ids: Sequence[str] = list(sample or {})
            self.sample_influence: FloatArray | None = np.array(list(sample.values())) if sample else None
            self.checkpoint_names: Sequence[str] = list(about["checkpoint_names"])
            self.provenance: Mapping[str, Any] = about["provenance"]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ScoreFileError(
                f"{path} cannot be read as Parquet scores: {first}", hint="compute the scores again: tracinctl compute"
            ) from error

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last.

        Raises:
            ScoreFileError: the file broke or changed, or a score is not finite.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        start = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for group in range(file.num_row_groups):
                    column = file.read_row_group(group, columns=["scores"])["scores"].combine_chunks()
                    flat = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
                    values = flat.flatten().to_numpy(zero_copy_only=False)
                    block = np.asarray(values, dtype=np.float64).reshape(-1, len(self.test_ids))
                    if not np.isfinite(block).all():
                        row, column_ = np.argwhere(~np.isfinite(block))[0]
                        raise ScoreFileError(
                            f"{self._path}: the score of {self.train_ids[start + row]!r} on "
                            f"{self.test_ids[column_]!r} is not a finite number"
                        )
                    yield start, block
                    start += len(block)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise ScoreFileError(f"{self._path} broke while it was read: {error}") from error
        if start != len(self.train_ids):
            raise ScoreFileError(f"{self._path} changed while it was read")
