"""Influence from kernels: A K B^T, summed over checkpoints.

A pair's loss sees the model through two scores, so its gradient is a_i grad s_i + a_j grad s_j with
a_i = d loss / d s_i and a_j = d loss / d s_j. With K the inner products of item score gradients, the influence
(TracInCP, Pruthi et al. 2020, arXiv 2002.08484) of the training pairs on the test pairs is A K B^T with two non-zeros
in a row of A and of B. Other methods have another B, or another K (``methods``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import FloatArray, IntArray, RankingData
from tracinctl.engine.fisher import FisherKernels
from tracinctl.engine.heap import Heap
from tracinctl.engine.item_view import EQUAL, item_disagreement
from tracinctl.engine.kernel.item_kernel import ItemKernel
from tracinctl.engine.landmark_kernel import LandmarkKernel
from tracinctl.engine.losses import LossSettings
from tracinctl.engine.methods import margin_slopes
from tracinctl.engine.pair_rows import PairRows
from tracinctl.engine.pair_view import Neighbours, pair_disagreement
from tracinctl.engine.row_file import RowFile
from tracinctl.scores.source import ScoreSource, rows_per_block
from tracinctl.scores.table import InfluenceTable

BoolArray = npt.NDArray[np.bool_]

_AT_ONCE = 16 << 20  # largest piece of a kernel in bytes; larger ones are no faster
_TILE = 512 << 10  # bytes of scores that stay in the processor's cache while checkpoints are added
_MEET = 1 << 20  # bytes of the pairs' terms at all checkpoints that are summed at once
_FEW_BLOCKS = 4  # for up to this many blocks of scores, the kernels are read again
_MEET_ROWS = 8  # least number of pairs at once; with fewer, calls take longer than sums


@dataclass(frozen=True)
class _Terms:
    """The terms of the scores, for all checkpoints.

    Attributes:
        first, second: weighted derivatives of the training pairs' losses, shape (train pairs, checkpoints).
        on_test: influence of rows of the training side on the test pairs, shape (rows, checkpoints, test pairs).
    """

    first: FloatArray
    second: FloatArray
    on_test: FloatArray


class InfluenceScores(ScoreSource):
    """Influence of training pairs on test pairs, computed in blocks from kernels.

    Args:
        kernels: one per checkpoint, all with the same layout.
        weights: weights of the checkpoints.
        data: items and pairs.
        settings: the loss.
        method: ``tracin``, ``margin`` or ``fisher``.
        memory: limit in bytes; terms that are read repeatedly are kept if they fit.
        checkpoint_names: file names of the checkpoints.
        provenance: the origin of the kernels.
        same_input: the training pairs and test pairs whose items have equal inputs.
    """

    def __init__(
        self,
        kernels: Sequence[ItemKernel],
        weights: Sequence[float],
        data: RankingData,
        *,
        settings: LossSettings,
        method: str,
        memory: int,
        checkpoint_names: Sequence[str],
        provenance: Mapping[str, Any],
        same_input: tuple[BoolArray, BoolArray],
    ) -> None:
        train_pairs, test_pairs, ids = data.train_pairs, data.test_pairs, data.train.ids
        self.sample_ids = tuple(ids)
        self.train_ids = tuple(train_pairs.row_ids(ids))
        self.test_ids = tuple(test_pairs.row_ids(data.test.ids))
        both = zip(train_pairs.first.tolist(), train_pairs.second.tolist(), strict=True)
        self.train_items = tuple((ids[i], ids[j]) for i, j in both)
        self.checkpoint_names = tuple(checkpoint_names)
        self.provenance = provenance
        self.groups = {name: [str(value) for value in values.tolist()] for name, values in train_pairs.groups.items()}
        self._train, self._test = train_pairs, test_pairs
        self._same = same_input
        self._settings = settings
        self._method = method
        self._weights = list(weights)
        self._kernels = list(kernels)
        self._layout = kernels[0].layout
        self._room = memory // 2  # the other half is for kernels in memory and for the reader of the blocks
        self._heap = Heap(memory)
        self._at_once = min(_AT_ONCE, self._room // 8)
        self._row_files: list[RowFile] = []
        self._difference = True
        self.zero_gradient = []
        for c in range(len(kernels)):
            a, b = self._pairs(c)
            self._difference &= self._layout.second is not None or np.array_equal(a.first, -a.second)
            self.zero_gradient.append(not (a.has_gradient and b.has_gradient))
        self.fisher: FisherKernels | None = None
        if method == "fisher":
            self.fisher = FisherKernels(self._kernels, self._pairs, len(self.sample_ids), self._room)
            self._room -= self.fisher.held_bytes
        bytes_held = 8 * len(kernels) * (2 * len(train_pairs) + self._rows * len(test_pairs))
        self._hold = bytes_held <= self._room // 2

    @property
    def _rows(self) -> int:
        """Number of kernel rows of the training side, which are items or pairs."""
        return len(self._layout.train_rows)

    def _pairs(self, checkpoint: int) -> tuple[PairRows, PairRows]:
        """The training pairs and the test pairs, with the derivatives of their losses at a checkpoint.

        Raises:
            NotOfDifferenceError: rows of kernels are pairs, but the loss does not fit that.
        """
        layout, scores, n = self._layout, self._kernels[checkpoint].scores, len(self.sample_ids)
        a = self._settings.slopes(scores[:n], self._train, weighted=True)
        if self._method == "tracin":
            b = self._settings.slopes(scores[n:], self._test, weighted=False)
        else:
            b = margin_slopes(self._test)
        a, b = _without(*a, self._same[0]), _without(*b, self._same[1])
        train = PairRows.of(layout, layout.train_rows, self._train, *a)
        return train, PairRows.of(layout, layout.test_rows, self._test, *b)

    def _kernel(self, checkpoint: int) -> ItemKernel | LandmarkKernel:
        """The inner products behind the scores."""
        return self.fisher[checkpoint] if self.fisher else self._kernels[checkpoint]

    def _on_test(self, c: int, b: PairRows, rows: IntArray, out: FloatArray | None = None) -> FloatArray:
        """The influence of rows of the training side on the test pairs, shape (rows, test pairs).

        Rows of A then add two of these, or pick one if rows are pairs.
        """
        self._heap.trim()
        products = np.empty((len(rows), len(self._test))) if out is None else out
        layout, kernel = self._layout, self._kernel(c)
        step = max(1, self._at_once // (8 * max(layout.columns, len(self._test))))
        for start in range(0, len(rows), step):
            block = kernel.rows(layout.train_rows[rows[start : start + step]])
            b.times(block, products[start : start + step])
        return products

    def _sides(self, start: int, stop: int) -> tuple[IntArray, IntArray]:
        """The rows of the training side behind these training pairs."""
        if self._layout.second is not None:
            pair = np.arange(start, stop)
            return pair, pair
        return self._train.first[start:stop], self._train.second[start:stop]

    def block(self, start: int, stop: int, checkpoint: int | None = None) -> FloatArray:
        """Weighted scores of training pairs start..stop, shape (rows, test pairs), of one checkpoint or summed."""
        self._heap.trim()
        i, j = self._sides(start, stop)
        total = np.zeros((len(i), len(self.test_ids)))
        chosen = range(len(self._weights)) if checkpoint is None else [checkpoint]
        if self._hold:
            if checkpoint is None:
                self._sum(total, i, j, start)
            else:
                a = self._pairs(checkpoint)[0]
                self._add(total, self._terms.on_test[:, checkpoint], i, j, a, self._weights[checkpoint], start)
            return total
        needed = np.unique([i, j])
        rows_i, rows_j = np.searchsorted(needed, i), np.searchsorted(needed, j)
        for c in chosen:
            a, b = self._pairs(c)
            on_test = self._row_files[c].read(needed) if self._row_files else self._on_test(c, b, needed)
            self._add(total, on_test, rows_i, rows_j, a, self._weights[c], start)
        return total

    @cached_property
    def _terms(self) -> _Terms:
        count = len(self._weights)
        first, second = (np.empty((len(self._train), count)) for _ in range(2))
        on_test = np.empty((self._rows, count, len(self._test)))
        for c, weight in enumerate(self._weights):
            a, b = self._pairs(c)
            first[:, c], second[:, c] = weight * a.first, weight * a.second
            self._on_test(c, b, np.arange(self._rows), on_test[:, c])
        return _Terms(first, second, on_test)

    def _sum(self, total: FloatArray, i: IntArray, j: IntArray, start: int) -> None:
        """Write the scores of pairs, summing checkpoints while their terms are in the processor's cache."""
        terms = self._terms
        step = max(_MEET_ROWS, _MEET // (8 * max(1, terms.on_test[0].size)))
        for at in range(0, len(i), step):
            first = terms.first[start + at : start + min(at + step, len(i))]
            second = terms.second[start + at : start + at + len(first)]
            live = np.flatnonzero(first.any(axis=1) | second.any(axis=1))
            if not live.size:
                continue
            all_live = live.size == len(first)
            if self._layout.second is not None:
                self._put_rows(total[at : at + len(first)], first, start + at, live)
                continue
            rows_i, rows_j = (k[at : at + len(first)][live] for k in (i, j))
            done = np.take(terms.on_test, rows_i, axis=0)
            if self._difference:
                done -= np.take(terms.on_test, rows_j, axis=0)
            place = total[at : at + len(first)]
            products = np.matmul(first[live, None], done, out=place[:, None] if all_live else None)
            if not self._difference:
                products += np.matmul(second[live, None], np.take(terms.on_test, rows_j, axis=0))
            if not all_live:
                place[live] = products[:, 0]

    def _put_rows(self, place: FloatArray, first: FloatArray, start: int, live: IntArray) -> None:
        """Write the scores of pairs from ``start`` on, if rows of kernels are pairs; the others have no gradient."""
        rows = self._terms.on_test[start : start + len(first)]
        if len(self._weights) == 1 and live.size == len(first):
            np.multiply(rows[:, 0], first, out=place)
        else:
            place[live] = np.matmul(first[live, None], rows[live])[:, 0]

    def _add(
        self, total: FloatArray, on_test: FloatArray, i: IntArray, j: IntArray, a: PairRows, weight: float, start: int
    ) -> None:
        step = max(1, _TILE // (8 * max(1, total.shape[1])))
        for at in range(0, len(i), step):
            first = weight * a.first[start + at : start + min(at + step, len(i))]
            second = weight * a.second[start + at : start + at + len(first)]
            live = np.flatnonzero((first != 0) | (second != 0))
            if not live.size:
                continue
            rows = slice(None) if live.size == len(first) else live  # a slice needs no copy
            rows_i, rows_j = (k[at : at + len(first)][rows] for k in (i, j))
            part = on_test[rows_i]
            if self._difference and self._layout.second is None:
                part -= on_test[rows_j]
            part *= first[rows, None]
            if not self._difference:
                second_part = on_test[rows_j]
                second_part *= second[rows, None]
                part += second_part
            total[at : at + len(first)][rows] += part

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last.

        If not everything fits, rows are computed in the largest pieces that do, so that kernels are read rarely.
        """
        shown = rows_per_block(len(self.test_ids))
        total, tests = len(self.train_ids), len(self.test_ids)
        if self._hold:
            step = min(shown, max(1, self._room // (4 * 8 * tests)))
        else:
            # a pair needs a row of scores and the rows of its two items, which many pairs share
            room = self._room - 3 * self._at_once  # three such pieces are in memory while rows are computed
            all_items = 8 * self._rows * tests
            step = max((room - all_items) // (8 * tests), room // (3 * 8 * tests), 1)
            if step < total and not self._row_files and self._gains_by_files(-(-total // step)):
                self._row_files = self._calculated_rows()
        for start in range(0, total, step):
            scores = self.block(start, min(start + step, total))
            for k in range(0, len(scores), shown):
                yield start + k, scores[k : k + shown]
            del scores

    def _gains_by_files(self, blocks: int) -> bool:
        """Whether rows of the training side that are needed for several blocks are kept in files."""
        if self.fisher and self.fisher.landmarks:
            return True
        # these files are no larger than the kernels, whose rows would be multiplied again for each block
        return blocks > _FEW_BLOCKS and len(self._test) <= self._layout.columns

    def _calculated_rows(self) -> list[RowFile]:
        """The influence of all rows of the training side on the test pairs, one file per checkpoint."""
        files = [RowFile(len(self._test)) for _ in self._weights]
        step = max(1, self._at_once // (8 * len(self._test)))
        for c, file in enumerate(files):
            _, b = self._pairs(c)
            for start in range(0, self._rows, step):
                file.append(self._on_test(c, b, np.arange(start, min(start + step, self._rows))))
        return files

    def checkpoint_blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, weighted scores of shape (rows, test pairs, checkpoints)), from the first row on."""
        total, count = len(self.train_ids), len(self._weights)
        width = count * len(self.test_ids)
        step = max(1, min(rows_per_block(width), self._room // (4 * 8 * width)))
        for start in range(0, total, step):
            stop = min(start + step, total)
            block = np.empty((stop - start, len(self.test_ids), count))
            for c in range(count):
                block[..., c] = self.block(start, stop, c)
            yield start, block

    @cached_property
    def self_influence(self) -> FloatArray:  # type: ignore[override]  # computed at first use
        """Influence of each training pair on itself, shape (train pairs,): a K a^T, with four entries of K per pair."""
        total = np.zeros(len(self._train))
        for c, weight in enumerate(self._weights):
            total += weight * self._kernel(c).squared_lengths(self._pairs(c)[0], self._at_once)
        return total

    @cached_property
    def sample_influence(self) -> FloatArray:  # type: ignore[override]  # computed at first use
        """Item-level influence, shape (train items,), summed over checkpoints with w_c. High = suspicious.

        A mislabelled item pulls all its pairs one way, which scores of single pairs do not show
        (``item_disagreement``). If rows are pairs, it is the mean of the item's pairs (``pair_disagreement``).
        """
        one = self._pairs_disagreement if self._layout.second is not None else self._items_disagreement
        total = np.zeros(len(self.sample_ids))
        for weight, kernel in zip(self._weights, self._kernels, strict=True):
            total += weight * one(kernel)
        return total

    def _items_disagreement(self, kernel: ItemKernel) -> FloatArray:
        """``item_disagreement`` at a checkpoint, shape (train items,)."""
        layout, n = self._layout, len(self.sample_ids)
        neighbours = np.flatnonzero(np.isin(layout.train_rows, layout.neighbours))

        def rows(start: int, stop: int) -> FloatArray:
            return np.take(kernel.rows(layout.train_rows[start:stop]), layout.neighbours, axis=1)

        lengths = kernel.part("lengths")[layout.train_rows]
        return item_disagreement(kernel.scores[:n], rows, lengths, neighbours, self._train, memory=self._room // 4)

    def _pairs_disagreement(self, kernel: ItemKernel) -> FloatArray:
        """The mean of ``pair_disagreement`` over each item's pairs at a checkpoint, shape (train items,)."""
        layout, n = self._layout, len(self.sample_ids)
        assert layout.second is not None  # noqa: S101  rows are pairs
        # items without a pair have no score
        scores = kernel.scores[np.unique([self._train.first, self._train.second])]
        spread = float(scores.std())
        if spread <= EQUAL * float(np.abs(scores).max()):
            return np.zeros(n)
        margins = (kernel.scores[layout.first] - kernel.scores[layout.second]) / spread
        neighbours = Neighbours(layout.neighbours, kernel.rows, kernel.part("lengths"))
        counts = (self._train.first != self._train.second) & (self._train.target != 0)
        target, own = self._train.target[counts], layout.train_rows[counts]
        of_pairs = pair_disagreement(margins, target, own, neighbours, memory=self._room // 4)
        items = np.concatenate([self._train.first[counts], self._train.second[counts]])
        return np.bincount(items, np.tile(of_pairs, 2), n) / np.maximum(np.bincount(items, minlength=n), 1)

    def table(self, *, per_checkpoint: bool = False) -> InfluenceTable:
        """All scores as a table in memory."""
        scores = np.empty((len(self.train_ids), len(self.test_ids)))
        for start, block in self.blocks():
            if len(block) == len(scores):
                scores = block
            else:
                scores[start : start + len(block)] = block
        single = None
        if per_checkpoint:
            single = np.stack([self.block(0, len(self.train_ids), c) for c in range(len(self._weights))])
        return InfluenceTable(scores=scores, per_checkpoint=single, **vars(self.meta))


def _without(first: FloatArray, second: FloatArray, rows: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Set derivatives of pairs with equal inputs to zero if they cancel, because rounding would leave a rest."""
    cancel = rows & (first == -second)
    return (np.where(cancel, 0.0, first), np.where(cancel, 0.0, second)) if cancel.any() else (first, second)
