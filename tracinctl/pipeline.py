"""From a project's files to its score files: source, model, checkpoints, influence, files. Prints nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl.changed import FileStates, recordings_of
from tracinctl.checkpoint_files import checkpoint_parts
from tracinctl.config import Project
from tracinctl.errors import DataError, ModelError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.user_code import call_function

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from tracinctl.data.pairs import Pairs, RankingData
    from tracinctl.engine.processes import Processes
    from tracinctl.scores.diagnoses import Diagnosis
    from tracinctl.scores.table import ScoreSource

FORMATS = ("auto", "json", "parquet")

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceSettings:
    """Where items, pairs and the model come from.

    Attributes:
        source: ``package.module:function`` of (frequency, material) that gives ``RankingData``; None = recordings.
        model: ``package.module:function`` that builds the model; None = the built-in ranker.
        pairs_file: the pairs that training used; None = ``pairs.csv`` beside the checkpoints, where it is.
        seed: of the division into training and held-out items.
        n_fft, hop: of the spectrograms.
        architecture, normalise: of the built-in ranker; an architecture of None is told from the checkpoint.
    """

    source: str | None = None
    model: str | None = None
    pairs_file: Path | None = None
    seed: int = 42
    n_fft: int = 2048
    hop: int = 256
    architecture: str | None = None
    normalise: bool = True


@dataclass(frozen=True)
class ComputeSettings:
    """How influence is computed and what is written.

    Attributes:
        origin: where items, pairs and the model come from.
        checkpoint_prefix: how the names of checkpoint files begin.
        num_test_samples: so many held-out pairs, drawn with the seed; None = all.
        test_pairs: ids of the held-out pairs to use; empty = all.
        loss_type, margin, ghm_bins, ghm_alpha, batch_size: the loss; batch_size is that of training.
        method, checkpoint_weights, device, dtype, layers, memory, num_workers, projection_dim: see
            ``engine.compute.ComputeOptions``.
        influence, self_influence, save_per_checkpoint: what is written.
        file_format: ``json``, ``parquet``, or ``auto``: Parquet for more than a million scores.
        cache: whether kernels are kept and reused.
        prune_cache: whether kernels of this material and frequency that were not used are deleted.
        divide: whether half of the held-out items have no part in the scores, so that they can judge what the scores
            lead to; see ``judging``.
    """

    origin: SourceSettings = field(default_factory=SourceSettings)
    checkpoint_prefix: str = "model_epoch_"
    num_test_samples: int | None = None
    test_pairs: tuple[str, ...] = ()
    loss_type: str = "standard"
    margin: float = 1.0
    ghm_bins: int = 10
    ghm_alpha: float = 0.75
    batch_size: int = 32
    method: str = "tracin"
    checkpoint_weights: str = "relative"
    device: str = "auto"
    dtype: str = "float32"
    layers: tuple[str, ...] | None = None
    memory: int | None = None
    num_workers: int = 0
    projection_dim: int | None = None
    influence: bool = True
    self_influence: bool = True
    save_per_checkpoint: bool = False
    file_format: str = "auto"
    cache: bool = True
    prune_cache: bool = False
    divide: bool = False


@dataclass(frozen=True)
class ComputeOutcome:
    """What was computed.

    Attributes:
        material, frequency: of what.
        output_file: the scores; None where only self-influence was asked for.
        written: all files written or added to.
        train_pairs, test_pairs, active_test_pairs: how many; a test pair is active where a score is not zero.
        checkpoints: name and weight of each, in order.
        taken: for each checkpoint, whether its kernel came from the cache.
        gradients_computed: item gradients that were taken.
        seconds: how long it took.
        notes: what a user should know of how it went.
        diagnoses: what a user should know of the scores.
        cache_bytes: size of the kernels kept for this material and frequency.
        freed_bytes: what pruning deleted.
    """

    material: str
    frequency: str
    output_file: Path | None
    written: Sequence[Path]
    train_pairs: int
    test_pairs: int
    active_test_pairs: int
    checkpoints: Sequence[tuple[str, float]]
    taken: Sequence[bool]
    gradients_computed: int
    seconds: float
    notes: Sequence[str]
    diagnoses: Sequence[Diagnosis]
    cache_bytes: int
    freed_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The result in plain values."""
        return {
            "output_file": None if self.output_file is None else str(self.output_file),
            "train_pairs": self.train_pairs,
            "test_pairs": self.test_pairs,
            "active_test_pairs": self.active_test_pairs,
            "checkpoints": [{"name": name, "weight": weight} for name, weight in self.checkpoints],
            "gradients_computed": self.gradients_computed,
            "seconds": round(self.seconds, 3),
        }


