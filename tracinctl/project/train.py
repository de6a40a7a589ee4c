"""Train the built-in ranker on a project's recordings, with or without a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl.engine.checkpoints.files import checkpoint_digest, is_checkpoint
from tracinctl.errors import TracinctlError, UsageError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.config import holds_checkpoints
from tracinctl.project.reviewed import reviewed_data, verdicts_of
from tracinctl.project.settings import SourceSettings
from tracinctl.project.sources import FEATURES, load_data
from tracinctl.project.staleness import digests_of_checkpoints, pairs_digests
from tracinctl.project.target import Target
from tracinctl.scores.files.exclusion_list import read_exclusion_list
from tracinctl.scores.files.open import open_scores
from tracinctl.training.options import TrainSettings
from tracinctl.user_code import as_a_guest

if TYPE_CHECKING:
    from tracinctl.training.ranker import TrainResult


_IN_JSON = (
    *("train_accuracy", "train_loss", "held_out_accuracy", "held_out_loss"),
    *("untrained_accuracy", "went_on_from"),
)


@dataclass(frozen=True)
class TrainOutcome:
    """The result of a training.

    Attributes:
        folder: the folder of the checkpoints and pairs.csv.
        notes: remarks on the recordings, the pairs and the list for the user.
        classes: lowest rank first; empty for the user's own data.
    """

    target: Target
    folder: Path
    result: TrainResult
    notes: Sequence[str] = ()
    classes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        result, left = self.result, self.result.left
        return {
            "material": self.target.material,
            "frequency": self.target.frequency,
            "round": self.target.round,
            "output_dir": str(self.folder),
            "checkpoints": [path.name for path in result.checkpoints],
            "classes": list(self.classes),
            "train_pairs": len(left.pairs),
            "pairs_left_out": left.rows_left_out,
            "left_out_pairs": left.pair_ids,
            "left_out_items": left.item_ids,
            "unknown_ids": left.unknown,
            **{name: getattr(result, name) for name in _IN_JSON},
            "warnings": list(self.notes),
        }


@as_a_guest()  # a loss may print, and stdout is for results
def train_project_ranker(
    target: Target,
    origin: SourceSettings,
    settings: TrainSettings,
    exclusions_file: Path | None = None,
    progress: ProgressCallback = no_progress,
    *,
    review: bool = False,
    force: bool = False,
) -> TrainOutcome:
    """Train the built-in ranker on a target, without the ids on the list, if there is one.

    With ``review``, people's decisions apply: pairs are left out or turned round as they decided.

    Training with a list begins the next round, which has its own folder. Without ``force``, checkpoints of other
    settings or data are not replaced, nor is the folder's pairs file.

    Raises:
        TracinctlError: recordings, pairs or list are missing or broken, or training cannot continue.
    """
    from tracinctl.training.ranker import train_ranker

    listed = None if exclusions_file is None else read_exclusion_list(exclusions_file)
    exclusions = None if listed is None else listed.ids
    trained = target
    if listed is not None or review:
        # a list applies to all pairs, which are those of the first round
        trained = target.at_round(2 if listed is None else listed.round + 1)
        target = target.at_round(1)
    data = load_data(target, origin, progress)
    if review:
        data, left_out = reviewed_data(data, verdicts_of(target))
        exclusions = [*(exclusions or ()), *left_out]
    folder = trained.own_checkpoints
    if not force and exclusions is None and origin.pairs_file is not None:
        _check_pairs(origin.pairs_file, folder / "pairs.csv")
    in_use = "" if force else _scores_made_from(target, folder) or _scores_made_from(trained, folder)
    features = {name: getattr(origin, name) for name in FEATURES}
    result = train_ranker(
        data, settings, folder, exclusions=exclusions, in_use=in_use, features=features, progress=progress
    )
    notes = [*data.notes, *([] if listed is None else listed.notes)]
    return TrainOutcome(trained, folder, result, notes, data.classes)


def train_round(
    target: Target,
    origin: SourceSettings,
    settings: TrainSettings,
    progress: ProgressCallback = no_progress,
    *,
    force: bool = False,
) -> TrainOutcome | None:
    """Train a target's round without the list of the previous one; None if the first round has checkpoints."""
    list_before = target.at_round(target.round - 1).list_file if target.round > 1 else None
    if list_before is None and holds_checkpoints(target.checkpoints):
        return None
    return train_project_ranker(target, origin, settings, list_before, progress, force=force)


def _scores_made_from(target: Target, folder: Path) -> str:
    """The name of the score file made from the folder's checkpoints; empty without one."""
    if not target.score_file.is_file():
        return ""
    try:
        scored = set(digests_of_checkpoints(open_scores(target.score_file).provenance).values())
        existing = {checkpoint_digest(path) for path in folder.iterdir() if is_checkpoint(path)}
    except (OSError, TracinctlError):
        return ""
    return target.score_file.name if scored & existing else ""


def _check_pairs(new: Path, old: Path) -> None:
    """Raise UsageError if training would replace the folder's pairs file with other pairs."""
    if old.is_file() and pairs_digests(new)["content"] != pairs_digests(old)["content"]:
        raise UsageError(
            f"training would replace {old}, which holds other pairs than {new}",
            hint="Use another folder (`checkpoint_dir`), or `force`.",
        )
