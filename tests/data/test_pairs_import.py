"""Comparisons in the tables that people have, as a file of pairs."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tracinctl.data.comparisons import Columns
from tracinctl.data.pairs_file import read_pairs_file
from tracinctl.data.pairs_import import import_pairs, sentence, write_imported
from tracinctl.errors import DataError, UsageError


def brought(tmp_path, text, columns=None, name="t.csv", **how):
    path = tmp_path / name
    path.write_text(text)
    return import_pairs(path, columns, **how)


def outcome(pairs):
    """(better, worse) of each row, or the two items and a tie."""
    rows = pairs.frame[["id1", "id2", "target"]].itertuples(index=False)
    return [(i, j) if y > 0 else (j, i) if y < 0 else (i, j, "tie") for i, j, y in rows]


def table(header, *rows):
    return "\n".join([header, *rows]) + "\n"


WANTED = [("a", "b"), ("c", "b")]


@pytest.mark.parametrize(
    ("header", "one", "other"),
    [
        ("winner,loser", "a,b", "c,b"),
        ("Chosen,Rejected", "a,b", "c,b"),
        ("worse,better", "b,a", "b,c"),
        ("item1,item2,label", "a,b,1", "b,c,-1"),
        ("Item_1,Item_2,target", "a,b,1", "b,c,-1.0"),
        ("left,right,choice", "a,b,left", "b,c,right"),
        ("left,right,choice", "a,b,L", "b,c,R"),
        ("left,right,choice", "a,b,a", "b,c,c"),
        ("left,right,choice", "a,b,1", "b,c,2"),
        ("response_a,response_b,preference", "a,b,A", "b,c,B"),
        ("model_a,model_b,winner", "a,b,model_a", "b,c,model_b"),
        ("id1,id2,vote", "a,b,First", "b,c,second"),
    ],
)
def test_usual_columns_are_understood(tmp_path, header, one, other):
    text = table(f"{header},split", f"{one},train", f"{other},train")
    pairs = brought(tmp_path, text)
    assert outcome(pairs) == WANTED
    assert pairs.frame["split"].tolist() == ["train", "train"]
    assert pairs.notes == ["no row is a held-out pair"]


@pytest.mark.parametrize("tie", ["0", "tie", "Equal", "tie (both bad)"])
def test_ties_are_understood(tmp_path, tie):
    label = "-1" if tie == "0" else "right"
    pairs = brought(tmp_path, table("left,right,vote,split", f"a,b,{label},train", f"c,d,{tie},train"))
    assert outcome(pairs) == [("b", "a"), ("c", "d", "tie")]


@pytest.mark.parametrize("values", [("0", "1"), ("1",), ("0", "1", "2"), ("3", "4")])
def test_numbers_that_may_mean_either_item_must_be_explained(tmp_path, values):
    rows = [f"a,{'bcd'[k]},{value},train" for k, value in enumerate(values)]
    with pytest.raises(DataError, match="may mean either item") as caught:
        brought(tmp_path, table("item1,item2,label,split", *rows))
    assert "`first_wins`" in caught.value.hint


def test_explained_values_are_taken(tmp_path):
    text = table("item1,item2,label,split", "a,b,1,train", "c,b,0,train")
    assert outcome(brought(tmp_path, text, Columns(first_wins="1"))) == [("a", "b"), ("b", "c")]
    assert outcome(brought(tmp_path, text, Columns(first_wins="0"))) == [("b", "a"), ("c", "b")]
    more = text + "a,c,2,train\n"
    given = Columns(first_wins="0", second_wins="1", tie="2")
    assert outcome(brought(tmp_path, more, given)) == [("b", "a"), ("c", "b"), ("a", "c", "tie")]


def test_columns_can_be_named(tmp_path):
    text = table("good;bad;side;nr", "a;b;test;7", "c;b;train;8")
    pairs = brought(tmp_path, text, Columns(winner="good", loser="bad", split="side", id="nr"))
    assert outcome(pairs) == WANTED
    assert pairs.frame["split"].tolist() == ["held-out", "train"]
    assert pairs.frame["id"].tolist() == ["7", "8"]
    with pytest.raises(UsageError, match=r"no column 'god', which `winner` names") as caught:
        brought(tmp_path, text, Columns(winner="god", loser="bad"))
    assert caught.value.hint == "Did you mean good?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "which columns compare two items"),
        ("winner,loser\n", "has no rows"),
        ("winner,loser\na,b\n\nc,\n", "line 4: loser is empty"),
        ("left,right,choice\na,b,left\nc,d,\n", "line 3: choice is empty"),
        ("left,right,choice\na,b,left\nc,d,nan\n", "line 3: choice is 'nan'"),
        ("left,right,choice\na,b,left\nc,d,maybe\n", "line 3: choice is 'maybe'"),
        ("winner,loser,split\na,b,train\nc,d,later\n", "line 3: split is 'later'"),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        brought(tmp_path, text)
    assert caught.value.hint


def test_null_cells_are_refused_with_their_line(tmp_path):
    with pytest.raises(DataError, match="line 2: rejected is empty"):
        brought(tmp_path, '{"chosen": "a", "rejected": "b"}\n{"chosen": "a", "rejected": null}\n', name="t.jsonl")


def test_further_columns_are_groups_and_weights_are_kept(tmp_path):
    text = table("winner,loser,annotator,weight,split,id", "a,b,w1,2,train,1", "c,b,w2,0.5,test,1")
    pairs = brought(tmp_path, text)
    assert pairs.frame["source_id"].tolist() == ["1", "1"]
    assert pairs.frame["annotator"].tolist() == ["w1", "w2"]
    assert sentence(pairs.frame.iloc[0].to_dict()) == "a ranks above b, train (annotator w1, weight 2, source_id 1)"


def test_what_is_written_is_a_file_of_pairs(tmp_path):
    text = table("item1,item2,vote,annotator,weight,split", "a,b,1,w1,2,train", "a,b,-1,w2,1,train", "x,y,0,w1,1,dev")
    (written,) = write_imported(brought(tmp_path, text), tmp_path / "out" / "pairs.csv")
    train, test = read_pairs_file(written).pairs(["a", "b"], ["x", "y"])
    assert train.target.tolist() == [1, -1]
    assert train.row_ids(["a", "b"]) == ["a_b", "a_b#2"]
    assert train.groups["annotator"].tolist() == ["w1", "w2"]
    assert train.weight.tolist() == [2, 1]
    assert test.target.tolist() == [0]


def test_sound_files_are_named_by_the_id_of_their_recording(tmp_path):
    pairs = brought(
        tmp_path, table("winner,loser,split", "d/deg0/x_1.wav,d/x_2.flac,train", "d\\x_3.WAV,x_1.wav,train")
    )
    assert outcome(pairs) == [("x_1", "x_2"), ("x_3", "x_1")]


class TestTexts:
    """Preference data: items are texts, and get ids."""

    def lines(self, rows):
        return "\n".join(json.dumps(row) for row in rows) + "\n"

    def check(self, pairs, tmp_path, contents):
        """The items that are written are these, the better one first."""
        paths = write_imported(pairs, tmp_path / "pairs.csv")
        assert [path.name for path in paths] == ["pairs.csv", "pairs_items.jsonl"]
        items = {item.pop("id"): item for item in map(json.loads, paths[1].read_text().splitlines())}
        assert [(items[i], items[j]) for i, j in outcome(pairs)] == contents

    def test_prompts_and_messages_of_trl(self, tmp_path):
        said = [{"role": "assistant", "content": "yes"}], [{"role": "assistant", "content": "no"}]
        prompt = [{"role": "user", "content": "may I?"}]
        rows = [{"prompt": prompt, "chosen": said[k], "rejected": said[1 - k], "split": "train"} for k in (0, 1)]
        pairs = brought(tmp_path, self.lines(rows), name="t.jsonl")
        one, other = ({"prompt": prompt, "text": text} for text in said)
        self.check(pairs, tmp_path, [(one, other), (other, one)])

    def test_binarised_feedback(self, tmp_path):
        row = {
            "prompt": "What is a long question with many words?",
            "prompt_id": "p1",
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}],
            "messages": [{"role": "user", "content": "q"}],
            "score_chosen": 8.5,
            "score_rejected": 7.0,
        }
        pd.DataFrame([row, {**row, "prompt": "Another one?", "prompt_id": "p2"}]).to_parquet(tmp_path / "t.parquet")
        pairs = import_pairs(tmp_path / "t.parquet")
        assert pairs.frame["prompt_id"].tolist() == ["p1", "p2"]
        assert pairs.frame["score_chosen"].tolist() == ["8.5", "8.5"]
        assert "messages" not in pairs.frame
        assert len(pairs.items) == 4
        assert sorted(pairs.frame["split"]) == ["held-out", "train"]

    def test_answers_with_scores_of_ultrafeedback(self, tmp_path):
        answers = [{"response": f"answer {k}", "overall_score": score} for k, score in enumerate((7, 9, 7))]
        row = {"instruction": "Explain it to me, please, at length.", "completions": answers, "source": "x"}
        pairs = brought(tmp_path, self.lines([row, {**row, "instruction": "And now something else"}]), name="t.jsonl")
        assert len(pairs.frame) == 4  # the two of equal score are no comparison
        first = {"prompt": row["instruction"], "text": "answer 1"}
        rest = [{"prompt": row["instruction"], "text": f"answer {k}"} for k in (0, 2)]
        contents = [(pairs.items[i], pairs.items[j]) for i, j in outcome(pairs)]
        assert [c for c in contents if c[0] == first] == [(first, rest[0]), (first, rest[1])]

    def test_short_names_of_a_query_stay_ids(self, tmp_path):
        pairs = brought(tmp_path, table("query,winner,loser,split", "q1,d1,d2,train", "q2,d1,d3,train"))
        assert outcome(pairs) == [("d1", "d2"), ("d1", "d3")]
        assert pairs.items == {}

    def test_the_same_text_is_the_same_item_and_is_not_compared_with_itself(self, tmp_path):
        text = "a text of rather more than four words"
        rows = [
            {"chosen": text, "rejected": "no"},
            {"chosen": "no", "rejected": "no"},
            {"chosen": text, "rejected": "x"},
        ]
        pairs = brought(tmp_path, self.lines([{**row, "split": "train"} for row in rows]), name="t.jsonl")
        assert len(pairs.items) == 3
        assert pairs.notes[0] == "1 row left out that compare an item with itself: line 2"


class TestSplit:
    """Items train or are held out, and no pair mixes the two."""

    def test_groups_of_compared_items_stay_together(self, tmp_path):
        rows = [f"{group}{i},{group}{j}" for group in "abcdefghij" for i, j in ((0, 1), (1, 2))]
        pairs = brought(tmp_path, table("winner,loser", *rows))
        assert len(pairs.frame) == 20
        side = dict(zip(pairs.frame["id1"].str[0], pairs.frame["split"], strict=True))
        assert sorted(side.values()) == ["held-out"] * 3 + ["train"] * 7
        assert "groups of compared items" in pairs.understood[-1]
        other = brought(tmp_path, table("winner,loser", *rows), seed=1)
        assert other.frame["split"].tolist() != pairs.frame["split"].tolist()

    def test_items_that_are_all_connected_are_divided_one_by_one(self, tmp_path):
        rows = [f"i{i},i{j}" for i in range(20) for j in range(i)]
        pairs = brought(tmp_path, table("winner,loser", *rows), train_share=0.5)
        assert pairs.frame["split"].value_counts().to_dict() == {"train": 45, "held-out": 45}
        assert pairs.notes == ["100 rows left out that compare a training item with a held-out one"]
        for side, rows in pairs.frame.groupby("split"):
            mine = {*rows["id1"], *rows["id2"]}
            others = pairs.frame[pairs.frame["split"] != side]
            assert not mine & {*others["id1"], *others["id2"]}

    def test_too_few_items_to_divide_are_an_error(self, tmp_path):
        with pytest.raises(DataError, match="2 rows cannot be divided"):
            brought(tmp_path, table("winner,loser", "a,b", "a,c"))


def test_a_file_that_is_there_is_not_replaced(tmp_path):
    pairs = brought(tmp_path, table("winner,loser,split", "a,b,train", "x,y,test"))
    path = tmp_path / "pairs.csv"
    assert write_imported(pairs, path) == write_imported(pairs, path) == [path]
    path.write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        write_imported(pairs, path)
    assert path.read_text() == "mine"
