"""Safe text for terminals, sorting and matching of names, and the format of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from unicodedata import normalize

HARMFUL = "negative = harmful"
HELPFUL = "positive = helpful"
SIGNS = f"{HELPFUL}, {HARMFUL}"

# C0 and C1 controls, lone surrogates, and the Unicode characters that reorder, hide or break text
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def clean(text: object) -> str:
    r"""The text with control and escape characters written out (``\x1b``), so that it cannot control a terminal."""
    return _CONTROLS.sub(lambda match: repr(match.group())[1:-1], str(text).replace("\t", " "))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, each line ended by one line feed."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def fit(text: object, width: int) -> str:
    """The cleaned text in exactly ``width`` columns, padded with spaces or without its middle."""
    from rich.cells import cell_len, set_cell_size

    shown = clean(text)
    if cell_len(shown) <= width:
        return set_cell_size(shown, width)
    if width < 2:  # noqa: PLR2004  no room for a letter and the dots
        return "…"[:width]
    head, tail = shown, shown
    front = (width - 1) // 2
    while cell_len(head) > front:
        head = head[:-1]
    while cell_len(tail) > width - 1 - cell_len(head):
        tail = tail[1:]
    return set_cell_size(f"{head}…{tail}", width)


def fold(text: object, width: int) -> list[str]:
    """The cleaned text in lines of at most ``width`` columns, cut anywhere because ids have no spaces."""
    from rich.cells import chop_cells

    return chop_cells(clean(text), width)


def wrap(text: str, width: int) -> list[str]:
    """Words in lines of at most ``width`` columns; a longer word is cut."""
    from rich.cells import cell_len

    lines: list[str] = []
    for word in clean(text).split():
        for part in fold(word, width):
            if lines and cell_len(lines[-1]) + 1 + cell_len(part) <= width:
                lines[-1] += f" {part}"
            else:
                lines.append(part)
    return lines


def hanging(text: str, width: int, indent: str = "", first: str | None = None) -> list[str]:
    """The cleaned words in lines of ``width`` columns, with another first indent; a longer word has its own line."""
    import textwrap

    return textwrap.wrap(
        clean(text),
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


_FOUR_DIGITS = 1000.0
_SMALLEST, _LARGEST = 1e-3, 1e7  # outside this range, an exponent is shorter


def number(value: float) -> str:
    """A score in four digits and few characters: ``-317.1``, ``0.0512``, ``1681``, ``-1.2e300``.

    Thousands have no comma, so that a threshold can be typed as shown; options take comma-separated lists.
    """
    size = abs(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("-infinite" if value < 0 else "infinite")
    if size == 0:
        return "0"
    if size >= _LARGEST or size < _SMALLEST:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.0f}" if size >= _FOUR_DIGITS else f"{value:.4g}"


def aligned(values: Sequence[float]) -> list[str]:
    """Scores of one column, all with the decimals that give the largest one four digits."""
    finite = [value for value in values if math.isfinite(value)]
    largest = max(map(abs, finite), default=0.0)
    if not 10 * _SMALLEST <= largest < _LARGEST or all(value == int(value) for value in finite):
        return [number(value) for value in values]
    places = next((k for k in range(4) if largest >= 10 ** (3 - k)), 4)
    return [f"{value:.{places}f}" if math.isfinite(value) else number(value) for value in values]


def share(part: float, total: float) -> str:
    """A part of a whole in percent; a non-zero part is never shown as 0 %."""
    if not total:
        return "-"
    percent = 100 * part / total
    if 0 < percent < 0.1:  # noqa: PLR2004  the smallest shown share
        return "<0.1%"
    return f"{percent:.0f}%" if percent in {0, 100} else f"{min(percent, 99.9):.1f}%"


def count(amount: int, singular: str, plural: str = "") -> str:
    """``1 pair``, ``1,200 pairs``."""
    return f"{amount:,} {singular if amount == 1 else plural or f'{singular}s'}"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list and the number of others: ``a, b, c and 1,200 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def natural_key(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key that puts ``500hz`` before ``1000hz`` and ``epoch_2`` before ``epoch_10``."""
    parts = [part for part in re.split(r"(\d+)", text) if part]
    # compare numbers by length first, because int() refuses thousands of digits
    digits = [part.lstrip("0") if part.isdecimal() else None for part in parts]
    keys = [(1, 0, part) if n is None else (0, len(n), n) for part, n in zip(parts, digits, strict=True)]
    return keys, text


_SIMILAR = 0.5  # least similarity of a match; 1 = equal
_FEWEST_LETTERS = 2  # least length of a typed beginning


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The known name that a misspelt one probably means; empty if none is similar.

    A name that differs only in case comes first, then the mirror image ``b_a`` of a pair ``a_b``, then the shortest
    that begins with what was typed.
    """
    from difflib import get_close_matches

    wanted = name.casefold()
    names = {candidate.casefold(): candidate for candidate in candidates}
    words = wanted.split("_")
    for same in (wanted, *("_".join([*words[k:], *words[:k]]) for k in range(1, len(words)))):
        if same in names:
            return names[same]
    if len(wanted.strip("-_")) >= _FEWEST_LETTERS:
        longer = [candidate for candidate in names if candidate.startswith(wanted)]
        if longer:
            return names[min(longer, key=len)]
    near = get_close_matches(wanted, names, n=1, cutoff=_SIMILAR)
    return names[near[0]] if near else ""


def as_written(name: str, names: Iterable[str]) -> str:
    """The known name that equals this one in Unicode form NFC, or else this one in that form."""
    usual = normalize("NFC", name)
    return next((known for known in names if known == name or normalize("NFC", known) == usual), usual)


def did_you_mean(name: str, choices: Iterable[str], otherwise: str = "") -> str:
    """The hint that names the nearest known name; ``otherwise`` if none is similar."""
    near = nearest(name, choices)
    return f"Did you mean {near}?" if near else otherwise


def number_within(value: float, width: int) -> str:
    """A score with all digits that fit into ``width`` characters; empty if none does."""
    for shown in (number(value), *(f"{value:.{digits}g}" for digits in (3, 2, 1))):
        short = re.sub(r"e([+-])0*", lambda match: "e" + match[1].strip("+"), shown)
        if len(short) <= width:
            return short
    return ""


def apart(names: Sequence[str], width: int) -> list[str]:
    """The part of each name that differs, in at most ``width`` columns: ``epoch 5`` for ``model_epoch_5.pt``."""
    from rich.cells import cell_len

    if len(names) > 1:
        head = _shared(names).rstrip("0123456789")
        tail = _shared([name[len(head) :][::-1] for name in names])[::-1].lstrip("0123456789")
        cut = [name[len(head) : len(name) - len(tail)] for name in names]
        kind = head.rstrip("_-").rpartition("_")[2] if head.endswith(("_", "-")) else ""
        for parts in ([f"{kind} {part}" for part in cut], cut) if kind else (cut,):
            if all(cut) and all(cell_len(part) <= width for part in parts):
                return parts
    return [fit(name, width).strip() for name in names]


def _shared(names: Sequence[str]) -> str:
    """The common beginning of the names."""
    low, high = min(names), max(names)
    same = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:same]


def duration(seconds: float | None) -> str:
    """``8 s``, ``2:05``, ``1:02:05``."""
    if seconds is None:
        return "?"
    rounded = round(seconds)
    if rounded < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{rounded} s"
    hours, remaining = divmod(rounded, 3600)
    return f"{hours}:{remaining // 60:02}:{remaining % 60:02}" if hours else f"{remaining // 60}:{remaining % 60:02}"
