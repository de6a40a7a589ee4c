"""What a review shows: suspects in order, and the card of each.

Nothing here knows where scores, items or sounds come from; ``project.review`` fills it in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Suspect:
    """One thing to decide on.

    Attributes:
        id: of a pair or an item.
        items: ids of the items it is about: two of a pair, the one item itself.
        label: the class of the suspect for the filter, such as ``deg036 above deg000``.
        suspicion: higher is more suspect, in the order in which suspects are shown.
        chance: probability that it is an error; None where it is not known.
        annotator: who made the comparison; empty where it is not known.
    """

    id: str
    items: tuple[str, ...]
    label: str
    suspicion: float
    chance: float | None = None
    annotator: str = ""


@dataclass(frozen=True)
class ItemView:
    """What is shown of an item.

    Attributes:
        id: of the item.
        label: its class.
        text: what it says, for items of text.
        picture: a picture of it.
        sound: a recording, which is also drawn as a spectrogram.
    """

    id: str
    label: str = ""
    text: str = ""
    picture: Path | None = None
    sound: Path | None = None


@dataclass(frozen=True)
class Review:
    """All that a person reviews.

    Attributes:
        title: what the scores are of.
        order: ``harm`` or ``error``.
        suspects: in order, the most suspect first.
        card: id of a suspect -> what its card says beside its items, in plain values:
            ``claim`` (text), ``reasons`` (a list of [name, value]), ``losses`` (a list of [checkpoint, loss]),
            ``hurts`` (a list of [held-out pair, influence]), ``comparisons`` (item id -> a list of [id, text]),
            ``strips`` (item id -> {"score": number, "others": [numbers]}).
        item: id of an item -> its view.
        classes: the classes that an item can be given.
        decisions: the file of decisions.
        who: the person who decides.
    """

    title: str
    order: str
    suspects: Sequence[Suspect]
    card: Callable[[str], Mapping[str, Any]]
    item: Callable[[str], ItemView]
    decisions: Path
    who: str
    classes: Sequence[str] = field(default=())
