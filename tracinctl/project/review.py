"""Prepare a review of the suspects from a project's scores and items."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tracinctl.data.bradley_terry import contradiction
from tracinctl.data.item_texts import items_file, read_item_texts
from tracinctl.data.pairs import FloatArray, IntArray, RankingData
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.engine.item_scores import item_scores
from tracinctl.errors import CheckpointError, ReviewError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.doubts import read_doubts
from tracinctl.project.evidence import Evidence
from tracinctl.project.reviewed import class_names
from tracinctl.project.settings import ComputeSettings, ReviewSettings, SourceSettings
from tracinctl.project.sources import load_data, make_model
from tracinctl.project.staleness import changes, recordings_of
from tracinctl.project.target import Target
from tracinctl.review.suspects import ItemView, Review
from tracinctl.scores.caption import caption
from tracinctl.scores.effects import pair_effects
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.source import ScoreSource
from tracinctl.training.threads import one_thread
from tracinctl.user_code import call_function, has_function

_MOST_FEATURES = 4096
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"})
MOST_SUSPECTS = 10_000


def open_review(
    target: Target, compute: ComputeSettings, settings: ReviewSettings, progress: ProgressCallback = no_progress
) -> Review:
    """Gather everything for a review of a target's training pairs; ``compute``: how its scores were computed.

    Raises:
        TracinctlError: scores, items or checkpoints are missing, the scores are not of the project's pairs, or the
            pairs have no such column to group by.
    """
    evidence = gather_evidence(target, compute, progress)
    source, data = evidence.source, evidence.data
    suspects = evidence.suspects(settings.by, settings.order)
    if not suspects:
        raise ReviewError(f"{target.label}: no training pair is suspect", hint="Try `order` error.")
    describe = _describer(target, compute.origin, data)
    project, shown = target.project, suspects[:MOST_SUSPECTS]
    many = f"the first {len(shown):,} of {len(suspects):,}" if len(suspects) > len(shown) else f"{len(shown):,}"
    return Review(
        title=f"{target.label}: {many} suspects, {caption(source.provenance) or 'scores of unknown origin'}",
        suspects=shown,
        card=evidence.card,
        item=functools.cache(lambda name: describe(name, evidence.class_of(name))),
        decisions=target.review_file,
        who=settings.who,
        folders=[project.root, project.data_root, *([project.linked_root] if project.linked_root else [])],
        by=settings.by,
        classes=list(class_names(data).values()),
        changes=evidence.changes,
    )


def gather_evidence(target: Target, compute: ComputeSettings, progress: ProgressCallback) -> Evidence:
    """Gather the evidence against the training pairs of a target."""
    source = open_scores(target.score_file)
    data = load_data(target, compute.origin, progress)
    checkpoints, scores = _item_scores(target, compute, data, progress)
    return Evidence(
        data=data,
        source=source,
        place=_places_of(source, data, target),
        effects=pair_effects(source, progress),
        chance=contradiction(data.train_pairs, len(data.train), _features(data.train.inputs)),
        checkpoints=checkpoints,
        item_scores=scores,
        doubts=read_doubts(target, data),
        changes=changes(target, source.provenance),
    )


def _places_of(source: ScoreSource, data: RankingData, target: Target) -> IntArray:
    """For each scored pair, its row in the training pairs."""
    rows = {name: row for row, name in enumerate(data.train_pairs.row_ids(data.train.ids))}
    missing = [name for name in source.train_ids if name not in rows]
    if missing:
        raise ReviewError(
            f"{target.label}: {len(missing):,} of {len(source.train_ids):,} scored pairs are not among the training "
            f"pairs, the first is {missing[0]}",
            hint=f"Compute the scores again: tracinctl compute {target.command_flags}",
        )
    return np.array([rows[name] for name in source.train_ids], dtype=np.int64)


def _features(inputs: Any) -> FloatArray | None:
    """Features for comparing items: their inputs, averaged over the last axes; None if shapes differ."""
    try:
        rows = [np.asarray(inputs[k], dtype=np.float64) for k in range(len(inputs))]
    except (TypeError, ValueError, KeyError, RuntimeError):
        return None
    # averaging over time makes spectrograms of different lengths comparable
    rows = [row.mean(axis=-1) if row.ndim > 1 else row for row in rows]
    flat = [row.ravel() for row in rows]
    same = len({row.shape for row in flat}) == 1
    return np.stack(flat) if same and flat and 0 < flat[0].size <= _MOST_FEATURES else None


def _item_scores(
    target: Target, compute: ComputeSettings, data: RankingData, progress: ProgressCallback
) -> tuple[list[str], FloatArray]:
    """Names of the checkpoints, and the training items' scores at each; empty if the checkpoints are gone."""
    try:
        paths = list_checkpoints(target.checkpoints, compute.checkpoint_prefix)
    except CheckpointError:
        return [], np.zeros((0, len(data.train)))
    # the built-in ranker is small; on a busy machine its threads would wait for each other
    with one_thread() if compute.origin.model is None else nullcontext():
        model = make_model(compute.origin, paths[0])
        scores = item_scores(data.train, model, paths, score=data.score, progress=progress)
    return [path.name for path in paths], scores


def _describer(target: Target, origin: SourceSettings, data: RankingData) -> Callable[[str, str], ItemView]:
    """The function that shows items: recordings as sound, others by the source's ``describe(item)``, or as text."""
    if origin.source is None:
        sounds = recordings_of(target)
        return lambda name, label: ItemView(name, label, sound=sounds.get(name))
    name_of = f"{origin.source.partition(':')[0]}:describe"
    if not has_function(name_of, "`source`"):
        texts = _texts(target, origin, data)
        return lambda name, label: ItemView(name, label, text=texts.get(name, ""))

    def describe(name: str, label: str) -> ItemView:
        description = call_function(name_of, "describe", name)
        if isinstance(description, str):
            return ItemView(name, label, text=description)
        if not isinstance(description, Path):
            raise UsageError(
                f"describe({name!r}) returned a {type(description).__name__}",
                hint="Return a text, or the Path of a picture or sound.",
            )
        if description.suffix.lower() in _PICTURES:
            return ItemView(name, label, picture=description)
        return ItemView(name, label, sound=description)

    return describe


def _texts(target: Target, origin: SourceSettings, data: RankingData) -> Mapping[str, str]:
    """Texts of the training items by id, from the source or from the file that an import of the pairs wrote."""
    if data.train.texts is not None:
        return dict(zip(data.train.ids, map(str, data.train.texts), strict=True))
    pairs_files = (origin.pairs_file, target.pairs_file, target.project.root / "pairs.csv")
    beside = [items_file(path) for path in pairs_files if path is not None]
    return next((read_item_texts(path) for path in beside if path.is_file()), {})
