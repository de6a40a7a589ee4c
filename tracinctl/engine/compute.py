"""Compute influence scores from items, pairs, a model and its checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tracinctl.data.pairs import RankingData
from tracinctl.engine.asking import OutputScore, way_of_asking
from tracinctl.engine.checkpoints.adapters import base_digest, with_adapter
from tracinctl.engine.checkpoints.files import CheckpointSource
from tracinctl.engine.checkpoints.weights import check_own_weights
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.compute_result import ComputeResult, result_of
from tracinctl.engine.devices import choose_device
from tracinctl.engine.distributed.divide import divided_kernels, shared_cache
from tracinctl.engine.distributed.processes import ALONE, Processes
from tracinctl.engine.fingerprint import model_digest
from tracinctl.engine.gradients.items import ItemGradients, ScoreFunction
from tracinctl.engine.gradients.projection import Projection
from tracinctl.engine.items import Items
from tracinctl.engine.kernel.checkpoint_kernels import DTYPES, CheckpointKernel, KernelWork, checkpoint_kernels
from tracinctl.engine.kernel.layout import KernelLayout, kernel_layout
from tracinctl.engine.kernel.maker import KernelMaker
from tracinctl.engine.losses import LossSettings, resolve_loss
from tracinctl.engine.memory import ITEMS_SHARE, Budget, free_memory
from tracinctl.engine.methods import check_method
from tracinctl.engine.own_loss import LossFunction
from tracinctl.engine.own_model import own_model, plain_passes
from tracinctl.engine.pair_rows import NotOfDifferenceError
from tracinctl.errors import CheckpointError, DataError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.table import InfluenceTable
from tracinctl.user_code import load_function


def compute_scores(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path | CheckpointSource],
    options: ComputeOptions,
    progress: ProgressCallback = no_progress,
) -> ComputeResult:
    """Influence of the training pairs on the test pairs, as a source that computes its scores in blocks.

    Raises:
        TracinctlError: the data, the checkpoints, the model or the options do not work.
    """
    result = compute_together(data, model, checkpoints, options, progress, ALONE)
    assert result is not None  # noqa: S101  there is no other process
    return result


def compute_together(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path | CheckpointSource],
    options: ComputeOptions,
    progress: ProgressCallback,
    processes: Processes,
) -> ComputeResult | None:
    """Like ``compute_scores``, in processes that share the kernels; the first one returns the result."""
    _check(data, checkpoints, options)
    ignored = tuple(options.ignore_keys or ())
    sources = [replace(CheckpointSource.of(checkpoint), ignore_keys=ignored) for checkpoint in checkpoints]

    computation = _Computation(data, model, sources, options, progress, processes)
    # a function may seem to depend only on the difference; processes would then have to start again together
    if processes.size > 1 and not isinstance(options.loss.loss, str):
        return computation.run(of_difference=False)
    try:
        return computation.run(of_difference=options.loss.of_difference)
    except NotOfDifferenceError:
        return computation.run(of_difference=False)


@dataclass(frozen=True)
class _Computation:
    data: RankingData
    model: torch.nn.Module
    sources: Sequence[CheckpointSource]
    options: ComputeOptions
    progress: ProgressCallback
    processes: Processes

    def run(self, *, of_difference: bool) -> ComputeResult | None:
        """Take the gradients and multiply them; None in a process that only shares the work."""
        data, options, processes = self.data, self.options, self.processes
        device, dtype = choose_device(options.device, processes.local_rank), DTYPES[options.dtype]
        if device.type == "mps" and dtype == torch.float64:
            raise UsageError("MPS has no float64", hint="Use `dtype` float32 or `device` cpu.")
        memory = free_memory(device, processes.local_size) // 4 if options.memory is None else options.memory
        items = Items([data.train, data.test], options.num_workers, keep=memory // ITEMS_SHARE)
        budget = Budget(memory, items.kept_bytes, items.read_again)
        fisher = options.method == "fisher"
        layout = kernel_layout(
            items, len(data.train), data.train_pairs, data.test_pairs, of_difference=of_difference, landmarks=fisher
        )
        check_method(options.method, layout, len(self.sources), budget)
        ask = way_of_asking(data.score, options.score, positional=items.positional)
        with plain_passes(device):
            model, removed = own_model(self.model, device, dtype, items, ask, ours=options.own_model)
            work = self._work(with_adapter(model, self.sources), ask, items, layout, budget, device)
            work.removed.extend(removed)
            if processes.size == 1:
                kernels: list[CheckpointKernel] | None = checkpoint_kernels(work, self.sources, self.progress)
            else:
                kernels = divided_kernels(work, self.sources, processes, self.progress)
        work.maker.release()
        return None if kernels is None else result_of(data, options, work, kernels)

    def _work(
        self,
        model: torch.nn.Module,
        ask: ScoreFunction,
        items: Items,
        layout: KernelLayout,
        budget: Budget,
        device: torch.device,
    ) -> KernelWork:
        options, weights = self.options, self.options.checkpoint_weights
        gradients = exact = ItemGradients(model, layers=options.layers, score=ask)
        if options.projection_dim is not None:
            projection = Projection(options.projection_dim, options.projection_seed)
            gradients = ItemGradients(model, layers=options.layers, score=ask, projection=projection)
        budget = replace(budget, kernels=8 * len(self.sources) * len(layout) * layout.columns)
        in_memory = budget.kernels <= budget.remaining // 4
        cached = options.cache is not None or not in_memory or self.processes.size > 1
        return KernelWork(
            maker=KernelMaker(gradients, items, layout, device=device, dtype=DTYPES[options.dtype], budget=budget),
            model_key=model_digest(model, ask) + base_digest(model, self.sources),
            exact=exact if gradients is not exact else None,
            cache=shared_cache(options.cache, self.processes) if cached else None,
            in_memory=in_memory,
            by_rates=isinstance(weights, str) and weights != "uniform",
        )


def _check(data: RankingData, checkpoints: Sequence[Path | CheckpointSource], options: ComputeOptions) -> None:
    """Raise TracinctlError if there is nothing to compute, or two rows have the same id."""
    if not checkpoints:
        raise CheckpointError("no checkpoints", hint="Train first (`tracinctl train`), or give `checkpoint_dir`.")
    if not isinstance(options.checkpoint_weights, str):
        check_own_weights(options.checkpoint_weights, len(checkpoints))
    for pairs, samples, side in (
        (data.train_pairs, data.train, "training"),
        (data.test_pairs, data.test, "test"),
    ):
        if not len(pairs):
            raise DataError(f"there are no {side} pairs", hint="Give at least two items of different class.")
        pairs.check_ids(samples.ids, f"{side} pairs")


def compute_influence(
    data: RankingData,
    model: torch.nn.Module,
    checkpoints: Sequence[Path | str | Mapping[str, Any]],
    *,
    method: str = ComputeOptions.method,
    loss: str | LossFunction = LossSettings.loss,
    margin: float = LossSettings.margin,
    ghm_bins: int = LossSettings.ghm_bins,
    ghm_alpha: float = LossSettings.ghm_alpha,
    batch_size: int = LossSettings.batch_size,
    label_smoothing: float = LossSettings.label_smoothing,
    centring: float = LossSettings.centring,
    checkpoint_weights: str | Sequence[float] = ComputeOptions.checkpoint_weights,
    dtype: str = ComputeOptions.dtype,
    device: str = ComputeOptions.device,
    layers: Sequence[str] | None = None,
    cache: Path | str | None = None,
    memory: int | None = ComputeOptions.memory,
    num_workers: int = ComputeOptions.num_workers,
    projection_dim: int | None = ComputeOptions.projection_dim,
    score: str | OutputScore | None = None,
    ignore_keys: Sequence[str] | None = None,
    per_checkpoint: bool = False,
    progress: ProgressCallback | None = None,
) -> InfluenceTable:
    """Influence of every training pair on every test pair (TracInCP, Pruthi et al. 2020, arXiv 2002.08484).

    Positive scores are helpful (training on the pair lowers the test pair's loss, or raises its margin), negative ones
    harmful.

    Args:
        data: items and pairs, training and held-out.
        model: scores items; its weights do not matter, its parameters' ``requires_grad`` does.
        checkpoints: files or folders, or state dicts in memory, in order.
        method: ``tracin`` (effect on the test pair's loss), ``margin`` (on its margin y (s_i - s_j)) or ``fisher`` (on
            the margin, through the damped inverse of the training pairs' empirical Fisher matrix).
        loss: ``standard``, ``logistic``, ``ghm``, ``package.module:function``, or a function of (s_i, s_j, y). One with
            a fourth parameter also gets the additional columns of the pairs by name.
        margin: margin of ``standard`` and ``ghm``, for pairs without their own margins.
        ghm_bins: bins of ``ghm``.
        ghm_alpha: exponent of ``ghm``.
        batch_size: training batch size, for ``ghm``.
        label_smoothing: share of comparisons that ``logistic`` assumes to be wrong.
        centring: adds ``centring * (s_i + s_j)**2`` to the loss of each pair.
        checkpoint_weights: ``relative`` (learning rates over their mean), ``absolute`` (learning rates) or ``uniform``
            (1 each); or numbers, one per checkpoint.
        dtype: precision of the gradients; sums are float64.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        layers: patterns of names of the parameters to compute gradients for; None = all trainable ones.
        cache: a folder to keep kernels in.
        memory: limit of the working memory in bytes, besides the model, a checkpoint, the items and the table.
        num_workers: processes that read items from a torch ``Dataset``; 0 = none.
        projection_dim: for large models: the dimension to project each layer's gradient to at random.
        score: a function of the model's output, or its name as ``package.module:function``, that returns one number
            per item; for models that return several logits, a tuple or a mapping.
        ignore_keys: patterns of names of weights in checkpoints to leave out, such as ``ema.*``.
        per_checkpoint: also keep the scores of each checkpoint.
        progress: called with a ``Progress``.

    Returns:
        The table: scores (train pairs, test pairs), self_influence (train pairs,), sample_influence (train items,).

    Raises:
        TracinctlError: the data, the checkpoints, the model or the options do not work.
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
        score=load_function(score, "score") if isinstance(score, str) else score,
        ignore_keys=ignore_keys,
    )
    result = compute_scores(data, model, checkpoint_sources(checkpoints), options, progress or no_progress)
    for warning in result.warnings:
        warnings.warn(warning, stacklevel=2)
    return result.scores.table(per_checkpoint=per_checkpoint)


def checkpoint_sources(checkpoints: Sequence[Path | str | Mapping[str, Any]]) -> list[CheckpointSource]:
    """Sources of checkpoints from paths or state dicts.

    Raises:
        UsageError: a single checkpoint is not in a list.
    """
    if isinstance(checkpoints, (str, Path, Mapping)):
        kind = "state dict" if isinstance(checkpoints, Mapping) else "path"
        raise UsageError(f"`checkpoints` is a {kind}, not a list", hint="Give a list, even of one checkpoint.")
    return [
        CheckpointSource(f"state {number}", checkpoint)
        if isinstance(checkpoint, Mapping)
        else CheckpointSource.of(Path(checkpoint))
        for number, checkpoint in enumerate(checkpoints, 1)
    ]
