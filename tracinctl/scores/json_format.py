"""The users' JSON of scores, and what is known of them beside it.

``<name>_influence_metadata.json`` holds nothing but ``{train pair id: {"tracin_influence_<test pair id>": score}}``, so
that scripts which read it as it is go on working. Items, item-level influence and provenance stand in
``<name>_influence_provenance.json``, which names the SHA-256 of the score file it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_path, write_text_atomic
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.table import InfluenceTable, ScoreSource

PREFIX = "tracin_influence_"
_ENDING = "_influence_metadata.json"
_AGAIN = "compute the scores again: tracinctl compute"


def provenance_path(path: Path) -> Path:
    """Where the provenance of a JSON score file stands."""
    name = path.name
    stem = name.removesuffix(_ENDING) if name.endswith(_ENDING) else path.stem
    return path.with_name(f"{stem}_influence_provenance.json")


def _once(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the id {key!r} stands there twice")
        found[key] = value
    return found


def read_json(path: Path) -> Any:
    """The content of a JSON file, every key once.

    Raises:
        ScoreFileError: the file is missing, or is not JSON.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScoreFileError(f"cannot read {path}: {error.strerror}", hint=_AGAIN) from error
    except UnicodeDecodeError as error:
        raise ScoreFileError(f"{path} is not UTF-8 text: {error.reason}", hint=_AGAIN) from error
    if not text.strip():
        raise ScoreFileError(f"{path} is empty", hint=_AGAIN)
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ScoreFileError(f"{path} is nested too deeply to be a score file", hint=_AGAIN) from error
    except ValueError as error:
        raise ScoreFileError(f"{path} is not whole JSON: {error}", hint=_AGAIN) from error


