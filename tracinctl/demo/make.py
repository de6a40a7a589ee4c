"""The demo: a project folder with recordings, planted errors and trained checkpoints.

Everything is made in a hidden folder inside the project's and moved up when it is complete, the settings last, so that
an interrupted demo is not a project. The next run removes a killed run's files, or moves up the rest of a whole demo.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np

from tracinctl.data.loading import load_recordings
from tracinctl.data.pairs import Pairs, RankingData
from tracinctl.data.planted import ITEM, PAIR, PLANTED_FILE, Planted, write_planted
from tracinctl.data.split import split_items
from tracinctl.demo.acoustics import MATERIALS, RATE, Samples, record
from tracinctl.errors import DataError, TracinctlError, UsageError
from tracinctl.files import lock_file, write_hint, write_text_atomic
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.training.options import TrainSettings
from tracinctl.training.ranker import train_ranker
from tracinctl.training.threads import one_thread

ANGLES = (0, 36, 72, 108, 144, 180)
TRAINED, UNTRAINED = "plastic", "metal"
SECONDS = 0.25
N_FFT, HOP = 256, 512
SPLIT_SEED = 42
SETTINGS_FILE = "tracinctl.toml"
_WORK = ".tracinctl-demo"
# inside: the unfinished project, the complete project, and the result to report
_MADE, _WHOLE, _RESULT = "made", "whole", "result.json"


@dataclass(frozen=True)
class DemoSize:
    """The size of a demo.

    It is large enough for held-out recordings to judge: of 45 takes of six angles, 81 are held out. Half of them choose
    what to leave out, and half judge. With 20 takes, the 18 judging recordings cannot tell the gain from chance (3.7
    points of accuracy, 95 % interval -3.6 to 11.0). Coarse spectrograms and few epochs keep twenty trainings of a
    frequency within minutes.

    Attributes:
        takes: recordings per angle, for the trained material and for the other.
        comparisons: training pairs per frequency.
        flipped: the share of these with a flipped target.
        misfiled: training recordings per frequency with a wrong angle.
    """

    takes: tuple[int, int] = (45, 6)
    comparisons: int = 600
    flipped: float = 0.25
    misfiled: int = 3
    epochs: int = 15


@dataclass(frozen=True)
class DemoSet:
    """One material and frequency of a demo.

    Attributes:
        material: see ``MATERIALS``.
        planted_pairs, planted_items: numbers of flipped comparisons and of recordings with a wrong angle.
        held_out_accuracy: share of held-out pairs that the ranker ranks correctly; None without a ranker.
    """

    material: str
    frequency: str
    recordings: int
    planted_pairs: int = 0
    planted_items: int = 0
    held_out_accuracy: float | None = None


@dataclass(frozen=True)
class DemoResult:
    """The project folder, and each material and frequency in it."""

    directory: Path
    sets: Sequence[DemoSet]

    @property
    def trained(self) -> list[DemoSet]:
        """The sets with a trained ranker."""
        return [part for part in self.sets if part.material == TRAINED]


SETTINGS = """\
# Settings of this project; tracinctl finds this file from here and from all folders below.
material = "{material}"
frequencies = [{frequencies}]

[features]
n_fft = {n_fft}
hop = {hop}

