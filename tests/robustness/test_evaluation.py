"""The evaluation program runs and measures correctly."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from places import BENCHMARKS


@pytest.fixture(autouse=True)
def _programs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.filterwarnings("ignore")  # of dattri's imports
@pytest.mark.parametrize("error", ["flipped", "mislabelled"])
def test_a_seed_shows_every_arm_and_finds_the_errors(error, tmp_path):
    import bench
    import choice
    from planted_tasks import make_tasks

    [task] = make_tasks("iris", [(error, 0.15)], 0, 0.5, 120)
    settings = dataclasses.replace(choice.TrainSettings(), epochs=3, batch_size=64)
    rows = choice.rows_of(bench.Bench(task, settings), 0)
    assert rows["gains"]["tuned alone"] == 0
    rivals = {"highest loss, 10 %", "dattri, total, 10 %", "cleanlab", "nothing, ramp loss", choice.TRUTH}
    assert rivals | {"chosen", "everything, capped loss"} <= rows["gains"].keys() == rows["changed"].keys()
    assert rows["changed"][choice.TRUTH] == task.bad_pairs.sum()
    assert rows["auc"]["item measure" if error == "mislabelled" else "out of fold"] > 0.7
    (tmp_path / "wine-flipped-15_0.json").write_text(json.dumps(rows))
    (tmp_path / "wine-flipped-15_1.json").write_text(json.dumps({**rows, "gains": {"tuned alone": 0, "chosen": 7}}))
    table = choice.gains_table(tmp_path, ["wine-flipped-15", "digits"]).splitlines()
    assert table[0] == "| trained without | wine-flipped-15, n = 2 |"
    mean = (rows["gains"]["chosen"] + 7) / 2
    assert any(line.startswith(f"| **chosen** | **{mean:+.2f} +- ") for line in table)


def test_planted_errors_have_the_stated_number_and_kind():
    from planted_tasks import make_tasks

    clean, flipped, mislabelled = make_tasks("wine", [("clean", 0), ("flipped", 0.15), ("mislabelled", 0.1)], 0, 0.5)
    right = dict(zip(clean.data.train_pairs.row_ids(clean.data.train.ids), clean.data.train_pairs.target, strict=True))
    pairs = flipped.data.train_pairs
    wrong = [right[name] != y for name, y in zip(pairs.row_ids(flipped.data.train.ids), pairs.target, strict=True)]
    assert wrong == flipped.bad.tolist()
    assert sum(wrong) == round(0.15 * len(pairs))
    assert mislabelled.bad.sum() == round(0.1 * len(mislabelled.data.train))
    pairs = mislabelled.data.train_pairs
    ids = pairs.row_ids(mislabelled.data.train.ids)
    wrong = [right.get(name, 0) != y for name, y in zip(ids, pairs.target, strict=True)]
    assert not np.any(np.array(wrong) & ~mislabelled.bad_pairs)
    assert not set(clean.judge.ids) & (set(clean.data.train.ids) | set(clean.data.test.ids))


def test_the_table_of_the_demo_has_the_gains_of_each_arm_over_everything():
    import demo

    def result(everything, without):
        arms = {"everything": everything, "without the list": without}
        rows = [{"name": name, "accuracy": {"mean": mean}} for name, mean in arms.items()]
        return {"arms": rows, "verdict": "helped", "processor_seconds": 60}

    lines = demo.table([result(0.8, 0.9), result(0.85, 0.91)]).splitlines()
    assert lines[2] == "| without the list | +8.0 +- 2.0 | 2 |"
    assert lines[-1] == "Verdicts: helped 2. Processor time: 60 s, median."
