"""The evaluation program runs, and measures what it says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from places import BENCHMARKS


@pytest.fixture(autouse=True)
def _programs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_program_finds_flipped_comparisons_in_its_quick_size():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "evaluate.py"), "--quick", "--markdown"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    head = rows[0]
    table = {(row[0], row[2]): dict(zip(head, row, strict=True)) for row in rows[2:]}
    assert float(table["flipped 15%", "tracin"]["AUC"]) > 0.9
    assert float(table["flipped 15%", "dattri, 512 random dimensions"]["AUC"]) > 0.9
    assert {"self-influence", "loss", "random", "the truth"} <= {by for _, by in table}
    assert float(table["mislabelled 10%", "item measure"]["AUC"]) > 0


def test_planted_errors_are_as_many_and_as_wrong_as_they_say():
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


def test_the_demo_is_a_task_with_the_errors_that_were_planted(tmp_path):
    from contenders import findings
    from planted_demo import demo_tasks

    from tracinctl.demo.make import DemoSize

    size = DemoSize(takes=(5, 2), comparisons=60, flipped=0.25, misfiled=1, epochs=2)
    tasks, model, checkpoints = demo_tasks(tmp_path / "demo", 0, size)
    assert [(task.error, int(task.bad.sum())) for task in tasks] == [("flipped", 15), ("mislabelled", 1)]
    for task in tasks:
        found = findings(task, model, checkpoints, "standard", tmp_path / "cache", rival=False, seed=0)
        assert all(each.order.shape == task.bad.shape for each in found)


def test_a_table_takes_the_place_of_the_old_one_and_of_nothing_else():
    from evaluate import with_table

    text = "a\n\n| x | LDS |\n| --- | --- |\n| 1 | 2 |\n\n| y |\n| --- |\n"
    assert with_table(text, "| x | LDS |\n| 3 | 4 |") == "a\n\n| x | LDS |\n| 3 | 4 |\n\n| y |\n| --- |\n"


def test_a_ranker_is_the_same_alone_and_in_a_stack(tmp_path):
    from many_rankers import Rankers, Recipe, build_model
    from planted_tasks import make_tasks

    [task] = make_tasks("iris", [("flipped", 0.15)], 0, 0.4, 200)
    x, pairs, recipe = task.data.train.inputs, task.data.train_pairs, Recipe(epochs=3)
    stack = Rankers(x, [pairs, pairs.take(np.arange(100)), pairs], [1, 2, 3], recipe)
    stack.train([None, tmp_path, None])
    alone = Rankers(x, [pairs.take(np.arange(100))], [2], recipe, stack.steps)
    alone.train()
    margins = stack.margins(x, pairs)
    np.testing.assert_allclose(margins[1], alone.margins(x, pairs)[0], rtol=1e-3, atol=1e-4)
    assert not np.allclose(margins[0], margins[2], atol=0.01)
    # and what it leaves is a checkpoint of an ordinary model
    model = build_model(x.shape[1], recipe)
    content = torch.load(tmp_path / "model_epoch_3.pt", weights_only=True)
    model.load_state_dict(content["model_state_dict"])
    scores = model(x).detach().squeeze(1).numpy()
    np.testing.assert_allclose(pairs.target * (scores[pairs.first] - scores[pairs.second]), margins[1], atol=1e-5)
    assert content["optimizer_state_dict"]["param_groups"][0]["lr"] == recipe.learning_rate


def test_linear_datamodeling_score_is_the_mean_rank_correlation():
    from evaluate import _lds
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    predicted, truth = random.normal(size=(12, 5)), random.normal(size=(12, 5)).round(1)
    active = np.array([True, True, False, True, True])
    predicted[:, 4] = 0  # predicts nothing, and so has no ranks
    expected = np.mean([spearmanr(predicted[:, k], truth[:, k])[0] for k in (0, 1, 3)])
    assert _lds(predicted, truth, active) == pytest.approx(expected)
    assert _lds(truth**3, truth, active) == pytest.approx(1)