[train]
epochs = {epochs}
checkpoint_interval = {checkpoint_interval}
learning_rate = {learning_rate}
batch_size = {batch_size}
"""


def make_demo(
    directory: Path,
    frequencies: Sequence[str] = ("500hz", "1000hz"),
    seed: int = 0,
    *,
    size: DemoSize | None = None,
    progress: ProgressCallback = no_progress,
) -> DemoResult:
    """Make a demo project in ``directory``, which must be absent or empty.

    Raises:
        UsageError: a frequency is not written like ``500hz``, or the folder holds something.
        TracinctlError: it cannot be written.
    """
    size = size or DemoSize()
    tones = {name: _hertz(name) for name in dict.fromkeys(frequencies)}
    directory = directory.absolute()
    request = json.dumps([list(tones), seed, astuple(size)])
    not_empty = UsageError(f"{directory} is not an empty folder", hint="Name a folder that does not exist yet.")
    if directory.exists() and not directory.is_dir():
        raise not_empty
    try:
        with _work_folder(directory) as work:
            _move_up(work, directory)
            result = _finished(work, directory, request)
            if result is None:
                if any(path != work for path in directory.iterdir()):
                    raise not_empty
                shutil.rmtree(work / _MADE, ignore_errors=True)
                with one_thread():
                    result = _fill(work / _MADE, directory, tones, seed, size, progress)
                write_text_atomic(work / _RESULT, json.dumps([request, asdict(result)], default=str))
                (work / _MADE).rename(work / _WHOLE)
                _move_up(work, directory)
    except OSError as error:
        raise TracinctlError(
            f"cannot write {directory}: {error.strerror or error}",
            hint=write_hint(error) or "Check its permissions, or name another folder.",
        ) from error
    return result


@contextlib.contextmanager
def _work_folder(directory: Path) -> Iterator[Path]:
    """The hidden folder, locked against other runs; removed at the end unless it has files to move up."""
    new = not directory.exists()
    work = directory / _WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with lock_file(work / "lock", wait=0):
            try:
                yield work
            finally:
                if not _waiting(work):
                    shutil.rmtree(work / _MADE, ignore_errors=True)
                    shutil.rmtree(work, ignore_errors=True)
                if new:
                    with contextlib.suppress(OSError):
                        directory.rmdir()
    except TimeoutError as error:
        raise DataError(f"another run is making a demo in {directory}", hint="Give another folder.") from error


def _waiting(work: Path) -> list[Path]:
    """Complete files to move up, the settings last, because they make a folder a project."""
    complete = work / _WHOLE
    paths = complete.iterdir() if complete.is_dir() else ()
    return sorted(paths, key=lambda path: (path.name == SETTINGS_FILE, path.name))


def _move_up(work: Path, directory: Path) -> None:
    """Move complete files into place; the folder itself stays, because it may be somebody's current folder."""
    for path in _waiting(work):
        os.rename(path, directory / path.name)  # noqa: PTH104 - unlike replace, it never replaces a folder


