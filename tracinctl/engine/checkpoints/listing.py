"""List the checkpoints of a folder in natural order; other files are errors, not skipped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tracinctl.engine.checkpoints.files import SUFFIXES, is_checkpoint, is_mixed, reading
from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.errors import CheckpointError, UsageError
from tracinctl.text import first_few, natural_key


def list_checkpoints(folder: Path, prefix: str = "model_epoch_") -> list[Path]:
    """The folder's checkpoints (files, or folders of a trainer) whose names start with ``prefix``, in natural order.

    Raises:
        CheckpointError: the folder does not exist, has no such checkpoint, an unreadable one, or checkpoints of two
            trainings, or a training was killed while it replaced them.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"no checkpoints: {folder} is not a folder",
            hint="Train first (`tracinctl train`), or give `checkpoint_dir`.",
        )
    if is_mixed(folder):
        raise CheckpointError(
            f"{folder} may have checkpoints of two trainings, because one ended while it replaced the other's",
            hint="Run the same `tracinctl train` again to finish that.",
        )
    with reading(folder):
        entries = sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
        chosen = [path for path in entries if path.name.startswith(prefix) and _claims_to_be(path)]
    if not chosen:
        raise _no_checkpoint(folder, prefix, entries)
    _check_endings(chosen)
    return chosen


def _claims_to_be(path: Path) -> bool:
    """Whether an entry is a checkpoint; an error if it has a checkpoint's name, but cannot be read."""
    if not path.name.endswith(SUFFIXES) or path.name.startswith("."):
        return is_checkpoint(path)
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path} is a link to a file that does not exist", hint="Restore the file, or remove the link."
        )
    if path.is_dir():
        return is_checkpoint(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is a device or a pipe, not a checkpoint", hint="Move it out of the folder.")
    return True


def _no_checkpoint(folder: Path, prefix: str, entries: Sequence[Path]) -> CheckpointError:
    if is_checkpoint(folder):
        begin = re.split(r"[0-9]", folder.name)[0]
        return CheckpointError(
            f"{folder} is a checkpoint itself, not a folder of checkpoints",
            hint=f"Give `checkpoint_dir` {folder.parent} and `checkpoint_prefix` {begin}",
        )
    named = next((path for path in entries if path.name.startswith(prefix) and path.is_file()), None)
    if named is not None:
        return CheckpointError(
            f"{named} does not have the ending of a checkpoint", hint=f"Endings are {', '.join(SUFFIXES)}."
        )
    names = [path.name for path in entries if is_checkpoint(path)]
    others = f"; it has {first_few(names)}" if names else ""
    begin = f" {re.split(r'[0-9]', names[0])[0]}" if names else ""
    error = CheckpointError(
        f"no checkpoint in {folder} has a name that starts with {prefix!r}{others}",
        hint=f"Give `checkpoint_prefix`{begin}, or train first (`tracinctl train`).",
    )
    # checkpoints of another name are there: the prefix is wrong
    error.exit_code = UsageError.exit_code if names else error.exit_code
    return error


def _check_endings(paths: Sequence[Path]) -> None:
    """Raise CheckpointError if files with different endings are not copies of each other, but of two trainings."""
    files = [path for path in paths if path.is_file()]
    main = files[0].suffix if files else ""
    others = [path for path in files if path.suffix != main]
    if not others:
        return
    same = [path for path in files if path.suffix == main]
    digests = {load_checkpoint(path).record.weights for path in same}
    for path in others:
        if load_checkpoint(path).record.weights not in digests:
            beside = next((candidate for candidate in same if candidate.stem == path.stem), same[0])
            raise CheckpointError(
                f"{path.parent} seems to have checkpoints of two trainings: {beside.name} and {path.name}",
                hint="Move those of one training to another folder.",
            )
