"""Exact quantiles of all non-zero scores, in bounded memory and few readings of the scores.

The bit patterns of float64 sort like the numbers once the sign is dealt with, so a count of the uppermost 16 bits says
in which bucket the score of a given rank lies. What lies in those buckets is then gathered and sorted; where that is
too much to hold, the next 16 bits are counted first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.scores.table import FloatArray, ScoreSource

Words = npt.NDArray[np.uint64]

GATHERED = 4 << 20
"""So many scores at most are held to be sorted, 32 MiB."""

_WORD, _PART = 64, 16
_BUCKETS = 1 << _PART
_SIGN = 1 << (_WORD - 1)
_TILE = 1 << 20  # scores whose bits are looked at together, so that what is made of them stays small


@dataclass
class _Wanted:
    """A score that is looked for: the first bits of its sortable pattern, and its rank among those that share them."""

    rank: int
    prefix: int = 0
    count: int = 0


def nonzero_quantiles(source: ScoreSource, shares: Sequence[float]) -> FloatArray:
    """The scores under which these shares (0 to 1) of all non-zero scores lie, shape (shares,); 0 where all are zero.

    The score of a share has ``floor(share * non-zero scores)`` scores before it in order, and is the highest for 1.
    """
    if not shares:
        return np.zeros(0)
    counts = _count_first_bits(source)
    total = int(counts.sum())
    if not total:
        return np.zeros(len(shares))
    # to six decimals, so that 29% of 100 scores is the 29th and not, by rounding of 0.29, the 28th
    wanted = [_Wanted(min(total - 1, int(round(share * total, 6)))) for share in shares]
    for each in wanted:
        _descend(each, counts)
    known = _PART
    while known < _WORD and sum({each.prefix: each.count for each in wanted}.values()) > GATHERED:
        deeper = _count_next_bits(source, {each.prefix for each in wanted}, known)
        for each in wanted:
            _descend(each, deeper[each.prefix])
        known += _PART
    if known < _WORD:
        held = _gather(source, {each.prefix for each in wanted}, known)
        for each in wanted:
            each.prefix = int(held[each.prefix][each.rank])
    return np.array([_number(each.prefix) for each in wanted])


def _descend(wanted: _Wanted, counts: npt.NDArray[np.int64]) -> None:
    ends = np.cumsum(counts)
    bucket = int(np.searchsorted(ends, wanted.rank, side="right"))
    wanted.rank -= int(ends[bucket - 1]) if bucket else 0
    wanted.prefix = wanted.prefix << _PART | bucket
    wanted.count = int(counts[bucket])


def _count_first_bits(source: ScoreSource) -> npt.NDArray[np.int64]:
    """How many non-zero scores have each pattern of uppermost bits, in the scores' order."""
    raw = np.zeros(_BUCKETS, dtype=np.int64)
    zeros = np.zeros(_BUCKETS, dtype=np.int64)
    for tile in _tiles(source):
        raw += np.bincount(_first_bits(tile), minlength=_BUCKETS)
        found = tile[tile == 0]
        if found.size:
            zeros += np.bincount(_first_bits(found), minlength=_BUCKETS)
    raw -= zeros
    half = _BUCKETS // 2
    return np.concatenate([raw[: half - 1 : -1], raw[:half]])


def _count_next_bits(source: ScoreSource, prefixes: set[int], known: int) -> dict[int, npt.NDArray[np.int64]]:
    counts = {prefix: np.zeros(_BUCKETS, dtype=np.int64) for prefix in prefixes}
    for words in _words(source, prefixes, known):
        first = words >> np.uint64(_WORD - known)
        for prefix in counts:
            part = words[first == np.uint64(prefix)] >> np.uint64(_WORD - known - _PART)
            counts[prefix] += np.bincount((part & np.uint64(_BUCKETS - 1)).astype(np.int64), minlength=_BUCKETS)
    return counts


def _gather(source: ScoreSource, prefixes: set[int], known: int) -> dict[int, Words]:
    """The sorted words of the scores whose first bits are these."""
    held: dict[int, list[Words]] = {prefix: [] for prefix in prefixes}
    for words in _words(source, prefixes, known):
        first = words >> np.uint64(_WORD - known)
        for prefix, found in held.items():
            found.append(words[first == np.uint64(prefix)])
    return {prefix: np.sort(np.concatenate(found)) for prefix, found in held.items()}


def _tiles(source: ScoreSource) -> Iterator[FloatArray]:
    for _, block in source.blocks():
        flat = np.ascontiguousarray(block, dtype=np.float64).reshape(-1)
        for start in range(0, flat.size, _TILE):
            yield flat[start : start + _TILE]


def _first_bits(tile: FloatArray) -> npt.NDArray[np.uint16]:
    parts = _WORD // _PART
    return tile.view(np.uint16)[parts - 1 if sys.byteorder == "little" else 0 :: parts]


def _words(source: ScoreSource, prefixes: set[int], known: int) -> Iterator[Words]:
    """The sortable words of the non-zero scores whose first 16 bits are those of a prefix."""
    looked_for = np.zeros(_BUCKETS, dtype=bool)
    half = _BUCKETS // 2
    for prefix in prefixes:
        bucket = prefix >> (known - _PART)
        looked_for[bucket ^ half if bucket & half else bucket ^ (_BUCKETS - 1)] = True
    for tile in _tiles(source):
        found = tile[looked_for[_first_bits(tile)]]
        bits = found[found != 0].view(np.uint64)
        yield np.where(bits & np.uint64(_SIGN), ~bits, bits | np.uint64(_SIGN))


def _number(word: int) -> float:
    bits = word ^ _SIGN if word & _SIGN else word ^ ((1 << _WORD) - 1)
    return float(np.array([bits], dtype=np.uint64).view(np.float64)[0])
