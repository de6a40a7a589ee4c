"""The folder of a training run, safe against killed and failed runs.

A run with the same settings and data continues from its last checkpoint. New checkpoints are written to a hidden
folder and replace another run's only when all are complete, so a run that diverges or is killed costs no good one.
While they are moved, the hidden folder has another name, which tells readers that they would see a mixture.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracinctl.engine.checkpoints.files import MOVING, STAGED
from tracinctl.engine.checkpoints.record import RUN
from tracinctl.engine.checkpoints.safe_load import read_tensors
from tracinctl.errors import TrainingError
from tracinctl.files import write_text_atomic

CHECKPOINT_PREFIX: Final = "model_epoch_"
PAIRS_FILE: Final = "pairs.csv"
LEFT_OUT_FILE: Final = "excluded_pairs.txt"
"""The ids that were left out, one per line."""
UNTRAINED: Final = "untrained_accuracy"  # key in a checkpoint's args for the accuracy of the first weights


class TrainingFolder:
    """The folder of a run's files.

    Args:
        folder: the final folder.
        fingerprint: a digest of everything that the run depends on.
        in_use: the file that was made from the folder's checkpoints, which keeps a run with other settings or data
            from replacing them; empty = they may be replaced.

    Attributes:
        place: the folder to write to until ``finish`` is called.
        existing: this run's existing checkpoints by epoch.
        last: content of the latest checkpoint; None without one.

    Raises:
        TrainingError: the folder has another program's checkpoints, or checkpoints that are in use.
    """

    def __init__(self, folder: Path, fingerprint: str, *, in_use: str = "") -> None:
        checkpoints = {path: _own_checkpoint(path) for path in sorted(folder.glob(f"{CHECKPOINT_PREFIX}*.pt"))}
        foreign = [path for path, content in checkpoints.items() if content is None]
        if foreign:
            raise TrainingError(
                f"{folder} has checkpoints of another training program, such as {foreign[0].name}, which are not "
                "replaced",
                hint="Use another folder, or move them away.",
            )
        self.folder = folder
        self._moving = folder / f"{STAGED}{fingerprint}{MOVING}"
        self._staged = self._moving if self._moving.is_dir() else folder / f"{STAGED}{fingerprint}"
        self._others = [path for path, content in checkpoints.items() if not _is_of(content, fingerprint)]
        if self._others and in_use:
            raise TrainingError(
                f"training would replace the checkpoints in {folder}, but {in_use} was made from them",
                hint=f"Use another folder, for example `checkpoint_dir` {folder.parent}-again, or use `force`.",
            )
        staged = {path: _own_checkpoint(path) for path in sorted(self._staged.glob(f"{CHECKPOINT_PREFIX}*.pt"))}
        self.place = self._staged if self._others or staged else folder
        self.existing: dict[int, Path] = {}
        self.last: Mapping[str, Any] | None = None
        for path, content in (checkpoints | staged).items():
            if content is not None and _is_of(content, fingerprint):
                self.existing[content["epoch"]] = path
                if content["epoch"] == max(self.existing):
                    self.last = content

    def keep_left_out(self, exclusions: Sequence[str] | None) -> None:
        """Write the ids that were left out, if there was a list."""
        path = self.place / LEFT_OUT_FILE
        if exclusions is None:
            path.unlink(missing_ok=True)
        else:
            write_text_atomic(path, "".join(f"{name}\n" for name in exclusions))

    def finish(self) -> list[Path]:
        """Replace the old files by the run's; return its checkpoints by epoch."""
        names = {path.name for path in self.existing.values()}
        if self.place == self._staged:
            if self._staged != self._moving:
                self._staged.rename(self._moving)
            if not (self._moving / LEFT_OUT_FILE).is_file():
                (self.folder / LEFT_OUT_FILE).unlink(missing_ok=True)
            for path in sorted(self._moving.iterdir()):
                path.replace(self.folder / path.name)
            for path in self._others:
                if path.name not in names:
                    path.unlink(missing_ok=True)
        for path in self.folder.glob(f"{STAGED}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        return [self.folder / self.existing[epoch].name for epoch in sorted(self.existing)]


def _own_checkpoint(path: Path) -> dict[str, Any] | None:
    """A checkpoint that training wrote; None for any other file."""
    try:
        content = read_tensors(path, bytearray(path.read_bytes()))
        return content if isinstance(content["args"][RUN], str) else None
    except Exception:  # noqa: BLE001 - it is not one of ours, and is not touched
        return None


def _is_of(content: Mapping[str, Any] | None, fingerprint: str) -> bool:
    return content is not None and content["args"][RUN] == fingerprint
