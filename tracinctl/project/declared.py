"""Settings as their fields declare them, read for flags, tables, variables, completion and help.

A field of a settings class is a setting where its metadata has ``help``. Further keys of the metadata:

- ``name``: how users call it, where the field is called otherwise; ``alias``: a second name.
- ``kind``: ``list`` (a text with commas), ``texts`` and ``paths`` (may be given again), ``score`` (a number or a share)
  ``size`` (bytes) or ``weights`` (a word or numbers), where the type does not say.
- ``metavar``, ``usual``: what help shows in place of a value, and as the default where that is None.
- ``choices``, ``suggestions``: values and a line on each; others are refused, or taken as well.
- ``least``: the smallest number.
- ``example``: a value as ``tracinctl.toml`` has it, where the default is None.
- ``panel``: the heading in help, which the field of a group hands down to its members.
- ``table``: the table of ``tracinctl.toml`` that alone holds it, without flag and variable.
- ``one_call``: a flag that belongs to one call and is no setting of a project.
- ``top``: it may stand at the top of ``tracinctl.toml`` and mean all commands.
- ``without``: members of a group that the command has no flag for.
"""

import functools
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from tracinctl.errors import UsageError
from tracinctl.text import nearest

_SIZE = r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$"


class Kind(Enum):
    """What a setting holds. The value is the word used in messages."""

    TEXT = "a text"
    PATH = "a path"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TRUTH = "true or false"
    SCORE = "a number or a text such as '1%'"
    LIST = "a list, or a text with commas"
    TEXTS = "a list of texts"
    PATHS = "a list of paths"
    SIZE = "a size such as '4GiB'"
    WEIGHTS = "a word such as 'relative', or numbers with commas"


_KINDS = {str: Kind.TEXT, Path: Kind.PATH, int: Kind.WHOLE, float: Kind.NUMBER, bool: Kind.TRUTH}


@dataclass(eq=False, repr=False)
class Setting:
    """One setting.

    Attributes:
        name: in ``tracinctl.toml`` and, with dashes, as a flag.
        owner: the class that declares it, and ``field_name``: the field there. Both together tell settings apart.
        kind: what it holds.
        default: its value where nobody gives one.
        metadata: the rest of the declaration.
        panel: the heading in help.
    """

    name: str
    owner: type
    field_name: str
    kind: Kind
    default: Any
    metadata: Mapping[str, Any]
    panel: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and its alias."""
        alias = self.metadata.get("alias")
        return (self.name, alias) if alias else (self.name,)

    @property
    def choices(self) -> Mapping[str, str]:
        """The values that are taken, and a line on each; empty where any is."""
        return dict(self.metadata.get("choices", {}))

    @property
    def suggestions(self) -> Mapping[str, str]:
        """Values for completion, and a line on each."""
        return dict(self.metadata.get("suggestions", {})) or self.choices

    @property
    def table(self) -> str:
        """The table that alone holds it; empty where the command's own does."""
        return str(self.metadata.get("table", ""))

    @property
    def one_call(self) -> bool:
        """Whether it is a flag that belongs to one call."""
        return bool(self.metadata.get("one_call"))

    @property
    def example(self) -> str:
        """How ``tracinctl.toml`` has it."""
        if "example" in self.metadata:
            return str(self.metadata["example"])
        if self.kind is Kind.LIST:
            return "['500hz', '1000hz']"
        if self.kind is Kind.PATH:
            return "'folder'"
        return repr(self.default)

    def value(self, given: Any) -> Any:
        """The field's value from what typer or the settings file gives."""
        if self.kind in {Kind.TEXTS, Kind.PATHS}:
            return tuple(given or ())
        if self.kind is Kind.SIZE and isinstance(given, str):
            return parse_size(given, self.name)
        if self.kind is Kind.WEIGHTS and isinstance(given, str):
            return parse_weights(given, self.name, self.suggestions)
        if self.kind is Kind.LIST and isinstance(given, str) and not self.is_text:
            return tuple(split_list(given, self.name))
        return given

    @property
    def is_text(self) -> bool:
        """Whether the field keeps a list as the text that was given."""
        return bool(self.metadata.get("kind") == "list")