def _finished(work: Path, directory: Path, request: str) -> DemoResult | None:
    """The result of a run that was killed at its very end, if it made the same demo."""
    try:
        finished, result = json.loads((work / _RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = finished == request and not (work / _MADE).exists()
    return DemoResult(directory, [DemoSet(**part) for part in result["sets"]]) if same else None


def _hertz(name: str) -> float:
    text = name.removesuffix("hz")
    if not name.endswith("hz") or not text.isdigit() or not 50 <= int(text) <= RATE // 8:  # noqa: PLR2004  hertz
        raise UsageError(
            f"frequency {name!r} cannot be synthesised", hint=f"Use 50hz to {RATE // 8}hz, written like 500hz."
        )
    return float(text)


def _fill(
    work: Path, directory: Path, tones: dict[str, float], seed: int, size: DemoSize, progress: ProgressCallback
) -> DemoResult:
    settings = TrainSettings(epochs=size.epochs, checkpoint_interval=3, learning_rate=0.007, batch_size=64)
    items = _record_all(work, tones, seed, size, progress)
    pairs: list[Planted] = []
    sets: list[DemoSet] = []
    recordings = [len(ANGLES) * takes for takes in size.takes]
    for number, frequency in enumerate(tones):
        random = np.random.default_rng([seed, number, 1])
        named = functools.partial(_name_reports, progress, f"{TRAINED} {frequency}")
        data, flipped = _comparisons(work, frequency, size, random, named)
        pairs += [Planted(PAIR, TRAINED, frequency, pair, "target flipped") for pair in flipped]
        place = work / "checkpoints" / f"{TRAINED}_{frequency}"
        result = train_ranker(data, settings, place, features={"n_fft": N_FFT, "hop": HOP}, progress=named)
        sets += [
            DemoSet(TRAINED, frequency, recordings[0], len(flipped), size.misfiled, result.held_out_accuracy),
            DemoSet(UNTRAINED, frequency, recordings[1]),
        ]
    write_planted(work / PLANTED_FILE, [*items, *pairs])
    names = ", ".join(f'"{name}"' for name in tones)
    text = SETTINGS.format(material=TRAINED, frequencies=names, n_fft=N_FFT, hop=HOP, **asdict(settings))
    (work / SETTINGS_FILE).write_text(text, encoding="utf-8")
    return DemoResult(directory, sets)


def _record_all(
    work: Path, tones: dict[str, float], seed: int, size: DemoSize, progress: ProgressCallback
) -> list[Planted]:
    """Write all recordings; return those with a wrong angle."""
    misfiled: list[Planted] = []
    total = sum(len(ANGLES) * takes for takes in size.takes) * len(tones)
    written = 0
    for number, (frequency, hertz) in enumerate(tones.items()):
        random = np.random.default_rng([seed, number])
        wrong = _misfiled(size, random)
        for material, takes in zip((TRAINED, UNTRAINED), size.takes, strict=True):
            for angle, take in itertools.product(ANGLES, range(takes)):
                true = wrong.get((angle, take), angle) if material == TRAINED else angle
                # every fourth take is stereo, as in real folders that grew over time
                channels = 2 if take % 4 == 3 else 1  # noqa: PLR2004  the fourth
                sound = record(MATERIALS[material], true, hertz, random, seconds=SECONDS, channels=channels)
                folder = work / "data" / f"deg{angle:03d}" / material
                _write_sound(folder / f"{_item(material, frequency, angle, take)}.wav", sound)
                written += 1
                progress(Progress("recording", written, total, "recordings", f"{material} {frequency}"))
        misfiled += [
            Planted(ITEM, TRAINED, frequency, _item(TRAINED, frequency, *filed), f"recorded at {true} degrees")
            for filed, true in wrong.items()
        ]
    return misfiled


def _name_reports(progress: ProgressCallback, name: str, report: Progress) -> None:
    progress(replace(report, name=name))


def _item(material: str, frequency: str, angle: int, take: int) -> str:
    return f"{material}_deg{angle:03d}_{frequency}_{take:02d}"


def _misfiled(size: DemoSize, random: np.random.Generator) -> dict[tuple[int, int], int]:
    """Map (wrong angle, take) to the true angle, for training recordings."""
    places = [(angle, take) for angle in ANGLES for take in range(size.takes[0])]
    train, _ = split_items(len(places), SPLIT_SEED)
    chosen = random.choice(np.asarray(train), size.misfiled, replace=False)
    recorded_at = {}
    for index in chosen.tolist():
        angle, take = places[index]
        far = [true for true in ANGLES if abs(true - angle) >= 72]  # noqa: PLR2004  two steps of the angle
        recorded_at[angle, take] = int(random.choice(far))
    return recorded_at


def _write_sound(path: Path, sound: Samples) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()  # soundfile's errors hide that the disk is full
    soundfile.write(data, sound, RATE, subtype="PCM_16", format="WAV")
    path.write_bytes(data.getvalue())


def _comparisons(
    work: Path, frequency: str, size: DemoSize, random: np.random.Generator, progress: ProgressCallback
) -> tuple[RankingData, list[str]]:
    """The data of a frequency with some flipped training comparisons, and their ids."""
    everything = load_recordings(
        work / "data", TRAINED, frequency, n_fft=N_FFT, hop=HOP, seed=SPLIT_SEED, progress=progress
    )
    pairs = everything.train_pairs
    rows = random.permutation(len(pairs))[: size.comparisons]
    turned = random.random(len(rows)) < 0.5  # noqa: PLR2004  a coin
    first = np.where(turned, pairs.second[rows], pairs.first[rows])
    second = np.where(turned, pairs.first[rows], pairs.second[rows])
    target = np.where(turned, -pairs.target[rows], pairs.target[rows])
    flip = np.zeros(len(rows), dtype=bool)
    flip[random.permutation(len(rows))[: round(size.flipped * len(rows))]] = True
    train_pairs = Pairs(first, second, np.where(flip, -target, target))
    ids = train_pairs.row_ids(everything.train.ids)
    data = replace(everything, train_pairs=train_pairs)
    return data, [pair for pair, is_flipped in zip(ids, flip.tolist(), strict=True) if is_flipped]
