"""The programs that measure speed run to their end, and what they compare computes the same."""

from __future__ import annotations

import sys

import pytest
from places import BENCHMARKS

sys.path.insert(0, str(BENCHMARKS))

import embedding_tables
import engine_speed
import preference_pairs
import startup

from tracinctl.engine.kernel import layout


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # dattri imports torch's own deprecated scripting
def test_every_way_that_is_timed_computes_the_same_scores(capsys):
    engine_speed.main(["--tiny", "--model", "small", "--frames", "24", "--rounds", "1", "--markdown"])
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    ways = [row[1].strip() for row in table[2:]]
    assert ways == [*engine_speed.FLOORS, engine_speed.COLD, engine_speed.CACHED, *engine_speed.RIVALS]
    assert all(float(row[3]) > 0 for row in table[2:])


def test_every_start_that_is_timed_answers_what_it_was_asked(capsys):
    startup.main(["--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    timed = [each.name for bare, ours in startup.contenders().values() for each in (bare, *ours)]
    assert [line.rsplit(maxsplit=2)[0] for line in lines[1:-1]] == timed
    assert all(float(line.split()[-1]) > 0 for line in lines[1:-1])


@pytest.mark.parametrize("model", ["perceptron", "encoder"])
def test_preference_pairs_are_scored_alike_by_all_that_are_timed(model, capsys, monkeypatch):
    monkeypatch.setattr(layout, "COMPLETE", 8)
    given = ["--model", model, "--width", "8", "--pairs", "12", "--held-out", "3", "--rounds", "1"]
    preference_pairs.main(given)  # stops where they differ
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    ways = [preference_pairs.LOOP, preference_pairs.BATCHED, preference_pairs.OURS]
    assert [row[1].strip() for row in table[2:]] == ways


def test_embedding_tables_are_scored_as_numpy_scores_them(capsys):
    sizes = ["--pairs", "12", "--held-out", "3", "--users", "9", "--items", "11", "--rounds", "1"]
    embedding_tables.main(sizes)  # stops where they differ
    assert [line[:8] for line in capsys.readouterr().out.splitlines()[1:]] == ["numpy th", "tracinct"]
