"""Inner products of gradients, summed in float64 in pieces.

Products of items are computed in float64 (``exact``), or for long gradients minus a vector in the ``middle`` of all
items, because what all items have in common cancels when items are subtracted. Then, and if rows are differences
already, slices of rows are multiplied in the gradients' own dtype, at half the cost.

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
from tracinctl.engine.kernel.middle import Middle
from tracinctl.engine.kernel.precision import LEAST_COLUMNS, exact_numbers, in_cache

_NEAR = 1 << 20  # bytes of a core's own cache
_ROWS_TOGETHER = 32  # least number of rows gathered at a time, if memory allows
_SHORT = 1024  # numbers summed in the gradients' own dtype; float32 is off by some 1e-7 of the lengths
_BLOCKS = 4  # blocks of rows in symmetric products; 4 take 5/8 of the multiplications
_LEAST_BLOCK = 16  # rows; smaller blocks take longer per multiplication
_MATRIX = 2  # number of dimensions


@dataclass(frozen=True)
class Rows:
    """Gradients of some rows.

    Each part is one tensor (rows, numbers), or two (sides, rows, numbers) for an outer product, or one (positions,
    rows, 1 + width) for rows of a table, with the number of the row first.

    Attributes:
        parts: the gradients.
        middle: subtracted from long parts, whose products are then in float32; None = all products in float64.
        along: inner products of the rows with ``middle``, shape (rows,).
    """

    parts: tuple[tuple[torch.Tensor, ...], ...]
    middle: Middle | None = None
    along: torch.Tensor | None = None

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

    @property
    def size(self) -> int:
        """Bytes of the gradients."""
        return sum(t.element_size() * t.numel() for t in self.tensors())

    def tensors(self) -> Iterator[torch.Tensor]:
        """All tensors, in order."""
        return (t for part in self.parts for t in part)

    def contiguous(self) -> Rows:
        """The rows in contiguous memory, for sending."""
        return Rows(tuple(tuple(t.contiguous() for t in part) for part in self.parts))

    def __len__(self) -> int:
        return int(self.parts[0][0].shape[-2])

    def __getitem__(self, rows: slice) -> Rows:
        along = None if self.along is None else self.along[rows]
        return Rows(tuple(tuple(t[..., rows, :] for t in part) for part in self.parts), self.middle, along)

    def about(self, middle: Middle | None) -> Rows:
        """The same rows, for products with other rows about the same ``middle``."""
        return self if middle is None else Rows(self.parts, middle, middle.products(self.parts))

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

    ``scratch`` are bytes for copies. If ``exact``, products are computed in float64, except minus a middle. If
    ``leading``, ``left`` is the beginning of ``right``, so that their products are symmetric.
    """
    total = _of_middle(left, right)
    about = left.middle or Middle((False,) * len(left.parts), (None,) * len(left.parts), 0.0)
    for a, b, short, middle in zip(left.parts, right.parts, about.short, about.parts, strict=True):
        if table_products.is_table(a):
            table_products.add_products(total, a[0], b[0], scratch)
            continue
        symmetric = leading and (a[0].dim() == _MATRIX or len(a[0]) == 1)
        in_double = exact and not short
        part, *more = (
            _products(x, y, scratch, exact=in_double, middle=middle, leading=symmetric)
            for x, y in zip(a, b, strict=True)
        )
        for factor in more:
            part = _over_sides(part.mul_(factor))
        total += part
    if left.middle is not None and not bool(torch.isfinite(total).all()):
        # numbers that are too large for products in float32
        return inner_products(Rows(left.parts), Rows(right.parts), scratch, exact=exact, leading=leading)
    return np.asarray(total.cpu().double().numpy())


def _of_middle(left: Rows, right: Rows) -> torch.Tensor:
    """What products of rows minus their middle lack, shape (left rows, right rows)."""
    if left.middle is None or left.along is None or right.along is None:
        return exact_numbers(left.parts[0][0].new_zeros(len(left), len(right)))
    return (left.along[:, None] + right.along).sub_(left.middle.squared_length)


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


