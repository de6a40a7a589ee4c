"""Texts of items for people to read."""

from __future__ import annotations

import json

import pytest

from tracinctl.data.item_texts import items_file, read_item_texts
from tracinctl.errors import DataError

ASKED = [{"role": "user", "content": "May I?"}]
ANSWERED = [{"role": "assistant", "content": "Yes."}]


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        ({"text": "Yes."}, "Yes."),
        ({"text": 7}, "7"),
        ({"prompt": None, "text": "Yes."}, "Yes."),
        ({"prompt": "May I?", "text": "Yes."}, "May I?\n\nYes."),
        ({"prompt": ASKED, "text": ANSWERED}, "user: May I?\n\nassistant: Yes."),
        ({"prompt": "May I?", "text": [*ASKED, *ANSWERED]}, "user: May I?\n\nassistant: Yes."),
    ],
)
def test_texts_and_conversations_are_read_with_their_prompt(tmp_path, item, shown):
    path = items_file(tmp_path / "votes.csv")
    path.write_text(json.dumps({"id": "a", **item}))
    assert (path.name, read_item_texts(path)) == ("votes_items.jsonl", {"a": shown})


@pytest.mark.parametrize(
    ("content", "message"), [('{"id": "a"}', "no column text"), ("{", "line 1 is not a JSON object")]
)
def test_a_broken_file_is_refused(tmp_path, content, message):
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_item_texts(tmp_path / "x.jsonl")
    assert caught.value.hint
