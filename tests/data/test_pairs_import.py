"""Import of tables of comparisons into a pairs file."""

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
    with pytest.raises(DataError, match="unclear which item each means") as caught:
        brought(tmp_path, table("item1,item2,label,split", *rows))
    assert "`first_wins`" in caught.value.hint


def test_explained_values_are_taken(tmp_path):
    text = table("item1,item2,label,split", "a,b,1,train", "c,b,0,train")
    assert outcome(brought(tmp_path, text, Columns(first_wins="1"))) == [("a", "b"), ("b", "c")]
    assert outcome(brought(tmp_path, text, Columns(first_wins="0"))) == [("b", "a"), ("c", "b")]
    more = text + "a,c,2,train\n"
    given = Columns(first_wins="0", second_wins="1", tie="2")
    assert outcome(brought(tmp_path, more, given)) == [("b", "a"), ("c", "b"), ("a", "c", "tie")]


def test_several_values_of_a_scale_may_mean_one_outcome(tmp_path):
    text = table("left,right,preference,split", "a,b,-2,train", "c,b,1,train", "a,c,2,train", "b,d,0,train")
    given = Columns(first_wins="-2,-1", second_wins="1,2", tie="0")
    assert outcome(brought(tmp_path, text, given)) == [("a", "b"), ("b", "c"), ("c", "a"), ("b", "d", "tie")]
    with pytest.raises(DataError, match="outcomes are -2, 0, 1, 2, and it is unclear") as caught:
        brought(tmp_path, text)
    assert "all values" in caught.value.hint


def test_true_and_false_are_values_too(tmp_path):
    text = json.dumps([{"left": "a", "right": "b", "label": True, "split": "train"}] * 2)
    text = text.replace("true", "false", 1)
    pairs = brought(tmp_path, text, Columns(first_wins="True"), name="t.json")
    assert outcome(pairs) == [("b", "a"), ("a", "b")]


def test_one_column_cannot_hold_both_items(tmp_path):
    with pytest.raises(UsageError, match="both items would be in the column 'winner'"):
        brought(tmp_path, table("winner,loser", "a,b"), Columns(winner="winner", loser="winner"))
    with pytest.raises(DataError, match="every row compares an item with itself"):
        brought(tmp_path, table("winner,loser", "a,a", "b,b"))


def test_an_item_on_both_sides_of_a_given_split_is_told(tmp_path):
    pairs = brought(tmp_path, table("winner,loser,split", "a,b,train", "c,a,test"))
    assert pairs.notes == ["1 item both trains and is held out, which tracinctl compute refuses: a"]


def test_a_column_without_a_name_is_ignored(tmp_path):
    pairs = brought(tmp_path, table(",winner,loser,split", "0,a,b,train", "1,c,b,train"))
    assert list(pairs.frame.columns) == ["split", "id1", "id2", "target"]


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
        ("x,y\n1,2\n", "no known columns of comparisons"),
        ("winner,loser\n", "has no rows"),
        ("winner,loser\na,b\n\nc,\n", "line 4: loser is empty"),
        ("left,right,choice\na,b,left\nc,d,\n", "line 3: choice is empty"),
        ("left,right,choice\na,b,left\nc,d,nan\n", "line 3: choice is 'nan'"),
        ("left,right,choice\na,b,left\nc,d,maybe\n", "line 3: choice is 'maybe'"),
        ("winner,loser,split\na,b,train\nc,d,later\n", "line 3: split is 'later'"),
        ("winner,loser\na,b\nc,NaN\n", "line 3: loser is 'NaN', which means a missing cell"),
        ("winner,loser,weight\na,b,1\nc,d,\n", "line 3: weight is empty"),
        ("winner;loser;weight\n\na;b;0,5\n", "line 3: weight is '0,5', which is not a number from 0 up"),
        ("winner,loser,margin\na,b,-1\n", "line 2: margin is '-1'"),
        ("left,right\na,b\n", "no known column says whether left or right is better"),
        ("prompt,completion,label\nq,a,1\n", "one answer with a label, as in trl's unpaired preference"),
        ("prompt,completion\nq,a\n", "as in trl's prompt-completion"),
        ("prompt\nq\n", "as in trl's prompt-only"),
        ("text\nq\n", "one text, as in trl's language modeling"),
        ("messages\nq\n", "one conversation, as in trl's language modeling"),
    ],
)
def test_unclear_tables_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        brought(tmp_path, text)
    assert caught.value.hint


