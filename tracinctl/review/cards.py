"""Cards of suspects as HTML, for the page of a review and the report of a workflow."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tracinctl.errors import DataError
from tracinctl.review.decisions import Decision, spoken
from tracinctl.review.spectrogram import FLOOR_DB, SMALL, Extent, extent_of, levels_of, png
from tracinctl.review.suspects import ItemView, Review, Strip, Suspect
from tracinctl.text import clean, count, number

STRIP_WIDTH = 1000


@dataclass(frozen=True)
class Cards:
    """Cards as HTML.

    Attributes:
        address: returns the address of an item's ``sound``, of its ``spectrogram`` or of its ``picture``; empty if it
            cannot be reached.
        preload: whether browsers read the lengths of sounds at once.
        level: level of the headings of items.
    """

    review: Review
    address: Callable[[ItemView, str], str]
    preload: bool = True
    level: int = 3

    def html(self, suspect: Suspect, decisions: Mapping[str, Sequence[Decision]]) -> str:
        """The card of a suspect, with people's decisions by id."""
        card = self.review.card(suspect.id)
        views = [self.review.item(name) for name in suspect.items]
        shown = [self._shown(view, card.strips.get(view.id)) for view in views]
        longest = max((item["extent"].seconds for item in shown if item["extent"]), default=0.0)
        return str(
            _template().render(
                card=card,
                items=shown,
                pair=len(views) > 1,
                longest=longest,
                decisions=[
                    (name, decision) for name in (suspect.id, *suspect.items) for decision in decisions.get(name, ())
                ],
                of=suspect.id,
                level=self.level,
                preload="metadata" if self.preload else "none",
                floor=FLOOR_DB,
            )
        )

    def _shown(self, view: ItemView, strip: Strip | None) -> dict[str, Any]:
        extent, problem, sound, spectrogram, picture = None, "", "", "", ""
        try:
            if view.sound is not None:
                extent = extent_of(self.review.file(view.sound))
                sound, spectrogram = self.address(view, "sound"), self.address(view, "spectrogram")
            if view.picture is not None:
                self.review.file(view.picture)
                picture = self.address(view, "picture")
        except DataError as error:
            problem = error.message
        return {
            "view": view,
            "extent": extent if extent is None or extent.seconds > 0 else None,
            "sound": sound,
            "spectrogram": spectrogram,
            "picture": picture,
            "problem": problem,
            "strip": None if strip is None else marks(strip),
        }


def marks(strip: Strip) -> dict[str, Any]:
    """The places of a strip's scores, from 0 to STRIP_WIDTH, and its description."""
    range_ = (strip.high - strip.low) or 1.0

    def at(score: float) -> int:
        return round(STRIP_WIDTH * (score - strip.low) / range_)

    others = count(len(strip.others), "other item")
    above = sum(score < strip.score for score in strip.others)
    return {
        "score": at(strip.score),
        "others": sorted({at(score) for score in strip.others}),
        "low": number(strip.low),
        "high": number(strip.high),
        "width": STRIP_WIDTH,
        "words": f"score {number(strip.score)}, above {above:,} of {others} of its class",
    }


def embedded(review: Review, view: ItemView) -> str:
    """A small spectrogram as a data address; empty for an item without sound.

    Raises:
        DataError: the recording cannot be read.
    """
    if view.sound is None:
        return ""
    return "data:image/png;base64," + base64.b64encode(png(levels_of(review.file(view.sound), SMALL))).decode()


def page_file(name: str) -> str:
    """A file of the page."""
    return (files("tracinctl.review") / "page" / name).read_text(encoding="utf-8")


@functools.cache
def _template() -> Any:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "spoken": spoken, "size": _size, "count": count, "clean": clean}
    return environment.from_string(page_file("card.html"))


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)


def _size(extent: Extent) -> str:
    return f"{number(extent.seconds)} seconds, 0 to {number(extent.highest)} Hz"
