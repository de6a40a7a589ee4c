"""Make the kernel of a checkpoint: inner products of item score gradients, and the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, IntArray
from tracinctl.engine.distributed.processes import ALONE, Processes
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.gradients.uses import Feature, differences
from tracinctl.engine.heap import Heap
from tracinctl.engine.item_check import check_items
from tracinctl.engine.items import Items
from tracinctl.engine.kernel.feature_blocks import Places, check_finite, places_in, put
from tracinctl.engine.kernel.item_kernel import KernelStore
from tracinctl.engine.kernel.layout import KernelLayout
from tracinctl.engine.kernel.middle import Middle
from tracinctl.engine.kernel.precision import in_cache, rounds_float32
from tracinctl.engine.kernel.products import Rows, inner_products, row_products, squared_lengths
from tracinctl.engine.kernel.sizes import bytes_of_check, foreseen, measured
from tracinctl.engine.kernel.tile import TileMemory
from tracinctl.engine.memory import SCRATCH, BlockSizes, Budget, Measured, block_sizes, check_room
from tracinctl.engine.model_errors import asking_model
from tracinctl.errors import MemoryBudgetError, ModelError, NonFiniteError


class KernelMaker:
    """Make the kernels of a run's checkpoints, one after another.

    The gradients of as many rows with columns as fit into memory are held at a time (a tile), and all other rows meet
    them in small chunks, so that gradients are computed again only if they do not all fit. Several processes share the
    passes of one: all hold the tile, each computes some of the chunks, and the first one stores the products. So the
    result is the same to the bit.

    Args:
        gradients: gradients of the model.
        items: training items, then held-out ones.
        layout: the layout of the products.
        device, dtype: device and precision of the gradients.
        budget: budget of the working memory.
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
        self.heap = Heap(budget.remaining)
        # by whether one process makes the kernel alone
        self._sizes: dict[bool, BlockSizes] = {}
        self.tile = TileMemory(len(layout), device, dtype, self.heap)

    def make(
        self, store: KernelStore | None, *, checkpoint: str, report: Callable[[int], None], processes: Processes = ALONE
    ) -> dict[str, FloatArray]:
        """Put the products for the model's present state into ``store``; return the kernel's other parts.

        With several ``processes``, only the first one has everything, and the others need no store.

        Raises:
            MemoryBudgetError: not even one row at a time fits; the message says how much memory is needed.
            ModelError: the model fails on an item, or an item's score depends on more than the item.
            NonFiniteError: a score or gradient is NaN or infinite; the message names the checkpoint and the item.
        """
        wanted = np.zeros(len(self.items), dtype=np.bool_)
        wanted[self.layout.items_of(np.arange(len(self.layout)))] = True
        groups = [int(items[0]) for group in self.items.groups() if len(items := group[wanted[group]])]
        rows = 1 if self.layout.second is None else 2
        read = [partial(self.items.stack, [item], self.device, self.dtype) for item in groups]
        if not self._sizes:
            self._check_room(read, rows)
            check_items(self.gradients, self.items, self.device, self.dtype)
        if not self._sizes or not self.gradients.prepare_in_passing():
            for item, give in zip(groups, read, strict=True):
                with asking_model([self.items.ids[item]], inputs := give()):
                    self.gradients.prepare(inputs)
        if (alone := processes.size == 1) not in self._sizes:
            scratch = in_cache(torch.empty(0, device=self.device), SCRATCH)
            needs, in_place = self._measured(groups, read, rows), alone and len(groups) == 1
            self._sizes[alone] = block_sizes(
                self.budget, len(self.layout), self.layout.columns, needs, scratch, in_place=in_place
            )
            self.heap.keep(self._sizes[alone].work)
        # free memory and the memory of a pass may differ between processes
        sizes = processes.gather(lambda: self._sizes[alone])[0]
        return _Making(self, sizes, store, checkpoint, report, processes).run()

    def release(self) -> None:
        """Release the memory of tiles and passes."""
        self.tile.release()
        self.heap.release()

    def _measured(self, items: list[int], read: Sequence[Callable[[], Any]], items_a_row: int) -> Measured:
        """Memory of gradients, measured on these items, one of each shape.

        Raises:
            ModelError: the model fails on one of them; the message names it.
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
        """Raise MemoryBudgetError before any work that would exceed the memory."""
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
        store: KernelStore | None,
        checkpoint: str,
        report: Callable[[int], None],
        processes: Processes,
    ) -> None:
        self.maker, self.sizes, self.store = maker, sizes, store
        self.layout, self.items = maker.layout, maker.items
        self.checkpoint, self.report, self.processes = checkpoint, report, processes
        self.parts = {
            "scores": np.zeros(len(self.items)),
            "lengths": np.zeros(len(self.layout)),
            "pairs": np.zeros(len(self.layout.pairs)),
        }
        # first row of the chunk in which an item's gradient was first computed
        self.begun = np.full(len(self.items), len(self.layout), dtype=np.int64)
        self.exact = maker.layout.second is None or rounds_float32()  # nothing more is subtracted from differences
        # all lengths are products that are computed anyway
        self.complete = maker.layout.columns == len(maker.layout)
        self.again = False  # whether all rows were computed before
        self.middle: Middle | None = None  # of the first tile, and the same for all products

    def run(self) -> dict[str, FloatArray]:
        columns = self.layout.columns
        for start in range(0, columns, self.sizes.tile):
            tile = np.arange(start, min(start + self.sizes.tile, columns))
            end = start + len(tile)
            tile_rows = self._hold(tile)
            if self.exact and not start:
                self.middle = Middle.of(tile_rows.parts)
            tile_rows = tile_rows.about(self.middle)
            # rows of the tile meet only later rows, because products are symmetric
            inside = [(tile_rows[k[0] - start :], k) for k in _pieces(tile, self.sizes.inside)]
            outside = _pieces(np.arange(end, len(self.layout)), self.sizes.chunk)
            for rows, values in self._meet([*inside, *((tile_rows, k) for k in outside)], leading_pieces=len(inside)):
                assert self.store is not None  # noqa: S101  only the first process gets here
                row = int(rows[0])
                column = row if row < end else start
                if row < end and self.complete:
                    self.parts["lengths"][rows] = values.diagonal()
                self.store.write(row, column, values)
                if row < columns:
                    across = values[: columns - row, len(rows) if row < end else 0 :].T
                    self.store.write(end - len(across), row, np.ascontiguousarray(across))
            del tile_rows, inside  # or two tiles would be in memory at once
            if not self.again:
                self.again = True
                self._pairs_apart(outside)
        self._gather_parts()
        return self.parts

    def _gather_parts(self) -> None:
        """Join the parts of all processes in the first one."""
        self.processes.wait()
        # an item in several rows counts in the chunk in which a single process would meet it first
        others = self.begun != self.processes.least(torch.from_numpy(self.begun)).numpy()
        self.parts["scores"][others] = 0.0
        for part in self.parts.values():
            self.processes.add_up(torch.from_numpy(part))

    def _hold(self, rows: IntArray) -> Rows:
        """Gradients of all these rows in every process; each process runs its share of the passes."""
        items_a_row = 1 if self.layout.second is None else 2
        most = max(1, min(self.sizes.chunk, self.sizes.block // items_a_row))
        # without a place for its gradients, a pass takes more memory
        first = most if self.maker.tile.holds(len(rows)) else self.sizes.first
        pieces = _pieces(rows, most, first)
        rank, size = self.processes.rank, self.processes.size
        all_rows: Rows | None = None
        start = 0
        for k in range(0, len(pieces), size):
            taken: list[Rows] = []
            there: Places = ()
            if items_a_row == size == 1 and self.maker.tile.holds(len(rows)):
                there = self.maker.tile.places(start, start + len(pieces[k]))
            shapes = self.processes.gather(lambda: self._take_share(pieces[k : k + size], taken, there))  # noqa: B023 - called at once
            for source, piece in enumerate(pieces[k : k + size]):
                if source == rank:
                    block = taken.pop()
                else:
                    block = Rows.room(shapes[source], len(piece), self.maker.device, self.maker.dtype)
                if size > 1:
                    block = block.contiguous()
                    for tensor in block.tensors():
                        self.processes.broadcast(tensor, source)
                if len(piece) == len(rows):
                    return block
                if all_rows is None:
                    all_rows = self.maker.tile.take(block.shapes, len(rows))
                self.maker.tile.put(start, block)
                start += len(piece)
                del block
        assert all_rows is not None  # noqa: S101  there are rows
        return all_rows

    def _take_share(self, pieces: Sequence[IntArray], share: list[Rows], places: Places) -> list[list[list[int]]]:
        """Put the gradients of this process's piece, if there is one, into ``share``; return its tensors' shapes."""
        if self.processes.rank >= len(pieces):
            return []
        share.append(self._take(pieces[self.processes.rank], places))
        return share[0].shapes

    def _meet(
        self, pieces: list[tuple[Rows, IntArray]], leading_pieces: int = 0
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield, in the first process, (rows, their products with held gradients) of each piece.

        A piece is the gradients that its rows meet, and the rows. Rows of the first ``leading_pieces`` are the
        beginning of what they meet; others are computed here, by the process whose turn it is.
        """
        rank, size = self.processes.rank, self.processes.size
        for k in range(0, len(pieces), size):
            now = pieces[k : k + size]
            products: list[FloatArray] = []
            leading = k + rank < leading_pieces
            self.processes.gather(
                lambda: products.append(self._products(*now[rank], leading=leading)) if rank < len(now) else None  # noqa: B023 - called at once
            )
            for source, (met, rows) in enumerate(now):
                if source and rank == source:
                    self.processes.hand_over(torch.from_numpy(products[0]), source)
                elif rank == 0:
                    values = np.empty((len(rows), len(met))) if source else products[0]
                    if source:
                        self.processes.hand_over(torch.from_numpy(values), source)
                    yield rows, values

    def _products(self, met: Rows, rows: IntArray, *, leading: bool) -> FloatArray:
        """Products of these rows with ``met``, whose beginning they are if ``leading``."""
        if leading:
            taken = met[: len(rows)]
        else:
            taken = self._take(rows)
            self._pairs_within(taken, rows)
            taken = taken.about(self.middle)
        self.maker.heap.trim()
        return inner_products(taken, met, self.sizes.scratch, exact=self.exact, leading=leading)

    def _take(self, rows: IntArray, places: Places = ()) -> Rows:
        """Gradients of these rows; some may be computed in ``places``, which only rows of single items have."""
        if self.layout.second is not None:
            return self._take_pairs(rows)
        gathered: list[Feature] = []
        for block in self._alike(self.layout.first[rows]):
            alone = len(block) == len(rows)
            features = self._gradients(rows[block], int(rows[0]), places if alone else places_in(gathered, block))
            gathered = features if alone else put(features, gathered, block, len(rows))
            del features
        return Rows.of(gathered, differences=False)

    def _alike(self, items: IntArray) -> Iterator[IntArray]:
        """Yield the places of items in blocks for a pass, which have the same shape."""
        shapes = self.items.shapes[items]
        order = np.argsort(shapes, kind="stable")
        while len(order):
            alike = shapes[order[: self.sizes.block]]
            count = int((alike == alike[0]).sum())
            yield order[:count]
            order = order[count:]

    def _gradients(self, rows: IntArray, begun: int, places: Places = ()) -> list[Feature]:
        """Gradients of rows that are items of the same shape, for the chunk of rows that begins with ``begun``."""
        items = self.layout.first[rows]
        self.maker.heap.trim()
        features, scores = self._ask(items, places)
        if not self.again:
            taken = None if self.complete else Rows.of(features, differences=False)
            lengths = self._lengths(rows, taken)
            check_finite(features, scores, lengths, self._ids(items), self.checkpoint)
            self._record(items, scores, begun)
        self._report()
        return features

    def _take_pairs(self, rows: IntArray) -> Rows:
        """Gradients of these rows, which are pairs."""
        assert self.layout.second is not None  # noqa: S101  see above
        items = np.stack([self.layout.first[rows], self.layout.second[rows]], 1)
        alike = len(np.unique(self.items.shapes[items])) == 1 and self.sizes.block > 1
        pieces = _pieces(np.arange(len(rows)), self.sizes.block // 2) if alike else [np.arange(len(rows))]
        taken: Rows | None = None
        start = 0
        for piece in pieces:
            part = self._pair_gradients(rows[piece], items[piece].reshape(-1), int(rows[0]), together=alike)
            if len(pieces) == 1:
                return part
            if taken is None:
                taken = Rows.room(part.shapes, len(rows), self.maker.device, self.maker.dtype)
            taken.put(start, part)
            start += len(piece)
        assert taken is not None  # noqa: S101  there are rows
        return taken

    def _pair_gradients(self, rows: IntArray, items: IntArray, begun: int, *, together: bool) -> Rows:
        """Gradients of pairs with these items, in turn, for the chunk of rows that begins with ``begun``.

        If ``together``, all items have the same shape and fit into a pass.
        """
        self.maker.heap.trim()
        if together:
            features, scores = self._ask(items, paired=True)
        else:
            features, scores = self._item_by_item(items)
            features = differences(features)
        taken = Rows.of(features, differences=True)
        if not self.again:
            lengths = self._lengths(rows, None if self.complete else taken)
            try:
                check_finite(features, scores, lengths, self._ids(items), self.checkpoint)
            except NonFiniteError:
                for item in items.reshape(-1, 1):  # find the item, so that the error can name it
                    check_finite(*self._ask(item), None, self._ids(item), self.checkpoint)
                raise
            self._record(items, scores, begun)
        self._report()
        return taken

    def _item_by_item(self, items: IntArray) -> tuple[list[Feature], torch.Tensor]:
        """Gradients and scores of items of several shapes."""
        gathered: list[Feature] = []
        scores = torch.empty(len(items), device=self.maker.device, dtype=self.maker.dtype)
        for block in self._alike(items):
            features, some = self._ask(items[block])
            gathered = put(features, gathered, block, len(items))
            scores[torch.from_numpy(block)] = some
        return gathered, scores

    def _lengths(self, rows: IntArray, taken: Rows | None) -> FloatArray | None:
        """Record and return squared lengths of gradients; None if products of all rows will give them."""
        if taken is None:
            return None
        lengths = self.parts["lengths"][rows] = squared_lengths(taken, self.sizes.scratch, exact=self.exact)
        return lengths

    def _record(self, items: IntArray, scores: torch.Tensor, begun: int) -> None:
        """Record the items' scores the first time."""
        new = np.flatnonzero(self.begun[items] == len(self.layout))
        self.parts["scores"][items[new]] = scores.cpu().double().numpy()[new]
        self.begun[items[new]] = begun

    def _report(self) -> None:
        self.report(int((self.begun < len(self.layout)).sum()))

    def _ask(self, items: IntArray, places: Places = (), *, paired: bool = False) -> tuple[list[Feature], torch.Tensor]:
        """Gradients and scores of items with the same shape; gradients of pairs of items if ``paired``.

        Raises:
            ModelError: the model fails on an item.
        """
        inputs = self.items.stack(items, self.maker.device, self.maker.dtype)
        try:
            with asking_model(self._ids(items), inputs):
                return self.maker.gradients(inputs, places, paired=paired)
        except ModelError:
            if len(items) > 1:
                for k in range(len(items)):  # find the item that fails alone, so that the error can name it
                    self._ask(items[k : k + 1])
            raise

    def _ids(self, items: IntArray) -> Iterator[str]:
        return (self.items.ids[k] for k in items.tolist())

    # Products of the items of training pairs, if not all rows have columns

    def _pairs_within(self, taken: Rows, rows: IntArray) -> None:
        """Products of pairs with both items among these rows."""
        pairs = self.layout.pairs
        if self.again or not len(pairs):
            return
        begin, end = np.searchsorted(pairs[:, 0], [rows[0], rows[-1] + 1])
        both = begin + np.flatnonzero(pairs[begin:end, 1] <= rows[-1])
        i, j = (pairs[both] - rows[0]).T
        self.parts["pairs"][both] = row_products(taken, i, j, self.sizes.scratch)

    def _pairs_apart(self, pieces: list[IntArray]) -> None:
        """Products of pairs whose items were in different pieces and have no columns."""
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
            tile_rows = self._hold(tile).about(self.middle)
            for rows, values in self._meet([(tile_rows, k) for k in partners]):
                here = these[np.isin(pairs[these, 1], rows)]
                partner_places, tile_places = (
                    np.searchsorted(rows, pairs[here, 1]),
                    np.searchsorted(tile, pairs[here, 0]),
                )
                self.parts["pairs"][here] = values[partner_places, tile_places]


def _pieces(rows: IntArray, most: int, first: int | None = None) -> list[IntArray]:
    """Split the rows into pieces of about equal length, at most ``most``, but the first one at most ``first``."""
    if first is not None and first < min(most, len(rows)):
        return [rows[:first], *_pieces(rows[first:], most)]
    return list(np.array_split(rows, -(-len(rows) // most))) if len(rows) else []
