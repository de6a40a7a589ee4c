"""The kernel of method ``fisher`` if not all inner products are held: landmarks span the directions of F.

The exact kernel solves (d + K M) X = d K, a system of the size of the training items (``fisher``). Here F is
projected on the span of the landmarks' gradients, which are those of some training items and of held-out ones (a
Galerkin solution; with training items alone, Nystrom's). With C = K[:, landmarks], W = C[landmarks] = U w U^T,
Y = C U w^-1/2 the gradients in coordinates of that span, and F' = Y^T M Y:

    X = K - Y F' (d + F')^-1 Y^T = K - C Q Q^T C^T

d is exact. Everything is exact if the landmarks span the gradients, as for a model with few parameters.

The error is estimated by the residual of the exact system, in rows of training items that have columns and are not
landmarks: K - X - K M X / d is the first step of the iteration to the exact X. The table compares it with the true
error (root mean square over that of the scores), by number of landmarks among training items (300, 469 and 297
held-out items are landmarks too):

                                                  64             256            960
    4,000 items, 705 parameters             0.073 (0.112)  0.026 (0.033)  0.000 (0.000)
    1,536 web pages, 110,337 parameters     0.110 (0.119)  0.082 (0.076)  0.034 (0.035)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.kernel.item_kernel import ItemKernel
from tracinctl.engine.landmarks import Landmarks, evenly
from tracinctl.engine.pair_rows import PairRows
from tracinctl.engine.row_file import RowFile

_AT_ONCE = 16 << 20  # largest piece of a kernel in bytes
_CHECKED = 64  # largest number of held-out pairs that measure the error
_TWO = 2  # items make a pair
_ROUNDING = 1e-7  # share of the largest eigenvalue of W; float32 gradients do not determine smaller ones
_WEAK = 1e-6  # share of d; weaker directions of F discount almost nothing
_BYTES_A_PAIR = 256  # bytes per pair to build M as a sparse matrix


class LandmarkKernel:
    """A kernel that discounts training rows for what many training pairs have in common.

    Args:
        kernel: a kernel with columns for the landmarks.
        landmarks: the landmarks in its layout.
        train: the training pairs with the derivatives of their losses.
        test: the held-out pairs with the derivatives of minus their margins.
        damping: d over F's trace.

    Attributes:
        landmarks: number of landmarks.
        error: correlation of scores with exact ones, and root mean square error over their root mean square, shape
            (2,); NaN if too few training items are left to measure it.
    """

    def __init__(
        self, kernel: ItemKernel, landmarks: Landmarks, train: PairRows, test: PairRows, damping: float
    ) -> None:
        self._kernel, self._landmarks = kernel, landmarks
        self.landmarks = len(landmarks.rows)
        self._training = np.unique(kernel.layout.train_rows)
        self._across: FloatArray | None = None
        self._d = damping * float(np.mean(kernel.squared_lengths(train, landmarks.room)))
        self._Q = self._directions(train)
        few = landmarks.room // (16 * len(self._training))  # columns that fit into memory
        some = test[evenly(np.arange(len(test)), min(_CHECKED, few))]
        self.error = self._measured_error(train, some, landmarks.checks[:few])

    def rows(self, rows: IntArray) -> FloatArray:
        """See ``ItemKernel.rows``; rows of training items are discounted."""
        block = self._kernel.rows(rows)
        if self._across is None:
            self._across = self._Q @ (self._Q.T @ self._kernel.rows(self._landmarks.rows))
        training = np.isin(rows, self._training)
        part = block if training.all() else block[training]
        part -= np.take(part, self._landmarks.rows, axis=1) @ self._across
        if part is not block:
            block[training] = part
        return block

    def squared_lengths(self, train: PairRows, at_once: int) -> FloatArray:
        """See ``ItemKernel.squared_lengths``; those of training pairs are discounted."""
        total = self._kernel.squared_lengths(train, at_once)
        i, j = (np.searchsorted(self._training, rows) for rows in (train.i, train.j))
        for Y in self._coordinates():
            step = max(1, self._landmarks.room // (32 * Y.shape[1]))
            for start in range(0, len(total), step):
                k = slice(start, start + step)
                of_pair = train.first[k, None] * Y[i[k]]
                of_pair += train.second[k, None] * Y[j[k]]
                total[k] -= np.square(of_pair, out=of_pair).sum(axis=1)
        return total

    def _coordinates(self) -> Iterator[FloatArray]:
        """The training rows' gradients in the directions of Q, in parts of the directions that fit into memory.

        The kernel is read once. With several parts, each is kept in a file until it is its turn.
        """
        marks, parts = self._landmarks.rows, list(self._parts(self._Q.shape[1]))
        files = [RowFile(part.stop - part.start) for part in parts]
        for _, block in self._blocks() if parts else ():
            values = np.take(block, marks, axis=1) @ self._Q
            for file, part in zip(files, parts, strict=True):
                file.append(values[:, part])
        everything = np.arange(len(self._training))
        return (file.read(everything) for file in files)

    def release(self) -> None:
        """Release arrays that can be computed again."""
        self._across = None

    def _directions(self, train: PairRows) -> FloatArray:
        """Compute Q, shape (landmarks, directions)."""
        marks = self._landmarks.rows
        if self._d <= 0:
            return np.zeros((len(marks), 0))
        W = self._kernel.rows(marks)[:, marks]
        w, U = np.linalg.eigh((W + W.T) / 2)
        clear = w > _ROUNDING * w[-1]
        R = U[:, clear] / np.sqrt(w[clear])
        f, E = np.linalg.eigh(R.T @ self._moments(train) @ R)
        strong = f > _WEAK * self._d
        return np.asarray(R @ (E[:, strong] * np.sqrt(f[strong] / (f[strong] + self._d))))

    def _moments(self, train: PairRows) -> FloatArray:
        """Compute C^T M C over the training rows."""
        marks = self._landmarks.rows
        total = np.zeros((len(marks), len(marks)))
        for part in self._parts(len(marks)):
            C = np.empty((len(self._training), part.stop - part.start))
            for where, block in self._blocks():
                C[where] = np.take(block, marks[part], axis=1)
            C = self._by_moments(train, C)
            for where, block in self._blocks():
                total[:, part] += np.take(block, marks, axis=1).T @ C[where]
        return (total + total.T) / 2

    def _by_moments(self, train: PairRows, values: FloatArray) -> FloatArray:
        """Multiply M = A^T A / pairs by an array whose rows are the training rows."""
        total = np.zeros_like(values)
        step = max(1, self._landmarks.room // _BYTES_A_PAIR)
        for start in range(0, len(train), step):
            some = train[start : start + step]
            i, j = (np.searchsorted(self._training, rows) for rows in (some.i, some.j))
            both = some.first * some.second
            M = torch.sparse_coo_tensor(
                torch.from_numpy(np.stack([np.concatenate([i, i, j, j]), np.concatenate([i, j, i, j])])),
                torch.from_numpy(np.concatenate([some.first**2, both, both, some.second**2]) / len(train)),
                (len(values), len(values)),
                check_invariants=False,
            )
            total += torch.sparse.mm(M, torch.from_numpy(values)).numpy()
        return total

    def _measured_error(self, train: PairRows, test: PairRows, checks: IntArray) -> FloatArray:
        marks = self._landmarks.rows
        if len(checks) < _TWO or not len(test) or self._d <= 0:
            return np.full(2, np.nan)
        weights = self._Q @ (self._Q.T @ test.times(self._kernel.rows(marks)))
        X, K = np.empty((len(self._training), len(test))), np.empty((len(self._training), len(checks)))
        for where, block in self._blocks():
            X[where] = test.times(block) - np.take(block, marks, axis=1) @ weights
            K[where] = np.take(block, checks, axis=1)
        here = np.searchsorted(self._training, checks)
        missing = test.times(self._kernel.rows(checks)) - X[here] - K.T @ self._by_moments(train, X) / self._d
        i, j = np.triu_indices(len(checks), 1)
        scores, off = X[here][i] - X[here][j], missing[i] - missing[j]
        if not scores.std() or not (scores + off).std():
            return np.full(2, np.nan)
        correlation = np.corrcoef(scores.ravel(), (scores + off).ravel())[0, 1]
        return np.array([correlation, np.sqrt(np.mean(off**2) / np.mean(scores**2))])

    def _parts(self, columns: int) -> Iterator[slice]:
        """Slices of columns for all training rows that fit into memory, as two arrays and their product."""
        step = max(1, self._landmarks.room // (32 * len(self._training)))
        return (slice(start, min(start + step, columns)) for start in range(0, columns, step))

    def _blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        """All training rows of the kernel in blocks, with their places."""
        step = max(1, min(self._landmarks.room // 4, _AT_ONCE) // (8 * self._kernel.layout.columns))
        for start in range(0, len(self._training), step):
            where = slice(start, min(start + step, len(self._training)))
            yield where, self._kernel.rows(self._training[where])
