"""A review of a few recordings, for tests of the page and the server."""

from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np

from tracinctl.review.suspects import Card, ItemView, Review, Strip, Suspect

HOSTILE = [
    'a"b',
    "<img src=x onerror=document.title='hacked'>",
    "comma, and_under",
    "ünïcödé 名前",
    "a&amp;b",
    "100% # ?x=1",
]


def write_tone(path: Path, hertz: float = 440.0, seconds: float = 0.5, rate: int = 8000) -> Path:
    """A WAV file of one tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave_of = (20000 * np.sin(2 * math.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(wave_of.tobytes())
    return path


def make_review(
    folder: Path, count: int = 30, names: list[str] | None = None, sounds: bool = True, by: str = "pair"
) -> Review:
    """``count`` suspects over items of two classes; ``names`` become items of their own."""
    items = [f"item_{k:02}" for k in range(12)] + list(names or [])
    tones = (
        {name: write_tone(folder / "data" / f"{k}.wav", 200 + 90 * k) for k, name in enumerate(items)} if sounds else {}
    )
    pairs = [(items[k % len(items)], items[(k + 1 + k // len(items)) % len(items)]) for k in range(count)]
    suspects = [
        Suspect(f"{a}_{b}#{k}", (a, b), ("high", "low") if k % 2 else ("low",), float(count - k), f"annotator {k % 3}")
        for k, (a, b) in enumerate(pairs)
    ]

    if by == "item":
        suspects = [Suspect(name, (name,), ("high",), -float(k)) for k, name in enumerate(items)]
    by_id = {suspect.id: suspect for suspect in suspects}

    def card(name: str) -> Card:
        winner, loser = by_id[name].items[0], by_id[name].items[-1]
        return Card(
            claim=f"{winner} ranks above {loser}",
            reasons=[("votes", "12 of 20"), ("total influence", -3.25)],
            losses=[("model_epoch_1.pt", 0.5), ("model_epoch_2.pt", 1.25)],
            hurts=[("x_y", -1.5)],
            comparisons={winner: [("p", "ranks above item_03")]},
            strips={item: Strip(0.5, [0.1, 0.4, 0.9], -1.0, 2.0) for item in (winner, loser)},
        )

    def item(name: str) -> ItemView:
        return ItemView(name, label="high", text="" if sounds else f"text of {name}", sound=tones.get(name))

    return Review(
        title="plastic 500hz",
        suspects=suspects,
        card=card,
        item=item,
        decisions=folder / "reviews" / "plastic_500hz_review.csv",
        who="Anna",
        folders=[folder / "data"],
        by=by,
        classes=("high", "low"),
    )
