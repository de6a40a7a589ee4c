"""What a review shows: suspects in order, and the card of each.

Nothing here knows where scores, items or sounds come from; ``project.review`` fills it in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tracinctl.errors import DataError

Figures = Sequence[tuple[str, float | str]]


@dataclass(frozen=True)
class Suspect:
    """One thing to decide on.

    Attributes:
        id: of a pair or an item, or ``<column>:<value>`` for a group of pairs.
        items: ids of the items it is about: two of a pair, the one item itself, none of a group.
        classes: the classes of its items, for the filter.
        suspicion: higher is more suspect, in the order in which suspects are shown.
        annotator: who made the comparison; empty where it is not known.
    """

    id: str
    items: tuple[str, ...]
    classes: tuple[str, ...]
    suspicion: float
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
class Strip:
    """The score of an item at the last checkpoint beside those of others.

    Attributes:
        score: its own.
        others: of the other items of its class; of all others where items have no class.
        low, high: the lowest and highest score of any item: every strip has this scale.
    """

    score: float
    others: Sequence[float]
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """What is shown of a suspect beside its items.

    Attributes:
        claim: what the training data say, in a line.
        reasons: name and value of each reason to suspect it.
        losses: each checkpoint and the loss there.
        hurts: the held-out pairs that it hurts most, with the influence on each.
        pairs: for a group of pairs: its most suspect ones, with what each says.
        more_pairs: how many more pairs the group has.
        comparisons: item id -> id and outcome of each of the item's other comparisons.
        strips: item id -> strip.
    """

    claim: str
    reasons: Figures = ()
    losses: Figures = ()
    hurts: Figures = ()
    pairs: Sequence[tuple[str, str]] = ()
    more_pairs: int = 0
    comparisons: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    strips: Mapping[str, Strip] = field(default_factory=dict)


@dataclass(frozen=True)
class Review:
    """All that a person reviews.

    Attributes:
        title: what the scores are of.
        suspects: in order, the most suspect first.
        card: id of a suspect -> its card.
        item: id of an item -> its view.
        decisions: the file of decisions.
        who: the person who decides.
        folders: sounds and pictures are served from these folders only.
        by: what a suspect is: ``pair``, ``item``, or the column of the pairs that groups them.
        classes: the classes that an item can be given.
        changes: what the scores were made from and is no longer as it was, in words.
    """

    title: str
    suspects: Sequence[Suspect]
    card: Callable[[str], Card]
    item: Callable[[str], ItemView]
    decisions: Path
    who: str
    folders: Sequence[Path]
    by: str = "pair"
    classes: Sequence[str] = ()
    changes: Sequence[str] = ()

    def file(self, path: Path) -> Path:
        """The file of a sound or picture.

        Raises:
            DataError: it lies outside ``folders``, itself or where its links lead, or is no file.
        """
        real = path.resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in self.folders):
            raise DataError(
                f"{path} lies outside the project's folders and is not shown",
                hint="Put it there, or name its folder as `linked_root`.",
            )
        if not real.is_file():
            raise DataError(f"{path} is not there", hint="Put it back, or let describe name another file.")
        return real
