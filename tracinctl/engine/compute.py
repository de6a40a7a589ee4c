"""From items, pairs, a model and its checkpoints to influence scores."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from tracinctl.data.pairs import RankingData
from tracinctl.engine.checkpoints.load import WEIGHTINGS, checkpoint_weights
from tracinctl.engine.distributed.divide import divided_kernels, shared_cache
from tracinctl.engine.distributed.processes import Processes
from tracinctl.engine.fingerprint import model_digest
from tracinctl.engine.gradients.items import ItemGradients, ScoreFunction
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.influence import InfluenceScores, NotOfDifferenceError
from tracinctl.engine.items import Items
from tracinctl.engine.kernel.checkpoint_kernels import DTYPES, KernelWork, checkpoint_kernels
from tracinctl.engine.kernel.layout import kernel_layout
from tracinctl.engine.kernel.maker import KernelMaker
from tracinctl.engine.kernel.projection_error import error_note
from tracinctl.engine.losses import LossSettings, check_whole, resolve_loss
from tracinctl.engine.memory import ITEMS_SHARE, Budget, free_memory
from tracinctl.engine.methods import DAMPING, check_method
from tracinctl.engine.options import METHODS, EngineOptions
from tracinctl.engine.own_loss import LossFunction
from tracinctl.engine.same_items import notes_on_copies, notes_on_same_pairs, same_pairs
from tracinctl.errors import CheckpointError, DataError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.table import InfluenceTable


@dataclass(frozen=True)
class ComputeOptions(EngineOptions):
    """How influence is computed.

    Attributes:
        loss: the pairwise loss of training.
        cache: folder to keep kernels in; None = keep none.
        projection_seed: of the random projection.

    Raises:
        UsageError: a value is unknown or out of its range; the parameter is named.
    """

    loss: LossSettings = field(default_factory=LossSettings)
    cache: Path | None = None
    projection_seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("dtype", DTYPES), ("method", METHODS), ("checkpoint_weights", WEIGHTINGS)):
            value = getattr(self, name)
            if isinstance(value, str) and value not in known:
                raise UsageError(f"unknown `{name}` {value!r}", hint=f"One of {', '.join(known)}.")
        check_whole("num_workers", self.num_workers, least=0)
        if self.projection_dim is not None:
            check_whole("projection_dim", self.projection_dim, least=1)


@dataclass(frozen=True)
class ComputeResult:
    """Influence scores, and how they came about.

    Attributes:
        scores: a source of scores, calculated block by block.
        checkpoints: name and weight of each.
        taken: for each checkpoint, whether its kernel came from the cache.
        gradients_computed: item gradients that were taken.
        notes: what a user should know (weights that fell back, and the like).
        cache_files: the files of the kernels in use.
    """

    scores: InfluenceScores
    checkpoints: Sequence[tuple[str, float]]
    taken: Sequence[bool]
    gradients_computed: int
    notes: Sequence[str]
    cache_files: Collection[Path]


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of this name; ``auto`` takes CUDA, then MPS, then the CPU.

    Several processes of a machine take its GPUs in turn, by ``local_rank``.

    Raises:
        UsageError: there is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", hint="one of auto, cpu, cuda, cuda:1 or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False) or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise UsageError(f"device {name!r} is not there", hint="--device auto takes the best there is")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return device


@overload
def compute_scores(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path],
    options: ComputeOptions,
    progress: ProgressCallback = ...,
) -> ComputeResult: ...


@overload
def compute_scores(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path],
    options: ComputeOptions,
    progress: ProgressCallback = ...,
    *,
    processes: Processes | None,
) -> ComputeResult | None: ...


def compute_scores(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path],
    options: ComputeOptions,
    progress: ProgressCallback = no_progress,
    *,
    processes: Processes | None = None,
) -> ComputeResult | None:
    """Influence of the training pairs on the test pairs, as a source that calculates its scores block by block.

    With ``processes`` the kernels are divided among them. The first one has the result, the others get None.

    Raises:
        TracinctlError: anything in the data, the checkpoints, the model or the options that cannot be worked with.
    """
    # a function may only look like one of the difference, and processes would have to begin again together
    if processes and not isinstance(options.loss.loss, str):
        return _compute(data, model, checkpoints, options, progress, processes, of_difference=False)
    try:
        return _compute(
            data, model, checkpoints, options, progress, processes, of_difference=options.loss.of_difference
        )
    except NotOfDifferenceError:
        return _compute(data, model, checkpoints, options, progress, processes, of_difference=False)


def _compute(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path],
    options: ComputeOptions,
    progress: ProgressCallback,
    processes: Processes | None,
    *,
    of_difference: bool,
) -> ComputeResult | None:
    if not checkpoints:
        raise CheckpointError("no checkpoints", hint="train first (`tracinctl train`), or give --checkpoint-dir")
    train_pairs, test_pairs = data.train_pairs, data.test_pairs
    for pairs, samples, what in ((train_pairs, data.train, "training"), (test_pairs, data.test, "test")):
        if not len(pairs):
            raise DataError(f"there are no {what} pairs", hint="Two items of different class are needed for a pair.")
        pairs.check_ids(samples.ids, f"{what} pairs")
    device, dtype = choose_device(options.device, processes.local_rank if processes else 0), DTYPES[options.dtype]
    if device.type == "mps" and dtype == torch.float64:
        raise UsageError("MPS has no float64", hint="--dtype float32, or --device cpu")
    memory = (
        options.memory
        if options.memory is not None
        else free_memory(device, processes.local_size if processes else 1) // 4
    )
    items = Items([data.train, data.test], options.num_workers, keep=memory // ITEMS_SHARE)
    budget = Budget(memory, items.kept_bytes, items.read_again)
    memory = budget.left
    model = copy.deepcopy(model).to(device=device, dtype=dtype)
    score = score_of_items(items, data.score)
    gradients = exact = ItemGradients(model, layers=options.layers, score=score)
    projection = None
    if options.projection_dim is not None:
        projection = Projection(options.projection_dim, options.projection_seed)
        gradients = ItemGradients(model, layers=options.layers, score=score, projection=projection)
    layout = kernel_layout(
        items,
        len(data.train),
        train_pairs,
        test_pairs,
        of_difference=of_difference,
    )
    check_method(options.method, layout, budget)
    in_memory = 8 * len(checkpoints) * len(layout) * layout.columns <= memory // 4
    cached = options.cache is not None or not in_memory or processes is not None
    cache = shared_cache(options.cache, processes) if cached else None
    work = KernelWork(
        maker=KernelMaker(gradients, items, layout, device=device, dtype=dtype, budget=budget),
        model_key=model_digest(model, score),
        dtype=options.dtype,
        exact=exact if projection else None,
        cache=cache,
        in_memory=in_memory,
    )
    found = (
        divided_kernels(work, checkpoints, processes, progress)
        if processes
        else checkpoint_kernels(work, checkpoints, progress)
    )
    if found is None:
        return None
    names, rates = [each.name for each in found], [each.learning_rate for each in found]
    weights, note = checkpoint_weights(rates, names, options.checkpoint_weights)
    train_same, test_same = (
        same_pairs(pairs, items.contents[part], [each.kernel.scores[part] for each in found])
        for pairs, part in (
            (train_pairs, slice(len(data.train))),
            (test_pairs, slice(len(data.train), None)),
        )
    )
    provenance: dict[str, Any] = {
        "method": options.method,
        "loss": options.loss.name,
        "margin": options.loss.margin,
        "checkpoint_weights": options.checkpoint_weights,
        "dtype": options.dtype,
        "layers": list(options.layers) if options.layers is not None else None,
        "torch": torch.__version__,
        "model": work.model_key,
        "item_view": layout.item_view,
        "items": dict(zip(items.ids, items.digests, strict=True)),
    }
    if options.method == "fisher":
        provenance["damping"] = DAMPING
    if options.loss.loss == "ghm":
        provenance |= {
            "ghm_bins": options.loss.ghm_bins,
            "ghm_alpha": options.loss.ghm_alpha,
            "batch_size": options.loss.batch_size,
        }
    provenance |= {name: value for name in ("label_smoothing", "centring") if (value := getattr(options.loss, name))}
    scores = InfluenceScores(
        [each.kernel for each in found],
        weights,
        train_ids=data.train.ids,
        test_ids=data.test.ids,
        train_pairs=train_pairs,
        test_pairs=test_pairs,
        settings=options.loss,
        method=options.method,
        memory=memory,
        checkpoint_names=names,
        provenance=provenance,
        same_input=(train_same.input, test_same.input),
    )
    if train_same.score.any():
        provenance["indistinct_pairs"] = [scores.train_ids[row] for row in np.flatnonzero(train_same.score).tolist()]
    provenance["checkpoints"] = [
        {
            "name": each.name,
            "digest": each.digest,
            "weight": weight,
            "learning_rate": each.learning_rate,
            "gradient_zero": zero,
        }
        for each, weight, zero in zip(found, weights, scores.zero_gradient, strict=True)
    ]
    same = [
        *notes_on_copies(items.ids, items.contents, len(data.train)),
        *notes_on_same_pairs(train_same, scores.train_ids, "training"),
        *notes_on_same_pairs(test_same, scores.test_ids, "held-out"),
    ]
    notes = [*items.notes, *same, *([note] if note else []), *layout.notes, *work.notes, *_notes_on_ties(data, options)]
    if projection:
        errors = [each.kernel.part("error") for each in found]
        notes.append(error_note(projection.dim, errors))
        provenance["projection"] = {
            "dim": projection.dim,
            "seed": projection.seed,
            "error": [
                None if np.isnan(e).any() else {"correlation": float(e[0]), "root_mean_square": float(e[1])}
                for e in errors
            ],
        }
    return ComputeResult(
        scores,
        list(zip(names, weights, strict=True)),
        [each.taken for each in found],
        len(items) * sum(not each.taken for each in found),
        notes,
        frozenset(cache.used) if cache else frozenset(),
    )


def score_of_items(items: Items, score: ScoreFunction | None) -> ScoreFunction | None:
    """How the model is asked for scores: positional arguments lie in the items by number."""
    return functools.partial(_with_arguments, score=score) if items.positional else score


def _with_arguments(model: Any, inputs: dict[int, Any], score: ScoreFunction | None) -> Any:
    arguments = tuple(inputs[number] for number in sorted(inputs))
    return model(*arguments) if score is None else score(model, arguments)


def _notes_on_ties(data: RankingData, options: ComputeOptions) -> list[str]:
    """How many ties have no gradient, and so score 0."""
    notes = []
    silent = not options.loss.knows_ties
    for pairs, what, counts_for_nothing in (
        (data.train_pairs, "training", silent),
        (data.test_pairs, "held-out", silent or options.method != "tracin"),
    ):
        ties = int((pairs.target == 0).sum())
        if ties and counts_for_nothing:
            of = f"the loss {options.loss.name}" if silent else f"the method {options.method}"
            notes.append(f"{ties:,} {what} pairs are ties, which {of} leaves out: they score 0")
    return notes


def compute_influence(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path | str],
    *,
    method: str = ComputeOptions.method,
    loss: str | LossFunction = LossSettings.loss,
    margin: float = LossSettings.margin,
    ghm_bins: int = LossSettings.ghm_bins,
    ghm_alpha: float = LossSettings.ghm_alpha,
    batch_size: int = LossSettings.batch_size,
    label_smoothing: float = LossSettings.label_smoothing,
    centring: float = LossSettings.centring,
    checkpoint_weights: str = ComputeOptions.checkpoint_weights,
    dtype: str = ComputeOptions.dtype,
    device: str = ComputeOptions.device,
    layers: Sequence[str] | None = None,
    cache: Path | str | None = None,
    memory: int | None = ComputeOptions.memory,
    num_workers: int = ComputeOptions.num_workers,
    projection_dim: int | None = ComputeOptions.projection_dim,
    per_checkpoint: bool = False,
    progress: ProgressCallback | None = None,
) -> InfluenceTable:
    """Influence of every training pair on every test pair (TracInCP, Pruthi et al. 2020, arXiv 2002.08484).

    Positive scores are helpful (training on the pair lowers the test pair's loss, or raises its margin), negative ones
    harmful.

    Args:
        data: items and pairs, training and held-out.
        model: gives items scores; its own state does not matter, its parameters' ``requires_grad`` does.
        checkpoints: files, in order.
        method: ``tracin`` (effect on the test pair's loss), ``margin`` (on its margin y (s_i - s_j)) or ``fisher`` (the
            same, through the damped inverse of the training pairs' empirical Fisher matrix).
        loss: ``standard``, ``logistic``, ``ghm``, ``package.module:function``, or a function of (s_i, s_j, y). One with
            a fourth parameter also gets the further columns of the pairs by name.
        margin: of ``standard`` and ``ghm``, where the pairs have no margins of their own.
        ghm_bins: bins of ``ghm``.
        ghm_alpha: exponent of ``ghm``.
        batch_size: training batch size, for ``ghm``.
        label_smoothing: of ``logistic``: the share of comparisons that are taken to be the wrong way round.
        centring: adds ``centring * (s_i + s_j)**2`` to the loss of each pair.
        checkpoint_weights: ``relative``, ``absolute`` or ``uniform``.
        dtype: of the gradients; products and sums are float64.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        layers: patterns of parameter names to take gradients of; None = all trainable ones.
        cache: a folder to keep kernels in.
        memory: bytes that the working set may take, beside the model, a checkpoint, the items and the table.
        num_workers: processes that read items from a torch ``Dataset``; 0 = this one does.
        projection_dim: for large models: numbers that are kept of a layer's gradient, by random projection.
        per_checkpoint: also keep the scores of each checkpoint.
        progress: called with a ``Progress``.

    Returns:
        The table: scores (train pairs, test pairs), self_influence (train pairs,), sample_influence (train items,).

    Raises:
        TracinctlError: anything in the data, the checkpoints, the model or the options that cannot be worked with.
    """
    settings = LossSettings(resolve_loss(loss), margin, ghm_bins, ghm_alpha, batch_size, label_smoothing, centring)
    options = ComputeOptions(
        loss=settings,
        checkpoint_weights=checkpoint_weights,
        dtype=dtype,
        device=device,
        layers=layers,
        cache=None if cache is None else Path(cache),
        memory=memory,
        method=method,
        num_workers=num_workers,
        projection_dim=projection_dim,
    )
    paths = [Path(p) for p in checkpoints]
    return compute_scores(data, model, paths, options, progress or no_progress).scores.table(
        per_checkpoint=per_checkpoint
    )