def read_json_scores(path: Path) -> InfluenceTable:
    """Read a JSON score file.

    Raises:
        ScoreFileError: the file is broken, holds no scores, a score that is no finite number, or pairs with different
            test pairs; the file and the id are named.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ScoreFileError(
            f"{path} holds a {_kind(content)}, wanted an object of training pairs",
            hint='the form is {"<train pair>": {"tracin_influence_<test pair>": score}}',
        )
    test_ids: list[str] | None = None
    first_pair = ""
    train_ids: list[str] = []
    rows: list[list[float]] = []
    for train_id, record in content.items():
        if not isinstance(record, dict):
            raise ScoreFileError(f"{path}: the entry of {train_id!r} is a {_kind(record)}, wanted an object of scores")
        names = [key for key in record if key.startswith(PREFIX)]
        if not names:
            continue
        if test_ids is None:
            test_ids, first_pair = [key[len(PREFIX) :] for key in names], train_id
        values = []
        for test_id in test_ids:
            value = record.get(PREFIX + test_id)
            if value is None:
                raise ScoreFileError(
                    f"{path}: {train_id!r} has no score on test pair {test_id!r}, which {first_pair!r} has",
                    hint="all training pairs must be scored on the same test pairs; " + _AGAIN,
                )
            values.append(_score(path, train_id, test_id, value))
        if len(names) != len(test_ids):
            extra = next(n for n in names if n[len(PREFIX) :] not in set(test_ids))
            raise ScoreFileError(
                f"{path}: {train_id!r} has a score on test pair {extra[len(PREFIX) :]!r}, which {first_pair!r} has not",
                hint="all training pairs must be scored on the same test pairs; " + _AGAIN,
            )
        train_ids.append(train_id)
        rows.append(values)
    if test_ids is None:
        raise ScoreFileError(f"{path} holds no influence scores (no key starts with {PREFIX!r})", hint=_AGAIN)
    _one_material(path, train_ids)
    return InfluenceTable(train_ids=train_ids, test_ids=test_ids, scores=np.array(rows), **_beside(path, train_ids))


def _kind(value: Any) -> str:
    names = {list: "list", str: "text", bool: "true or false", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _score(path: Path, train_id: str, test_id: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ScoreFileError(
            f"{path}: the score of {train_id!r} on {test_id!r} is {value!r:.40}, wanted a finite number", hint=_AGAIN
        )
    return number


def _one_material(path: Path, train_ids: list[str]) -> None:
    if not path.name.endswith(_ENDING):
        return
    material = path.name.removesuffix(_ENDING).rpartition("_")[0]
    with_it = [each.startswith(f"{material}_") for each in train_ids]
    if material and any(with_it) and not all(with_it):
        other = train_ids[with_it.index(False)]
        raise ScoreFileError(
            f"{path} mixes materials: beside {material} it holds the pair {other!r}",
            hint="keep one file a material and frequency; " + _AGAIN,
        )


def _beside(path: Path, train_ids: list[str]) -> dict[str, Any]:
    place = provenance_path(path)
    if place == path or not place.is_file():
        return {}
    try:
        beside = read_json(place)
        if beside["scores_sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
            return {}
        items = [(str(a), str(b)) for a, b in beside["train_items"]]
        if len(items) != len(train_ids):
            return {}
        sample = beside["sample_influence"]
        own = beside["self_influence"]
        return {
            "train_items": items,
            "self_influence": None if own is None else np.array(own, dtype=np.float64),
            "sample_ids": list(sample or {}),
            "sample_influence": np.array(list(sample.values()), dtype=np.float64) if sample else None,
            "checkpoint_names": list(beside["checkpoint_names"]),
            "provenance": beside["provenance"],
        }
    except (ScoreFileError, OSError, KeyError, TypeError, ValueError):
        return {}  # provenance that does not fit is as good as none: the scores speak for themselves


def write_json_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write a JSON score file block by block, and its provenance beside it.

    Raises:
        TracinctlError: a file cannot be written.
    """
    names = [json.dumps(PREFIX + each, ensure_ascii=False) for each in source.test_ids]
    total = len(source.train_ids)
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def put(text: str) -> None:
            data = text.encode()
            digest.update(data)
            file.write(data)

        put("{")
        for start, block in source.blocks():
            for row, values in enumerate(block.tolist(), start):
                head = json.dumps(source.train_ids[row], ensure_ascii=False)
                scores = ",\n".join(f"    {n}: {v!r}" for n, v in zip(names, values, strict=True))
                put(f"{',' if row else ''}\n  {head}: {{\n{scores}\n  }}")
            progress(Progress("writing scores", min(total, start + len(block)), total, "pairs", path.name))
        put("\n}\n")
    own, sample = source.self_influence, source.sample_influence
    beside: Mapping[str, Any] = {
        "scores_sha256": digest.hexdigest(),
        "provenance": dict(source.provenance),
        "checkpoint_names": list(source.checkpoint_names),
        "train_items": [list(pair) for pair in source.train_items],
        "self_influence": None if own is None else own.tolist(),
        "sample_influence": None if sample is None else dict(zip(source.sample_ids, sample.tolist(), strict=True)),
    }
    write_text_atomic(provenance_path(path), json.dumps(beside, ensure_ascii=False) + "\n")


def write_per_checkpoint_scores(table: InfluenceTable, path: Path) -> None:
    """Write the scores of each checkpoint, under ``tracin_influence_<test pair id>_<checkpoint file name>``.

    Raises:
        ScoreFileError: the table holds no scores of single checkpoints.
        TracinctlError: the file cannot be written.
    """
    if table.per_checkpoint is None:
        raise ScoreFileError(
            "these scores were not kept for each checkpoint", hint="tracinctl compute --save-per-checkpoint"
        )
    content = {
        train_id: {
            f"{PREFIX}{test_id}_{name}": float(table.per_checkpoint[c, row, column])
            for column, test_id in enumerate(table.test_ids)
            for c, name in enumerate(table.checkpoint_names)
        }
        for row, train_id in enumerate(table.train_ids)
    }
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
