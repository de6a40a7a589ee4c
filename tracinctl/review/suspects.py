"""The content of a review: suspects in order, and the card of each.

This module does not depend on the source of scores, items and sounds; ``project.review`` provides them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tracinctl.errors import DataError

Figures = Sequence[tuple[str, float | str]]


@dataclass(frozen=True)
class Suspect:
    """A suspect to decide on.

    Attributes:
        id: id of a pair or an item, or ``<column>:<value>`` for a group of pairs.
        items: ids of its items: two for a pair, one for an item, none for a group.
        classes: the classes of its items, for the filter.
        suspicion: higher is more suspect; suspects are shown in this order.
        annotator: who made the comparison; empty if unknown.
    """

    id: str
    items: tuple[str, ...]
    classes: tuple[str, ...]
    suspicion: float
    annotator: str = ""


@dataclass(frozen=True)
class ItemView:
    """An item as it is shown.

    Attributes:
        picture: a picture of it.
        sound: a recording, which is also shown as a spectrogram.
    """

    id: str
    label: str = ""
    text: str = ""
    picture: Path | None = None
    sound: Path | None = None


@dataclass(frozen=True)
class Strip:
    """The score of an item at the last checkpoint, with those of others.

    Attributes:
        others: scores of the other items of its class, or of all others if items have no classes.
        low, high: the lowest and highest score of all items, so that all strips have the same scale.
    """

    score: float
    others: Sequence[float]
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """The evidence on a suspect.

    Attributes:
        claim: the claim of the training data, on one line.
        reasons: name and value of each reason to suspect it.
        losses: the loss at each checkpoint.
        hurts: the held-out pairs that it hurts most, with the influence on each.
        pairs: for a group of pairs, its most suspect ones with their claims.
        more_pairs: number of other pairs in the group.
        comparisons: by item id, id and outcome of each of the item's other comparisons.
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
    """A review.

    Attributes:
        title: the title, with the origin of the scores.
        suspects: the suspects, most suspect first.
        card: returns the card of a suspect's id.
        item: returns the view of an item's id.
        decisions: the file of decisions.
        who: name of the person who decides.
        folders: sounds and pictures are served from these folders only.
        by: the kind of suspects: ``pair``, ``item``, or the column of the pairs that groups them.
        classes: the classes that an item can get.
        changes: descriptions of changes after the scores were made.
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
            DataError: the file or the target of its link is outside ``folders``, or it is not a file.
        """
        real = path.resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in self.folders):
            raise DataError(
                f"{path} is outside the project's folders and is not shown",
                hint="Move it inside, or give its folder as `linked_root`.",
            )
        if not real.is_file():
            raise DataError(f"{path} is not there", hint="Put it back, or let describe name another file.")
        return real