def test_null_cells_are_refused_with_their_line(tmp_path):
    with pytest.raises(DataError, match="line 2: rejected is empty"):
        brought(tmp_path, '{"chosen": "a", "rejected": "b"}\n{"chosen": "a", "rejected": null}\n', name="t.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1....", "a Parquet file"),
        (b"PK\x03\x04....", "an Excel workbook or another zip file"),
        ("winner,loser\n".encode("utf-16"), "text in UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        import_pairs(tmp_path / "t.csv")
    assert caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffwinner,loser,split\r\na,b,train\r\n\r\nc,b,train\r\n",
        "winner;loser;split\na;b;train\n\nc;b;train\n",
        "sep=;\nwinner;loser;split\na;b;train\nc;b;train\n",
        'winner,loser,note,split\n"a",b,"so, ""he"" said,\nand went",train\nc,b,,train\n',
        "\n\nwinner\tloser\tsplit\na\tb\ttrain\nc\tb\ttrain",
    ],
)
def test_csv_of_spreadsheets_is_read(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content.encode())
    assert outcome(import_pairs(tmp_path / "t.csv")) == WANTED


def test_a_table_in_columns_is_refused(tmp_path):
    with pytest.raises(DataError, match="line 1: winner is neither a text nor a list of messages"):
        brought(tmp_path, '{"winner": ["a", "c"], "loser": ["b", "d"]}', name="t.jsonl")


def test_other_columns_are_groups_and_weights_stay(tmp_path):
    text = table("winner,loser,annotator,weight,split,id", "a,b,w1,2,train,1", "c,b,w2,0.5,test,1")
    pairs = brought(tmp_path, text)
    assert pairs.frame["source_id"].tolist() == ["1", "1"]
    assert pairs.frame["annotator"].tolist() == ["w1", "w2"]
    assert sentence(pairs.frame.iloc[0].to_dict()) == "a ranks above b, train (annotator w1, weight 2, source_id 1)"


def test_the_written_file_is_a_pairs_file(tmp_path):
    text = table("item1,item2,vote,annotator,weight,split", "a,b,1,w1,2,train", "a,b,-1,w2,1,train", "x,y,0,w1,1,dev")
    (written,) = write_imported(brought(tmp_path, text), tmp_path / "out" / "pairs.csv")
    train, test = read_pairs_file(written).pairs(["a", "b"], ["x", "y"])
    assert train.target.tolist() == [1, -1]
    assert train.row_ids(["a", "b"]) == ["a_b", "a_b#2"]
    assert train.groups["annotator"].tolist() == ["w1", "w2"]
    assert train.weight.tolist() == [2, 1]
    assert test.target.tolist() == [0]


def test_sound_files_are_named_by_the_id_of_their_recording(tmp_path):
    pairs = brought(tmp_path, table("winner,loser,split", "d/deg0/x_1.wav,d/x_2.m4a,train", "d\\x_3.WAV,x_1.wav,train"))
    assert outcome(pairs) == [("x_1", "x_2"), ("x_3", "x_1")]


