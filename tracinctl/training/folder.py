"""The folder that a training run writes into, and what a killed or failed run leaves there.

A run of the same settings and data goes on from its last checkpoint. Checkpoints of another run stay until all of the
new ones are there: these lie in a hidden folder until then, so a run that diverges or is killed costs no good one.
While they are put in place that folder has another name, by which readers know that they would see a mixture.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tracinctl.engine.checkpoints.files import MOVING, STAGED
from tracinctl.engine.checkpoints.record import RUN
from tracinctl.engine.checkpoints.safe_load import read_tensors
from tracinctl.errors import TrainingError
from tracinctl.files import locked, write_text_atomic

CHECKPOINT_PREFIX: Final = "model_epoch_"
PAIRS_FILE: Final = "pairs.csv"
LEFT_OUT_FILE: Final = "excluded_pairs.txt"
"""The ids that were left out, one a line."""
UNTRAINED: Final = "untrained_accuracy"  # under this name of a checkpoint's args, that of the first weights


class TrainingFolder:
    """Where a run's files go.

    Args:
        folder: where they are at the end.
        fingerprint: what the run depends on.
        in_use: what was made from the checkpoints in the folder, so that a run of other settings or data does not
            replace them; empty = they may be replaced.

    Attributes:
        place: where to write until ``finish`` is called.
        kept: epoch -> checkpoint of this run that is there already.
        last: content of the latest one; None without a checkpoint.

    Raises:
        TrainingError: the folder holds somebody else's checkpoints, or such that are in use.
    """

    def __init__(self, folder: Path, fingerprint: str, *, in_use: str = "") -> None:
        checkpoints = {path: _own_checkpoint(path) for path in sorted(folder.glob(f"{CHECKPOINT_PREFIX}*.pt"))}
        foreign = [path for path, content in checkpoints.items() if content is None]
        if foreign:
            raise TrainingError(
                f"{folder} holds checkpoints of another training program, for example {foreign[0].name}; they are not "
                "replaced",
                hint="Train into another folder, or move them away.",
            )
        self.folder = folder
        self._moving = folder / f"{STAGED}{fingerprint}{MOVING}"
        self._staged = self._moving if self._moving.is_dir() else folder / f"{STAGED}{fingerprint}"
        self._others = [path for path, content in checkpoints.items() if not _is_of(content, fingerprint)]
        if self._others and in_use:
            raise TrainingError(
                f"{folder} holds the checkpoints that {in_use} was made from, and training would replace them",
                hint=f"Train into another folder, for example `checkpoint_dir` {folder.parent}-again, or use `force`.",
            )
        staged = {path: _own_checkpoint(path) for path in sorted(self._staged.glob(f"{CHECKPOINT_PREFIX}*.pt"))}
        self.place = self._staged if self._others or staged else folder
        self.kept: dict[int, Path] = {}
        self.last: Mapping[str, Any] | None = None
        for path, content in (checkpoints | staged).items():
            if content is not None and _is_of(content, fingerprint):
                self.kept[content["epoch"]] = path
                if content["epoch"] == max(self.kept):
                    self.last = content

    def keep_left_out(self, exclusions: Sequence[str] | None) -> None:
        """Write which ids were left out; nothing where no list was given."""
        path = self.place / LEFT_OUT_FILE
        if exclusions is None:
            path.unlink(missing_ok=True)
        else:
            write_text_atomic(path, "".join(f"{name}\n" for name in exclusions))

    def finish(self) -> list[Path]:
        """Put the run's files in place of what was there before; returns its checkpoints, by epoch."""
        names = {path.name for path in self.kept.values()}
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
        return [self.folder / self.kept[epoch].name for epoch in sorted(self.kept)]


@contextmanager
def training_folder(folder: Path, fingerprint: str, *, in_use: str = "") -> Iterator[TrainingFolder]:
    """The folder, held against other runs that would mix their checkpoints with this one's.

    Raises:
        TrainingError: it holds somebody else's checkpoints, or such that are in use.
        TracinctlError: another run is training into it, or it cannot be written.
    """
    with locked(folder.absolute(), wait=0):
        yield TrainingFolder(folder, fingerprint, in_use=in_use)


def _own_checkpoint(path: Path) -> dict[str, Any] | None:
    """A checkpoint that training wrote; None for any other file."""
    try:
        content = read_tensors(path, bytearray(path.read_bytes()))
        return content if isinstance(content["args"][RUN], str) else None
    except Exception:  # noqa: BLE001 - whatever it is, it is not one of ours, and is not touched
        return None


def _is_of(content: Mapping[str, Any] | None, fingerprint: str) -> bool:
    return content is not None and content["args"][RUN] == fingerprint
