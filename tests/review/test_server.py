"""The server of a review: access, pages, and written decisions."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image
from review_project import HOSTILE, make_review
from starlette.testclient import TestClient

from tracinctl.review.decisions import Decision, read_decisions, record
from tracinctl.review.server import ReviewServer
from tracinctl.review.suspects import ItemView

HOST = "http://127.0.0.1:8000"
ELEMENTS = {"div", "section", "h3", "p", "img", "span", "audio", "svg", "rect", "details", "summary", "ul", "li"} | {
    *("table", "tr", "th", "td")
}


@pytest.fixture
def review(tmp_path):
    return make_review(tmp_path, names=HOSTILE)


@pytest.fixture
def server(review):
    return ReviewServer(review)


def client(server):
    return TestClient(server.app, base_url=HOST, follow_redirects=False)


@pytest.fixture
def inside(server):
    """A client that opened the printed address."""
    browser = client(server)
    assert browser.get(f"/?token={server.token}").status_code == 303
    return browser


def decide(browser, decisions, origin=HOST, note=""):
    changes = [{"id": name, "decision": decision, "note": note} for name, decision in decisions.items()]
    return browser.post("/decide", json={"decisions": changes}, headers={"origin": origin} if origin else {})


PAGES = ["/", "/page.js", "/page.css", "/suspects", "/card?id=x", "/spectrogram?item=item_00", "/sound?item=item_00"]


@pytest.mark.parametrize("page", PAGES)
def test_without_the_token_nothing_is_served(server, page):
    answer = client(server).get(page)
    assert answer.status_code == 403
    assert "start it again" in answer.text


def test_the_token_works_once_and_the_cookie_keeps_the_session(server, inside):
    assert inside.get("/").status_code == 200
    assert client(server).get(f"/?token={server.token}").status_code == 403
    assert client(server).get("/?token=wrong").status_code == 403
    assert client(server).get("/suspects", headers={"cookie": f"{server.cookie}=wrong"}).status_code == 403


def test_another_host_name_is_refused(server):
    other = TestClient(server.app, base_url="http://evil.example:8000", follow_redirects=False)
    assert other.get(f"/?token={server.token}").status_code == 400
    assert client(server).get(f"/?token={server.token}").status_code == 303, "the token still works"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None, "http://127.0.0.1:9999"])
def test_a_foreign_page_cannot_decide(inside, review, origin):
    assert decide(inside, {review.suspects[0].id: "keep"}, origin=origin).status_code == 403
    assert read_decisions(review.decisions) == []


def test_decisions_are_written_before_the_answer(inside, review):
    ids = [suspect.id for suspect in review.suspects]
    assert decide(inside, {ids[0]: "leave_out"}, note='loud, "click"').status_code == 200
    assert decide(inside, {ids[1]: "turn", ids[2]: "turn"}).status_code == 200
    assert decide(inside, {"item_03": "relabel:low"}).status_code == 200
    made = {one.id: one for one in read_decisions(review.decisions)}
    assert {name: one.decision for name, one in made.items()} == {
        ids[0]: "leave_out",
        ids[1]: "turn",
        ids[2]: "turn",
        "item_03": "relabel:low",
    }
    assert (made[ids[0]].note, made[ids[0]].who) == ('loud, "click"', "Anna")
    assert decide(inside, {ids[1]: ""}).status_code == 200, "undo"
    assert ids[1] not in {one.id for one in read_decisions(review.decisions)}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"decisions": [{"id": "no such", "decision": "keep"}]}, "no suspect 'no such'"),
        ({"decisions": [{"id": "item_00", "decision": "remove"}]}, "unknown decision 'remove'"),
        ({"decisions": [{"id": "item_00"}]}, "not a decision"),
        ({"decisions": ["item_00"]}, "not a decision"),
        ({"decisions": 3}, "not a decision"),
        ([], "not a decision"),
    ],
)
def test_an_invalid_decision_is_refused(inside, review, body, said):
    answer = inside.post("/decide", json=body, headers={"origin": HOST})
    assert answer.status_code == 400
    assert said in answer.text
    assert read_decisions(review.decisions) == []


def test_suspects_come_in_order_with_everybodys_decisions(inside, review):
    name = review.suspects[4].id
    record(review.decisions, [Decision(name, "keep", who="Ben"), Decision(name, "turn", who="Anna")])
    said = inside.get("/suspects").json()
    assert [one["id"] for one in said["suspects"]] == [suspect.id for suspect in review.suspects]
    assert said["suspects"][4] | {} == said["suspects"][4] | {"decision": "turn", "classes": ["low"]}
    assert said["disputed"] == [name]
    assert said["expectation"] == ""


def test_twenty_decisions_give_an_expectation(inside, review):
    ids = [suspect.id for suspect in review.suspects]
    said = decide(inside, {name: "leave_out" if k % 2 else "keep" for k, name in enumerate(ids[:20])}).json()
    assert re.fullmatch(r"10 of 20 were errors; \d+ are expected among the next 10", said["expectation"])


@pytest.mark.parametrize("place", range(12, 18))
def test_hostile_ids_are_shown_unchanged(inside, review, place):
    suspect = review.suspects[place]
    card = inside.get("/card", params={"id": suspect.id}).text
    heads = [html.unescape(head) for head in re.findall("<h3>(.*?)</h3>", card)]
    assert heads[:2] == list(suspect.items)
    # no other element than those of the template
    assert set(re.findall(r"<(\w+)", card)) <= ELEMENTS


def test_sound_is_served_in_parts_and_drawn(inside):
    whole = inside.get("/sound", params={"item": "item_00"})
    assert whole.headers["content-type"] in {"audio/x-wav", "audio/wav", "audio/vnd.wave"}
    part = inside.get("/sound", params={"item": "item_00"}, headers={"range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole.content[100:200]
    answer = inside.get("/spectrogram", params={"item": "item_00"})
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        levels = np.asarray(image)
    # the tone of 200 Hz is the brightest row: 4,000 Hz in 160 rows of 25 Hz, the highest first
    assert abs(levels.sum(axis=1, dtype=int).argmax() - (160 - 200 / 25)) <= 1


def test_a_file_that_became_a_link_out_of_the_folders_is_not_served(inside, review, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.wav"
    sound = review.item("item_00").sound
    shutil.copy(sound, outside)
    sound.unlink()
    sound.symlink_to(outside)
    for page in ("/sound", "/spectrogram"):
        answer = inside.get(page, params={"item": "item_00"})
        assert answer.status_code == 400
        assert "is outside" in answer.json()["error"]
    card = inside.get("/card", params={"id": review.suspects[0].id})
    assert "is outside" in card.text, "the card has no sound"


def test_an_aiff_file_is_played_as_wav_in_parts(inside, review, server):
    sound = review.item("item_00").sound
    samples, rate = soundfile.read(sound)
    soundfile.write(sound.with_suffix(".aiff"), samples, rate)
    server.review = replace(review, item=lambda name: ItemView(name, sound=sound.with_suffix(".aiff")))
    part = inside.get("/sound", params={"item": "item_00"}, headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"RIFF", "audio/wav")
    server.close()


@pytest.mark.parametrize("item", ["../0", "/etc/passwd", "", "item_00/../item_01", "data/0.wav", "item_00\0"])
def test_only_items_are_served(inside, item):
    for page in ("/sound", "/spectrogram", "/picture"):
        assert inside.get(page, params={"item": item}).status_code == 400


def test_the_page_loads_nothing_from_elsewhere(inside):
    answer = inside.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name in ("/", "/page.js", "/page.css"):
        assert "http://" not in inside.get(name).text
        assert "https://" not in inside.get(name).text


def test_a_broken_file_of_decisions_is_named(inside, review):
    review.decisions.parent.mkdir(parents=True)
    review.decisions.write_text("id,decision\na,remove\n")
    answer = inside.get("/suspects")
    assert answer.status_code == 400
    assert "line 2" in json.loads(answer.text)["error"]
