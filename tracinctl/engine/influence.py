"""Influence from kernels: A K B^T, summed over checkpoints.

A pair's loss sees the model through two scores, so its gradient is a_i grad s_i + a_j grad s_j with
a_i = d loss / d s_i and a_j = d loss / d s_j. With K the inner products of item score gradients, the influence
(TracInCP, Pruthi et al. 2020, arXiv 2002.08484) of the training pairs on the test pairs is A K B^T with two non-zeros
in a row of A and of B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracinctl.data.pairs import Pairs
from tracinctl.engine.item_disagreement import item_disagreement
from tracinctl.engine.kernel import ItemKernel
from tracinctl.engine.losses import LossFunction, ghm_weights, pair_derivatives
from tracinctl.scores.table import InfluenceTable, rows_per_block

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LossSettings:
    """Which pairwise loss was trained, and its numbers.

    Attributes:
        loss: ``standard``, ``logistic``, ``ghm``, or a function of (s_i, s_j, y).
        margin: of ``standard`` and ``ghm``.
        ghm_bins, ghm_alpha, batch_size: of ``ghm``; batch_size is that of training.
    """

    loss: str | LossFunction = "standard"
    margin: float = 1.0
    ghm_bins: int = 10
    ghm_alpha: float = 0.75
    batch_size: int = 32

    @property
    def name(self) -> str:
        """How the loss is called in provenance."""
        if isinstance(self.loss, str):
            return self.loss
        module, name = getattr(self.loss, "__module__", ""), getattr(self.loss, "__qualname__", repr(self.loss))
        return f"{module}:{name}"


@dataclass(frozen=True)
class _Slopes:
    first: FloatArray
    second: FloatArray


class InfluenceScores:
    """Influence of training pairs on test pairs, calculated block by block from kernels. A ``ScoreSource``.

    Args:
        kernels: one a checkpoint, over training items followed by test items.
        weights: of the checkpoints.
        train_ids, test_ids: ids of the items.
        train_pairs, test_pairs: pairs by index into their own items, each pair once.
        settings: the loss.
        checkpoint_names: file names.
        provenance: what the kernels were made from.
    """

    def __init__(
        self,
        kernels: Sequence[ItemKernel],
        weights: Sequence[float],
        *,
        train_ids: Sequence[str],
        test_ids: Sequence[str],
        train_pairs: Pairs,
        test_pairs: Pairs,
        settings: LossSettings,
        checkpoint_names: Sequence[str],
        provenance: Mapping[str, Any],
    ) -> None:
        self.sample_ids: Sequence[str] = tuple(train_ids)
        self.train_ids: Sequence[str] = tuple(train_pairs.ids(train_ids))
        self.test_ids: Sequence[str] = tuple(test_pairs.ids(test_ids))
        self.train_items: Sequence[tuple[str, str]] = tuple(
            (train_ids[i], train_ids[j]) for i, j in zip(train_pairs.first, train_pairs.second, strict=True)
        )
        self.checkpoint_names: Sequence[str] = tuple(checkpoint_names)
        self.provenance: Mapping[str, Any] = provenance
        self._train, self._test = train_pairs, test_pairs
        self._settings = settings
        self._weights = list(weights)
        self._kernels = list(kernels)
        n = len(train_ids)
        self._a = [self._slopes(k.scores[:n], train_pairs, settings, weighted=True) for k in kernels]
        b = [self._slopes(k.scores[n:], test_pairs, settings, weighted=False) for k in kernels]
        # item-level influence on the test pairs, (train items, test pairs): rows of A then pick and add two of these
        self._on_test = [
            k.kernel[:n, n + test_pairs.first] * s.first + k.kernel[:n, n + test_pairs.second] * s.second
            for k, s in zip(kernels, b, strict=True)
        ]
        self._difference = all(np.array_equal(s.first, -s.second) for s in self._a)
        self.zero_gradient = [
            not (np.any(a.first) or np.any(a.second)) or not (np.any(t.first) or np.any(t.second))
            for a, t in zip(self._a, b, strict=True)
        ]

    @staticmethod
    def _slopes(scores: FloatArray, pairs: Pairs, settings: LossSettings, *, weighted: bool) -> _Slopes:
        first, second = scores[pairs.first], scores[pairs.second]
        target = pairs.target.astype(np.float64)
        a, b = pair_derivatives(settings.loss, first, second, target, margin=settings.margin)
        if weighted and settings.loss == "ghm":
            w = ghm_weights(
                first,
                second,
                target,
                margin=settings.margin,
                bins=settings.ghm_bins,
                alpha=settings.ghm_alpha,
                batch_size=settings.batch_size,
            )
            a, b = a * w, b * w
        return _Slopes(a, b)

    def block(self, start: int, stop: int, checkpoint: int | None = None) -> FloatArray:
        """Weighted scores of training pairs start..stop, shape (rows, test pairs): of one checkpoint, or the sum."""
        i, j = self._train.first[start:stop], self._train.second[start:stop]
        total = np.zeros((len(i), len(self.test_ids)))
        for c in range(len(self._weights)) if checkpoint is None else [checkpoint]:
            a = self._weights[c] * self._a[c].first[start:stop]
            b = self._weights[c] * self._a[c].second[start:stop]
            live = np.flatnonzero((a != 0) | (b != 0))
            if not live.size:
                continue
            on_test = self._on_test[c]
            if self._difference:
                part = on_test[i[live]] - on_test[j[live]]
                part *= a[live, None]
            else:
                part = on_test[i[live]] * a[live, None]
                part += on_test[j[live]] * b[live, None]
            if live.size == len(i):
                total += part
            else:
                total[live] += part
        return total

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        step = rows_per_block(len(self.test_ids))
        for start in range(0, len(self.train_ids), step):
            yield start, self.block(start, min(start + step, len(self.train_ids)))

    @property
    def self_influence(self) -> FloatArray:
        """Influence of each training pair on itself, shape (train pairs,): row-wise a K a^T, four entries a pair."""
        i, j = self._train.first, self._train.second
        total = np.zeros(len(i))
        for weight, kernel, a in zip(self._weights, self._kernels, self._a, strict=True):
            K = kernel.kernel
            total += weight * (a.first**2 * K[i, i] + 2 * a.first * a.second * K[i, j] + a.second**2 * K[j, j])
        return total

    @property
    def sample_influence(self) -> FloatArray:
        """The item-level view, shape (train items,): ``item_disagreement`` summed over checkpoints with w_c.

        A mislabelled item pulls all of its pairs one way, which scores of single pairs do not show.
        High = suspicious.
        """
        n = len(self.sample_ids)
        total = np.zeros(n)
        for weight, kernel in zip(self._weights, self._kernels, strict=True):
            K = kernel.kernel[:n, :n]

            def rows(start: int, stop: int, K: FloatArray = K) -> FloatArray:
                return K[start:stop]

            total += weight * item_disagreement(kernel.scores[:n], rows, np.diagonal(K), np.arange(n), self._train)
        return total

    def table(self, *, per_checkpoint: bool = False) -> InfluenceTable:
        """Everything in memory."""
        scores = np.empty((len(self.train_ids), len(self.test_ids)))
        for start, block in self.blocks():
            scores[start : start + len(block)] = block
        single = None
        if per_checkpoint:
            single = np.stack([self.block(0, len(self.train_ids), c) for c in range(len(self._weights))])
        return InfluenceTable(
            train_ids=self.train_ids,
            test_ids=self.test_ids,
            scores=scores,
            self_influence=self.self_influence,
            sample_ids=self.sample_ids,
            sample_influence=self.sample_influence,
            train_items=self.train_items,
            per_checkpoint=single,
            checkpoint_names=self.checkpoint_names,
            provenance=self.provenance,
        )
