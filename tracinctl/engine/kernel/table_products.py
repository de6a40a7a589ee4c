"""Inner products of gradients of a table by its used rows.

Parts are tensors (positions, rows, 1 + width) with the number of the table's row first. Gradients that use the same row
of the table meet one by one. If many on both sides use a row, all gradients by this row are multiplied as matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.gradients.uses import Touched
from tracinctl.engine.kernel.precision import LEAST_COLUMNS, exact_numbers, in_cache

_MATRIX = 2  # number of dimensions of a part that is no table
_FEW = 4  # up to this many positions of a gradient meet each other one by one
_CROWDED = 64  # a product of single gradients takes as long as this many in a matrix


def is_table(part: Sequence[torch.Tensor]) -> bool:
    """Whether a part has rows of a table."""
    return len(part) == 1 and part[0].dim() > _MATRIX


def by_position(feature: Touched, sides: int) -> torch.Tensor:
    """Positions first, those of all items of a row; each row has as many items as sides."""
    return feature.values.reshape(-1, sides * feature.values.shape[1], feature.values.shape[2]).transpose(0, 1)


def add_products(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scratch: int) -> None:
    """Add (rows, rows) of tensors (positions, rows, 1 + width), from the rows of the table that both use.

    Gradients that use the same row of the table meet one by one. If a row of the table is used by many on both sides,
    all gradients by this row are multiplied as matrices instead.
    """
    meeting = _Meeting.of(a, b)
    _add_crowded(total, a, b, meeting.crowded, scratch)
    room = max(1, in_cache(a, scratch) // (8 * 3 * a.shape[2]))
    for start in range(0, meeting.count, room):
        left, right = meeting.pairs(start, min(start + room, meeting.count))
        values = exact_numbers(a[..., 1:].reshape(-1, a.shape[2] - 1)[left])
        values *= b[..., 1:].reshape(-1, b.shape[2] - 1)[right]
        cells = left % a.shape[1] * b.shape[1] + right % b.shape[1]
        total.view(-1).index_add_(0, cells, values.sum(1))


@dataclass(frozen=True)
class _Meeting:
    """Uses of a table on two sides, by place in (positions, rows), that meet because their row of the table is equal.

    Attributes:
        left: uses on the left that meet some on the right.
        ends: for each of these, the number of pairs up to its last one.
        shift: for each of these, its first place in ``right`` minus the number of pairs before it.
        right: uses on the right in the order of their rows of the table.
        crowded: rows of the table that are left out, because many use them on both sides.
    """

    left: torch.Tensor
    ends: torch.Tensor
    shift: torch.Tensor
    right: torch.Tensor
    crowded: torch.Tensor

    @staticmethod
    def of(a: torch.Tensor, b: torch.Tensor) -> _Meeting:
        """Find what meets, from tensors (positions, rows, 1 + width)."""
        x, y = (t[..., 0].reshape(-1).long() for t in (a, b))
        y, right = torch.sort(y, stable=True)
        rows, uses = torch.unique_consecutive(y, return_counts=True)
        place = torch.searchsorted(rows, x).clamp_(max=len(rows) - 1)
        same = rows[place] == x
        crowded = torch.bincount(place[same], minlength=len(rows)) * uses * _CROWDED > a.shape[1] * b.shape[1]
        left = torch.nonzero(same & ~crowded[place]).squeeze(1)
        # by row of the table, so that products of (a, b) and of (b, a) are added in the same order
        place, order = torch.sort(place[left], stable=True)
        ends = uses[place].cumsum(0)
        return _Meeting(left[order], ends, uses.cumsum(0)[place] - ends, right, rows[crowded])

    @property
    def count(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def pairs(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        number = torch.arange(start, stop, device=self.left.device)
        use = torch.searchsorted(self.ends, number, right=True)
        return self.left[use], self.right[self.shift[use] + number]


def _add_crowded(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor, crowded: torch.Tensor, scratch: int) -> None:
    """Add the products of gradients by these rows of the table, as matrices."""
    room = in_cache(a, scratch) // (8 * (a.shape[1] + b.shape[1]))
    columns = min(a.shape[2] - 1, max(LEAST_COLUMNS, room))
    numbers = [t[..., 0].long().contiguous() for t in (a, b)] if len(crowded) else []
    for rows in torch.split(crowded, max(1, room // columns)) if len(crowded) else ():
        for begin in range(1, a.shape[2], columns):
            x, y = (_of_table(n, t[..., begin : begin + columns], rows) for n, t in zip(numbers, (a, b), strict=True))
            total.addmm_(x, y.T)


def _of_table(numbers: torch.Tensor, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Gradients of these rows of a table, (items, numbers), from numbers and values by (positions, items)."""
    place = torch.searchsorted(rows, numbers).clamp_(max=len(rows) - 1)
    position, item = torch.nonzero(rows[place] == numbers, as_tuple=True)
    values = exact_numbers(values[position, item])
    total = values.new_zeros(numbers.shape[1] * len(rows), values.shape[1])
    return total.index_add_(0, item * len(rows) + place[position, item], values).reshape(numbers.shape[1], -1)


def row_products(values: torch.Tensor, first: IntArray, second: IntArray, room: int) -> FloatArray:
    """Inner products of the gradients ``first`` and ``second``, one by one; only equal rows of the table meet."""
    positions, _, width = values.shape
    step = max(1, room // (8 * positions * (2 * width + 2 * positions)))
    total = np.zeros(len(first))
    for start in range(0, len(first), step):
        i, j = (torch.from_numpy(k[start : start + step]).to(values.device) for k in (first, second))
        a, b = (values[:, k].transpose(0, 1) for k in (i, j))
        products = torch.bmm(exact_numbers(a[..., 1:]), exact_numbers(b[..., 1:]).transpose(1, 2))
        same = a[..., 0].unsqueeze(2) == b[..., 0].unsqueeze(1)
        total[start : start + step] = products.mul_(same).sum((1, 2)).cpu().double().numpy()
    return total


def squared_lengths(values: torch.Tensor, room: int) -> FloatArray:
    """Squared lengths of gradients (positions, rows, 1 + width); gradients of the same table row add up first."""
    positions, count, width = values.shape
    if positions > _FEW:
        rows = np.arange(count)
        return row_products(values, rows, rows, room)
    step = max(1, room // (8 * (positions + 1) * width))
    total = np.zeros(count)
    for start in range(0, count, step):
        part = exact_numbers(values[:, start : start + step])
        length = part.new_zeros(part.shape[1])
        for p in range(positions):
            for q in range(p + 1):
                product = torch.einsum("ij,ij->i", part[p, :, 1:], part[q, :, 1:])
                length += product * (part[p, :, 0] == part[q, :, 0]) * (1 if p == q else 2)
        total[start : start + step] = length.cpu().double().numpy()
    return total