@functools.cache
def settings_of(cls: type) -> tuple[Setting, ...]:
    """The settings of a class and of the groups in it, in the order of their fields."""
    return _walk(cls, "", ())


# commands share their groups, and each group is read once
@functools.cache
def _walk(cls: type, panel: str, without: tuple[str, ...]) -> tuple[Setting, ...]:
    return tuple(_settings_in(cls, panel, without))


def _settings_in(cls: type, panel: str, without: tuple[str, ...]) -> Iterator[Setting]:
    owners = {name: base for base in reversed(cls.__mro__) for name in inspect.get_annotations(base)}
    for part in fields(cls):
        here = part.metadata.get("panel", panel)
        if is_dataclass(part.type):
            yield from _walk(part.type, here, (*without, *part.metadata.get("without", ())))  # type: ignore[arg-type]
        elif "help" in part.metadata and part.name not in without:
            name = part.metadata.get("name", part.name)
            yield Setting(name, owners[part.name], part.name, _kind(part), part.default, part.metadata, here)


def _kind(part: Any) -> Kind:
    if "kind" in part.metadata:
        return Kind[part.metadata["kind"].upper()]
    types = [member for member in (get_args(part.type) or (part.type,)) if member is not type(None)]
    if any(get_origin(member) in {tuple, Sequence} for member in types):
        return Kind.LIST
    return _KINDS[types[0]]


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """A settings class from the values of its settings by name; what is not named keeps its default.

    Raises:
        UsageError: a value makes no sense.
    """
    given: dict[str, Any] = {}
    for part in fields(cls):
        name = part.metadata.get("name", part.name)
        if is_dataclass(part.type):
            hidden = part.metadata.get("without", ())
            given[part.name] = build(part.type, {k: v for k, v in values.items() if k not in hidden})  # type: ignore[arg-type]
        elif "help" in part.metadata and name in values:
            setting = Setting(name, cls, part.name, _kind(part), part.default, part.metadata)
            given[part.name] = setting.value(values[name])
    if vars(cls)["__dataclass_params__"].init:
        return cls(**given)
    group = cls()
    vars(group).update(given)
    return group


def parse_weights(text: str, name: str, words: Mapping[str, str]) -> str | tuple[float, ...]:
    """One of some words, or numbers with commas.

    Raises:
        UsageError: it is neither.
    """
    if text in words:
        return text
    try:
        return tuple(float(part) for part in text.split(","))  # equal numbers stay
    except ValueError as error:
        near = nearest(text, words)
        raise UsageError(
            f"`{name}` cannot be {text!r}",
            hint=f"Did you mean {near}?" if near else f"It is one of {', '.join(words)}, or numbers such as 2,1,1.",
        ) from error


def split_list(text: str, name: str) -> list[str]:
    """The entries of a comma list, blanks around them taken off.

    Raises:
        UsageError: the list is empty or has an empty entry; ``name`` names it in the message.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise UsageError(f"`{name}`: {text!r} has an empty entry", hint=f"Write it like `{name}` one,two.")
    return list(dict.fromkeys(entries))


def parse_size(text: str, name: str = "memory") -> int:
    """Bytes from ``4GiB``, ``500 MB`` or ``2g``; a bare number is bytes.

    Raises:
        UsageError: the text is no size above zero.
    """
    match = re.match(_SIZE, text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError(f"`{name}` {text!r} is no size", hint=f"For example `{name}` 4GiB")
    number, letter, binary = match.groups()
    base = 1024 if binary or not text.lower().rstrip().endswith("b") else 1000
    return int(float(number) * base ** " kmgt".index(letter.lower() or " "))
