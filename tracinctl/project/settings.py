"""What a computation is asked for, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl.errors import UsageError
from tracinctl.project.target import Target

if TYPE_CHECKING:
    from tracinctl.scores.diagnoses import Diagnosis

FORMATS = ("auto", "json", "parquet")

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceSettings:
    """Where items, pairs and the model come from.

    Attributes:
        source: ``package.module:function`` of (frequency, material) that gives ``RankingData``; None = recordings.
        model: ``package.module:function`` that builds the model; None = the built-in ranker.
        pairs_file: the pairs that training used; None = ``pairs.csv`` beside the checkpoints, where it is.
        pairs: how pairs are made where no file names them: ``every`` or ``drawn``; None = ``every``, which ``compute``
            says is an assumption.
        seed: of the division into training and held-out items, and of drawn pairs.
        train_share: how much of the items trains.
        skip_missing: leave out pairs of the file whose recordings are gone.
        classes: from the lowest rank up; None = by the numbers in their names.
        channel: of recordings with several, from 1; None = their average.
        n_fft, hop: of the spectrograms.
        architecture, normalise: of the built-in ranker; an architecture of None is told from the checkpoint.
    """

    source: str | None = None
    model: str | None = None
    pairs_file: Path | None = None
    pairs: str | None = None
    seed: int = 42
    train_share: float = 0.7
    skip_missing: bool = False
    classes: tuple[str, ...] | None = None
    channel: int | None = None
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
        target: of what.
        output_file: the scores; None where only self-influence was asked for.
        written: all files written or added to.
        train_pairs, test_pairs, active_test_pairs: how many; a test pair is active where a score is not zero.
        checkpoints: name and weight of each, in order.
        taken: for each checkpoint, whether its kernel came from the cache.
        gradients_computed: item gradients that were taken.
        seconds: how long it took.
        notes: what a user should know of how it went.
        classes: of the recordings, from the lowest rank up; empty where the data are the user's own.
        diagnoses: what a user should know of the scores.
        cache_bytes: size of the kernels kept for this material and frequency.
        freed_bytes: what pruning deleted.
    """

    target: Target
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
    classes: Sequence[str]
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
            "classes": list(self.classes),
            "checkpoints": [{"name": name, "weight": weight} for name, weight in self.checkpoints],
            "gradients_computed": self.gradients_computed,
            "seconds": round(self.seconds, 3),
        }


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
