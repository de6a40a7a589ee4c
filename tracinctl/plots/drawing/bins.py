"""The bin of a score, looked up by the first bits of its pattern.

The bit patterns of float64 sort like the numbers once the sign is dealt with, so all scores that share their first
bits lie in one bin, but for those that share them with an edge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracinctl.scores.table import FloatArray

_BITS = 22  # the sign, the exponent, and 10 bits of the number itself: steps of 1/1024
_SHIFT = np.uint64(64 - _BITS)
_SIGN = 1 << (_BITS - 1)


class BinTable:
    """Bins by first bits, for edges in rising order; scores near an edge, and zero, are left to who counts.

    Attributes:
        unsure: what stands for the bin of a score near an edge; there are so many bins.
    """

    def __init__(self, edges: FloatArray) -> None:
        self.unsure = len(edges) - 1
        # what lies beyond the ends belongs to the first and the last bin
        inner = _place(edges[1:-1])
        counts = np.diff(inner, prepend=0, append=1 << _BITS)
        kind = np.uint8 if self.unsure < 1 << 8 else np.uint16
        self._bins = np.repeat(np.arange(self.unsure).astype(kind), counts)
        for near in (-1, 0, 1):  # an edge is known to rounding alone
            self._bins[np.clip(inner + near, 0, len(self._bins) - 1)] = self.unsure
        self._bins[_SIGN - 1 : _SIGN + 1] = self.unsure  # zero, of either sign
        half = self._bins[:_SIGN][::-1].copy()
        self._bins = np.concatenate([self._bins[_SIGN:], half])

    def of(self, scores: FloatArray) -> npt.NDArray[np.intp]:
        """The bins of scores, shape (scores,)."""
        first = (scores.view(np.uint64) >> _SHIFT).view(np.int64)
        return self._bins.take(first).astype(np.intp)


def _place(values: FloatArray) -> npt.NDArray[np.int64]:
    """The first bits of values, as numbers that sort like them."""
    words = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    first = (words >> _SHIFT).view(np.int64)
    return np.where(first & _SIGN, (_SIGN << 1) - 1 - first, first | _SIGN)
