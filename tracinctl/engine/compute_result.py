"""Put scores, provenance, notes and warnings together from the kernels of all checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracinctl.data.pairs import RankingData
from tracinctl.engine.checkpoints.record import notes_on_training
from tracinctl.engine.checkpoints.weights import WeighedCheckpoint, unknown_rates, weigh_checkpoints
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.influence import InfluenceScores
from tracinctl.engine.kernel.checkpoint_kernels import CheckpointKernel, KernelWork
from tracinctl.engine.losses import OF_MARGIN
from tracinctl.engine.provenance import errors_in_plain_values, note_on_error, notes_on_ties, provenance_of
from tracinctl.engine.same_items import notes_on_copies, notes_on_same_pairs, same_pairs
from tracinctl.errors import CheckpointWarning, DataWarning
from tracinctl.text import count


@dataclass(frozen=True)
class ComputeResult:
    """Influence scores, and how they were computed.

    Attributes:
        scores: a source that computes scores in blocks.
        checkpoints: the checkpoints with a weight above zero.
        taken: for each checkpoint, whether its kernel came from the cache.
        gradients_computed: number of item gradients computed.
        notes: remarks for the user.
        warnings: remarks that the scores may not be what the user meant.
        cache_files: the files of the kernels in use.
    """

    scores: InfluenceScores
    checkpoints: Sequence[WeighedCheckpoint]
    taken: Sequence[bool]
    gradients_computed: int
    notes: Sequence[str]
    warnings: Sequence[UserWarning]
    cache_files: Collection[Path]


def result_of(
    data: RankingData, options: ComputeOptions, work: KernelWork, computed: Sequence[CheckpointKernel]
) -> ComputeResult:
    """Weigh the checkpoints, and put scores, provenance, notes and warnings together from their kernels."""
    maker, items, n = work.maker, work.maker.items, len(data.train)
    kernels, doubts = _without_copies(computed, options)
    names = [kernel.checkpoint.name for kernel in kernels]
    records = [kernel.checkpoint.record for kernel in kernels]
    weighed, notes_on_weights = weigh_checkpoints(maker.gradients.model, names, records, options.checkpoint_weights)
    margin = options.loss.margin if options.loss.loss in OF_MARGIN else None
    doubts += [*notes_on_weights, *notes_on_training(names, records, options.loss.name, margin)]
    item_scores = [kernel.kernel.scores for kernel in kernels]
    train_same = same_pairs(data.train_pairs, items.contents[:n], [values[:n] for values in item_scores])
    test_same = same_pairs(data.test_pairs, items.contents[n:], [values[n:] for values in item_scores])
    same = [
        *notes_on_copies(items.ids, items.contents, n),
        *notes_on_same_pairs(train_same, data.train_pairs, data.train.ids, "training"),
        *notes_on_same_pairs(test_same, data.test_pairs, data.test.ids, "held-out"),
    ]
    notes = [
        *items.notes,
        *same,
        *(f"{name} was removed from the model for the computation" for name in work.removed),
        *doubts,
        *maker.layout.notes,
        *work.notes,
        *notes_on_ties(data, options.loss, options.method),
    ]
    provenance = provenance_of(options, work.model_key, maker.layout.item_view, items) | {
        "gradients": "; ".join(sorted({kernel.kernel.way for kernel in kernels})),
        "notes": notes,
    }
    if work.removed:
        provenance["removed"] = work.removed
    scores = InfluenceScores(
        [kernel.kernel for kernel in kernels],
        [checkpoint.weight for checkpoint in weighed],
        data,
        settings=options.loss,
        method=options.method,
        memory=maker.budget.remaining,
        checkpoint_names=names,
        provenance=provenance,
        same_input=(train_same.input, test_same.input),
    )
    if train_same.score.any():
        provenance["indistinct_pairs"] = [scores.train_ids[row] for row in np.flatnonzero(train_same.score).tolist()]
    provenance["checkpoints"] = [
        vars(checkpoint)
        | {"group_rates": list(checkpoint.group_rates), "digest": kernel.checkpoint.digest, "gradient_zero": zero}
        for checkpoint, kernel, zero in zip(weighed, kernels, scores.zero_gradient, strict=True)
    ]
    if (fisher := scores.fisher) and fisher.landmarks:
        way = f"method fisher uses {count(fisher.landmarks, 'landmark')} for all items"
        unknown = "too few training items are left to measure it"
        notes.append(note_on_error(way, fisher.errors, "other items' pairs", unknown))
        provenance["landmarks"] = {"count": fisher.landmarks, "error": errors_in_plain_values(fisher.errors)}
    if projection := maker.gradients.projection:
        errors = [kernel.kernel.part("error") for kernel in kernels]
        way = f"gradients are projected to {projection.dim} numbers per layer"
        unknown = "exact gradients do not fit into the memory, or too few items have one"
        notes.append(note_on_error(way, errors, "a few items' pairs", unknown))
        in_plain_values = errors_in_plain_values(errors)
        provenance["projection"] = {"dim": projection.dim, "seed": projection.seed, "error": in_plain_values}
    doubts += unknown_rates(weighed, options.checkpoint_weights)
    return ComputeResult(
        scores,
        weighed,
        [kernel.taken for kernel in kernels],
        len(items) * sum(not kernel.taken for kernel in kernels),
        notes,
        [*map(DataWarning, same), *map(CheckpointWarning, doubts)],
        frozenset(work.cache.used) if work.cache else frozenset(),
    )


def _without_copies(
    kernels: Sequence[CheckpointKernel], options: ComputeOptions
) -> tuple[list[CheckpointKernel], list[str]]:
    """The kernels without those of equal checkpoints, unless weights are the caller's, and notes on those left out."""
    if not isinstance(options.checkpoint_weights, str):
        return list(kernels), []
    first: dict[str, CheckpointKernel] = {}
    notes = []
    for kernel in kernels:
        checkpoint = kernel.checkpoint
        earlier = first.setdefault(checkpoint.record.weights, kernel)
        if earlier is not kernel:
            notes.append(f"{checkpoint.name} has the same weights as {earlier.checkpoint.name}, so it counts once")
    return list(first.values()), notes
