"""The recordings source: ``<data root>/<angle>/<material>/<material>_<angle>_<frequency>_<take>.wav``.

Importing this module, ``available`` and ``find_recordings`` load no heavy library and open no recording: completion
calls them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracinctl.errors import DataError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.text import first_few, natural_key, nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from tracinctl.data.pairs import RankingData, Samples

_NAMED = 8  # names listed in a message


@dataclass(frozen=True)
class Recording:
    """One recording of the tree.

    Attributes:
        id: its file name without ``.wav``; the item id.
        path: where it lies.
        angle: the class, for example ``deg036``.
        rank: what is ranked: the number in the class's name, or its place in order where a class has none.
        material, frequency, take: the other parts of its name.
    """

    id: str
    path: Path
    angle: str
    rank: float
    material: str
    frequency: str
    take: str


def available(data_root: str | Path) -> dict[str, list[str]]:
    """Which frequencies there are of which material, both in natural order; empty without a data folder."""
    found: dict[str, set[str]] = {}
    for angle, material, folder in _folders(Path(data_root)):
        for name in _wav_names(folder):
            parts = _parts(name, material, angle)
            if parts:
                found.setdefault(material, set()).add(parts[0])
    return {m: sorted(found[m], key=natural_key) for m in sorted(found, key=natural_key)}


def find_recordings(data_root: str | Path, material: str, frequency: str) -> list[Recording]:
    """The recordings of a material and frequency, by class, then take.

    Raises:
        DataError: no such folder, material or frequency (naming those that are there), a file whose name and folder
            disagree, a name with control characters, a device, or a link that leads out of the data folder.
    """
    root = Path(data_root)
    _check_root(root)
    tree = _folders(root)
    rank = _ranks({angle for angle, _, _ in tree})
    recordings = []
    for angle, folder_material, folder in tree:
        if folder_material != material:
            continue
        for name in _wav_names(folder):
            parts = _parts(name, material, angle)
            if parts is None:
                _check_not_misplaced(folder / name, material, frequency)
            elif parts[0] == frequency:
                _check_file(root, folder / name)
                stem = Path(name).stem
                recordings.append(Recording(stem, folder / name, angle, rank[angle], material, frequency, parts[1]))
    if not recordings:
        raise _nothing_found(root, material, frequency)
    return sorted(recordings, key=lambda r: (r.rank, natural_key(r.angle), natural_key(r.take)))


def load_recordings(
    data_root: str | Path,
    material: str,
    frequency: str,
    *,
    n_fft: int = 2048,
    hop: int = 256,
    pairs_file: str | Path | None = None,
    draw: bool = False,
    seed: int = 42,
    progress: ProgressCallback = no_progress,
) -> RankingData:
    """Recordings as ranking data: spectrograms, the 70/30 split, and pairs.

    Args:
        data_root: the folder with one folder a class.
        material: which material.
        frequency: which frequency.
        n_fft: window length of the spectrograms in samples.
        hop: distance of the windows in samples.
        pairs_file: a file of pairs (see ``pairs_file``). Without one, every pair of items of different class once, in
            item order.
        draw: without a file of pairs, draw them at random instead (see ``split.draw_pairs``).
        seed: of the split and of drawn pairs.
        progress: is told of each recording read.

    Returns:
        Inputs of shape (items, 1, n_fft // 2 + 1, frames), float32, or a list of (1, n_fft // 2 + 1, frames) where
        recordings differ in length; labels are the classes' ranks, float64.

    Raises:
        DataError: what ``find_recordings`` and ``read_wav`` raise; fewer than two recordings or classes; recordings of
            different sample rates.
    """
    from tracinctl.data.pairs import RankingData
    from tracinctl.data.pairs_file import read_pairs_file
    from tracinctl.data.split import draw_pairs, every_pair, split_items

    recordings = find_recordings(data_root, material, frequency)
    if len({r.rank for r in recordings}) < 2:  # noqa: PLR2004 - one class cannot be ranked
        raise DataError(
            f"all {len(recordings)} recordings of {material} at {frequency} in {_shown(data_root)} are of one class, "
            f"{recordings[0].angle}: there is nothing to rank",
            hint="Add recordings of other angles, or check --data-root.",
        )
    train_rows, test_rows = split_items(len(recordings), seed)
    inputs = _read_all(recordings, n_fft=n_fft, hop=hop, progress=progress)
    train, test = (_samples(recordings, inputs, rows) for rows in (train_rows, test_rows))
    train_labels, test_labels = (_labels(recordings, rows) for rows in (train_rows, test_rows))
    if pairs_file is not None:
        train_pairs, test_pairs = read_pairs_file(pairs_file, train.ids, test.ids)
    elif draw:
        train_pairs, test_pairs = draw_pairs(train_labels, test_labels, seed)
    else:
        train_pairs, test_pairs = every_pair(train_labels), every_pair(test_labels)
    return RankingData(train=train, train_pairs=train_pairs, test=test, test_pairs=test_pairs)


def _folders(root: Path) -> list[tuple[str, str, Path]]:
    """(class, material, folder) in natural order; no deeper than two, so links cannot lead in circles."""
    found = []
    for angle in _subfolders(root):
        found += [(angle.name, material.name, material) for material in _subfolders(angle)]
    return sorted(found, key=lambda f: (natural_key(f[0]), natural_key(f[1])))


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"the folder {_shown(folder)} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from error


def _wav_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        # a leading dot: macOS leaves a "._name.wav" beside each file on foreign disks
        return [name for name in names if name.lower().endswith(".wav") and not name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"the folder {_shown(folder)} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from error


def _parts(name: str, material: str, angle: str) -> tuple[str, str] | None:
    """(frequency, take) of a file name in the folder of this material and class; None where it is named otherwise."""
    stem, prefix = name[: -len(".wav")], f"{material}_{angle}_"
    frequency, _, take = stem.removeprefix(prefix).rpartition("_")
    fits = stem.startswith(prefix) and frequency and "_" not in frequency and take
    return (frequency, take) if fits else None


def _ranks(angles: set[str]) -> dict[str, float]:
    numbers = {angle: re.search(r"-?\d+(?:\.\d+)?", angle) for angle in angles}
    if all(numbers.values()):
        return {angle: float(match[0]) for angle, match in numbers.items() if match}
    return {angle: float(k) for k, angle in enumerate(sorted(angles, key=natural_key))}


def _check_root(root: Path) -> None:
    if not root.exists():
        raise DataError(
            f"there is no data folder {_shown(root)}", hint="Check --data-root, or data_root in tracinctl.toml."
        )
    if not root.is_dir():
        raise DataError(f"{_shown(root)} is not a folder", hint="--data-root is the folder with one folder an angle.")


def _check_file(root: Path, path: Path) -> None:
    if not path.name.isprintable():
        raise DataError(
            f"the file name {path.name!r} in {_shown(path.parent)} has control characters; ids must not",
            hint="Rename the recording.",
        )
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{_shown(path)} leads out of the data folder, to {_shown(path.resolve())}",
            hint="Put the recording itself there, or point --data-root at the folder where it lies.",
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(
            f"{_shown(path)} is not a file but a device or a pipe, which might never end", hint="Remove it."
        )


def _check_not_misplaced(path: Path, material: str, frequency: str) -> None:
    """A recording whose name gives another class than its folder would be ranked wrongly or left out in silence."""
    if path.name.startswith(f"{material}_") and f"_{frequency}_" in path.name:
        raise DataError(
            f"{_shown(path)} is not named as its folders say ({_shown(path.parent.parent.name)}, {_shown(material)})",
            hint=f"Names are <material>_<angle>_<frequency>_<take>.wav: rename {path.name!r} or move it.",
        )


def _nothing_found(root: Path, material: str, frequency: str) -> DataError:
    found = available(root)
    if not found:
        return DataError(
            f"there are no recordings in {_shown(root)}",
            hint="They are looked for as <angle>/<material>/<material>_<angle>_<frequency>_<take>.wav; "
            "check --data-root.",
        )
    if material not in found:
        return DataError(
            f"there are no recordings of the material {material!r} in {_shown(root)}; there is {_list(found)}",
            hint=_nearest(material, list(found), "--material"),
        )
    return DataError(
        f"there are no recordings of {material} at {frequency!r} in {_shown(root)}; there is {_list(found[material])}",
        hint=_nearest(frequency, found[material], "--frequency"),
    )


def _list(names: Sequence[str] | dict[str, list[str]]) -> str:
    shown = [_shown(name) for name in names]
    return first_few(shown, _NAMED)


def _nearest(name: str, names: list[str], flag: str) -> str:
    near = nearest(name, names)
    return f"Did you mean {flag} {_shown(near)}?" if near else f"Choose one of them with {flag}."


def _shown(name: str | Path) -> str:
    text = str(name)
    return text if text.isprintable() else repr(text)


def _read_all(recordings: list[Recording], *, n_fft: int, hop: int, progress: ProgressCallback) -> list[torch.Tensor]:
    from tracinctl.data.features import read_wav, spectrogram

    inputs = []
    rate_of_first = 0
    for k, recording in enumerate(recordings):
        samples, rate = read_wav(recording.path)
        rate_of_first = rate_of_first or rate
        if rate != rate_of_first:
            raise DataError(
                f"{_shown(recording.path)} has {rate} Hz, but {recordings[0].id} has {rate_of_first} Hz",
                hint="Resample them to one rate: their spectrograms cannot be compared otherwise.",
            )
        inputs.append(spectrogram(samples, n_fft=n_fft, hop=hop, name=_shown(recording.path)))
        progress(Progress("reading", k + 1, len(recordings), "recordings", name=recording.id))
    return inputs


def _samples(recordings: list[Recording], inputs: list[torch.Tensor], rows: list[int]) -> Samples:
    import torch

    from tracinctl.data.pairs import Samples

    ids = [recordings[k].id for k in rows]
    chosen = [inputs[k] for k in rows]
    stacked = torch.stack(chosen) if len({x.shape for x in chosen}) == 1 else chosen
    return Samples(ids, stacked, _labels(recordings, rows))


def _labels(recordings: list[Recording], rows: list[int]) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.array([recordings[k].rank for k in rows], dtype=np.float64)
