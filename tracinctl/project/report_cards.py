"""Cards of a run's most suspect training pairs, for its report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tracinctl.plots.page import Card, Table
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.review import open_review
from tracinctl.project.settings import ComputeSettings, ReviewSettings
from tracinctl.project.workflow import Run
from tracinctl.review.cards import Cards, embedded, page_file
from tracinctl.review.decisions import Decision, by_id, read_decisions, spoken
from tracinctl.review.suspects import ItemView, Review, Suspect
from tracinctl.text import count, number

MOST_CARDS = 50


@dataclass(frozen=True)
class Suspects:
    """The most suspect training pairs.

    Attributes:
        intro: which pairs they are, and how to decide on them.
        table: the evidence on each, for a report without pictures.
        cards: the evidence with pictures and sounds, for a page.
        style: the cards' style sheet; empty without cards.
    """

    intro: str
    table: Table
    cards: Sequence[Card] = ()
    style: str = ""


def report_suspects(
    run: Run, compute: ComputeSettings, report: Path, progress: ProgressCallback = no_progress
) -> Suspects:
    """The first suspects of a run, the most harmful first.

    Args:
        run: a run on the project's scores and items.
        compute: how the scores were computed.
        report: the report's file; sounds are linked relative to it.
        progress: called with a ``Progress``.

    Raises:
        TracinctlError: nothing is suspect, or items, scores or decisions cannot be read.
    """
    review = open_review(run.target, compute, ReviewSettings(), progress)
    shown = review.suspects[:MOST_CARDS]
    decisions = by_id(read_decisions(review.decisions))
    cards: list[Card] = []
    if report.suffix.lower() == ".html":
        drawn = _cards(review, report.parent)
        for place, suspect in enumerate(shown, start=1):
            title = f"{place}. {review.card(suspect.id).claim}"
            cards.append(Card(suspect.id, title, drawn.html(suspect, decisions)))
    few = "All" if len(shown) == len(review.suspects) else "The first"
    intro = (
        f"{few} {count(len(shown), 'training pair')} that hurt the held-out pairs in total, the most harmful first. "
        f"To decide on them: tracinctl review {run.target.command_flags}"
    )
    return Suspects(intro, _table(review, shown, decisions), cards, page_file("card.css") if cards else "")


def _cards(review: Review, folder: Path) -> Cards:
    def address(view: ItemView, kind: str) -> str:
        if kind == "spectrogram":
            return embedded(review, view)
        path = view.sound if kind == "sound" else view.picture
        if path is None:
            return ""
        try:
            return quote(Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix())
        except ValueError:
            # the file is on another drive
            return path.absolute().as_uri()

    return Cards(review, address, preload=False, level=5)


def _table(review: Review, shown: Sequence[Suspect], decisions: Mapping[str, Sequence[Decision]]) -> Table:
    cards = [review.card(suspect.id) for suspect in shown]
    reasons = list(dict.fromkeys(name for card in cards for name, _ in card.reasons))
    rows = []
    for suspect, card in zip(shown, cards, strict=True):
        values = [dict(card.reasons).get(name, "") for name in reasons]
        texts = [value if isinstance(value, str) else number(value) for value in values]
        decided = [
            f"{decision.who or 'somebody'}: {spoken(decision.decision)}" for decision in decisions.get(suspect.id, ())
        ]
        rows.append([suspect.id, card.claim, *texts, "; ".join(decided)])
    return Table(("training pair", "claim", *reasons, "decided"), rows, numbers=range(2, 2 + len(reasons)), codes=(0,))