def load_data(
    project: Project, material: str, frequency: str, origin: SourceSettings, progress: ProgressCallback = no_progress
) -> RankingData:
    """Items and pairs of a material and frequency, from the recordings or from the user's own source.

    Raises:
        TracinctlError: they are missing, broken or contradict each other.
    """
    from tracinctl.data.pairs import RankingData
    from tracinctl.data.recordings import load_recordings

    if origin.source is not None:
        data = call_function(origin.source, "--source", frequency, material)
        if not isinstance(data, RankingData):
            raise DataError(
                f"--source {origin.source} gave a {type(data).__name__}, not a tracinctl.RankingData",
                hint="See RankingData(train=Samples(...), train_pairs=Pairs(...), test=..., test_pairs=...).",
            )
        return data
    return load_recordings(
        project.data_root,
        material,
        frequency,
        n_fft=origin.n_fft,
        hop=origin.hop,
        pairs_file=_pairs_file(project, material, frequency, origin),
        seed=origin.seed,
        progress=progress,
    )


def _pairs_file(project: Project, material: str, frequency: str, origin: SourceSettings) -> Path | None:
    beside = project.pairs_file(material, frequency)
    return origin.pairs_file or (beside if beside.is_file() else None)


def _read_once(
    project: Project, material: str, frequency: str, origin: SourceSettings, checkpoints: Sequence[Path]
) -> FileStates:
    """What is read at the beginning or now and then, and must be the same at the end."""
    parts = [part for path in checkpoints for part in checkpoint_parts(path)]
    pairs = None if origin.source is not None else _pairs_file(project, material, frequency, origin)
    return FileStates.of({str(path): path for path in [*parts, *([pairs] if pairs else [])]}, digests=False)


def make_model(origin: SourceSettings, first_checkpoint: Path) -> nn.Module:
    """The model that the checkpoints are of: the user's own, or the built-in ranker that fits.

    Raises:
        TracinctlError: it cannot be built, or the checkpoint is of no built-in ranker.
    """
    from torch import nn

    if origin.model is not None:
        model = call_function(origin.model, "--model")
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"--model {origin.model} gave a {type(model).__name__}, not a torch.nn.Module",
                hint="The function takes nothing and returns the model.",
            )
        return model
    from tracinctl.engine.checkpoints import load_checkpoint
    from tracinctl.engine.state_keys import without_wrappers
    from tracinctl.models import architecture_of, build_ranker

    architecture = origin.architecture or architecture_of(without_wrappers(load_checkpoint(first_checkpoint).state))
    return build_ranker(architecture, origin.normalise)


def compute_project_scores(
    project: Project,
    material: str,
    frequency: str,
    settings: ComputeSettings,
    progress: ProgressCallback = no_progress,
    processes: Processes | None = None,
) -> ComputeOutcome | None:
    """Compute the influence of a material and frequency and write its files.

    With ``processes`` they share the work; the first one writes the files, and the others get None.

    Raises:
        TracinctlError: anything that is missing, broken, or does not fit together; nothing is half-written.
    """
    from tracinctl.engine.cache import KernelCache
    from tracinctl.engine.checkpoints import list_checkpoints
    from tracinctl.engine.compute import ComputeOptions, compute_scores
    from tracinctl.engine.influence import LossSettings
    from tracinctl.engine.losses import resolve_loss
    from tracinctl.scores.diagnoses import diagnose_scores
    from tracinctl.scores.files import write_scores
    from tracinctl.scores.metadata import read_records, write_self_influence
    from tracinctl.scores.per_checkpoint import write_per_checkpoint_scores
    from tracinctl.scores.watched import WatchedScores

    begun, since = time.monotonic(), time.time()
    loss = LossSettings(
        resolve_loss(settings.loss_type), settings.margin, settings.ghm_bins, settings.ghm_alpha, settings.batch_size
    )
    checkpoints = list_checkpoints(project.checkpoints(material, frequency), settings.checkpoint_prefix)
    if settings.self_influence:
        read_records(project.metadata_file(material, frequency))  # a broken one is told of before the work, not after
    others = _read_once(project, material, frequency, settings.origin, checkpoints)
    recordings = FileStates.of(recordings_of(project, material, frequency) if settings.origin.source is None else {})
    data = load_data(project, material, frequency, settings.origin, progress)
    about: dict[str, Any] = {"recordings": recordings.digests} if recordings.digests else {}
    if settings.divide:
        from tracinctl.judging import divide_held_out

        division = divide_held_out(data, settings.origin.seed)
        data = with_test_pairs(data, division.rows(data, "scoring"))
        about["division"] = division.to_json()
    data = with_test_pairs(data, choose_test_pairs(data, settings))
    folder = project.cache_dir / f"{material}_{frequency}"
    options = ComputeOptions(
        loss=loss,
        method=settings.method,
        checkpoint_weights=settings.checkpoint_weights,
        dtype=settings.dtype,
        device=settings.device,
        layers=settings.layers,
        cache=folder if settings.cache else None,
        memory=settings.memory,
        num_workers=settings.num_workers,
        projection_dim=settings.projection_dim,
    )
    result = compute_scores(
        data, make_model(settings.origin, checkpoints[0]), checkpoints, options, progress, processes=processes
    )
    if result is None:
        return None

    # before anything is written: what changes later is newer than the scores, and is told of where they are used
    recordings.check_unchanged()
    others.check_unchanged()
    watched = WatchedScores(result.scores, about)
    written: list[Path] = []
    notes = list(result.notes)
    output: Path | None = None
    if settings.influence:
        output, other = score_paths(project, material, frequency, settings.file_format, watched)
        write_scores(watched, output, progress)
        written.append(output)
        if other.is_file():
            notes.append(f"{other.name} held older scores and was removed")
        remove_scores(other)  # a run that was killed here may have left what lies beside them
    if settings.save_per_checkpoint:
        path, other = score_paths(project, material, f"{frequency}_per_checkpoint", settings.file_format, watched)
        write_per_checkpoint_scores(result.scores, path, progress)
        written.append(path)
        remove_scores(other)
    if settings.self_influence:
        path = project.metadata_file(material, frequency)
        write_self_influence(result.scores, path)
        written.append(path)
    if not watched.seen:
        for _ in watched.blocks():
            pass
    cache = KernelCache(folder)
    freed = cache.prune(result.cache_files, older_than=since) if settings.prune_cache else 0
    active = int(watched.active.sum())
    return ComputeOutcome(
        material=material,
        frequency=frequency,
        output_file=output,
        written=written,
        train_pairs=len(watched.train_ids),
        test_pairs=len(watched.test_ids),
        active_test_pairs=active,
        checkpoints=result.checkpoints,
        taken=result.taken,
        gradients_computed=result.gradients_computed,
        seconds=time.monotonic() - begun,
        notes=notes,
        diagnoses=diagnose_scores(len(watched.test_ids), active, watched.provenance),
        cache_bytes=cache.size(),
        freed_bytes=freed,
    )


