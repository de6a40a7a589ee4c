"""The scores of single checkpoints, read back beside the sums that they make up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.scores.json_format import PREFIX, read_json
from tracinctl.scores.table import InfluenceTable, ScoreSource


def with_checkpoints(source: ScoreSource, path: Path) -> InfluenceTable:
    """The source as a table that holds the scores of each checkpoint as well, from the file that compute writes.

    Raises:
        ScoreFileError: the file is not there, is broken, or does not belong to these scores.
    """
    if not path.is_file():
        raise ScoreFileError(
            f"the scores of single checkpoints were not kept: {path} is not there",
            hint="Make them: tracinctl compute --save-per-checkpoint",
        )
    content = read_json(path)
    foreign = ScoreFileError(
        f"{path} does not belong to these scores", hint="Make both again: tracinctl compute --save-per-checkpoint"
    )
    if not isinstance(content, dict) or list(content) != list(source.train_ids):
        raise foreign
    keys = list(next(iter(content.values()), {}))
    head = f"{PREFIX}{source.test_ids[0]}_" if len(source.test_ids) else PREFIX
    names = [key.removeprefix(head) for key in keys if key.startswith(head)]
    columns = [[f"{PREFIX}{test_id}_{name}" for test_id in source.test_ids] for name in names]
    try:
        single = np.array(
            [[[float(row[key]) for key in wanted] for row in content.values()] for wanted in columns], dtype=np.float64
        )
    except (KeyError, TypeError, ValueError) as error:
        raise foreign from error
    scores = np.concatenate([block for _, block in source.blocks()])
    return InfluenceTable(
        train_ids=source.train_ids,
        test_ids=source.test_ids,
        scores=scores,
        self_influence=source.self_influence,
        sample_ids=source.sample_ids,
        sample_influence=source.sample_influence,
        train_items=source.train_items,
        per_checkpoint=single,
        checkpoint_names=names,
        provenance=source.provenance,
    )
