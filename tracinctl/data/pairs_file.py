"""The pairs file, ``pairs.csv``: ``split,id1,id2,target``, one comparison per line.

Optional columns are ``id`` (of the comparison), ``weight`` and ``margin``; every other column, such as ``annotator``,
is a group. The file also says which items train and which are held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.data.recordings import nfc
from tracinctl.data.split import TRAIN_SHARE, Split, split_items
from tracinctl.data.tables import Table, read_text_table
from tracinctl.errors import DataError
from tracinctl.text import clean, count, first_few

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("split", "id1", "id2", "target")
OPTIONAL: Final = ("id", "weight", "margin")
TRAIN: Final = "train"
HELD_OUT: Final = "held-out"

_TARGETS: Final = {"1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "0": 0, "0.0": 0, "tie": 0}


@dataclass(frozen=True)
class PairsFile:
    """A checked pairs file: its rows in order, and for each row the target +1, -1 or 0 (a tie)."""

    table: Table
    target: npt.NDArray[np.int64]

    @cached_property
    def splits(self) -> dict[str, set[str]]:
        """The items of the training pairs and of the held-out pairs.

        Raises:
            DataError: an item is in both.
        """
        train, held_out = (self.table.frame[self.table.frame["split"] == name] for name in (TRAIN, HELD_OUT))
        of = {name: {*rows["id1"], *rows["id2"]} for name, rows in ((TRAIN, train), (HELD_OUT, held_out))}
        both = of[TRAIN] & of[HELD_OUT]
        if both:
            row = held_out.index[held_out["id1"].isin(both) | held_out["id2"].isin(both)][0]
            item = next(name for name in (held_out["id1"][row], held_out["id2"][row]) if name in both)
            trains = train.index[(train["id1"] == item) | (train["id2"] == item)][0]
            raise DataError(
                f"{self.table.where(row)}: {clean(item)!r} is held out here, but trains on line "
                f"{self.table.lines[trains]}",
                hint="An item either trains or is held out; remove its pairs of one kind.",
            )
        return of

    def pairs(self, train_ids: Sequence[str], test_ids: Sequence[str]) -> tuple[Pairs, Pairs]:
        """The training pairs and the held-out pairs, as indices into these items, in the file's order.

        Raises:
            DataError: a pair names an unknown item. The message names the line.
        """
        return self._side(TRAIN, train_ids), self._side(HELD_OUT, test_ids)

    def without_missing(self, item_ids: Sequence[str]) -> tuple[PairsFile, list[str]]:
        """The file without pairs of unknown items, and the ids of these items."""
        frame = self.table.frame
        unknown = sorted({*frame["id1"], *frame["id2"]} - set(item_ids))
        keep = ~(frame["id1"].isin(unknown) | frame["id2"].isin(unknown)).to_numpy(dtype=bool)
        table = Table(self.table.path, frame[keep].reset_index(drop=True), self.table.lines[keep])
        return PairsFile(table, self.target[keep]), unknown

    def contradictions(self) -> list[str]:
        """A note on items that rank both ways, if no column says where the comparisons come from."""
        frame = self.table.frame
        if frame.columns.difference([*COLUMNS, "weight", "margin"]).size:
            return []
        outcomes = frame.assign(target=self.target).groupby(["split", "id1", "id2"])["target"].nunique()
        names = [clean(f"{id1}_{id2}") for (_, id1, id2) in outcomes.index[outcomes > 1]]
        if not names:
            return []
        note = f"{count(len(names), 'pair')} of {self.table.path.name} with different targets, which all count"
        return [f"{note}: {first_few(names)}"]

    def _side(self, name: str, item_ids: Sequence[str]) -> Pairs:
        rows = np.flatnonzero(self.table.frame["split"] == name)
        frame = self.table.frame.iloc[rows]
        place = {item: k for k, item in enumerate(item_ids)}
        items = [frame[column].map(place) for column in ("id1", "id2")]
        for places in items:
            if places.isna().any():
                row = places.index[places.isna()][0]
                raise DataError(
                    f"{self.table.where(row)}: there is no item {clean(frame[places.name][row])!r}",
                    hint="The pairs must be of recordings of this material and frequency: check `pairs_file` and the "
                    "data folder. To leave out pairs of missing recordings, use `skip_missing`.",
                )
        groups = [column for column in frame.columns if column not in {*COLUMNS, *OPTIONAL}]
        return Pairs(
            items[0].to_numpy(dtype=np.int64),
            items[1].to_numpy(dtype=np.int64),
            self.target[rows],
            ids=self._optional("id", rows),
            weight=self._optional("weight", rows),
            margin=self._optional("margin", rows),
            groups={column: frame[column].to_numpy(dtype=object) for column in groups},
            ties=True,
        )

    def _optional(self, name: str, rows: npt.NDArray[np.int64]) -> Any:
        """An optional column; None if it is missing or empty."""
        cells = self.table.frame[name].iloc[rows].str.strip() if name in self.table.frame else None
        if cells is None or (cells == "").all():
            return None
        wrong = cells.duplicated() | (cells == "") if name == "id" else ~cells.map(is_number)
        if wrong.any():
            row = int(rows[np.flatnonzero(wrong)[0]])
            cell, where = self.table.frame[name].iloc[row], self.table.where(row)
            if name == "id" and cell.strip():
                raise DataError(f"{where}: the id {cell!r} is given twice", hint="Correct the line.")
            raise not_an_amount(where, name, cell)
        return cells.tolist() if name == "id" else cells.astype(float).to_numpy()


def read_pairs_file(path: str | Path) -> PairsFile:
    """Read a pairs file; a pair that was drawn twice is in it twice.

    Its columns are ``split`` (``train`` or ``held-out``), ``id1``, ``id2`` and ``target`` (1 if the first item ranks
    above the second, -1 if below, 0 for a tie).

    Raises:
        DataError: the file is missing or not such a table, a split or target is unknown, or an item is paired with
            itself. The message names file and line.
    """
    table = read_text_table(path, "pairs file")
    frame = table.frame
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}", hint=f"Its first line must be {','.join(COLUMNS)}."
        )
    for name in COLUMNS:
        _refuse(table, frame[name].str.strip() == "", lambda _, name=name: f"{name} is empty")
    frame["split"] = frame["split"].str.strip()
    for name in ("id1", "id2"):  # not stripped: an id may begin or end with a space
        frame[name] = frame[name].map(nfc)
    _refuse(
        table,
        ~frame["split"].isin((TRAIN, HELD_OUT)),
        lambda row: f"the split {row['split']!r} is neither {TRAIN} nor {HELD_OUT}",
    )
    _refuse(table, frame["id1"] == frame["id2"], lambda row: f"{row['id1']!r} is paired with itself")
    return PairsFile(table, _targets(table))


def _targets(table: Table) -> npt.NDArray[np.int64]:
    texts = table.frame["target"].str.strip()
    _refuse(table, ~texts.isin(_TARGETS), lambda row: f"the target {row['target']!r} is not 1, -1 or 0")
    target: npt.NDArray[np.int64] = texts.map(_TARGETS).to_numpy(dtype=np.int64)
    if not (target == -1).any():
        why = "may mean a tie or that the first item ranks below, because no target is -1; write tie or -1"
        _refuse(table, texts.isin(("0", "0.0")), lambda row: f"the target {row['target']!r} {why}")
    return target


def split_by_file(
    ids: Sequence[str],
    file: PairsFile,
    *,
    seed: int = 42,
    train_share: float = TRAIN_SHARE,
    skip_missing: bool = False,
) -> Split:
    """The split of items and the pairs in a file. Items without a pair in it are ignored.

    Items are in the order of the seed's split if that equals the file's, else in their own order.

    Raises:
        DataError: the file names a missing item (unless ``skip_missing``), or an item in both splits.
    """
    notes = []
    if skip_missing:
        total, (file, missing) = len(file.target), file.without_missing(ids)
        if missing:
            left_out = count(total - len(file.target), "pair")
            notes.append(
                f"{left_out} of {file.table.path.name} left out, as there is no recording "
                f"{first_few([clean(name) for name in missing])}"
            )
    train, test = _rows(ids, file.splits, seed, train_share)
    used = {*train, *test}
    ignored = [clean(name) for row, name in enumerate(ids) if row not in used]
    if ignored:
        notes.append(
            f"{count(len(ignored), 'recording')} ignored, because no pair in {file.table.path.name} has "
            f"{'it' if len(ignored) == 1 else 'them'}: {first_few(ignored)}"
        )
    notes += file.contradictions()
    pairs = file.pairs([ids[row] for row in train], [ids[row] for row in test])
    return Split(train, test, *pairs, tuple(notes))


def write_pairs_file(path: str | Path, data: RankingData) -> None:
    """Write the training pairs, then the held-out pairs; the file is complete or absent."""
    import pandas as pd

    from tracinctl.files import write_text_atomic

    sides = ((TRAIN, data.train, data.train_pairs), (HELD_OUT, data.test, data.test_pairs))
    frame = pd.concat([_frame(name, samples, pairs) for name, samples, pairs in sides])
    write_text_atomic(Path(path), frame.to_csv(index=False, lineterminator="\n"))


def _frame(split: str, samples: Samples, pairs: Pairs) -> pd.DataFrame:
    import pandas as pd

    ids = np.array(samples.ids, dtype=object)
    columns: dict[str, Any] = {
        "split": split,
        "id1": ids[pairs.first],
        "id2": ids[pairs.second],
        "target": pairs.target,
        "id": pairs.ids,
        "weight": pairs.weight,
        "margin": pairs.margin,
        **pairs.groups,
    }
    rows = range(len(pairs))
    return pd.DataFrame({k: v for k, v in columns.items() if v is not None}, index=rows, dtype=object)


def _rows(
    ids: Sequence[str], splits: Mapping[str, set[str]], seed: int, train_share: float
) -> tuple[list[int], list[int]]:
    named = [row for row, name in enumerate(ids) if name in splits[TRAIN] or name in splits[HELD_OUT]]
    for pool in (named, list(range(len(ids)))):
        train, test = ([pool[k] for k in part] for part in split_items(len(pool), seed, train_share))
        if splits[TRAIN] <= {ids[k] for k in train} and splits[HELD_OUT] <= {ids[k] for k in test}:
            return train, test
    return [k for k in named if ids[k] in splits[TRAIN]], [k for k in named if ids[k] in splits[HELD_OUT]]


def _refuse(table: Table, wrong: pd.Series[bool], why: Any) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{table.where(row)}: {why(table.frame.iloc[row])}", hint="Correct or remove the line.")


def is_number(text: str) -> bool:
    """Whether a cell is a number from 0 up, as weights and margins are."""
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False


def not_an_amount(where: str, name: str, cell: str) -> DataError:
    """The error that a cell of a column such as ``weight`` is empty or not a number from 0 up."""
    if not cell.strip():
        return DataError(f"{where}: {name} is empty", hint="Fill the column in every line, or in none.")
    return DataError(f"{where}: {name} is {cell!r}, which is not a number from 0 up", hint="Correct the line.")
