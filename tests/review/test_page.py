"""The page of a review in a real browser: keys, reload, a server that is killed, hostile names, sound."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import pytest
from page_checks import check_page
from review_project import HOSTILE, make_review
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tracinctl.files import locked
from tracinctl.review.decisions import Decision, read_decisions, record
from tracinctl.review.serving import serve_review


def _serve(folder, how, addresses):
    serve_review(make_review(folder, *how), addresses.put)


class Served:
    """A review served by a process that can be killed."""

    def __init__(self, folder, count=30, names=None, sounds=True, by="pair"):
        context = multiprocessing.get_context("spawn")
        addresses = context.Queue()
        self.process = context.Process(target=_serve, args=(folder, (count, names, sounds, by), addresses), daemon=True)
        self.process.start()
        self.address = addresses.get(timeout=60)
        self.review = make_review(folder, count, names, sounds, by)

    def kill(self):
        self.process.kill()
        self.process.join(30)


@pytest.fixture
def serve(tmp_path):
    served = []

    def start(**how):
        served.append(Served(tmp_path, **how))
        return served[-1]

    yield start
    for server in served:
        server.kill()


def wait_for(browser, condition):
    return WebDriverWait(browser, 30, poll_frequency=0.02).until(lambda _: condition())


def open_page(browser, served):
    browser.get(served.address)
    wait_for(browser, lambda: browser.find_element(By.ID, "claim").text)


def suspect(browser):
    return browser.execute_script("return document.body.dataset.suspect")


def press(browser, key):
    """Press a key, and wait for the next suspect and for the written decision."""
    before = suspect(browser)
    ActionChains(browser).send_keys(key).perform()
    wait_for(browser, lambda: suspect(browser) != before and not browser.execute_script("return writing"))


def written(served, want):
    """Wait until the file holds these decisions, id -> decision."""
    path, seen = served.review.decisions, {}

    def there():
        seen.clear()
        seen.update({entry.id: entry.decision for entry in read_decisions(path)})
        return seen == want

    try:
        WebDriverWait(None, 30, poll_frequency=0.02).until(lambda _: there())
    except TimeoutException:
        assert seen == want


def test_decisions_survive_a_reload_and_a_killed_server(browser, serve):
    served = serve()
    open_page(browser, served)
    ids = [shown.id for shown in served.review.suspects]
    assert suspect(browser) == ids[0]
    for key in "lktu":
        press(browser, key)
    want = dict(zip(ids, ["leave_out", "keep", "turn", "unsure"], strict=False))
    written(served, want)
    press(browser, "z")
    assert suspect(browser) == ids[3]
    del want[ids[3]]
    written(served, want)
    browser.refresh()
    wait_for(browser, lambda: suspect(browser) == ids[3])
    assert browser.find_element(By.ID, "progress").text == "3 of 30 decided"
    served.kill()
    ActionChains(browser).send_keys("k").perform()
    wait_for(browser, lambda: "Start it again" in browser.find_element(By.ID, "message").text)
    assert browser.find_element(By.ID, "progress").text == "3 of 30 decided", "an unwritten decision is undone"
    written(served, want)
    open_page(browser, serve())
    assert suspect(browser) == ids[3], "the first undecided one"
    press(browser, "k")
    written(served, {**want, ids[3]: "keep"})


def decided(browser):
    """The number of suspects that the page shows as decided."""
    return int(browser.find_element(By.ID, "progress").text.partition(" ")[0])


def test_a_key_before_the_last_decision_is_written_is_refused(browser, serve):
    served = serve(sounds=False)
    open_page(browser, served)
    ids = [shown.id for shown in served.review.suspects]
    with locked(served.review.decisions):
        ActionChains(browser).send_keys("lkt").perform()
        message = browser.find_element(By.ID, "message")
        wait_for(browser, lambda: "still being written" in message.text)
        wait_for(browser, lambda: suspect(browser) == ids[1])
        assert decided(browser) == 0
    wait_for(browser, lambda: decided(browser) == 1)
    assert not message.is_displayed()
    assert suspect(browser) == ids[1]
    written(served, {ids[0]: "leave_out"})


def test_fast_keys_decide_the_shown_suspect(browser, serve):
    served = serve(sounds=False)
    open_page(browser, served)
    ActionChains(browser).send_keys("l" * 25).perform()
    ids = [shown.id for shown in served.review.suspects]
    wait_for(browser, lambda: not browser.execute_script("return writing"))
    written(served, dict.fromkeys(ids[: decided(browser)], "leave_out"))
    wait_for(browser, lambda: suspect(browser) == ids[decided(browser)])
    assert decided(browser) >= 1


def test_a_killed_server_loses_at_most_the_pressed_key(browser, serve):
    served = serve(sounds=False, count=400)
    open_page(browser, served)
    ids = [shown.id for shown in served.review.suspects]

    def kill_soon():
        wait_for(browser, lambda: len(read_decisions(served.review.decisions)) > 4)
        served.kill()

    killer = threading.Thread(target=kill_soon)
    killer.start()
    while killer.is_alive():
        ActionChains(browser).send_keys("l" * 10).perform()

    def ended():
        # a key is refused while the last answer is on its way
        ActionChains(browser).send_keys("l").perform()
        return "Start it again" in browser.find_element(By.ID, "message").text

    wait_for(browser, ended)
    made = {entry.id for entry in read_decisions(served.review.decisions)}
    shown = decided(browser)
    assert made == set(ids[: len(made)]), "in the order of the keys, without a gap"
    assert len(made) > 4
    assert shown <= len(made) <= shown + 1, "all decisions on the page, and at most the one without an answer"


def test_a_note_is_written_before_or_after_the_decision(browser, serve):
    served = serve(sounds=False)
    open_page(browser, served)
    ids = [shown.id for shown in served.review.suspects]
    ActionChains(browser).send_keys("o").send_keys("a kettle, not a speaker").send_keys(Keys.ENTER).perform()
    press(browser, "l")
    press(browser, "k")
    press(browser, "p")
    ActionChains(browser).send_keys("o").send_keys("quiet").send_keys(Keys.ENTER).perform()

    def notes():
        return {entry.id: (entry.decision, entry.note, entry.who) for entry in read_decisions(served.review.decisions)}

    want = {ids[0]: ("leave_out", "a kettle, not a speaker", "Anna"), ids[1]: ("keep", "quiet", "Anna")}
    wait_for(browser, lambda: notes() == want)
    assert all(entry.when.startswith("20") for entry in read_decisions(served.review.decisions))
    assert suspect(browser) == ids[1]
    wait_for(browser, lambda: "quiet" in browser.find_element(By.ID, "card").text)


def test_disagreement_is_shown(browser, serve):
    served = serve(sounds=False)
    ids = [shown.id for shown in served.review.suspects]
    made = [Decision(ids[7], "keep", "sounds right", "Ben"), Decision(ids[7], "turn", who="Anna")]
    record(served.review.decisions, made)
    open_page(browser, served)
    browser.find_element(By.CSS_SELECTOR, "#filter-state option[value=disputed]").click()
    wait_for(browser, lambda: suspect(browser) == ids[7])
    assert browser.find_element(By.ID, "where").text == "1 of 1, by annotator 1: disputed, turn round"
    text = browser.find_element(By.ID, "card").text
    assert "Ben keep, “sounds right”" in text
    assert "Anna turn round" in text
    ActionChains(browser).send_keys("k").perform()
    wait_for(browser, lambda: {entry.decision for entry in read_decisions(served.review.decisions)} == {"keep"})
    wait_for(browser, lambda: "disputed" not in browser.find_element(By.ID, "where").text)


def test_filters_the_list_relabelling_and_all_suspects_of_an_item(browser, serve):
    served = serve()
    open_page(browser, served)
    press(browser, "n")
    press(browser, "p")
    ActionChains(browser).send_keys("r").perform()
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#choices button"))
    browser.find_elements(By.CSS_SELECTOR, "#choices button")[1].click()
    written(served, {"item_00": "relabel:low"})
    press(browser, "p")
    wait_for(browser, lambda: browser.find_element(By.ID, "where").text.endswith("item_00: class low"))
    ActionChains(browser).send_keys("a").perform()
    wait_for(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#choices button")) == 7)
    browser.find_elements(By.CSS_SELECTOR, "#choices button")[0].click()
    mine = {entry.id for entry in served.review.suspects if "item_00" in entry.items}
    written(served, {"item_00": "relabel:low", **dict.fromkeys(mine, "leave_out")})
    browser.find_element(By.CSS_SELECTOR, "#filter-state option[value=decided]").click()
    browser.find_element(By.ID, "show-list").click()
    listed = wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#rows button"))
    assert {row.find_element(By.TAG_NAME, "span").text for row in listed} == mine
    assert {row.find_element(By.CLASS_NAME, "state").text for row in listed} == {"leave out"}
    for choice in ("#filter-state option[value='']", "#filter-class option[value=high]"):
        browser.find_element(By.CSS_SELECTOR, choice).click()
    high = [entry for entry in served.review.suspects if "high" in entry.classes]
    assert 0 < len(high) < 30
    wait_for(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#rows button")) == len(high))
    browser.find_element(By.CSS_SELECTOR, "#filter-annotator option[value='annotator 1']").click()
    both = [entry.id for entry in high if entry.annotator == "annotator 1"]
    rows = browser.find_elements(By.CSS_SELECTOR, "#rows button")
    assert [row.find_element(By.TAG_NAME, "span").text for row in rows] == both


def test_items_can_be_decided_and_not_turned_round(browser, serve):
    served = serve(sounds=False, by="item")
    open_page(browser, served)
    assert not browser.find_element(By.CSS_SELECTOR, "[data-decision=turn]").is_displayed()
    assert not browser.find_element(By.ID, "all-of-item").is_displayed()
    ActionChains(browser).send_keys("t").perform()
    assert "cannot be turned round" in browser.find_element(By.ID, "message").text
    press(browser, "l")
    ActionChains(browser).send_keys("r").perform()
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#choices button"))
    assert [entry.text for entry in browser.find_elements(By.CSS_SELECTOR, "#choices button")] == [
        "item_01: high",
        "item_01: low",
        "Cancel",
    ]
    browser.find_elements(By.CSS_SELECTOR, "#choices button")[1].click()
    written(served, {"item_00": "leave_out", "item_01": "relabel:low"})
    wait_for(browser, lambda: browser.find_element(By.ID, "progress").text == "2 of 12 decided")


def test_hostile_names_stay_text(browser, serve):
    served = serve(count=18, names=HOSTILE)
    open_page(browser, served)
    seen = set()
    for entry in served.review.suspects:
        wait_for(browser, lambda entry=entry: suspect(browser) == entry.id)
        heads = [head.text for head in browser.find_elements(By.CSS_SELECTOR, ".item h3")]
        assert heads == list(entry.items)
        seen.update(heads)
        if entry is not served.review.suspects[-1]:
            press(browser, "n")
    assert set(HOSTILE) <= seen
    assert "hacked" not in browser.title


def test_the_sound_has_a_length_and_plays(browser, serve):
    open_page(browser, serve())
    players = wait_for(browser, lambda: browser.find_elements(By.TAG_NAME, "audio"))
    wait_for(browser, lambda: browser.execute_script("return arguments[0].duration", players[0]))
    assert browser.execute_script("return arguments[0].duration", players[0]) == pytest.approx(0.5, abs=0.01)
    ActionChains(browser).send_keys("1").perform()
    wait_for(browser, lambda: browser.execute_script("return arguments[0].currentTime > 0", players[0]))
    picture = browser.find_element(By.CSS_SELECTOR, "img.spectrogram")
    wait_for(browser, lambda: browser.execute_script("return arguments[0].naturalWidth", picture) > 1)
    assert browser.execute_script("return arguments[0].naturalHeight", picture) == 160
    assert picture.get_attribute("alt") == "Spectrogram of item_00: 0.5 seconds, 0 to 4000 Hz"


def test_the_page_reads_well_everywhere(browser, serve):
    open_page(browser, serve())
    ActionChains(browser).send_keys("i?r").perform()
    check_page(browser)
    landmarks = browser.execute_script(
        "return ['header', 'nav', 'main'].map((n) => document.querySelectorAll(n).length)"
    )
    assert landmarks == [1, 1, 1]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.find_element(By.ID, "decide").is_displayed()
    assert browser.find_element(By.CSS_SELECTOR, "img.spectrogram").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_five_thousand_suspects_are_all_in_the_list(browser, serve):
    served = serve(count=5000, sounds=False)
    open_page(browser, served)
    browser.find_element(By.ID, "show-list").click()
    wait_for(browser, lambda: browser.execute_script("return document.querySelectorAll('#rows button').length") == 5000)
    press(browser, "l")
    assert browser.find_element(By.ID, "progress").text == "1 of 5000 decided"


def test_the_server_ends_when_it_is_interrupted(serve):
    served = serve(count=3, sounds=False)
    watch = threading.Timer(60, served.kill)
    watch.start()
    os.kill(served.process.pid, signal.SIGINT)
    served.process.join(60)
    watch.cancel()
    assert served.process.exitcode in {0, 1, -signal.SIGINT}
