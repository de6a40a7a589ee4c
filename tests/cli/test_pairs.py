"""``tracinctl pairs`` from the command line."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine

from tracinctl.data.pairs_file import read_pairs_file

VOTES = "item1;item2;vote;annotator;split\na;b;1;w1;train\nb;a;1;w2;train\n\nx;y;-1;w1;test\n"


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "votes.csv").write_text(VOTES)
    return CommandLine(capsys)


def test_import_prints_how_it_read_the_table_and_the_first_rows(cli, tmp_path):
    result = cli("pairs", "import", "votes.csv")
    assert result.code == 0, result.err
    for message in (
        "3 rows: item1 against item2, vote says which is better: -1 = item2, 1 = item1",
        "which group rows: annotator",
        "a ranks above b, train (annotator w1)",
        "b ranks above a, train (annotator w2)",
        "x ranks below y, held-out (annotator w1)",
        "2 training pairs and 1 held-out pair",
        "tracinctl compute --pairs-file pairs.csv",
    ):
        assert message in " ".join(result.out.split())
    train, test = read_pairs_file(tmp_path / "pairs.csv").pairs(["a", "b"], ["x", "y"])
    assert (len(train), len(test)) == (2, 1)


def test_texts_need_the_users_source(cli, tmp_path):
    rows = [{"chosen": f"The answer {k} is long and good", "rejected": f"No {k}"} for k in range(4)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = cli("pairs", "import", "t.jsonl").out
    assert "pairs_items.jsonl" in out
    assert "tracinctl compute --source my_project:load" in " ".join(out.split())


def test_import_prints_json(cli):
    [found] = cli.json("pairs", "import", "votes.csv")
    assert (found["material"], found["frequency"], found["file"]) == (None, None, "votes.csv")
    assert (found["train_pairs"], found["held_out_pairs"]) == (2, 1)
    assert found["columns"] == ["split", "id1", "id2", "target", "annotator"]
    assert [row["id1"] for row in found["first_rows"]] == ["a", "b", "x"]
    assert cli("-q", "pairs", "import", "votes.csv").out == "pairs.csv\n"


def test_flags_name_columns_and_values(cli, tmp_path):
    flags = ["--first", "item1", "--second", "item2", "--outcome", "annotator", "--first-wins", "w2"]
    assert cli("pairs", "import", "votes.csv", *flags, "--second-wins", "w1", "--output-file", "x.csv").code == 0
    assert read_pairs_file(tmp_path / "x.csv").target.tolist() == [-1, 1, -1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["import", "nowhere.csv"], 2, "no table of comparisons nowhere.csv"),
        (["import", "votes.csv", "--winner", "votee", "--loser", "x"], 2, "Did you mean vote?"),
        (["import", "votes.csv", "--train-share", "1"], 2, "between 0 and 1"),
        (["import", "votes.csv", "--output-file", "votes.csv"], 1, "exists already"),
        (["export", "votes.csv"], 2, "import"),
    ],
)
def test_wrong_tables_and_values_are_refused(cli, tmp_path, arguments, code, message):
    result = cli("pairs", *arguments)
    assert result.code == code
    assert message in " ".join(result.err.split())
    assert (tmp_path / "votes.csv").read_text() == VOTES
