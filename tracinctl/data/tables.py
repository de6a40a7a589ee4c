"""Read tables from CSV, JSON and Parquet files, with the line of each row."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError
from tracinctl.files import HEAD, is_there, other_kind, other_kind_or_text

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS: Final = (",", ";", "\t", "|")

_SEPARATOR_LINE = re.compile(r"\Asep=.\r?\n", re.IGNORECASE)  # which spreadsheets write and read
_KINDS = {
    b"PAR1": ("a Parquet file", "Rename it to end in .parquet."),
    b"PK\x03\x04": ("an Excel workbook or another zip file", "Save it as CSV."),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "Save it as CSV."),
    b"\x1f\x8b": ("a gzip file", "Rename it to end in .gz."),
    b"ARROW1": ("an Arrow file", "Save it as Parquet or CSV."),
    b"\xff\xfe": ("text in UTF-16", "Save it as UTF-8."),
    b"\xfe\xff": ("text in UTF-16", "Save it as UTF-8."),
}
"""First bytes of files that are not UTF-8 text, their kind, and what to do."""


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        path: the file.
        frame: the rows; cells of a text file are texts, and empty ones are "".
        lines: the first line of each row, or its number if the file has no lines.
        unit: ``line`` or ``row``, for messages.
    """

    path: Path
    frame: pd.DataFrame
    lines: npt.NDArray[np.int64]
    unit: str = "line"

    def where(self, row: int) -> str:
        """The file and line of a row, for messages."""
        return f"{self.path}, {self.unit} {self.lines[row]}"


def read_text_table(path: str | Path, kind: str, separators: tuple[str, ...] = SEPARATORS) -> Table:
    """Read a CSV file, which may have a byte order mark, any line ends, quoted cells and empty lines.

    A file that ends in ``.gz`` is unpacked. Of the separators, the most frequent one in the header counts. Columns
    without a name are ignored. ``kind`` is the kind of file, for messages.

    Raises:
        DataError: the file is missing or not UTF-8 text, has no header or two columns of the same name, or a row has
            more cells than the header. The message names the line.
    """
    import pandas as pd

    path = Path(path)
    text, skipped = _text(path, kind)
    header = text.partition("\n")[0].partition("\r")[0]
    bare = re.sub(r'"[^"]*"', "", header)
    separator = max(separators, key=bare.count)
    try:
        cells = pd.read_csv(
            io.StringIO(text), sep=separator, header=None, dtype=str, na_filter=False, skip_blank_lines=False
        )
    except pd.errors.EmptyDataError as error:
        raise _empty(path) from error
    except (pd.errors.ParserError, ValueError) as error:
        raise DataError(f"{path} is not a CSV file: {_reason(error, skipped)}", hint="Correct the file.") from error
    filled = np.flatnonzero((cells != "").any(axis=1))
    if not len(filled):
        raise _empty(path)
    head, rows = filled[0], filled[1:]
    names = [str(name).strip() for name in cells.iloc[head]]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns {twice[0]}", hint="Rename or remove one of them.")
    lines = 1 + skipped + np.arange(len(cells)) + _inner_breaks(cells)
    # programs write row numbers in a column without a name
    named = [k for k, name in enumerate(names) if name]
    frame = cells.iloc[rows, named].set_axis([names[k] for k in named], axis=1)
    return Table(path, frame.reset_index(drop=True), lines[rows])


def _empty(path: Path) -> DataError:
    return DataError(f"{path} is empty", hint="Write a first line with the names of the columns.")


def _text(path: Path, kind: str) -> tuple[str, int]:
    """The file's text from the header on, and the number of empty lines before it."""
    try:
        if not is_there(path):
            raise DataError(f"there is no {kind} {path}", hint="Check its path.")
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        for first_bytes, (format_name, hint) in _KINDS.items():
            if content.startswith(first_bytes):
                raise DataError(f"{path} is {format_name}, not a text table", hint=hint)
        if other := other_kind(content[:HEAD]):
            raise DataError(f"{path} is not a text table but {other[0]}", hint=other[1])
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}", hint="Save it as UTF-8.") from error
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {why}", hint="Check its path and permissions.") from error
    body = _SEPARATOR_LINE.sub("", text.lstrip("\r\n"))
    return body, len(text[: len(text) - len(body)].splitlines())


def _inner_breaks(cells: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Number of line breaks inside cells before each row."""
    inside = np.zeros(len(cells), dtype=np.int64)
    for name in cells:
        inside += cells[name].str.count("\n").to_numpy(dtype=np.int64)
    before: npt.NDArray[np.int64] = np.cumsum(inside) - inside
    return before


def _reason(error: Exception, skipped: int) -> str:
    text = str(error).strip().removeprefix("Error tokenizing data. C error: ")
    match = re.fullmatch(r"Expected (\d+) fields in line (\d+), saw (\d+)", text)
    if match:
        return f"line {int(match[2]) + skipped} has {match[3]} cells, but the header has {match[1]}"
    match = re.fullmatch(r"EOF inside string starting at row (\d+)", text)
    return f"a quote that begins on line {int(match[1]) + 1 + skipped} does not end" if match else text


def read_table(path: str | Path, kind: str) -> Table:
    """Read a table in the format of its ending: Parquet, JSON lines, a JSON list of objects, TSV, or CSV.

    Cells of JSON and Parquet files keep their types; missing ones are None.

    Raises:
        DataError: the file is missing or not such a table. The message names the line, if there are lines.
    """
    path = Path(path)
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending in {".parquet", ".pq"}:
        return _read_parquet(path, kind)
    if ending in {".json", ".jsonl", ".ndjson"}:
        return _read_json(path, kind)
    return read_text_table(path, kind, ("\t",) if ending in {".tsv", ".tab"} else SEPARATORS)


def _read_parquet(path: Path, kind: str) -> Table:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_there(path):
        raise DataError(f"there is no {kind} {path}", hint="Check its path.")
    try:
        with path.open("rb") as file:
            other = other_kind_or_text(file.read(HEAD))
        if other:
            raise DataError(f"{path} is not a Parquet file but {other[0]}", hint=other[1])
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", hint="Write it again.") from error
    return Table(path, pd.DataFrame(rows, dtype=object), 1 + np.arange(len(rows)), unit="row")


def _read_json(path: Path, kind: str) -> Table:
    import pandas as pd

    text, skipped = _text(path, kind)
    if text.lstrip().startswith("["):
        try:
            rows, unit = json.loads(text), "object"
        except ValueError as error:
            raise DataError(f"{path} is not a JSON file: {error}", hint="Correct the file.") from error
        lines = list(range(1, len(rows) + 1))
    else:
        (rows, lines), unit = _json_lines(path, text, skipped), "line"
    wrong = [k for k, row in enumerate(rows) if not isinstance(row, dict)]
    if wrong:
        raise DataError(f"{path}, {unit} {lines[wrong[0]]} is not a JSON object", hint="Write one object per row.")
    frame = pd.DataFrame(rows, dtype=object)
    return Table(path, frame.where(frame.notna(), None), np.asarray(lines, dtype=np.int64), unit)


def _json_lines(path: Path, text: str, skipped: int) -> tuple[list[Any], list[int]]:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), 1 + skipped):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number} is not a JSON object: {error}", hint="Correct the line."
                ) from error
            lines.append(number)
    return rows, lines
