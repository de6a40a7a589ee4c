"""The comments of a list, and which lists are replaced."""

from __future__ import annotations

import pytest

from tracinctl.errors import UsageError
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.files.exclusion_list import (
    list_to_replace,
    read_exclusion_list,
    write_exclusion_list,
)
from tracinctl.scores.options import Rule
from tracinctl.scores.source import MemoryScores, ScoreMeta


@pytest.fixture
def exclusions():
    import numpy as np

    names = ["deg000_1_deg036_1", "deg000_2_deg036_2", "deg000_3_deg036_3"]
    meta = ScoreMeta(train_ids=names, test_ids=["deg000_8_deg036_8", "deg000_9_deg036_9"])
    source = MemoryScores(meta, np.array([[-9.0, -9.0], [-2.0, -2.0], [3.0, 3.0]]))
    return lambda threshold: choose_exclusions(source, Rule(threshold=threshold, min_occurrences="2"))


def test_a_list_of_another_rule_is_named_when_it_is_replaced(tmp_path, exclusions):
    path = tmp_path / "list.txt"
    assert write_exclusion_list(path, exclusions("0"), "scores") == ""
    assert write_exclusion_list(path, exclusions("0"), "scores") == "", "the same list again"
    said = write_exclusion_list(path, exclusions("-5"), "scores")
    assert said == "2 pairs, at least 2 of 2 active test pairs score below 0 (min_occurrences 2)"
    assert read_exclusion_list(path).ids == ["deg000_1_deg036_1"]
    assert write_exclusion_list(path, exclusions("-6"), "scores").startswith("1 pair, "), "another rule, the same ids"


HANDMADE = {
    "edited": "# excluded: 1 id\n# ids: sha256 0123456789abcdef\nby hand\n",
    "a line gone": "# excluded: 2 ids\n# ids: sha256 0123456789abcdef\nby hand\n",
    "without a header": "deg000_1_deg036_1\n",
    "a table": "split,id1,id2,target\ntrain,a,b,1\n",
    "no text": "RIFF\xff\xfe",
}


@pytest.mark.parametrize("content", HANDMADE.values(), ids=HANDMADE)
def test_a_list_by_a_person_is_replaced_only_with_force(tmp_path, exclusions, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="is not replaced") as refused:
        write_exclusion_list(path, exclusions("0"), "scores")
    assert "`force`" in refused.value.hint
    assert path.read_bytes() == content.encode("latin-1")
    write_exclusion_list(path, exclusions("0"), "scores", force=True)
    assert len(read_exclusion_list(path).ids) == 2


def test_an_empty_file_is_replaced(tmp_path, exclusions):
    path = tmp_path / "list.txt"
    assert list_to_replace(path) is None
    path.touch()
    assert list_to_replace(path) is None
    write_exclusion_list(path, exclusions("0"), "scores")
    assert list_to_replace(path).is_own