def _products(
    a: torch.Tensor, b: torch.Tensor, scratch: int, *, exact: bool, middle: torch.Tensor | None, leading: bool
) -> torch.Tensor:
    """(rows, rows) of tensors (rows, numbers); (sides, rows, sides, rows) of tensors (sides, rows, numbers)."""
    x, y = a.flatten(0, -2), b.flatten(0, -2)
    first = len(x) if leading else 0
    total = exact_numbers(x.new_zeros(len(x), len(y)))
    for begin, end, length in _slices(x, len(y) - first, scratch, exact=exact):
        q = _sliced(y, begin, end, length, exact=exact, middle=middle)
        p = q[:, :first] if leading else _sliced(x, begin, end, length, exact=exact, middle=middle)
        if leading:
            _add_symmetric(total[:, :first], p)
        if len(y) > first:
            _add(total[:, first:], p, q[:, first:])
    if leading:
        _mirror(total[:, :first])
    return total.reshape(*a.shape[:-1], *b.shape[:-1])


def _slices(x: torch.Tensor, others: int, scratch: int, *, exact: bool) -> Iterator[tuple[int, int, int]]:
    """The numbers of rows in pieces for ``scratch``: (begin, end, length of the slices that are summed at a time)."""
    numbers, rows = x.shape[1], len(x) + others
    if exact:
        length = step = max(LEAST_COLUMNS, in_cache(x, scratch) // (8 * rows))
    else:
        size = x.element_size() * (rows + len(x) * rows // _SHORT + 1)
        # the rows themselves need the other half of the cache
        columns = min(scratch // size, max(_SHORT, in_cache(x, scratch) // 2 // size))
        length = max(LEAST_COLUMNS, min(_SHORT, columns))
        step = max(1, columns // length) * length
    even = numbers // length * length
    for begin in range(0, even, step):
        yield begin, min(begin + step, even), length
    if even < numbers:
        yield even, numbers, numbers - even


def _sliced(
    x: torch.Tensor, begin: int, end: int, length: int, *, exact: bool, middle: torch.Tensor | None
) -> torch.Tensor:
    """Numbers of rows as (slices, rows, length), in float64 if ``exact``, or minus the ``middle``."""
    some = x[:, begin:end]
    if exact:
        some = exact_numbers(some)
    elif middle is not None:
        some = some - middle[begin:end]
    return some.reshape(len(x), -1, length).transpose(0, 1)


def _add(total: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> None:
    """Add the products of rows, (slices, rows, length), summed over slices."""
    if len(p) == 1 and p.dtype == total.dtype:
        total.addmm_(p[0], q[0].T)
    else:
        total += torch.bmm(p, q.transpose(1, 2)).sum(0, dtype=total.dtype)


def _add_symmetric(total: torch.Tensor, p: torch.Tensor) -> None:
    """Add the products of rows with each other, of which those left of the diagonal may be missing."""
    if p.device.type == "cpu" and torch.get_num_threads() == 1:
        # numpy computes each product once; but its threads would wait for those of torch, which took three times as
        # long as torch alone with two threads
        values = p.numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            products = torch.from_numpy(values @ values.swapaxes(1, 2))
        total += products[0] if len(p) == 1 else products.sum(0, dtype=total.dtype)
        return
    for rows in _row_blocks(len(total)):
        _add(total[rows, rows.start :], p[:, rows], p[:, rows.start :])


def _row_blocks(rows: int) -> list[slice]:
    step = max(_LEAST_BLOCK, -(-rows // _BLOCKS))
    return [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def _mirror(square: torch.Tensor) -> None:
    """Copy what is right of the diagonal to the left of it, so that both are the same to the bit."""
    for rows in _row_blocks(len(square)):
        square[rows.stop :, rows] = square[rows, rows.stop :].T
        inner = square[rows, rows].triu()
        square[rows, rows] = inner + inner.triu(1).T


def _pieces(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """(rows, pieces, numbers) of (rows, numbers): first all pieces of equal length, then the rest."""
    even = x.shape[1] // _SHORT * _SHORT
    yield x[:, :even].reshape(len(x), -1, _SHORT)
    yield x[:, even:].unsqueeze(1)
