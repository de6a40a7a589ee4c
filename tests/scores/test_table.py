"""The table of scores in the library: shown, queried, saved and read back."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
from score_tables import full, same_bits, table

from tracinctl import InfluenceTable
from tracinctl.errors import UsageError
from tracinctl.scores import table as table_module
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.source import SomeColumns, WatchedScores

SCORES = [[-1681.4, 2.0, 0.0], [3.0, 4.5, 0.0], [-0.5, 0.25, 0.0], [1.0, -1.0, 0.0]]


def test_the_docstring_example_is_true():
    tried = doctest.testmod(table_module)
    assert (tried.attempted, tried.failed) == (5, 0)


def test_a_table_is_shown_in_a_few_lines():
    assert repr(table(SCORES)).splitlines() == [
        "InfluenceTable: 4 training pairs x 3 test pairs (2 active)",
        "  scores: -1681 to 4.5; positive = helpful, negative = harmful",
        "  most harmful: m_0_m_1 (total -1679)",
        "  most helpful: m_1_m_2 (total 7.5)",
    ]
    empty = InfluenceTable([], ["t"], np.zeros((0, 1)))
    assert repr(empty) == "InfluenceTable: 0 training pairs x 1 test pair (0 active)"
    assert len(repr(table(np.ones((1000, 1000)))).splitlines()) == 3


def test_the_top_is_by_total_and_of_one_sign():
    assert table(SCORES).top() == [("m_0_m_1", -1679.4), ("m_2_m_3", -0.25)]
    assert table(SCORES).top(1) == [("m_0_m_1", -1679.4)]
    assert table(SCORES).top(5, harmful=False) == [("m_1_m_2", 7.5)]
    assert table([[-1.0], [-1.0]]).top() == [("m_0_m_1", -1.0), ("m_1_m_2", -1.0)], "ties by id"
    with pytest.raises(UsageError, match="`k` is 0"):
        table(SCORES).top(0)


def test_pandas_has_training_pairs_as_rows_and_test_pairs_as_columns():
    source = table(SCORES)
    frame = source.to_pandas()
    assert frame.loc["m_1_m_2", "m_1_m_901"] == 4.5
    assert (frame.index.name, frame.columns.name, frame.shape) == ("train_pair", "test_pair", (4, 3))
    frame.iloc[0, 0] = 7.0
    assert source.scores[0, 0] == -1681.4, "the table stays unchanged"


def test_pandas_is_imported_only_by_to_pandas():
    code = "import sys, tracinctl; tracinctl.InfluenceTable(['a'], ['t'], __import__('numpy').ones((1, 1)))"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'pandas' not in sys.modules"], check=True)


@pytest.mark.parametrize("name", ["m_1hz_influence_metadata.json", "m_1hz_influence.parquet", "mine.json"])
def test_a_saved_table_is_read_back(tmp_path, name):
    source = full(SCORES)
    source.save(str(tmp_path / name))
    back = open_scores(tmp_path / name)
    assert same_bits(np.concatenate([block for _, block in back.blocks()]), source.scores)
    assert back.provenance == source.provenance


@pytest.mark.parametrize("name", ["mine", "mine.csv", "mine.JSON5"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.json or \.parquet"):
        table(SCORES).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_watched_source_differs_only_in_its_provenance():
    source = full(SCORES)
    some = SomeColumns(source, ["m_1_m_901"])
    assert (some.test_ids, some.train_ids, some.sample_ids) == (["m_1_m_901"], source.train_ids, source.sample_ids)
    assert np.concatenate([block for _, block in some.blocks()]).tolist() == [[2.0], [4.5], [0.25], [-1.0]]
    watched = WatchedScores(source, {"more": 1})
    assert not watched.complete
    list(watched.blocks())
    assert (watched.active.tolist(), watched.complete) == ([True, True, False], True)
    assert watched.provenance == {**source.provenance, "more": 1}
