"""The kernel of a checkpoint: inner products of item score gradients, and the scores themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tracinctl.engine.distributed.processes import ALONE, Processes
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Feature
from tracinctl.engine.heap import Heap
from tracinctl.engine.item_check import check_items
from tracinctl.engine.items import Items
from tracinctl.engine.kernel.item_kernel import KernelStore
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.kernel.products import Rows, inner_products, row_products, squared_lengths
from tracinctl.engine.kernel.sizes import bytes_of_check, foreseen, measured, tensors_of
from tracinctl.engine.memory import BlockSizes, Budget, Measured, block_sizes, check_room
from tracinctl.engine.model_errors import asking_model
from tracinctl.errors import MemoryBudgetError, ModelError, NonFiniteError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class KernelMaker:
    """Makes the kernels of a run's checkpoints, one after the other.

    Gradients of as many rows with columns as fit into the memory are held at a time (a tile), and all other rows meet
    them in small chunks, so that gradients are taken again only where not all of them fit. Several processes take the
    same passes as one would, in turn: all hold the tile; then each takes some of the chunks, and the first one puts the
    products where they belong. So their result is the same to the bit.

    Args:
        gradients: of the model.
        items: training items, then held-out ones.
        layout: which products are wanted.
        device, dtype: of the gradients.
        budget: of the working set.
    """

    def __init__(
        self,
        gradients: ItemGradients,
        items: Items,
        layout: KernelLayout,
        *,
        device: torch.device,
        dtype: torch.dtype,
        budget: Budget,
    ) -> None:
        self.gradients, self.items, self.layout = gradients, items, layout
        self.device, self.dtype, self.budget = device, dtype, budget
        self.heap = Heap(budget.left)
        self._sizes: BlockSizes | None = None
        self._room: Rows | None = None

    def make(
        self, store: KernelStore, *, checkpoint: str, report: Callable[[int], None], processes: Processes = ALONE
    ) -> dict[str, FloatArray]:
        """Put the products of the state that the model is in into ``store``; gives the kernel's other parts.

        Of several ``processes`` the first one has all of it, the others parts.

        Raises:
            MemoryBudgetError: not even one row at a time fits; the message says what would do.
            ModelError: the model fails on an item, or an item's score is no function of the item.
            NonFiniteError: a score or a gradient is NaN or infinite; the checkpoint and the item are named.
        """
        wanted = np.unique(self.layout.items_of(np.arange(len(self.layout))))
        shared = (np.intersect1d(group, wanted) for group in self.items.groups())
        groups = [int(items[0]) for items in shared if len(items)]
        rows = 1 if self.layout.second is None else 2
        read = [partial(self.items.stack, [item], self.device, self.dtype) for item in groups]
        if self._sizes is None:
            self._check_room(read, rows)
            check_items(self.gradients, self.items, self.device, self.dtype)
        for item, give in zip(groups, read, strict=True):
            with asking_model([self.items.ids[item]], inputs := give()):
                self.gradients.prepare(inputs)
        if self._sizes is None:
            self._sizes = block_sizes(self.budget, self.layout.columns, self._measured(groups, read, rows))
        # what is free, and what a pass took, may be something else in each process
        sizes = processes.each(lambda: self._sizes)[0]
        assert sizes is not None  # noqa: S101  just chosen
        return _Making(self, sizes, store, checkpoint, report, processes).run()

    def room(self, shapes: Sequence[Sequence[Sequence[int]]], rows: int) -> Rows:
        """Room for a tile, the same one for all tiles and checkpoints: the system gives fresh pages slowly."""
        if self._room is None or len(self._room) < rows or self._room[:rows].shapes != Rows.shapes_of(shapes, rows):
            self._room = None
            self._room = Rows.room(shapes, rows, self.device, self.dtype)
        return self._room[:rows]

    def release(self) -> None:
        """Give the memory of tiles back."""
        self._room = None

    def _measured(self, items: list[int], read: Sequence[Callable[[], Any]], items_a_row: int) -> Measured:
        """What gradients take, measured on these items, one of each shape.

        Raises:
            ModelError: the model fails on one of them; it is named.
        """
        try:
            with asking_model([self.items.ids[item] for item in items]):
                return measured(self.gradients, read, items_a_row)
        except ModelError:
            for item, give in zip(items, read, strict=True):
                with asking_model([self.items.ids[item]], inputs := give()):
                    self.gradients.scores(inputs)
            raise

    def _check_room(self, read: Sequence[Callable[[], Any]], items_a_row: int) -> None:
        """Raise MemoryBudgetError before anything is taken that goes beyond the memory."""
        first = bytes_of_check(self.gradients, self.dtype)
        try:
            check_room(self.budget, first)
        except MemoryBudgetError:
            if sizes := foreseen(self.gradients, read, items_a_row):
                check_room(self.budget, max(first, sizes.least))
            raise


class _Making:
    """The making of one kernel."""

    def __init__(
        self,
        maker: KernelMaker,
        sizes: BlockSizes,
        store: KernelStore,
        checkpoint: str,
        report: Callable[[int], None],
        processes: Processes,
    ) -> None:
        self.maker, self.sizes, self.store = maker, sizes, store
        self.layout, self.items = maker.layout, maker.items
        self.checkpoint, self.report, self.processes = checkpoint, report, processes
        self.shape = np.zeros(len(self.items), dtype=np.int64)
        for number, rows in enumerate(self.items.groups()):
            self.shape[rows] = number
        self.parts = {
            "scores": np.zeros(len(self.items)),
            "item_lengths": np.zeros(len(self.items)),
            "lengths": np.zeros(len(self.layout)),
            "pairs": np.zeros(len(self.layout.pairs)),
        }
        # row that begins the chunk in which an item's gradient was taken first
        self.begun = np.full(len(self.items), len(self.layout), dtype=np.int64)
        self.exact = maker.layout.second is None  # of differences nothing more is subtracted
        self.again = False  # whether all rows were taken before

    def run(self) -> dict[str, FloatArray]:
        columns = self.layout.columns
        for start in range(0, columns, self.sizes.tile):
            tile = np.arange(start, min(start + self.sizes.tile, columns))
            end = start + len(tile)
            held = self._hold(tile)
            # rows of the tile meet those from them on: the other way round it is the same
            inside = [(held[k[0] - start :], k) for k in _pieces(tile, self.sizes.chunk)]
            outside = _pieces(np.arange(end, len(self.layout)), self.sizes.chunk)
            for rows, values in self._meet([*inside, *((held, k) for k in outside)], held=len(inside)):
                row = int(rows[0])
                column = row if row < end else start
                self.store.write(row, column, values)
                if row < columns:
                    across = values[: columns - row, len(rows) if row < end else 0 :].T
                    self.store.write(end - len(across), row, np.ascontiguousarray(across))
            del held, inside  # or two tiles were there while the next one is taken
            if not self.again:
                self.again = True
                self._pairs_apart(outside)
        self._gather_parts()
        return self.parts

    def _gather_parts(self) -> None:
        """Put the parts of all processes together, in the first one."""
        self.processes.each(_nothing)
        # an item of several rows counts where one process alone would have met it first
        others = self.begun != self.processes.least(torch.from_numpy(self.begun)).numpy()
        self.parts["scores"][others] = self.parts["item_lengths"][others] = 0.0
        for part in self.parts.values():
            self.processes.add_up(torch.from_numpy(part))

    def _hold(self, rows: IntArray) -> Rows:
        """Gradients of these rows, in every process all of them; each takes its passes through the model."""
        items_a_row = 1 if self.layout.second is None else 2
        pieces = _pieces(rows, max(1, min(self.sizes.chunk, self.sizes.block // items_a_row)))
        rank, size = self.processes.rank, self.processes.size
        held: Rows | None = None
        start = 0
        for k in range(0, len(pieces), size):
            own: list[Rows] = []
            shapes = self.processes.each(lambda: self._take_share(pieces[k : k + size], own))  # noqa: B023 - called at once
            for source, piece in enumerate(pieces[k : k + size]):
                if source == rank:
                    block = own.pop()
                else:
                    block = Rows.room(shapes[source], len(piece), self.maker.device, self.maker.dtype)
                if size > 1:
                    block = block.contiguous()
                    for tensor in block.tensors():
                        self.processes.broadcast(tensor, source)
                if len(piece) == len(rows):
                    return block
                if held is None:
                    held = self.maker.room(block.shapes, len(rows))
                held.put(start, block)
                start += len(piece)
                del block
        assert held is not None  # noqa: S101  there are rows
        return held

    def _take_share(self, pieces: Sequence[IntArray], own: list[Rows]) -> list[list[list[int]]]:
        """Put the gradients of this process's piece, if there is one, into ``own``; gives the shapes of its tensors."""
        if self.processes.rank >= len(pieces):
            return []
        own.append(self._take(pieces[self.processes.rank]))
        return own[0].shapes

    def _meet(self, pieces: list[tuple[Rows, IntArray]], held: int = 0) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield, in the first process, (rows, their products with gradients that are there) of each piece.

        A piece is what its rows meet, and the rows. Those of the first ``held`` pieces begin what they meet, all others
        are taken here, by the process whose turn it is.
        """
        rank, size = self.processes.rank, self.processes.size
        for k in range(0, len(pieces), size):
            now = pieces[k : k + size]
            own: list[FloatArray] = []
            there = k + rank < held
            self.processes.each(
                lambda: own.append(self._products(*now[rank], there=there)) if rank < len(now) else None  # noqa: B023 - called at once
            )
            for source, (met, rows) in enumerate(now):
                if source and rank == source:
                    self.processes.hand_over(torch.from_numpy(own[0]), source)
                elif rank == 0:
                    values = np.empty((len(rows), len(met))) if source else own[0]
                    if source:
                        self.processes.hand_over(torch.from_numpy(values), source)
                    yield rows, values

    def _products(self, met: Rows, rows: IntArray, *, there: bool) -> FloatArray:
        """Products of these rows, whose gradients are ``there`` at the beginning of those that they meet."""
        if there:
            taken = met[: len(rows)]
        else:
            taken = self._take(rows)
            self._pairs_within(taken, rows)
        self.maker.heap.trim()
        return inner_products(taken, met, self.sizes.scratch, exact=self.exact, leading=there)

    def _take(self, rows: IntArray) -> Rows:
        """Gradients of these rows."""
        wanted = self.layout.items_of(rows)
        order = np.argsort(self.shape[wanted], kind="stable")
        held: list[Feature] = []
        at = 0
        while at < len(order):
            alike = self.shape[[wanted[k] for k in order[at : at + self.sizes.block]]]
            places = order[at : at + int((alike == alike[0]).sum())]
            features = self._gradients([wanted[k] for k in places], int(rows[0]))
            if len(places) == len(wanted):
                held = features
            else:
                held = held or [_room(feature, len(wanted)) for feature in features]
                # a slice is copied to at once, places are looked up one after the other
                together = places[-1] - places[0] + 1 == len(places)
                where: Any = slice(int(places[0]), int(places[-1]) + 1) if together else torch.from_numpy(places)
                for feature, own in zip(features, held, strict=True):
                    for tensor, target in zip(tensors_of(feature), tensors_of(own), strict=True):
                        target[where if together else where.to(target.device)] = tensor
                del tensor, feature
            del features
            at += len(places)
        taken = Rows.of(held, differences=self.layout.second is not None)
        if not self.again:
            self.parts["lengths"][rows] = (
                self.parts["item_lengths"][wanted]
                if self.layout.second is None
                else squared_lengths(taken, self.sizes.scratch, exact=self.exact)
            )
        return taken

    def _gradients(self, items: list[int], begun: int) -> list[Feature]:
        """Gradients of items of one shape, for the chunk of rows that begins with ``begun``.

        What else is to be known of an item is noted the first time.
        """
        self.maker.heap.trim()
        features, scores = self._ask(items)
        if not self.again:
            _check_finite(features, scores, [self.items.ids[k] for k in items], self.checkpoint)
            lengths = squared_lengths(Rows.of(features, differences=False), self.sizes.scratch, exact=self.exact)
            new = np.flatnonzero(self.begun[items] == len(self.layout))
            places = np.asarray(items)[new]
            self.parts["scores"][places] = scores.cpu().double().numpy()[new]
            self.parts["item_lengths"][places] = lengths[new]
            self.begun[places] = begun
        self.report(int((self.begun < len(self.layout)).sum()))
        return features

    def _ask(self, items: list[int]) -> tuple[list[Feature], torch.Tensor]:
        """Gradients and scores of items of one shape.

        Raises:
            ModelError: the model fails on an item.
        """
        inputs = self.items.stack(items, self.maker.device, self.maker.dtype)
        try:
            with asking_model([self.items.ids[k] for k in items], inputs):
                return self.maker.gradients(inputs)
        except ModelError:
            if len(items) > 1:
                for item in items:  # one of them alone fails as well, and then it is named
                    self._ask([item])
            raise

    # Products of the items of training pairs, where not all rows have columns

    def _pairs_within(self, taken: Rows, rows: IntArray) -> None:
        """Pairs whose two items are both among these rows."""
        pairs = self.layout.pairs
        if self.again or not len(pairs):
            return
        begin, end = np.searchsorted(pairs[:, 0], [rows[0], rows[-1] + 1])
        both = begin + np.flatnonzero(pairs[begin:end, 1] <= rows[-1])
        i, j = (pairs[both] - rows[0]).T
        self.parts["pairs"][both] = row_products(taken, i, j, self.sizes.scratch)

    def _pairs_apart(self, pieces: list[IntArray]) -> None:
        """Pairs whose items were in different pieces and have no column."""
        pairs = self.layout.pairs
        if not len(pairs):
            return
        piece = np.searchsorted([int(k[0]) for k in pieces], pairs, side="right")
        apart = np.flatnonzero((piece[:, 0] != piece[:, 1]) & (pairs[:, 0] >= self.layout.columns))
        firsts = np.unique(pairs[apart, 0])
        for start in range(0, len(firsts), self.sizes.tile):
            tile = firsts[start : start + self.sizes.tile]
            these = apart[(pairs[apart, 0] >= tile[0]) & (pairs[apart, 0] <= tile[-1])]
            partners = _pieces(np.unique(pairs[these, 1]), self.sizes.chunk)
            held = self._hold(tile)
            for rows, values in self._meet([(held, k) for k in partners]):
                here = these[np.isin(pairs[these, 1], rows)]
                left, right = np.searchsorted(rows, pairs[here, 1]), np.searchsorted(tile, pairs[here, 0])
                self.parts["pairs"][here] = values[left, right]


def _pieces(rows: IntArray, most: int) -> list[IntArray]:
    """The rows in pieces of about one length, at most ``most``."""
    return list(np.array_split(rows, -(-len(rows) // most))) if len(rows) else []


def _nothing() -> None:
    """Wait for the others."""


def _room(feature: Feature, items: int) -> Feature:
    """Room for the same for this many items."""
    tensors = [t.new_empty(items, *t.shape[1:]) for t in tensors_of(feature)]
    return type(feature)(*tensors)


def _check_finite(features: list[Feature], scores: torch.Tensor, ids: list[str], checkpoint: str) -> None:
    for what, tensors in (
        ("score", [scores.unsqueeze(1)]),
        ("gradient", [tensor for feature in features for tensor in tensors_of(feature)]),
    ):
        for tensor in tensors:
            # a sum is finite where all its terms are, at one pass and no mask
            if not bool(torch.isfinite(tensor.cpu().double().sum() if what == "score" else tensor.sum())):
                bad = (~torch.isfinite(tensor)).flatten(1).any(1).nonzero()
                if len(bad):
                    raise NonFiniteError(
                        f"checkpoint {checkpoint}: the {what} of item {ids[int(bad[0])]} is NaN or infinite",
                        hint="Leave the checkpoint or the item out, or look at the recording and the training run",
                    )
