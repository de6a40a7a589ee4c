"""Inner products of gradients, summed in float64 in pieces.

Products of items are computed in float64 (``exact``), because most of them cancels when items are subtracted. If rows
are differences already, a piece is multiplied in the gradients' own dtype, at half the cost.

``Rows`` hold one gradient per row, of an item or of the difference of two items. Outer products stay outer products;
a difference of two is kept as a sum of two, in which nothing cancels: b a^T - d c^T = b (a - c)^T + (b - d) c^T.
Gradients of a table stay in the form of used rows, and only rows that both sides use are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tracinctl.data.pairs import FloatArray
from tracinctl.engine.gradients.uses import Feature, Outer, Touched
from tracinctl.engine.kernel import table_products
from tracinctl.engine.kernel.precision import LEAST_COLUMNS, exact_numbers, in_cache

_NEAR = 1 << 20  # bytes of a core's own cache
_ROWS_TOGETHER = 32  # least number of rows gathered at a time, if memory allows
_SHORT = 1024  # numbers summed in the gradients' own dtype; float32 is off by some 1e-7 of the lengths
_MATRIX = 2  # number of dimensions


@dataclass(frozen=True)
class Rows:
    """Gradients of some rows.

    Each part is one tensor (rows, numbers), or two (sides, rows, numbers) for an outer product, or one (positions,
    rows, 1 + width) for rows of a table, with the number of the row first.
    """

    parts: tuple[tuple[torch.Tensor, ...], ...]

    @staticmethod
    def of(features: Sequence[Feature], *, differences: bool) -> Rows:
        """Rows of items; or, with ``differences``, of pairs, from features of this kind (``uses.differences``)."""
        parts: list[tuple[torch.Tensor, ...]] = []
        sides = 2 if differences else 1
        for feature in features:
            if isinstance(feature, Outer):
                a, b = (t.reshape(-1, sides, t.shape[1]).transpose(0, 1) for t in (feature.inputs, feature.outputs))
                if differences:
                    a = torch.stack([a[0] - a[1], a[1]])
                    b = torch.stack([b[0], b[0] + b[1]])
                parts.append((a, b))
            elif isinstance(feature, Touched):
                parts.append((table_products.by_position(feature, sides),))
            else:
                parts.append((feature.values,))
        return Rows(tuple(parts))

    @staticmethod
    def room(like: Sequence[Sequence[Sequence[int]]], rows: int, device: torch.device, dtype: torch.dtype) -> Rows:
        """Empty rows of this number with parts of these shapes."""
        shapes = Rows.shapes_of(like, rows)
        return Rows(tuple(tuple(torch.empty(s, device=device, dtype=dtype) for s in part) for part in shapes))

    @staticmethod
    def shapes_of(like: Sequence[Sequence[Sequence[int]]], rows: int) -> list[list[list[int]]]:
        """Shapes of this many rows with parts of these shapes."""
        return [[[*shape[:-2], rows, shape[-1]] for shape in part] for part in like]

    @property
    def shapes(self) -> list[list[list[int]]]:
        """Shapes of the tensors of each part."""
        return [[list(t.shape) for t in part] for part in self.parts]

    def tensors(self) -> Iterator[torch.Tensor]:
        """All tensors, in order."""
        return (t for part in self.parts for t in part)

    def contiguous(self) -> Rows:
        """The rows in contiguous memory, for sending."""
        return Rows(tuple(tuple(t.contiguous() for t in part) for part in self.parts))

    def __len__(self) -> int:
        return int(self.parts[0][0].shape[-2])

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(tuple(tuple(t[..., rows, :] for t in part) for part in self.parts))

    def places(self, rows: slice) -> list[torch.Tensor | None]:
        """Tensors for the dense gradients of these rows; None for parts of another form."""
        return [part[0][rows] if part[0].dim() == _MATRIX else None for part in self.parts]

    def put(self, start: int, rows: Rows) -> None:
        """Copy ``rows`` to the places from ``start`` on, except what was computed there."""
        for part, new in zip(self.parts, rows.parts, strict=True):
            for t, value in zip(part, new, strict=True):
                place = t[..., start : start + len(rows), :]
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)


def inner_products(left: Rows, right: Rows, scratch: int, *, exact: bool = True, leading: bool = False) -> FloatArray:
    """Inner products of two sets of gradients, shape (left rows, right rows).

    ``scratch`` are bytes for float64 copies. If ``exact``, products of single gradients are computed in float64. If
    ``leading``, ``left`` is the beginning of ``right``, so that their products are symmetric.
    """
    total: torch.Tensor | None = None
    for a, b in zip(left.parts, right.parts, strict=True):
        if table_products.is_table(a):
            total = exact_numbers(a[0].new_zeros(len(left), len(right))) if total is None else total
            table_products.add_products(total, a[0], b[0], scratch)
            continue
        symmetric = leading and (a[0].dim() == _MATRIX or len(a[0]) == 1)
        part, *more = (
            _products(x, y, scratch, leading=symmetric) if exact else _short_products(x, y)
            for x, y in zip(a, b, strict=True)
        )
        for factor in more:
            part = _over_sides(part.mul_(factor))
        total = part if total is None else total.add_(part)
    assert total is not None  # noqa: S101  a model has at least one parameter, and so one part
    return np.asarray(total.cpu().double().numpy())


def _over_sides(products: torch.Tensor) -> torch.Tensor:
    """Products of outer products summed over their sides, (rows, rows) of (sides, rows, sides, rows).

    ``sum`` over two short dimensions takes several times as long.
    """
    of_left = products[0]
    for other in products[1:]:
        of_left += other
    total = of_left[:, 0]
    for side in range(1, of_left.shape[1]):
        total += of_left[:, side]
    return total


def squared_lengths(rows: Rows, scratch: int, *, exact: bool = True) -> FloatArray:
    """Squared lengths of the rows, shape (rows,)."""
    count = len(rows)
    total = np.zeros(count)
    for part in rows.parts:
        if table_products.is_table(part):
            total += table_products.squared_lengths(part[0], in_cache(part[0], scratch))
            continue
        if len(part) > 1:
            total += _outer_lengths(part, in_cache(part[0], scratch))
            continue
        if not exact:
            for some in _pieces(part[0]):
                total += exact_numbers(torch.linalg.vector_norm(some, dim=2)).square().sum(1).cpu().double().numpy()
            continue
        columns = max(LEAST_COLUMNS, min(in_cache(part[0], scratch), _NEAR) // (8 * max(1, count)))
        for some in torch.split(part[0], columns, dim=1):
            total += torch.linalg.vector_norm(exact_numbers(some), dim=1).square().cpu().double().numpy()
    return total


def _outer_lengths(part: Sequence[torch.Tensor], room: int) -> FloatArray:
    """Squared lengths of rows of outer products, or of their sums over sides."""
    sides, count = part[0].shape[:2]
    step = max(1, room // (8 * (sides + sides**2) * sum(t.shape[-1] for t in part)))
    lengths = np.empty(count)
    for start in range(0, count, step):
        some = (exact_numbers(t[:, start : start + step]) for t in part)
        a, b = ((t.unsqueeze(1) * t).sum(-1) for t in some)
        lengths[start : start + step] = (a * b).sum((0, 1)).cpu().double().numpy()
    return lengths


def row_products(rows: Rows, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], scratch: int) -> FloatArray:
    """Inner products of pairs of rows, given by place, shape (pairs,)."""
    total = np.zeros(len(first))
    for part in rows.parts:
        room = in_cache(part[0], scratch)
        if table_products.is_table(part):
            total += table_products.row_products(part[0], first, second, room)
            continue
        if len(part) == 1:
            for some in torch.split(part[0], max(LEAST_COLUMNS, room // (16 * _ROWS_TOGETHER)), dim=1):
                step = max(1, room // (16 * max(1, some.shape[1])))
                for start in range(0, len(first), step):
                    i, j = (torch.from_numpy(k[start : start + step]).to(some.device) for k in (first, second))
                    value = torch.einsum("ij,ij->i", exact_numbers(some[i]), exact_numbers(some[j]))
                    total[start : start + step] += value.cpu().double().numpy()
            continue
        width = sum(t.shape[-1] * len(t) for t in part)
        step = max(1, room // (16 * max(1, width)))
        for start in range(0, len(first), step):
            i, j = (torch.from_numpy(k[start : start + step]).to(part[0].device) for k in (first, second))
            a, b = (tuple(exact_numbers(t[..., k, :]) for t in part) for k in (i, j))
            value = (a[0].unsqueeze(1) * b[0]).sum(-1) * (a[1].unsqueeze(1) * b[1]).sum(-1)
            total[start : start + step] += value.sum((0, 1)).cpu().double().numpy()
    return total


def _products(a: torch.Tensor, b: torch.Tensor, scratch: int, *, leading: bool) -> torch.Tensor:
    """(rows, rows) of tensors (rows, numbers); (sides, rows, sides, rows) of tensors (sides, rows, numbers)."""
    x, y = a.flatten(0, -2), b.flatten(0, -2)
    first = len(x) if leading else 0
    columns = max(LEAST_COLUMNS, in_cache(x, scratch) // (8 * (len(x) + len(y) - first)))
    total = exact_numbers(x.new_zeros(len(x), len(y)))
    for start in range(0, x.shape[1], columns):
        q = exact_numbers(y[:, start : start + columns])
        p = q[:first] if leading else exact_numbers(x[:, start : start + columns])
        if leading:
            total[:, :first] += _symmetric(p)
        if len(q) > first:
            total[:, first:].addmm_(p, q[first:].T)
    return total.reshape(*a.shape[:-1], *b.shape[:-1])


def _symmetric(p: torch.Tensor) -> torch.Tensor:
    """``p @ p.T``, for which numpy computes every product once, but torch twice."""
    if p.device.type != "cpu":
        return p @ p.T
    values = p.numpy()
    return torch.from_numpy(values @ values.T)


def _short_products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Like ``_products``, in the gradients' own dtype; pieces of a row's numbers are summed in float64."""
    pieces = [torch.split(t.flatten(0, -2), _SHORT, dim=1) for t in (a, b)]
    total = exact_numbers(pieces[0][0] @ pieces[1][0].T)
    for x, y in zip(*(some[1:] for some in pieces), strict=True):
        total += x @ y.T
    return total.reshape(*a.shape[:-1], *b.shape[:-1])


def _pieces(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """(rows, pieces, numbers) of (rows, numbers): first all pieces of equal length, then the rest."""
    even = x.shape[1] // _SHORT * _SHORT
    yield x[:, :even].reshape(len(x), -1, _SHORT)
    yield x[:, even:].unsqueeze(1)
