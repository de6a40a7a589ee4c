"""Compute a project's scores: read its data, model and checkpoints, compute influence, write score files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl.engine.checkpoints.files import checkpoint_parts
from tracinctl.errors import TracinctlError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.settings import ComputeSettings, SourceSettings
from tracinctl.project.sources import (
    assumed_pairs,
    choose_test_pairs,
    load_data,
    make_model,
    pairs_file_of,
    trained_otherwise,
)
from tracinctl.project.staleness import check_unchanged, digests_of, pairs_digests, recordings_of, states_of
from tracinctl.project.target import Target
from tracinctl.scores.diagnoses import Diagnosis, diagnose_scores
from tracinctl.scores.files.exclusion_list import read_exclusion_list
from tracinctl.scores.files.open import JSON_LIMIT, open_scores, write_scores
from tracinctl.scores.files.per_checkpoint import write_per_checkpoint_scores
from tracinctl.scores.files.records import read_records, write_self_influence
from tracinctl.scores.files.sidecar import read_sidecar, sidecar_path
from tracinctl.scores.source import ScoreSource, WatchedScores
from tracinctl.text import count, first_few, number
from tracinctl.user_code import as_a_guest, load_function

if TYPE_CHECKING:
    from tracinctl.engine.checkpoints.weights import WeighedCheckpoint
    from tracinctl.engine.compute_options import ComputeOptions
    from tracinctl.engine.distributed.processes import Processes
    from tracinctl.engine.influence import InfluenceScores

_FEW = 8  # number of weights that fit on a line
_SETTINGS = (
    *("method", "loss", "margin", "ghm_bins", "ghm_alpha", "batch_size", "label_smoothing", "centring"),
    *("checkpoint_weights", "dtype", "layers"),
)


@dataclass(frozen=True)
class ComputeOutcome:
    """The result of a computation.

    Attributes:
        output_file: the scores; None if only self-influence was computed.
        written: all files written or added to.
        train_pairs, test_pairs, active_test_pairs: numbers of pairs; a test pair is active if a score is not zero.
        checkpoints: the checkpoints with a weight above zero, in order.
        taken: for each checkpoint, whether its kernel came from the cache.
        way: how gradients were computed, and why.
        notes, diagnoses: remarks on the computation and on the scores, for the user.
        classes: classes of the recordings, lowest rank first; empty for the user's own data.
        cache_bytes, freed_bytes: sizes of the kernels that are kept and that pruning deleted.
        replaced: what made the replaced scores other ones, ``margin 10``; empty without any.
    """

    target: Target
    output_file: Path | None
    written: Sequence[Path]
    train_pairs: int
    test_pairs: int
    active_test_pairs: int
    checkpoints: Sequence[WeighedCheckpoint]
    taken: Sequence[bool]
    gradients_computed: int
    way: str
    seconds: float
    notes: Sequence[str]
    classes: Sequence[str]
    diagnoses: Sequence[Diagnosis]
    cache_bytes: int
    freed_bytes: int
    replaced: str = ""

    @property
    def weights_in_words(self) -> str:
        """The weights of the checkpoints on one line."""
        weights = [number(checkpoint.weight) for checkpoint in self.checkpoints]
        if len(set(weights)) == 1:
            return f"{weights[0]} each"
        if len(weights) <= _FEW:
            return ", ".join(weights)
        return f"{weights[0]} to {weights[-1]} in {count(len(weights), 'checkpoint')}"

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        return {
            "material": self.target.material,
            "frequency": self.target.frequency,
            "output_file": None if self.output_file is None else str(self.output_file),
            "replaced": self.replaced or None,
            "train_pairs": self.train_pairs,
            "test_pairs": self.test_pairs,
            "active_test_pairs": self.active_test_pairs,
            "classes": list(self.classes),
            "checkpoints": [
                {"name": part.name, "weight": part.weight, "learning_rate": part.learning_rate}
                for part in self.checkpoints
            ],
            "gradients_computed": self.gradients_computed,
            "seconds": round(self.seconds, 3),
            "warnings": [*self.notes, *(part.text for part in self.diagnoses)],
        }


@as_a_guest()  # a model, dataset or loss may print, and stdout is for results
def compute_project_scores(
    target: Target,
    settings: ComputeSettings,
    progress: ProgressCallback = no_progress,
    processes: Processes | None = None,
) -> ComputeOutcome | None:
    """Compute the influence of a target and write its files.

    With ``processes``, they share the work. The first one writes the files; the others return None.

    Raises:
        TracinctlError: something is missing, broken, or does not fit together; no file is half-written.
    """
    from tracinctl.engine.checkpoints.listing import list_checkpoints
    from tracinctl.engine.compute import compute_together
    from tracinctl.engine.distributed.processes import ALONE
    from tracinctl.engine.kernel.cache import KernelCache

    begun, since = time.monotonic(), time.time()
    checkpoints = list_checkpoints(target.checkpoints, settings.checkpoint_prefix)
    if settings.self_influence:
        read_records(target.records)  # a broken file is reported before the work, not after
    parts = [part for path in checkpoints for part in checkpoint_parts(path)]
    pairs_file = pairs_file_of(target, settings.origin)
    recordings = recordings_of(target) if settings.origin.source is None else {}
    # these are read once, and must not change meanwhile
    states = states_of([*recordings.values(), *parts, *filter(None, [pairs_file])])
    digests = digests_of(recordings)
    data = load_data(target, settings.origin, progress)
    used = {*data.train.ids, *data.test.ids}
    made_from = _made_from(target, settings.origin, {name: digests[name] for name in digests if name in used})
    data = replace(data, test_pairs=data.test_pairs.take(choose_test_pairs(data, settings)))
    options = compute_options(target, settings)
    model = make_model(settings.origin, checkpoints[0])
    result = compute_together(data, model, checkpoints, options, progress, processes or ALONE)
    if result is None:
        return None

    # read before writing, so that a later change counts as newer than the scores
    check_unchanged(states)
    watched = WatchedScores(result.scores, made_from)
    assumed = assumed_pairs(target, settings.origin)
    trained = trained_otherwise(checkpoints[-1], settings.origin)
    notes = [*([assumed] if assumed else []), *trained, *data.notes, *result.notes]
    replaced = _replaced(target.score_file, watched) if settings.influence else ""
    written = _write(target, settings, watched, result.scores, notes, progress)
    if not watched.complete:
        for _ in watched.blocks():
            pass
    cache = KernelCache(target.cache_dir)
    freed = cache.prune(result.cache_files, older_than=since) if settings.prune_cache else 0
    active = int(watched.active.sum())
    return ComputeOutcome(
        target=target,
        output_file=written[0] if settings.influence else None,
        written=written,
        train_pairs=len(watched.train_ids),
        test_pairs=len(watched.test_ids),
        active_test_pairs=active,
        checkpoints=result.checkpoints,
        taken=result.taken,
        gradients_computed=result.gradients_computed,
        way=result.scores.provenance["gradients"],
        seconds=time.monotonic() - begun,
        notes=notes,
        classes=tuple(data.classes),
        diagnoses=list(diagnose_scores(len(watched.test_ids), active, watched.provenance)),
        cache_bytes=cache.size(),
        freed_bytes=freed,
        replaced=replaced,
    )


def compute_options(target: Target, settings: ComputeSettings) -> ComputeOptions:
    """The engine's options with the user's functions."""
    from tracinctl.engine.compute_options import ComputeOptions
    from tracinctl.engine.losses import LossSettings, resolve_loss

    engine = settings.engine
    loss = LossSettings(**{**vars(engine.loss), "loss": resolve_loss(engine.loss.loss)})
    score = load_function(engine.score, "`score`") if isinstance(engine.score, str) else engine.score
    folder = target.cache_dir if settings.cache else None
    return ComputeOptions(**{**vars(engine), "loss": loss, "score": score}, cache=folder, own_model=True)


def _made_from(target: Target, origin: SourceSettings, recordings: Mapping[str, str]) -> dict[str, Any]:
    """The provenance of the scores: digests of the files, settings, and earlier rounds."""
    made_from: dict[str, Any] = {"recordings": recordings} if recordings else {}
    pairs_file = pairs_file_of(target, origin)
    if pairs_file is not None:
        made_from["pairs_file"] = pairs_digests(pairs_file)
    settings = {name: value for name, value in vars(origin).items() if name != "pairs_file" and value is not None}
    made_from["origin"] = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    if target.left_out_file.is_file():
        # a user's own training program may put its list beside checkpoints in any folder
        made_from["round"] = max(2, target.round)
        made_from["left_out_before"] = list(read_exclusion_list(target.left_out_file).ids)
    return made_from


def _replaced(path: Path, scores: ScoreSource) -> str:
    """How the scores in a file were made, where that differs from these scores; empty if it does not."""
    if not path.is_file():
        return ""
    if not sidecar_path(path).is_file():
        return "unknown settings"
    try:
        beside = read_sidecar(path)
        # a Parquet file has its provenance in itself, and opening it reads no scores
        earlier = beside["provenance"] if "provenance" in beside else open_scores(path).provenance
        before, now = (_settings_of(part) for part in (earlier, scores.provenance))
    except (TracinctlError, KeyError, TypeError, AttributeError):
        return "unknown settings"
    parts = [f"{name} {_shown(before[name])}" for name in before if before[name] != now.get(name)]
    if before.get("loss") == now["loss"]:
        parts += [f"no {name}" for name in now if name not in before]
    return ", ".join(parts)


def _settings_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a provenance that matter, by name, as they are read from JSON."""
    found = {name: provenance.get(name) for name in _SETTINGS}
    found["checkpoints"] = [part["name"] for part in provenance.get("checkpoints", ())]
    found["projection_dim"] = provenance.get("projection", {}).get("dim")
    found |= provenance.get("origin", {})
    return {name: value for name, value in json.loads(json.dumps(found)).items() if value is not None}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return first_few(list(map(str, value)), 3)
    return number(value) if isinstance(value, float) else str(value)


