"""Settings, read from dataclass fields, for flags, tables, variables, completion and help.

A field of a settings class is a setting if its metadata has ``help``; ``setting`` writes such a field. Other keys of
the metadata:

- ``name``: the user's name for it, if it differs from the field's; ``alias``: a second name.
- ``kind``: if the type is not enough: ``list`` (comma-separated), ``texts`` and ``paths`` (may be repeated), ``score``
  (a number or a share), ``size`` (bytes) or ``weights`` (a word or numbers).
- ``metavar``: what help shows in place of a value; ``usual``: what help shows for a default of None.
- ``choices``, ``suggestions``: values and a description of each; choices refuse other values, suggestions accept them.
- ``least``: the smallest allowed number.

- ``panel``: the heading in help; the field of a group passes it to its members.
- ``table``: the only table of ``tracinctl.toml`` for a setting that has no flag or variable.
- ``one_call``: a flag only, not a setting of a project.
- ``top``: also allowed at the top of ``tracinctl.toml``, for all commands.
- ``without``: members of a group without a flag in this command.
"""

import functools
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from tracinctl.errors import UsageError
from tracinctl.text import did_you_mean

_SIZE = r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$"


class Kind(Enum):
    """The kind of a setting's value, with the words for it in messages."""

    TEXT = "a text"
    PATH = "a path"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TRUTH = "true or false"
    SCORE = "a number or a text such as '1%'"
    LIST = "a list, or a comma-separated text"
    TEXTS = "a list of texts"
    PATHS = "a list of paths"
    SIZE = "a size such as '4GiB'"
    WEIGHTS = "a word such as 'relative', or comma-separated numbers"


_EXAMPLES = {
    Kind.LIST: "['one', 'two']",
    Kind.NUMBER: "1.0",
    Kind.PATH: "'path'",
    Kind.SIZE: "'4GiB'",
    Kind.WHOLE: "10",
}
_KINDS = {str: Kind.TEXT, Path: Kind.PATH, int: Kind.WHOLE, float: Kind.NUMBER, bool: Kind.TRUTH}


@dataclass(eq=False, repr=False)
class Setting:
    """One setting.

    Attributes:
        name: the name in ``tracinctl.toml`` and, with dashes, of the flag.
        owner, field_name: the class that declares it and its field there; together they identify a setting.
        kind: the kind of its value.
        default: its value if nobody gives one.
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
        """The allowed values with a description of each; empty if any value is allowed."""
        return dict(self.metadata.get("choices", {}))

    @property
    def suggestions(self) -> Mapping[str, str]:
        """Values for completion with a description of each."""
        return dict(self.metadata.get("suggestions", {})) or self.choices

    @property
    def table(self) -> str:
        """The only table that holds it; empty if the command's own table does."""
        return str(self.metadata.get("table", ""))

    @property
    def one_call(self) -> bool:
        """Whether it is a flag only."""
        return bool(self.metadata.get("one_call"))

    @property
    def example(self) -> str:
        """An example value for ``tracinctl.toml``."""
        if self.default is not None:
            return repr(self.default)
        word = next(iter(self.choices), self.metadata.get("metavar", "value").lower())
        return _EXAMPLES.get(self.kind, repr(word))

    def value(self, value: Any) -> Any:
        """Convert a value from typer or the settings file to the field's value."""
        if self.kind in {Kind.TEXTS, Kind.PATHS}:
            return tuple(value or ())
        if self.kind is Kind.SIZE and isinstance(value, str):
            return parse_size(value, self.name)
        if self.kind is Kind.WEIGHTS and isinstance(value, str):
            return parse_weights(value, self.name, self.suggestions)
        # fields with the metadata ``kind`` keep a list as comma-separated text
        if self.kind is Kind.LIST and isinstance(value, str) and "kind" not in self.metadata:
            return tuple(split_list(value, self.name))
        return value


# commands share groups; read each group once
@functools.cache
def settings_of(cls: type, panel: str = "", without: tuple[str, ...] = ()) -> tuple[Setting, ...]:
    """The settings of a class and of its groups, in the order of their fields, except those in ``without``."""
    owners = {name: base for base in reversed(cls.__mro__) for name in inspect.get_annotations(base)}
    settings: list[Setting] = []
    for part in fields(cls):
        heading = part.metadata.get("panel", panel)
        if isinstance(part.type, type) and is_dataclass(part.type):
            settings += settings_of(part.type, heading, (*without, *part.metadata.get("without", ())))
        elif "help" in part.metadata and part.name not in without:
            name = part.metadata.get("name", part.name)
            owner = owners[part.name]
            settings.append(Setting(name, owner, part.name, _kind(part), part.default, part.metadata, heading))
    return tuple(settings)


def _kind(part: Any) -> Kind:
    if "kind" in part.metadata:
        return Kind[part.metadata["kind"].upper()]
    types = [member for member in (get_args(part.type) or (part.type,)) if member is not type(None)]
    if any(get_origin(member) in {tuple, Sequence} for member in types):
        return Kind.LIST
    return _KINDS[types[0]]


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """Build a settings class from values by setting name; other settings keep their defaults."""
    members: dict[str, Any] = {}
    for part in fields(cls):
        name = part.metadata.get("name", part.name)
        if isinstance(part.type, type) and is_dataclass(part.type):
            hidden = part.metadata.get("without", ())
            members[part.name] = build(part.type, {key: value for key, value in values.items() if key not in hidden})
        elif "help" in part.metadata and name in values:
            described = Setting(name, cls, part.name, _kind(part), part.default, part.metadata)
            members[part.name] = described.value(values[name])
    if vars(cls)["__dataclass_params__"].init:
        return cls(**members)
    group = cls()
    vars(group).update(members)
    return group


def parse_weights(text: str, name: str, words: Mapping[str, str]) -> str | tuple[float, ...]:
    """Read one of some words, or comma-separated numbers."""
    if text in words:
        return text
    try:
        return tuple(float(part) for part in text.split(","))  # keeps equal numbers
    except ValueError as error:
        hint = did_you_mean(text, words, f"Choose one of {', '.join(words)}, or numbers such as 2,1,1.")
        raise UsageError(f"`{name}` cannot be {text!r}", hint=hint) from error


def split_list(text: str, name: str) -> list[str]:
    """The entries of a comma-separated list, without spaces around them.

    Raises:
        UsageError: the list or an entry is empty; the message names the list by ``name``.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise UsageError(f"`{name}`: {text!r} has an empty entry", hint=f"Write it like `{name}` one,two.")
    return list(dict.fromkeys(entries))


def parse_size(text: str, name: str = "memory") -> int:
    """Read a size such as ``4GiB``, ``500 MB`` or ``2g``; a number alone is bytes."""
    match = re.match(_SIZE, text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError(f"`{name}` {text!r} is not a size", hint=f"For example `{name}` 4GiB")
    number, letter, binary = match.groups()
    base = 1024 if binary or not text.lower().rstrip().endswith("b") else 1000
    return int(float(number) * base ** " kmgt".index(letter.lower() or " "))
