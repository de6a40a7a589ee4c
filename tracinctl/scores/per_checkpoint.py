"""The scores of single checkpoints, in a JSON file of their own.

The form is ``{train pair id: {"tracin_influence_<test pair id>_<checkpoint file name>": score}}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracinctl.errors import NonFiniteError, ScoreFileError
from tracinctl.files import atomic_path
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.scores.json_format import PREFIX
from tracinctl.scores.json_text import json_text, read_json
from tracinctl.scores.table import FloatArray, InfluenceTable, ScoreSource

_MAKE = "tracinctl compute --save-per-checkpoint"


def _keys(test_ids: Sequence[str], checkpoint_names: Sequence[str]) -> list[str]:
    return [f"{PREFIX}{test_id}_{name}" for test_id in test_ids for name in checkpoint_names]


def write_per_checkpoint_scores(table: InfluenceTable, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write the scores of each checkpoint.

    Raises:
        ScoreFileError: the table holds no scores of single checkpoints, or two of them would have the same key.
        NonFiniteError: a score is not finite.
        TracinctlError: the file cannot be written.
    """
    if table.per_checkpoint is None:
        raise ScoreFileError("these scores were not kept for each checkpoint", hint=f"Make them: {_MAKE}")
    keys = _keys(table.test_ids, table.checkpoint_names)
    if len(set(keys)) != len(keys):
        raise ScoreFileError(
            "the scores of single checkpoints cannot be told apart by their keys, test pair and checkpoint: "
            f"{', '.join(table.checkpoint_names)}",
            hint="give checkpoints names of their own",
        )
    names = [json_text(key) for key in keys]
    total = len(table.train_ids)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write("{")
        for row, train_id in enumerate(table.train_ids):
            values = table.per_checkpoint[:, row, :].T.reshape(-1)
            if not np.isfinite(values).all():
                wrong = keys[int(np.flatnonzero(~np.isfinite(values))[0])].removeprefix(PREFIX)
                raise NonFiniteError(f"the score of {train_id!r} on {wrong!r} is not finite, so nothing was written")
            scores = ",\n".join(f"    {n}: {v!r}" for n, v in zip(names, values.tolist(), strict=True))
            file.write(f"{',' if row else ''}\n  {json_text(train_id)}: {{\n{scores}\n  }}")
            progress(Progress("writing scores", row + 1, total, "pairs", path.name))
        file.write("\n}\n")


def with_checkpoints(source: ScoreSource, path: Path) -> InfluenceTable:
    """The source as a table that holds the scores of each checkpoint as well, from the file that compute writes.

    Raises:
        ScoreFileError: the file is not there, is broken, or does not belong to these scores.
    """
    if not path.is_file():
        raise ScoreFileError(
            f"the scores of single checkpoints were not kept: {path} is not there", hint=f"Make them: {_MAKE}"
        )
    content = read_json(path, hint=f"Make it again: {_MAKE}")
    foreign = ScoreFileError(f"{path} does not belong to these scores", hint=f"Make both again: {_MAKE}")
    if not isinstance(content, dict) or list(content) != list(source.train_ids):
        raise foreign
    rows = list(content.values())
    head = f"{PREFIX}{source.test_ids[0]}_" if len(source.test_ids) else PREFIX
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    names = [key.removeprefix(head) for key in first if key.startswith(head)]
    if source.checkpoint_names and set(source.checkpoint_names) <= set(names):
        names = list(source.checkpoint_names)
    keys = _keys(source.test_ids, names)
    single = np.empty((len(rows), len(keys)))
    for row, record in enumerate(rows):
        if not isinstance(record, dict) or record.keys() != set(keys):
            raise foreign
        values = [record[key] for key in keys]
        if not set(map(type, values)) <= {int, float}:
            raise foreign
        try:
            single[row] = values
        except OverflowError as error:
            raise foreign from error
    if not np.isfinite(single).all():
        raise foreign
    scores: FloatArray = np.concatenate([block for _, block in source.blocks()])
    return InfluenceTable(
        train_ids=source.train_ids,
        test_ids=source.test_ids,
        scores=scores,
        self_influence=source.self_influence,
        sample_ids=source.sample_ids,
        sample_influence=source.sample_influence,
        train_items=source.train_items,
        per_checkpoint=np.ascontiguousarray(
            single.reshape(len(rows), len(source.test_ids), len(names)).transpose(2, 0, 1)
        ),
        checkpoint_names=names,
        provenance=source.provenance,
    )
