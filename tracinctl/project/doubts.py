"""Doubts: shares of rankers that contradict a pair they did not train on. Retraining writes them, review reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tracinctl.files import write_text_atomic
from tracinctl.project.target import Target
from tracinctl.text import csv_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from tracinctl.data.pairs import RankingData

_COLUMNS = ("id", "target", "share")


def write_doubts(target: Target, data: RankingData, doubts: npt.NDArray[np.float64]) -> None:
    """Write, for each training pair, the share of rankers not trained on it that rank it the other way."""
    pairs = data.train_pairs
    rows = zip(pairs.row_ids(data.train.ids), pairs.target.tolist(), doubts.tolist(), strict=True)
    write_text_atomic(target.doubts_file, csv_text(_COLUMNS, rows))


def read_doubts(target: Target, data: RankingData) -> npt.NDArray[np.float64]:
    """Read the shares of these training pairs; NaN if there is none, or if it is of the other outcome."""
    shares, pairs = _stored_shares(target), data.train_pairs
    names = zip(pairs.row_ids(data.train.ids), pairs.target.tolist(), strict=True)
    return np.array([shares.get(name, np.nan) for name in names], dtype=np.float64)


def doubts_of_scores(target: Target | None, train_ids: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """Read the shares of the scores' training pairs; None if a pair has none."""
    shares = {} if target is None else {name: share for (name, _), share in _stored_shares(target).items()}
    if not train_ids or not shares.keys() >= {*train_ids}:
        return None
    return np.array([shares[name] for name in train_ids], dtype=np.float64)


def _stored_shares(target: Target) -> dict[tuple[str, int], float]:
    """Shares by id and outcome; empty if the file is damaged, because it can be made again."""
    try:
        text = target.doubts_file.read_text(encoding="utf-8")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return {(row["id"], int(row["target"])): float(row["share"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}
