"""The cards in the report of a workflow, in a real browser."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine
from page_checks import check_page
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from trained_project import turn_round

from tracinctl.review.decisions import Decision, record


@pytest.fixture
def scored(project, capsys):
    """A project with some flipped comparisons, scores, a decision and both reports."""
    turn_round(project / "checkpoints" / "plastic_500hz" / "pairs.csv")
    cli = CommandLine(capsys)
    assert cli("compute", "--frequency", "500hz").code == 0
    first = harmful_first(project)[0]
    record(project / "reviews/plastic_500hz_review.csv", [Decision(first, "turn", "a <b>", "Anna", "2024-05-01T10:00")])
    for ending in ("html", "md"):
        assert cli("workflow", "--frequencies", "500hz", "--report", f"report.{ending}").code == 0
    return project


def harmful_first(project):
    scores = json.loads((project / "metadata/plastic_500hz_influence_metadata.json").read_text())
    total = {name: sum(of.values()) for name, of in scores.items()}
    return sorted((name for name in total if total[name] < 0), key=lambda name: (total[name], name))


def test_the_report_has_cards_of_the_most_harmful_pairs_with_sounds(scored, browser):
    browser.get((scored / "report.html").as_uri())
    want = harmful_first(scored)[:50]
    cards = browser.find_elements(By.CSS_SELECTOR, "article.card")
    assert [card.find_element(By.TAG_NAME, "code").text for card in cards] == want
    assert all(len(card.find_elements(By.CSS_SELECTOR, "img.spectrogram")) == 2 for card in cards)
    assert "Anna turn round, “a <b>” 2024-05-01 10:00" in cards[0].text
    check_page(browser)
    player = cards[0].find_element(By.TAG_NAME, "audio")
    browser.execute_script("arguments[0].preload = 'metadata'; arguments[0].load()", player)
    waiting = WebDriverWait(browser, 30, poll_frequency=0.02)
    assert waiting.until(lambda _: browser.execute_script("return arguments[0].duration", player)) > 0
    link = cards[0].find_element(By.CSS_SELECTOR, "a[href^=data]")
    assert link.text.startswith("Play plastic_")
    picture = cards[0].find_element(By.CSS_SELECTOR, "img.spectrogram")
    assert browser.execute_script("return arguments[0].naturalHeight", picture) == 48
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not player.is_displayed()
    assert picture.is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    text = (scored / "report.md").read_text()
    rows = [line for line in text.partition("### Suspects")[2].splitlines() if line.startswith("| `")][: len(want)]
    assert [row.split("`")[1] for row in rows] == want
    assert "Anna: turn round" in rows[0]


def test_the_report_says_that_items_are_gone(scored, capsys):
    (scored / "data").rename(scored / "moved")
    for path in (scored / "checkpoints/plastic_500hz").glob("*.pt"):
        path.unlink()
    assert CommandLine(capsys)("workflow", "--frequencies", "500hz", "--report", "report.html").code == 0
    text = (scored / "report.html").read_text()
    assert "No suspects are shown: " in text
    assert '<article class="card"' not in text
