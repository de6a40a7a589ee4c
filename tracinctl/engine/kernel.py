"""The kernel of a checkpoint: inner products of item score gradients, and the scores themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tracinctl.engine.gradients import ItemGradients
from tracinctl.engine.items import Items, split_blocks
from tracinctl.engine.parameter_uses import Dense, Feature, Outer
from tracinctl.engine.processes import Processes
from tracinctl.errors import MemoryBudgetError, NonFiniteError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_COLUMNS = 65536  # parameters taken at a time into float64
_COPIES = 6  # what a block's activations, slopes and patches take, in multiples of what the formulas keep


@dataclass(frozen=True)
class ItemKernel:
    """Scores and gradient inner products of all items at one checkpoint.

    Attributes:
        scores: shape (items,), float64.
        kernel: shape (items, items), float64, symmetric.
    """

    scores: FloatArray
    kernel: FloatArray


def item_kernel(
    gradients: ItemGradients,
    items: Items,
    *,
    device: torch.device,
    dtype: torch.dtype,
    memory: int,
    checkpoint: str,
    report: Callable[[int], None],
    processes: Processes | None = None,
) -> ItemKernel:
    """The kernel of all items at the state the model is in.

    Gradients that fit into ``memory`` bytes are held once; otherwise items are taken in tiles, and the gradients of a
    tile's partner are taken again for every tile. With ``processes`` each takes a share of every tile, and shares are
    sent around; the first one then has the kernel, and the others have parts of it.

    Raises:
        MemoryBudgetError: not even two items fit; the message says what would do.
        NonFiniteError: a score or a gradient is NaN or infinite; the checkpoint and the item are named.
    """
    groups = items.groups()
    for group in groups:
        gradients.prepare(items.stack([int(group[0])], device, dtype))
    block, tile = _plan(gradients, len(items), dtype, memory)
    order = [int(row) for group in groups for row in group]
    group_of = {int(row): g for g, group in enumerate(groups) for row in group}
    scores = np.zeros(len(items))
    kernel = np.zeros((len(items), len(items)))
    me, size = (processes.rank, processes.size) if processes else (0, 1)
    tiles = [np.array_split(rows, size) for rows in split_blocks(order, tile * size)]
    seen: set[int] = set()

    def take(rows: IntArray) -> list[Feature]:
        parts: list[list[Feature]] = []
        same_shape: list[list[int]] = []
        for row in rows.tolist():
            if same_shape and group_of[same_shape[-1][0]] == group_of[row] and len(same_shape[-1]) < block:
                same_shape[-1].append(row)
            else:
                same_shape.append([row])
        for some in same_shape:
            features, values = gradients(items.stack(some, device, dtype))
            _check_finite(features, values, [items.ids[r] for r in some], checkpoint)
            scores[some] = values.double().cpu().numpy()
            parts.append(features)
            seen.update(some)
            report(len(seen))
        return _joined(parts)

    for k, rows in enumerate(tiles):
        mine = rows[me]
        left = take(mine)
        for there, right in _met(left, rows, processes, device, dtype):
            if left:
                kernel[np.ix_(mine, there)] = inner_products(left, right)
        for others in tiles[k + 1 :]:
            for there, right in _met(take(others[me]), others, processes, device, dtype):
                if not left:
                    continue
                values = inner_products(left, right)
                kernel[np.ix_(mine, there)] = values
                kernel[np.ix_(there, mine)] = values.T
    if processes:
        processes.add_up(torch.from_numpy(scores))
        processes.add_up(torch.from_numpy(kernel))
    return ItemKernel(scores, (kernel + kernel.T) / 2)


def _met(
    own: list[Feature], rows: list[IntArray], processes: Processes | None, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[IntArray, list[Feature]]]:
    """Yield (rows, gradients) of every process's share of a tile; each gives its own and gets those of the others."""
    if processes is None:
        yield rows[0], own
        return
    own = [_contiguous(feature) for feature in own]
    shapes = processes.share([[list(t.shape) for t in _tensors(f)] for f in own])
    for source, there in enumerate(rows):
        given = own
        if source != processes.rank:
            empty = [[torch.empty(shape, device=device, dtype=dtype) for shape in each] for each in shapes[source]]
            given = [Dense(*each) if len(each) == 1 else Outer(*each) for each in empty]
        for feature in given:
            for tensor in _tensors(feature):
                processes.broadcast(tensor, source)
        if given:
            yield there, given


