"""What a report is made of, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import RenderableType


@dataclass(frozen=True)
class Heading:
    """A heading; level 2 begins a frequency, level 3 a part of it."""

    text: str
    level: int = 3


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Advice:
    """Something to know before the list is used, and what to do about it."""

    text: str
    hint: str = ""
    grave: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text; ``numbers`` names the columns that are set at the right, ``codes`` those of ids and commands."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = field(default_factory=frozenset)
    codes: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Figure:
    """A picture and what it is called."""

    title: str
    view: RenderableType
    width: int


@dataclass(frozen=True)
class Command:
    """Something to type in a shell."""

    text: str


Part = Heading | Paragraph | Advice | Table | Figure | Command
