"""The users' JSON score files.

``<name>_influence_metadata.json`` holds only ``{train pair id: {"tracin_influence_<test pair id>": score}}``, so that
users' scripts keep working; everything else is in the sidecar. The file is read one entry at a time, because all its
text and objects together would take eight times its size in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.files.json_text import AGAIN, UNENCODABLE, JsonEntries, json_text, kind, without_collector
from tracinctl.scores.files.sidecar import SCORES_ENDING, does_not_fit, read_sidecar, sidecar_path, writing_with_sidecar
from tracinctl.scores.source import MemoryScores, ScoreMeta, ScoreSource, checked_blocks, finite_numbers

PREFIX = "tracin_influence_"
_PROGRESS_EVERY = 100_000  # scores; they take some hundredths of a second
_SAME = "All training pairs must be scored on the same test pairs. " + AGAIN


def read_json_scores(path: Path) -> MemoryScores:
    """Read a JSON score file.

    Other entries (records of items, self-influence) are skipped.

    Raises:
        ScoreFileError: the file is broken or has no scores, a score is not a finite number, pairs have different test
            pairs, or materials or frequencies are mixed; the message names the file and the id.
    """
    entries = JsonEntries(path)
    names: list[str] = []
    train_ids: list[str] = []
    without: list[str] = []  # pairs without scores, before the first pair with scores
    rows: list[Any] = []
    with without_collector():
        for train_id, record in entries:
            if not isinstance(record, dict):
                raise ScoreFileError(
                    f"{path}: the entry of {train_id!r} is {kind(record)}, not an object of scores", hint=AGAIN
                )
            columns = names if list(record) == names else [key for key in record if key.startswith(PREFIX)]
            names = names or columns
            if record and not columns:
                continue  # the record of an item or of something else
            if not names:
                without.append(train_id)
                continue
            _same_test_pairs(path, train_id, columns, names, train_ids)
            if list(record) != names:
                record = {name: record[name] for name in names}  # noqa: PLW2901  only the scores, in the first pair's order
            rows.append(_scores(path, train_id, record))
            train_ids.append(train_id)
    if not names:
        raise ScoreFileError(f"{path} holds no influence scores (no key starts with {PREFIX!r})", hint=AGAIN)
    if without:
        _same_test_pairs(path, without[0], [], names, train_ids)
    test_ids = [name[len(PREFIX) :] for name in names]
    meta = _meta_from_sidecar(path, entries.digest.hexdigest(), len(train_ids))
    if meta is None:
        _one_kind(path, train_ids)
    return MemoryScores(ScoreMeta(train_ids, test_ids, **(meta or {})), np.array(rows))


def _meta_from_sidecar(path: Path, digest: str, pairs: int) -> dict[str, Any] | None:
    """The sidecar's content as arguments of ScoreMeta; None without a sidecar, as with files of other programs."""
    beside = sidecar_path(path)
    if beside == path or not (beside.exists() or beside.is_symlink()):
        return None
    sidecar = read_sidecar(path)
    if sidecar.get("scores_sha256") != digest:
        raise does_not_fit(path)
    try:
        self_influence, sample = sidecar["self_influence"], sidecar["sample_influence"]
        items = [(str(a), str(b)) for a, b in sidecar["train_items"]]
        groups = {str(name): [str(value) for value in values] for name, values in sidecar.get("groups", {}).items()}
        meta = {
            "train_items": items,
            "self_influence": None if self_influence is None else finite_numbers(self_influence),
            "sample_ids": [] if sample is None else list(sample),
            "sample_influence": None if sample is None else finite_numbers(list(sample.values())),
            "checkpoint_names": [str(name) for name in sidecar["checkpoint_names"]],
            "provenance": {**sidecar["provenance"]},
            "groups": groups,
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScoreFileError(f"{sidecar_path(path)} is not in the form that tracinctl writes", hint=AGAIN) from error
    columns = [items or None, self_influence, *groups.values()]
    if any(column is not None and len(column) != pairs for column in columns):
        raise does_not_fit(path)
    return meta


def _same_test_pairs(path: Path, train_id: str, columns: list[str], names: list[str], train_ids: Sequence[str]) -> None:
    different = sorted(set(names) - set(columns)) or sorted(set(columns) - set(names))
    if different:
        test_pair = different[0].removeprefix(PREFIX)
        first_pair = repr(train_ids[0]) if train_ids else "another pair"
        lacks, has = ("has no score", "has") if different[0] in names else ("has a score", "lacks")
        message = f"{path}: {train_id!r} {lacks} on test pair {test_pair!r}, which {first_pair} {has}"
        raise ScoreFileError(message, hint=_SAME)


def _scores(path: Path, train_id: str, record: dict[str, Any]) -> Any:
    values = list(record.values())
    if set(map(type, values)) <= {float, int}:
        with contextlib.suppress(OverflowError):
            numbers = np.array(values, dtype=np.float64)
            if np.isfinite(numbers).all():
                return numbers
    name, value = next((k, v) for k, v in record.items() if not _is_score(v))
    shown = "missing (null)" if value is None else repr(value)[:40]
    raise ScoreFileError(
        f"{path}: the score of {train_id!r} on {name[len(PREFIX) :]!r} is {shown}, not a finite number", hint=AGAIN
    )


def _is_score(value: Any) -> bool:
    # comparing, unlike converting, works for whole numbers of any size
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _one_kind(path: Path, train_ids: Sequence[str]) -> None:
    """Refuse pairs of several materials or frequencies if the file name shows one; otherwise accept them."""
    if not path.name.endswith(SCORES_ENDING):
        return
    material, _, frequency = path.name.removesuffix(SCORES_ENDING).rpartition("_")
    of_material = [name.startswith(f"{material}_") and f"_{material}_" in name for name in train_ids]
    of_frequency = [name.count(f"_{frequency}_") > 1 for name in train_ids]
    for kinds, wanted, of_it in (("materials", material, of_material), ("frequencies", frequency, of_frequency)):
        if wanted and any(of_it) and not all(of_it):
            raise ScoreFileError(
                f"{path} mixes {kinds}: besides {wanted} it has the pair {train_ids[of_it.index(False)]!r}",
                hint=f"Keep one file for each material and frequency. {AGAIN}",
            )


def score_lines(source: ScoreSource, keys: Sequence[str], path: Path, progress: ProgressCallback) -> Iterator[str]:
    """Yield the text of ``{train pair id: {key: score}}`` in parts, with a key per column of the source."""
    names = [json_text(key) for key in keys]
    total = len(source.train_ids)
    step = max(1, _PROGRESS_EVERY // max(1, len(names)))
    yield "{"
    for start, block in checked_blocks(source):
        for row, values in enumerate(block, start):
            scores = ",\n".join(f"    {n}: {v!r}" for n, v in zip(names, values.tolist(), strict=True))
            yield f"{',' if row else ''}\n  {json_text(source.train_ids[row])}: {{\n{scores}\n  }}"
            if (row + 1) % step == 0 or row + 1 == start + len(block):
                progress(Progress("writing scores", row + 1, total, "pairs", path.name))
    yield "\n}\n"


def write_json_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write a JSON score file in blocks, and its sidecar."""
    digest = hashlib.sha256()
    if sidecar_path(path) == path:
        raise ScoreFileError(f"{path} is the name of a sidecar", hint=f"Name the scores <name>{SCORES_ENDING}.")
    with writing_with_sidecar(path) as (temporary, sidecar):
        with temporary.open("wb") as file:
            for text in score_lines(source, [PREFIX + test_id for test_id in source.test_ids], path, progress):
                data = text.encode(errors=UNENCODABLE)
                digest.update(data)
                file.write(data)
        self_influence, sample = source.self_influence, source.sample_influence
        sidecar |= {
            "scores_sha256": digest.hexdigest(),
            "provenance": dict(source.provenance),
            "checkpoint_names": list(source.checkpoint_names),
            "train_items": [list(pair) for pair in source.train_items],
            "self_influence": None if self_influence is None else self_influence.tolist(),
            "sample_influence": None if sample is None else dict(zip(source.sample_ids, sample.tolist(), strict=True)),
            "groups": {name: list(values) for name, values in source.groups.items()},
        }
