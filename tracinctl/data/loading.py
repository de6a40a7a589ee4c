"""Load recordings as ranking data: the split, the spectrograms and the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tracinctl.data.features import spectrogram
from tracinctl.data.pairs import FloatArray, RankingData, Samples
from tracinctl.data.pairs_file import read_pairs_file, split_by_file
from tracinctl.data.recordings import Recording, rank_recordings
from tracinctl.data.sound import read_sound
from tracinctl.data.split import Split, split_by_seed
from tracinctl.errors import DataError
from tracinctl.progress import Progress, ProgressCallback, no_progress
from tracinctl.text import clean, count, first_few, natural_key

_ODD_LENGTH = 2.0  # a recording is odd if it is this many times longer or shorter than the median


def load_recordings(
    data_root: str | Path,
    material: str,
    frequency: str,
    *,
    n_fft: int = 2048,
    hop: int = 256,
    channel: int | None = None,
    classes: Sequence[str] | None = None,
    linked_root: str | Path | None = None,
    pairs_file: str | Path | None = None,
    pairs: str | None = None,
    seed: int = 42,
    train_share: float = 0.7,
    skip_missing: bool = False,
    progress: ProgressCallback = no_progress,
) -> RankingData:
    """Load recordings as ranking data: spectrograms, the split, and pairs.

    Recordings without a pair in ``pairs_file`` are ignored. Without such a file, ``pairs`` is ``every`` (pair of items
    of different class once, in item order) or ``drawn`` (see ``split.draw_pairs``); None = ``every``. ``channel``
    counts from 1; None averages the channels. ``skip_missing`` leaves out pairs of missing recordings. See
    ``rank_recordings`` for the other parameters.

    Returns:
        Inputs of shape (items, 1, n_fft // 2 + 1, frames), float32, or a list of (1, n_fft // 2 + 1, frames) if
        recordings differ in length; labels are the classes' ranks, float64.

    Raises:
        DataError: all recordings have one class, or their sample rates differ.
    """
    ranked = rank_recordings(data_root, material, frequency, classes=classes, linked_root=linked_root)
    if len(ranked.rank) < 2:  # noqa: PLR2004 - one class cannot be ranked
        raise DataError(
            f"all {len(ranked.recordings)} recordings of {material} at {frequency} in {clean(data_root)} are of one "
            f"class, {clean(ranked.recordings[0].angle)}, so there is nothing to rank",
            hint="Add recordings of other classes, or check `data_root`.",
        )
    labels = np.array([ranked.rank[r.angle] for r in ranked.recordings], dtype=np.float64)
    ids = [r.id for r in ranked.recordings]
    if pairs_file is None:
        split = split_by_seed(labels, pairs, seed, train_share)
    else:
        file = read_pairs_file(pairs_file)
        split = split_by_file(ids, file, seed=seed, train_share=train_share, skip_missing=skip_missing)
        split = replace(split, notes=(*split.notes, *_overruled(split, pairs, ids, labels, seed, train_share)))
    rows = [*split.train, *split.test]
    inputs, notes = _read_all([ranked.recordings[row] for row in rows], channel, n_fft, hop, progress)
    train, test = (
        Samples([ids[row] for row in side], inputs.part(places), labels[side])
        for side, places in ((split.train, slice(len(split.train))), (split.test, slice(len(split.train), None)))
    )
    return RankingData(
        train=train,
        train_pairs=split.train_pairs,
        test=test,
        test_pairs=split.test_pairs,
        notes=(*ranked.notes, *split.notes, *notes),
        classes=tuple(ranked.rank),
    )


def _overruled(
    split: Split, rule: str | None, ids: Sequence[str], labels: FloatArray, seed: int, train_share: float
) -> list[str]:
    """A note that a rule for pairs has no effect because the file has other pairs."""
    if rule is None:
        return []
    pool = sorted([*split.train, *split.test])
    wanted = split_by_seed(labels[pool], rule, seed, train_share)
    names = wanted.train_pairs.pair_ids([ids[pool[k]] for k in wanted.train])
    if names == split.train_pairs.pair_ids([ids[k] for k in split.train]):
        return []
    return [f"`pairs` = {rule} has no effect, because the pairs file names other pairs"]


class _Spectrograms:
    """Spectrograms, in one tensor if they have one shape, so that memory holds them only once."""

    def __init__(self, count: int) -> None:
        self._items: list[torch.Tensor] = [torch.empty(0)] * count
        self._stacked: torch.Tensor | None = None

    def __setitem__(self, place: int, item: torch.Tensor) -> None:
        if self._stacked is None:
            self._stacked = torch.empty((len(self._items), *item.shape))
        if item.shape == self._stacked.shape[1:]:
            self._stacked[place] = item
            item = self._stacked[place]
        self._items[place] = item

    def part(self, places: slice) -> torch.Tensor | list[torch.Tensor]:
        """Some of the spectrograms: one tensor if all have the first one's shape, else a list."""
        items = self._items[places]
        same = self._stacked is not None and all(item.shape == self._stacked.shape[1:] for item in items)
        return self._stacked[places] if same and self._stacked is not None else items


def _read_all(
    recordings: Sequence[Recording], channel: int | None, n_fft: int, hop: int, progress: ProgressCallback
) -> tuple[_Spectrograms, list[str]]:
    """The spectrograms of the recordings, and notes on the files for the user."""
    inputs = _Spectrograms(len(recordings))
    frames: dict[str, int] = {}
    unfinished, cancelling = [], []
    first: tuple[str, int] | None = None
    in_order = sorted(range(len(recordings)), key=lambda place: natural_key(recordings[place].id))
    for done, place in enumerate(in_order, 1):
        recording = recordings[place]
        sound = read_sound(recording.path, channel)
        first = first or (recording.id, sound.rate)
        if sound.rate != first[1]:
            raise DataError(
                f"{clean(recording.path)} has {sound.rate} Hz, but {first[0]} has {first[1]} Hz",
                hint="Resample them to one rate; otherwise their spectrograms cannot be compared.",
            )
        inputs[place] = spectrogram(sound.samples, n_fft=n_fft, hop=hop, name=clean(recording.path))
        name = clean(recording.id)
        frames[name] = len(sound.samples)
        unfinished += [name] if sound.unfinished else []
        cancelling += [name] if sound.cancelling else []
        progress(Progress("reading", done, len(recordings), "recordings", name=recording.id))
    median = float(np.median(list(frames.values()))) if frames else 0.0
    odd = [name for name, n in frames.items() if not median / _ODD_LENGTH <= n <= median * _ODD_LENGTH]
    return inputs, [
        *_note(unfinished, "with an unfinished header, read to the end"),
        *_note(cancelling, "whose channels nearly cancel each other when averaged; choose one with `channel`"),
        *_note(odd, f"less than half or more than twice as long as the median ({median:,.0f} frames)"),
    ]


def _note(names: Sequence[str], description: str) -> list[str]:
    return [f"{count(len(names), 'recording')} {description}: {first_few(names)}"] if names else []