def _tensors(feature: Feature) -> tuple[torch.Tensor, ...]:
    return (feature.values,) if isinstance(feature, Dense) else (feature.inputs, feature.outputs)


def _contiguous(feature: Feature) -> Feature:
    """The feature as it can be sent: what is sent are bytes in a row."""
    tensors = [tensor.contiguous() for tensor in _tensors(feature)]
    return Dense(*tensors) if len(tensors) == 1 else Outer(*tensors)


def _plan(gradients: ItemGradients, items: int, dtype: torch.dtype, memory: int) -> tuple[int, int]:
    """Items of a forward pass, and items of a tile whose gradients are held, within ``memory`` bytes."""
    size = torch.empty((), dtype=dtype).element_size()
    gradient = gradients.parameters * size
    work = _COPIES * gradients.bytes_per_item + 2 * gradient
    scratch = 2 * 8 * min(_COLUMNS, gradients.parameters)
    least = 2 * (gradient + scratch) + work + 16 * items * items
    if least > memory:
        raise MemoryBudgetError(
            f"the model's gradients need at least {least / 2**20:.0f} MiB, {memory / 2**20:.0f} MiB are allowed",
            hint=f"give --memory {least // 2**20 + 1}MiB or more, or fewer --layers",
        )
    room = memory - 16 * items * items
    if items * (gradient + scratch) <= room // 2:
        tile = items
        held = items * (gradient + scratch)
    else:
        tile = max(1, (room // 2) // (2 * (gradient + scratch)))
        held = 2 * tile * (gradient + scratch)
    block = max(1, min(tile, (room - held) // max(1, work), _PREFERRED_BYTES // max(1, gradients.bytes_per_item)))
    return int(block), int(tile)


_PREFERRED_BYTES = 24 << 20  # what the formulas keep of a block; on a CPU larger blocks fall out of its cache


def _joined(parts: list[list[Feature]]) -> list[Feature]:
    if len(parts) <= 1:
        return parts[0] if parts else []
    joined: list[Feature] = []
    for same in zip(*parts, strict=True):
        if isinstance(same[0], Outer):
            outers = [f for f in same if isinstance(f, Outer)]
            joined.append(Outer(torch.cat([f.inputs for f in outers]), torch.cat([f.outputs for f in outers])))
        else:
            joined.append(Dense(torch.cat([f.values for f in same if isinstance(f, Dense)])))
    return joined


def inner_products(left: list[Feature], right: list[Feature]) -> FloatArray:
    """Inner products of two sets of gradients, shape (left items, right items), summed in float64."""
    device = (left[0].inputs if isinstance(left[0], Outer) else left[0].values).device
    exact = torch.float64 if device.type != "mps" else torch.float32
    total: torch.Tensor | None = None
    for a, b in zip(left, right, strict=True):
        if isinstance(a, Outer) and isinstance(b, Outer):
            part = (a.inputs.to(exact) @ b.inputs.to(exact).T) * (a.outputs.to(exact) @ b.outputs.to(exact).T)
            total = part if total is None else total + part
        elif isinstance(a, Dense) and isinstance(b, Dense):
            for start in range(0, a.values.shape[1], _COLUMNS):
                x = a.values[:, start : start + _COLUMNS].to(exact)
                y = x if a is b else b.values[:, start : start + _COLUMNS].to(exact)
                total = x @ y.T if total is None else total.addmm_(x, y.T)
    assert total is not None  # noqa: S101  a model has at least one parameter, so there is at least one feature
    return np.asarray(total.double().cpu().numpy())


def _check_finite(features: list[Feature], scores: torch.Tensor, ids: list[str], checkpoint: str) -> None:
    for what, tensors in (
        ("score", [scores.unsqueeze(1)]),
        ("gradient", [tensor for feature in features for tensor in _tensors(feature)]),
    ):
        for tensor in tensors:
            # a sum is finite where all its terms are, at one pass and no mask
            if not bool(torch.isfinite(tensor.double().sum() if what == "score" else tensor.sum())):
                bad = (~torch.isfinite(tensor)).flatten(1).any(1).nonzero()
                if len(bad):
                    raise NonFiniteError(
                        f"checkpoint {checkpoint}: the {what} of item {ids[int(bad[0])]} is NaN or infinite",
                        hint="leave the checkpoint or the item out, or look at the recording and the training run",
                    )
