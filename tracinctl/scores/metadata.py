"""The users' metadata file of a frequency: records by pair id and by item id, merged into and never overwritten."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from tracinctl.errors import ScoreFileError
from tracinctl.files import write_text_atomic
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.json_format import read_json
from tracinctl.scores.sweep import pair_items
from tracinctl.scores.table import ScoreSource
from tracinctl.scores.votes import voters_against

Records = dict[str, Any]


def _merge(path: Path, change: Callable[[Records], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        records = read_json(path) if path.exists() else {}
        if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
            raise ScoreFileError(
                f"{path} does not hold records by id, so nothing was added to it", hint="move it away and run again"
            )
        change(records)
        write_text_atomic(path, json.dumps(records, indent=2, ensure_ascii=False) + "\n")


def write_self_influence(source: ScoreSource, path: Path) -> None:
    """Add ``tracin_self_influence`` to each training pair's record and ``tracin_sample_influence`` to each item's.

    Raises:
        ScoreFileError: the file is there and is broken.
        TracinctlError: it cannot be written.
    """

    def change(records: Records) -> None:
        if source.self_influence is not None:
            for key, value in zip(source.train_ids, source.self_influence.tolist(), strict=True):
                records.setdefault(key, {})["tracin_self_influence"] = value
        if source.sample_influence is not None:
            for key, value in zip(source.sample_ids, source.sample_influence.tolist(), strict=True):
                records.setdefault(key, {})["tracin_sample_influence"] = value

    _merge(path, change)


def mark_excluded(source: ScoreSource, exclusions: Exclusions, path: Path, *, today: dt.date | None = None) -> int:
    """Mark what is on the list: ``excluded``, a reason in ``notes``, ``tracin_info``. Returns how many were marked.

    In mode ``ranking_pair`` the items stay in training, so the pairs' own records are marked; otherwise the items'.

    Raises:
        ScoreFileError: the file is there and is broken, or a pair's items are not known.
        TracinctlError: it cannot be written.
    """
    date = (today or dt.datetime.now(dt.UTC).date()).isoformat()
    about: dict[str, dict[str, Any]] = {}
    voters = {}
    if exclusions.mode != "sample":
        voters = voters_against(source, exclusions.counted, [pair.id for pair in exclusions.listed])
    if exclusions.mode == "ranking_pair":
        for pair in exclusions.listed:
            about[pair.id] = _info(date, pair.votes, pair.mean, voters[pair.id])
    elif exclusions.mode == "full_pair":
        place = {each: row for row, each in enumerate(source.train_ids)}
        items = pair_items(source)
        for pair in exclusions.listed:
            for item in items[place[pair.id]]:
                if item not in about or about[item]["negative_occurrences"] < pair.votes:
                    about[item] = _info(date, pair.votes, pair.mean, voters[pair.id])
    else:
        about = {item: _info(date, 0, value, []) for item, value in exclusions.sample_scores.items()}

    def change(records: Records) -> None:
        for key, info in about.items():
            record = records.setdefault(key, {})
            reason = f"tracinctl: excluded as {exclusions.mode}"
            notes = str(record.get("notes") or "")
            record["excluded"] = True
            record["notes"] = notes if reason in notes else f"{notes}; {reason}" if notes else reason
            record["tracin_info"] = info

    _merge(path, change)
    return len(about)


def _info(date: str, votes: int, mean: float, voters: list[str]) -> dict[str, Any]:
    return {
        "exclusion_date": date,
        "negative_occurrences": votes,
        "average_influence": mean,
        "affected_test_samples": voters,
    }