class TestTexts:
    """Preference data: items are texts, and get ids."""

    def lines(self, rows):
        return "\n".join(json.dumps(row) for row in rows) + "\n"

    def check(self, pairs, tmp_path, contents):
        """Check the written items, the better one first."""
        paths = write_imported(pairs, tmp_path / "pairs.csv")
        assert [path.name for path in paths] == ["pairs.csv", "pairs_items.jsonl"]
        items = {item.pop("id"): item for item in map(json.loads, paths[1].read_text().splitlines())}
        assert [(items[i], items[j]) for i, j in outcome(pairs)] == contents

    @pytest.mark.parametrize("messages", [False, True])
    @pytest.mark.parametrize("explicit", [False, True])
    def test_preferences_of_trl(self, tmp_path, messages, explicit):
        def said(role, text):
            return [{"role": role, "content": text}] if messages else text

        prompt = said("user", "May I go out and play?")
        answers = [said("assistant", text) for text in (" Yes, of course you may.", " No, you have to stay.")]
        whole = answers if explicit else [prompt + answer for answer in answers]
        rows = [{"chosen": whole[k], "rejected": whole[1 - k], "margin": k + 0.5, "split": "train"} for k in (0, 1)]
        rows = [{"prompt": prompt, **row} for row in rows] if explicit else rows
        pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
        pairs = import_pairs(tmp_path / "t.parquet")
        one, other = ({"prompt": prompt, "text": text} if explicit else {"text": text} for text in whole)
        assert pairs.frame["margin"].tolist() == ["0.5", "1.5"]
        assert not any("not kept" in line for line in pairs.understood)
        self.check(pairs, tmp_path, [(one, other), (other, one)])

    def test_stepwise_supervision_is_refused_by_name(self, tmp_path):
        row = {"prompt": "How many?", "completions": ["First, one.", "Then two."], "labels": [True, False]}
        with pytest.raises(DataError, match="steps of one answer with a label each, as in trl's stepwise supervision"):
            brought(tmp_path, self.lines([row]), name="t.jsonl")

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
        rows = [row, {**row, "prompt": "Another one?", "prompt_id": "p2", "score_rejected": 9.0}]
        pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
        pairs = import_pairs(tmp_path / "t.parquet")
        assert pairs.frame["prompt_id"].tolist() == ["p1", "p2"]
        assert pairs.frame["score_chosen"].tolist() == ["8.5", "8.5"]
        assert "messages" not in pairs.frame
        assert len(pairs.items) == 4
        assert sorted(pairs.frame["split"]) == ["held-out", "train"]
        assert pairs.notes == [
            "in 1 row, score_chosen is not above score_rejected, although chosen is the better item: row 2"
        ]

    def test_cleaned_binarised_feedback(self, tmp_path):
        answers = {"chosen_response": "Well, it depends on the day.", "rejected_response": "No."}
        about = {"source": "evol", "chosen_avg_rating": 5.0, "rejected_avg_rating": 3.75, "chosen_model": "gpt-4"}
        rows = [{"instruction": f"Tell me {k}", **answers, **about, "split": "train"} for k in range(2)]
        pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
        pairs = import_pairs(tmp_path / "t.parquet")
        good, bad = ({"prompt": "Tell me 0", "text": text} for text in answers.values())
        assert [(pairs.items[i], pairs.items[j]) for i, j in outcome(pairs)][:1] == [(good, bad)]
        assert pairs.frame["chosen_model"].tolist() == ["gpt-4"] * 2
        assert pairs.notes == ["no row is a held-out pair"]

    def feedback(self, prompt, scores, *, overall):
        """A row of UltraFeedback: every answer has ratings, and perhaps an overall score."""
        answers = []
        for k, score in enumerate(scores):
            rated = {"Rating": str(score), "Rationale": "Because it is."}
            answer = {
                "response": f"answer {k}",
                "model": f"m{k}",
                "annotations": {"honesty": rated, "helpfulness": rated},
            }
            answers.append({**answer, "overall_score": float(score)} if overall else answer)
        return {"source": "x", "instruction": prompt, "models": ["m0"], "completions": answers}

    @pytest.mark.parametrize("overall", [True, False])
    def test_answers_with_scores_of_ultrafeedback(self, tmp_path, overall):
        prompts = ["Explain it to me, please, at length.", "And now something else", "No two differ"]
        scores = [(3, 5, 3), (3, 5, 3), (4, 4)]
        rows = [self.feedback(*row, overall=overall) for row in zip(prompts, scores, strict=True)]
        pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
        pairs = import_pairs(tmp_path / "t.parquet")
        assert len(pairs.frame) == 4  # two answers with equal scores are not compared
        best = {"prompt": prompts[0], "text": "answer 1"}
        rest = [{"prompt": prompts[0], "text": f"answer {k}"} for k in (0, 2)]
        contents = [(pairs.items[i], pairs.items[j]) for i, j in outcome(pairs)]
        assert [c for c in contents if c[0] == best] == [(best, rest[0]), (best, rest[1])]
        assert pairs.frame["chosen_model"].tolist() == ["m1"] * 4
        assert pairs.frame["rejected_model"].tolist() == ["m0", "m2"] * 2
        assert pairs.frame["source"].tolist() == ["x"] * 4
        assert "1 row without two answers with different scores" in pairs.understood

    @pytest.mark.parametrize(
        ("answers", "message"),
        [
            (
                [{"response": "a", "overall_score": 1}, {"response": "b"}],
                "line 1: answer 2 of completions has no score",
            ),
            ([{"overall_score": 1}], "line 1: answer 1 of completions has no response"),
            (7, "line 1: completions is not a list of answers"),
            ([{"response": "a", "overall_score": 1}], "no two answers to one prompt differ in score"),
        ],
    )
    def test_answers_without_scores_are_refused_with_their_line(self, tmp_path, answers, message):
        with pytest.raises(DataError, match=message) as caught:
            brought(tmp_path, self.lines([{"prompt": "p", "completions": answers}]), name="t.jsonl")
        assert "Rating" in caught.value.hint

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
        assert pairs.notes[0] == "1 row left out, because both items are the same: line 2"


class TestSplit:
    """Check that items train or are held out, and that no pair mixes the two."""

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


def test_an_existing_file_is_not_replaced(tmp_path):
    pairs = brought(tmp_path, table("winner,loser,split", "a,b,train", "x,y,test"))
    path = tmp_path / "pairs.csv"
    assert write_imported(pairs, path) == write_imported(pairs, path) == [path]
    path.write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        write_imported(pairs, path)
    assert path.read_text() == "mine"
