"""The order of the classes, which are folders of recordings.

A class is ranked by the number in its name. If the names do not show the order, the user must give it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from tracinctl.errors import DataError, UsageError
from tracinctl.text import clean, first_few, natural_key

_NUMBER = re.compile(r"\d+(?:\.\d+|,\d{1,2}(?!\d))?")
_MINUS = ("-", "\N{MINUS SIGN}", "\N{EN DASH}")
_SIGNED = re.compile(rf"([+{re.escape(''.join(_MINUS))}]?)({_NUMBER.pattern}(?:[eE][+-]?\d+)?)(\D*)")


def order_classes(names: Collection[str], classes: Sequence[str] | None = None) -> tuple[dict[str, float], str]:
    """Rank classes by the given order, else by the number in their names, else alphabetically.

    A hyphen is a minus only if every name is a number (``-90``, ``45``, ``1e-3``), perhaps with one unit (``-5dB``,
    ``0dB``); in ``angle-30`` it separates. A comma before one or two digits is a decimal sign (``0,5m``). Of several
    numbers, the one that differs between classes counts: 30 and 60 in ``mic2-deg030`` and ``mic2-deg060``.

    Returns:
        The rank of each class, lowest first, and a note on what is uncertain about the order.

    Raises:
        UsageError: a class is missing in the given order, or is in it twice.
        DataError: two classes have the same rank, or only some names have a number.
    """
    if classes is not None:
        return _given_order(names, classes), ""
    signed = {name: match for name in names if (match := _SIGNED.fullmatch(name))}
    if len(signed) == len(names) and len({match[3].casefold() for match in signed.values()}) == 1:
        values = {name: _value(match[2]) for name, match in signed.items()}
        return _by_number({name: -value if signed[name][1] in _MINUS else value for name, value in values.items()}), ""
    numbers = {name: [_value(text) for text in _NUMBER.findall(name)] for name in names}
    without = sorted((name for name in names if not numbers[name]), key=natural_key)
    if len(without) == len(names):
        ranked = {name: float(k) for k, name in enumerate(without)}
        return ranked, "the names of the classes have no numbers, so the classes are in alphabetical order"
    if without:
        raise DataError(
            f"the class {clean(without[0])} has no number in its name, but "
            f"{clean(min(set(names) - set(without), key=natural_key))} has one, so their order is unknown",
            hint=_settle(names),
        )
    column = _varying(list(numbers.values()))
    if column is None:
        shown = [clean(name) for name in sorted(names, key=natural_key)]
        raise DataError(
            f"the names of the classes differ in more than one number: {first_few(shown)}", hint=_settle(names)
        )
    texts = {_NUMBER.sub("0", name).casefold() for name in names}
    note = "the names of the classes differ in more than their numbers, but only the numbers rank them"
    return _by_number({name: numbers[name][column] for name in names}), note if len(texts) > 1 else ""


def _value(number: str) -> float:
    return float(number.replace(",", "."))


def shown_order(classes: Sequence[str]) -> str:
    """The classes, lowest rank first: ``deg000 < deg036``."""
    return " < ".join(map(clean, classes))


def _given_order(names: Collection[str], order: Sequence[str]) -> dict[str, float]:
    twice = [name for k, name in enumerate(order) if name in order[:k]]
    if twice:
        raise UsageError(f"`classes` has {clean(twice[0])} twice", hint="Give each class once, lowest rank first.")
    missing = sorted(set(names) - set(order), key=natural_key)
    if missing:
        raise UsageError(
            f"`classes`: {first_few([clean(name) for name in missing])} has recordings, but is not in the order "
            f"{shown_order(order)}",
            hint="Give every class in `classes`, lowest rank first.",
        )
    # use the place in the whole list, so that a class has the same rank at every frequency
    return {name: float(k) for k, name in enumerate(order) if name in names}


def _by_number(numbers: dict[str, float]) -> dict[str, float]:
    ranked = sorted(numbers, key=lambda name: (numbers[name], natural_key(name)))
    for lower, upper in pairwise(ranked):
        if numbers[lower] == numbers[upper]:
            raise DataError(
                f"the classes {clean(lower)} and {clean(upper)} have the same rank, {numbers[lower]:g}",
                hint=_settle(numbers),
            )
    return {name: numbers[name] for name in ranked}


def _varying(numbers: Sequence[Sequence[float]]) -> int | None:
    """The place of the number that differs between the names; None unless there is exactly one."""
    width = len(numbers[0])
    if any(len(row) != width for row in numbers):
        return None
    varying = [k for k in range(width) if len({row[k] for row in numbers}) > 1]
    if not varying:
        return 0  # equal numbers; the caller reports them
    return varying[0] if len(varying) == 1 else None


def _settle(names: Collection[str]) -> str:
    listed = ", ".join(repr(clean(name)) for name in sorted(names, key=natural_key))
    return f"Give the order in tracinctl.toml, lowest rank first, for example: classes = [{listed}]"
