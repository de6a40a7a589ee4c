"""Writing large score files reports progress."""

import json

import numpy as np
import pytest

from tracinctl.scores.files.open import write_scores
from tracinctl.scores.files.per_checkpoint import write_per_checkpoint_scores
from tracinctl.scores.table import InfluenceTable


def scores(pairs, columns, checkpoints):
    values = np.random.default_rng(0).normal(size=(checkpoints, pairs, columns))
    return InfluenceTable(
        train_ids=[f"a{k}_b" for k in range(pairs)],
        test_ids=[f"c{k}_d" for k in range(columns)],
        scores=values.sum(axis=0),
        per_checkpoint=values,
        checkpoint_names=[f"epoch_{k}.pt" for k in range(checkpoints)],
    )


@pytest.mark.parametrize(("write", "columns"), [(write_scores, 2000), (write_per_checkpoint_scores, 1000)])
def test_json_of_many_scores_reports_progress_in_parts(write, columns, tmp_path):
    table = scores(240, columns, 2)
    told = []
    path = tmp_path / "plastic_500hz_influence_metadata.json"
    write(table, path, told.append)
    steps = [report.done for report in told]
    assert steps == sorted(set(steps))
    assert steps[-1] == 240
    assert max(np.diff([0, *steps])) * 2000 <= 100_000
    assert {(report.task, report.total, report.unit) for report in told} == {("writing scores", 240, "pairs")}
    assert list(json.loads(path.read_text())) == table.train_ids


def test_a_pair_with_many_scores_is_one_part(tmp_path):
    told = []
    write_scores(scores(3, 150_000, 1), tmp_path / "plastic_500hz_influence_metadata.json", told.append)
    assert [report.done for report in told] == [1, 2, 3]
