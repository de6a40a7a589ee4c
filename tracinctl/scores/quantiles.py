"""Exact quantiles of all non-zero scores, with bounded memory and few readings.

After flipping sign bits, the bit patterns of float64 sort like the numbers, so counts of the uppermost 20 bits give
the bucket of the score with a given rank. The scores in those buckets are then gathered and sorted; if they are too
many for memory, the next bits are counted first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracinctl.scores.source import FloatArray, ScoreSource

Words = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

GATHERED = 8 << 20
"""Largest number of scores to sort in memory: 64 MiB."""

_WORD = 64
_WIDTHS = (20, 16, 16, 12)  # bits counted per reading; the first buckets are 0.4 % of a score's size wide
_SIGN = np.uint64(1 << 63)
_TILE = 1 << 17  # scores per tile, so that results stay in the processor's cache


@dataclass
class _Rank:
    """A score to find: the first bits of its sortable pattern, and its rank among scores that share them."""

    rank: int
    prefix: int = 0
    count: int = 0

    def descend(self, counts: Counts, width: int) -> None:
        """Extend the prefix by the next bits, from their counts."""
        ends = np.cumsum(counts)
        bucket = int(np.searchsorted(ends, self.rank, side="right"))
        self.rank -= int(ends[bucket - 1]) if bucket else 0
        self.prefix = self.prefix << width | bucket
        self.count = int(counts[bucket])


def nonzero_quantiles(source: ScoreSource, shares: Sequence[float]) -> FloatArray:
    """The scores below which these shares (0 to 1) of all non-zero scores are, shape (shares,); 0 if all are zero.

    The score of a share has ``floor(share * non-zero scores)`` scores before it in order; for 1 it is the highest.
    """
    if not shares:
        return np.zeros(0)
    counts = _count_first_bits(source)
    total = int(counts.sum())
    if not total:
        return np.zeros(len(shares))
    # round to six decimals, so that 29% of 100 scores is 29 and not 28
    ranks = [_Rank(min(total - 1, int(round(share * total, 6)))) for share in shares]
    prefix_bits = 0
    for width in _WIDTHS:
        if prefix_bits:
            if sum({rank.prefix: rank.count for rank in ranks}.values()) <= GATHERED:
                break
            next_bits = _count_next_bits(source, {rank.prefix for rank in ranks}, prefix_bits, width)
        for rank in ranks:
            rank.descend(next_bits[rank.prefix] if prefix_bits else counts, width)
        prefix_bits += width
    if prefix_bits < _WORD:
        sorted_words = _gather(source, {rank.prefix for rank in ranks}, prefix_bits)
        for rank in ranks:
            rank.prefix = int(sorted_words[rank.prefix][rank.rank])
    words = np.array([rank.prefix for rank in ranks], dtype=np.uint64)
    return np.where(words & _SIGN, words ^ _SIGN, ~words).view(np.float64)


def _tiles(source: ScoreSource) -> Iterator[tuple[FloatArray, npt.NDArray[np.int64]]]:
    """Yield scores and the first bits of their stored patterns."""
    shift = np.uint64(_WORD - _WIDTHS[0])
    for _, block in source.blocks():
        flat = np.ascontiguousarray(block, dtype=np.float64).reshape(-1)
        for start in range(0, flat.size, _TILE):
            tile = flat[start : start + _TILE]
            yield tile, (tile.view(np.uint64) >> shift).view(np.int64)


def _count_first_bits(source: ScoreSource) -> Counts:
    """Numbers of non-zero scores that begin with each pattern of bits, in the scores' order."""
    buckets = 1 << _WIDTHS[0]
    half = buckets // 2
    raw = np.zeros(buckets, dtype=np.int64)
    zeros = np.zeros(2, dtype=np.int64)
    for tile, first in _tiles(source):
        np.add.at(raw, first, 1)
        # remove zero and minus zero, which share buckets with the smallest numbers
        zero = first[tile == 0]
        minus = int(np.count_nonzero(zero))
        zeros += (zero.size - minus, minus)
    raw[0] -= zeros[0]
    raw[half] -= zeros[1]
    return np.concatenate([raw[: half - 1 : -1], raw[:half]])


def _words(source: ScoreSource, prefixes: set[int], prefix_bits: int) -> Iterator[tuple[int, Words]]:
    """Yield each prefix with sortable patterns of non-zero scores that begin with it, tile by tile."""
    buckets = 1 << _WIDTHS[0]
    half = buckets // 2
    in_buckets = np.zeros(buckets, dtype=bool)
    for prefix in prefixes:
        bucket = prefix >> (prefix_bits - _WIDTHS[0])
        in_buckets[bucket ^ half if bucket & half else bucket ^ (buckets - 1)] = True
    for tile, first in _tiles(source):
        chosen = tile[in_buckets.take(first)]
        bits = chosen[chosen != 0].view(np.uint64)
        words = np.where(bits & _SIGN, ~bits, bits | _SIGN)
        first_bits = words >> np.uint64(_WORD - prefix_bits)
        for prefix in prefixes:
            yield prefix, words[first_bits == np.uint64(prefix)]


def _count_next_bits(source: ScoreSource, prefixes: set[int], prefix_bits: int, width: int) -> dict[int, Counts]:
    counts = {prefix: np.zeros(1 << width, dtype=np.int64) for prefix in prefixes}
    for prefix, words in _words(source, prefixes, prefix_bits):
        next_bits = words >> np.uint64(_WORD - prefix_bits - width) & np.uint64((1 << width) - 1)
        np.add.at(counts[prefix], next_bits.view(np.int64), 1)
    return counts


def _gather(source: ScoreSource, prefixes: set[int], prefix_bits: int) -> dict[int, Words]:
    """The sorted patterns of the scores that begin with each prefix."""
    by_prefix: dict[int, list[Words]] = {prefix: [] for prefix in prefixes}
    for prefix, words in _words(source, prefixes, prefix_bits):
        by_prefix[prefix].append(words)
    return {prefix: np.sort(np.concatenate(parts)) for prefix, parts in by_prefix.items()}
