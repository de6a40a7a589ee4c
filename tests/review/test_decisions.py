"""Decisions in a file: written at once, merged, and refused if they are invalid."""

from __future__ import annotations

import pytest

from tracinctl.errors import ReviewError
from tracinctl.review.decisions import Decision, merge, read_decisions, record, settle, write_decisions

HOSTILE = ['a,b_c"d', "ünï_çode", "<b>_</b>", "=1+1_x", " space _end ", "a;b_c\td"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reviews" / "plastic_500hz_review.csv"


def test_no_file_is_no_decision(path):
    assert read_decisions(path) == []


def test_every_id_and_note_is_read_back(path):
    made = [Decision(name, "keep", f"note, {name}\nsecond line", "Anna", "2024-05-01T10:00:00Z") for name in HOSTILE]
    record(path, made)
    assert sorted(read_decisions(path), key=lambda d: d.id) == sorted(made, key=lambda d: d.id)


def test_rows_are_sorted_so_that_one_decision_changes_one_line(path):
    write_decisions(path, [Decision(f"a_{k}", "keep", who="Anna") for k in (10, 9, 2)])
    before = path.read_text().splitlines()
    assert [line.split(",")[0] for line in before] == ["id", "a_2", "a_9", "a_10"]
    record(path, [Decision("a_3", "turn", who="Anna")])
    after = path.read_text().splitlines()
    assert [line for line in after if line not in before] == ["a_3,turn,,Anna,"]
    assert [line for line in after if line in before] == before


def test_a_later_decision_of_the_same_person_counts_and_others_stay(path):
    record(path, [Decision("p", "keep", who="Anna"), Decision("p", "keep", who="Ben")])
    record(path, [Decision("p", "turn", who="Anna")])
    assert {(d.who, d.decision) for d in read_decisions(path)} == {("Anna", "turn"), ("Ben", "keep")}
    record(path, [], withdrawn=[("p", "Anna")])
    assert [d.who for d in read_decisions(path)] == ["Ben"]


def test_people_who_disagree_are_shown_and_decide_nothing():
    verdicts = settle(
        [
            Decision("same", "leave_out", who="Anna"),
            Decision("same", "leave_out", who="Ben"),
            Decision("other", "leave_out", who="Anna"),
            Decision("other", "keep", who="Ben"),
            Decision("half", "unsure", who="Anna"),
            Decision("half", "turn", who="Ben"),
            Decision("open", "unsure", who="Anna"),
            Decision("item", "relabel:deg036", who="Anna"),
        ]
    )
    assert verdicts.agreed == {"same": "leave_out", "half": "turn", "open": "unsure", "item": "relabel:deg036"}
    assert {d.who for d in verdicts.disputed["other"]} == {"Anna", "Ben"}
    assert verdicts.ids("turn") == ["half"]
    assert verdicts.relabelled() == {"item": "deg036"}


def test_files_of_two_people_merge_and_the_later_decision_of_one_person_counts(path, tmp_path):
    early, late = "2024-05-01T10:00:00+00:00", "2024-05-02T09:00:00+00:00"
    write_decisions(path, [Decision("p", "keep", who="Anna", when=late), Decision("q", "turn", who="Anna", when=early)])
    other = [
        Decision("p", "turn", who="Anna", when=early),
        Decision("q", "keep", who="Anna", when=late),
        Decision("p", "leave_out", who="Ben", when=early),
    ]
    verdicts = merge(path, other)
    assert {(made.id, made.who): made.decision for made in read_decisions(path)} == {
        ("p", "Anna"): "keep",
        ("q", "Anna"): "keep",
        ("p", "Ben"): "leave_out",
    }
    assert set(verdicts.disputed) == {"p"}
    assert merge(path, other) == verdicts, "merging twice changes nothing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,decision\na,remove\n", r"line 2: unknown decision 'remove'"),
        ("id,decision\na,relabel:\n", r"line 2: unknown decision"),
        ("name,choice\na,keep\n", "no columns id and decision"),
        ("", "no columns id and decision"),
        ("id,decision\n<<<<<<< ours\na,keep\n=======\na,turn\n>>>>>>> theirs\n", "line 2: a merge conflict"),
        ('id,decision\n"a,keep\n', "line 2"),
    ],
)
def test_an_invalid_row_is_named_by_its_line(path, text, message):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ReviewError, match=message):
        read_decisions(path)


def test_a_file_of_another_program_with_a_byte_order_mark_and_crlf_is_read(path):
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbfid,who,decision\r\na,Anna,keep\r\n")
    assert read_decisions(path) == [Decision("a", "keep", who="Anna")]
