"""The users' metadata file of a frequency: records by pair id and by item id, merged into and never overwritten.

Reading, changing and writing happen under a lock, so that two runs do not lose each other's changes. The lock is the
operating system's and ends with its process.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_path, locked
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.exclusion import Exclusions
from tracinctl.scores.files.json_text import UNENCODABLE, JsonEntries, json_text, laid_out, without_collector
from tracinctl.scores.groups import GroupScores
from tracinctl.scores.pair_ids import pair_items
from tracinctl.scores.source import ScoreSource
from tracinctl.scores.votes import voters_against

Records = dict[str, Any]

_MOVE_AWAY = "Nothing was added to it. Fix it or move it away, and run the command again."


def read_records(path: Path) -> Records:
    """Records by pair id and by item id; empty without a file."""
    if not path.exists():
        return {}
    with without_collector():
        records = dict(JsonEntries(path, hint=_MOVE_AWAY))
    if not all(isinstance(record, dict) for record in records.values()):
        raise ScoreFileError(f"{path} does not contain records by id", hint=_MOVE_AWAY)
    return records


def _merge(path: Path, change: Callable[[Records], None]) -> None:
    with locked(path):
        records = read_records(path)
        with without_collector():
            change(records)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.writelines(text.encode(errors=UNENCODABLE) for text in _texts(records))


def _texts(records: Records) -> Iterator[str]:
    names: dict[str, str] = {}  # texts of keys, which are the same in most records
    yield "{"
    for row, (key, record) in enumerate(records.items()):
        yield f"{',' if row else ''}\n  {json_text(key)}: {_record_text(record, names)}"
    yield "\n}\n" if records else "}\n"


def _record_text(record: dict[str, Any], names: dict[str, str]) -> str:
    values = []
    for name, value in record.items():
        if type(value) is not float or not math.isfinite(value):
            return laid_out(record, 1)
        text = names.get(name) or names.setdefault(name, f"    {json_text(name)}: ")
        values.append(f"{text}{value!r}")
    # the content of most records
    return "{\n" + ",\n".join(values) + "\n  }" if values else "{}"


def add_values(path: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Add values, given by their name and by the id of their record."""

    def change(records: Records) -> None:
        for name, by_id in values.items():
            for key, value in by_id.items():
                records.setdefault(key, {})[name] = value

    _merge(path, change)


def write_self_influence(source: ScoreSource, path: Path) -> None:
    """Add ``tracin_self_influence`` to each training pair's record and ``tracin_sample_influence`` to each item's."""
    of_pairs, of_items = source.self_influence, source.sample_influence
    values = {}
    if of_pairs is not None:
        values["tracin_self_influence"] = dict(zip(source.train_ids, of_pairs.tolist(), strict=True))
    if of_items is not None:
        values["tracin_sample_influence"] = dict(zip(source.sample_ids, of_items.tolist(), strict=True))
    add_values(path, values)


def mark_excluded(
    source: ScoreSource,
    exclusions: Exclusions,
    path: Path,
    *,
    grouped: GroupScores | None = None,
    progress: ProgressCallback = no_progress,
) -> int:
    """Mark the listed ids with ``excluded``, a reason in ``notes`` and ``tracin_info``; return their number.

    In mode ``ranking_pair`` the items stay in training, so the pairs' records are marked; in other modes, the items'
    are, in ``full_pair`` with the votes against the worst of their harmful pairs. Marks of earlier lists are removed.
    A person's own entries stay: notes, ``excluded``, and a ``tracin_info`` of another form; then the program's entry is
    ``tracinctl_info``. For a list of whole groups, ``grouped`` are their scores, and a pair gets its group's mark.
    """
    date = dt.datetime.now(dt.UTC).date().isoformat()
    about: dict[str, dict[str, Any]] = {}
    if exclusions.mode == "sample":
        about = {item: _info(date, 0, value, []) for item, value in exclusions.sample_scores.items()}
    elif grouped is not None:
        voters = voters_against(grouped, exclusions.counted, [group.id for group in exclusions.listed], progress)
        for group in exclusions.listed:
            for row in grouped.members.rows_of([group.id]):
                about.setdefault(source.train_ids[row], _info(date, group.votes, group.mean, voters[group.id]))
    else:
        voters = voters_against(source, exclusions.counted, [pair.id for pair in exclusions.listed], progress)
        place = {name: row for row, name in enumerate(source.train_ids)}
        items = pair_items(source) if exclusions.mode == "full_pair" else ()
        for pair in exclusions.listed:
            for key in items[place[pair.id]] if items else (pair.id,):
                # the worst come first
                about.setdefault(key, _info(date, pair.votes, pair.mean, voters[pair.id]))

    def change(records: Records) -> None:
        for key in list(records):
            if _unmark(records[key]) and not records[key]:
                del records[key]
        for key, info in about.items():
            _mark(records.setdefault(key, {}), f"{_REASON}{exclusions.mode}", info)

    _merge(path, change)
    return len(about)


def _info(date: str, votes: int, mean: float, voters: list[str]) -> dict[str, Any]:
    return {
        "exclusion_date": date,
        "negative_occurrences": votes,
        "average_influence": mean,
        "affected_test_samples": voters,
    }


_REASON = "tracinctl: excluded as "
_OUR_INFO = frozenset(_info("", 0, 0.0, []))
_WAS_EXCLUDED = "was_excluded"  # key in our information if the record was excluded already


def _mark(record: dict[str, Any], reason: str, info: dict[str, Any]) -> None:
    """Mark a record without our mark."""
    if record.get("excluded"):
        info = {**info, _WAS_EXCLUDED: True}
    else:
        record["excluded"] = True
    notes = record.get("notes")
    if isinstance(notes, list):
        record["notes"] = [*notes, reason]
    elif not notes or isinstance(notes, str):
        record["notes"] = f"{notes}; {reason}" if notes else reason
    record["tracinctl_info" if "tracin_info" in record else "tracin_info"] = info


def _unmark(record: dict[str, Any]) -> bool:
    """Remove our mark from a record and keep everything else; false if it has none."""
    key = next((key for key in ("tracinctl_info", "tracin_info") if _is_ours(record.get(key))), None)
    if key is None or not _take_reason(record):
        return False
    if not record.pop(key).get(_WAS_EXCLUDED):
        record.pop("excluded", None)
    return True


def _take_reason(record: dict[str, Any]) -> bool:
    """Remove our reasons from the notes; false if the notes are a text or a list without any."""
    notes = record.get("notes")
    if not isinstance(notes, (list, str)):
        return notes is not None  # notes of another type cannot contain our reason
    parts = notes if isinstance(notes, list) else notes.split("; ")
    others = [part for part in parts if not (isinstance(part, str) and part.startswith(_REASON))]
    if len(others) == len(parts):
        return False
    record["notes"] = others if isinstance(notes, list) else "; ".join(others)
    if not others and isinstance(notes, str):
        del record["notes"]
    return True


def _is_ours(info: Any) -> bool:
    return isinstance(info, dict) and info.keys() - {_WAS_EXCLUDED} == _OUR_INFO