def _write(
    target: Target,
    settings: ComputeSettings,
    watched: WatchedScores,
    scores: InfluenceScores,
    notes: list[str],
    progress: ProgressCallback,
) -> list[Path]:
    """Write the requested files, the scores first, and add removed files to the notes."""
    written: list[Path] = []
    if settings.influence:
        path, old = _score_paths(target, settings.file_format, watched)
        write_scores(watched, path, progress)
        written.append(path)
        if old.is_file():
            notes.append(f"{old.name} held older scores and was removed")
        _remove_scores(old)  # a run that was killed here may have left files beside the scores
    if settings.save_per_checkpoint:
        path, old = _score_paths(target, settings.file_format, watched, per_checkpoint=True)
        write_per_checkpoint_scores(scores, path, progress)
        written.append(path)
        _remove_scores(old)
    if settings.self_influence:
        write_self_influence(scores, target.records)
        written.append(target.records)
    return written


def _score_paths(
    target: Target, file_format: str, scores: ScoreSource, *, per_checkpoint: bool = False
) -> tuple[Path, Path]:
    """The path of the scores to write, and of scores in the other format."""
    text = target.scores_as("json", per_checkpoint=per_checkpoint)
    columns = target.scores_as("parquet", per_checkpoint=per_checkpoint)
    if file_format == "auto":
        file_format = "parquet" if len(scores.train_ids) * len(scores.test_ids) > JSON_LIMIT else "json"
    return (text, columns) if file_format == "json" else (columns, text)


def _remove_scores(path: Path) -> None:
    path.unlink(missing_ok=True)
    sidecar_path(path).unlink(missing_ok=True)