def choose_test_pairs(data: RankingData, settings: ComputeSettings) -> npt.NDArray[np.int64]:
    """Rows of the held-out pairs to use: those that are named, or so many drawn with the seed, or all.

    Raises:
        DataError: a named pair is not there.
        UsageError: both a number and names are given, or the number is not positive.
    """
    import numpy as np

    pairs = data.test_pairs
    if settings.test_pairs and settings.num_test_samples is not None:
        raise UsageError("--test-pair and --num-test-samples exclude each other", hint="Give one of them.")
    if settings.test_pairs:
        ids = pairs.ids(data.test.ids)
        rows = []
        for name in settings.test_pairs:
            if name not in ids:
                near = get_close_matches(name, ids, n=1, cutoff=0.5)
                raise DataError(
                    f"there is no held-out pair {name!r}",
                    hint=f"Did you mean {near[0]}?"
                    if near
                    else f"There are {len(ids)}, for example {ids[0]}."
                    if ids
                    else "",
                )
            rows.append(ids.index(name))
        return np.array(rows, dtype=np.int64)
    if settings.num_test_samples is not None and settings.num_test_samples < 1:
        raise UsageError(
            f"--num-test-samples {settings.num_test_samples} leaves no test pair", hint="Leave it out to use all."
        )
    if settings.num_test_samples is None or settings.num_test_samples >= len(pairs):
        return np.arange(len(pairs))
    drawn = np.random.default_rng(settings.origin.seed).choice(len(pairs), settings.num_test_samples, replace=False)
    return np.sort(drawn)


def with_test_pairs(data: RankingData, rows: npt.NDArray[np.int64]) -> RankingData:
    """The data with these held-out pairs alone."""
    from tracinctl.data.pairs import RankingData

    test_pairs: Pairs = data.test_pairs.take(rows)
    return RankingData(data.train, data.train_pairs, data.test, test_pairs, data.score)


def score_paths(
    project: Project, material: str, frequency: str, file_format: str, scores: ScoreSource
) -> tuple[Path, Path]:
    """Where scores are written, and where scores of the other format would lie.

    Raises:
        UsageError: there is no such format.
    """
    from tracinctl.scores.files import JSON_LIMIT

    if file_format not in FORMATS:
        raise UsageError(f"unknown format {file_format!r}", hint=f"One of {', '.join(FORMATS)}.")
    written = project.metadata_dir / f"{material}_{frequency}_influence_metadata.json"
    columns = project.metadata_dir / f"{material}_{frequency}_influence.parquet"
    if file_format == "auto":
        file_format = "parquet" if len(scores.train_ids) * len(scores.test_ids) > JSON_LIMIT else "json"
    return (written, columns) if file_format == "json" else (columns, written)


def remove_scores(path: Path) -> None:
    """Remove a score file and what lies beside it."""
    from tracinctl.scores.provenance_file import provenance_path

    path.unlink(missing_ok=True)
    if path.suffix == ".json":
        provenance_path(path).unlink(missing_ok=True)


def parse_size(text: str) -> int:
    """Bytes from ``4GiB``, ``500 MB`` or ``2g``; a bare number is bytes.

    Raises:
        UsageError: the text is no size above zero.
    """
    match = _SIZE.match(text)
    if match is None or not float(match[1]):
        raise UsageError(f"--memory {text!r} is no size", hint="For example --memory 4GiB")
    number, letter, binary = match.groups()
    base = 1024 if binary or not text.lower().rstrip().endswith("b") else 1000
    return int(float(number) * base ** " kmgt".index(letter.lower() or " "))
