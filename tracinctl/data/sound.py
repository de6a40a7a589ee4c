"""Read a sound file as samples of one channel.

Channels are averaged unless one is chosen. A WAV or AIFF file is checked against its own header first, because
libsndfile silently reads part of a file that is cut short, and nothing of a file with an unfinished header.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError, UsageError
from tracinctl.files import HEAD, other_kind_or_text
from tracinctl.text import clean

FORMATS: Final = {
    ".wav": frozenset({"WAV", "WAVEX", "RF64", "W64"}),
    ".flac": frozenset({"FLAC"}),
    ".ogg": frozenset({"OGG"}),
    ".aiff": frozenset({"AIFF"}),
    ".aif": frozenset({"AIFF"}),
    ".mp3": frozenset({"MP3"}),
}
"""Endings of file names, with libsndfile's names of their formats."""

CANCELLING: Final = 0.1
"""Channels cancel each other if the level of their average is below this share of their own level (-20 dB). Two
independent noises have 0.7, one silent channel gives 0.7, opposite phases with noise 60 dB below them 0.001."""

_REPLACE = "Record or export it again, or move it out of the data folder."
_BLOCK = 1 << 16  # frames per read, because a header may promise more than memory holds
_MP3_FRAMES = 4608  # four MPEG frames, because the length of an MP3 file is an estimate
_CHUNK_HEAD = 8
_MOST_CHUNKS = 10_000  # limit on chunks before the sound; recorders write far fewer
_PLACEHOLDER = 0xFFFFFFFF
_PLACEHOLDERS = 0x7FFFF000  # sizes from here on are placeholders of streaming writers


@dataclass(frozen=True)
class Sound:
    """One recording as samples.

    Attributes:
        samples: shape (frames,), float32, full scale = 1.
        rate: sample rate in Hz.
        unfinished: whether the header has no sizes, so that the file was read to its end.
        cancelling: whether the channels nearly cancel each other.
    """

    samples: npt.NDArray[np.float32]
    rate: int
    unfinished: bool = False
    cancelling: bool = False


def read_sound(path: str | Path, channel: int | None = None) -> Sound:
    """Read a WAV, FLAC, OGG, AIFF or MP3 file of any sample type.

    The ending gives the format. ``channel`` counts from 1; None averages all channels.

    Raises:
        DataError: the file is missing, cut short, not a sound file or of another format than its ending, has an
            unsupported coding or no frames, or a sample is NaN or infinite.
        UsageError: it has no such channel.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            source, unfinished = _checked(path, raw)
            samples, rate = _read(path, source)
    except OSError as error:
        unlinked = path.is_symlink() and not path.exists()
        hint = "Fetch the file that it links to, or move the link out of the data folder." if unlinked else _REPLACE
        raise DataError(f"{clean(path)} cannot be read: {_refusal(path, error)}", hint=hint) from error
    if len(samples) == 0:
        raise DataError(f"{clean(path)} is empty", hint=_REPLACE)
    if not np.isfinite(samples).all():
        frame = int(np.flatnonzero(~np.isfinite(samples).all(axis=1))[0])
        raise DataError(
            f"{clean(path)} has samples that are NaN or infinite, the first at frame {frame}", hint=_REPLACE
        )
    mono, cancelling = _one_channel(path, samples, channel)
    return Sound(mono, rate, unfinished, cancelling)


def _one_channel(
    path: Path, samples: npt.NDArray[np.float32], channel: int | None
) -> tuple[npt.NDArray[np.float32], bool]:
    channels = samples.shape[1]
    if channel is not None:
        if not 1 <= channel <= channels:
            have = "only one channel" if channels == 1 else f"{channels} channels"
            raise UsageError(
                f"{clean(path)} has {have}, so there is no channel {channel}", hint="Count channels from 1."
            )
        return np.ascontiguousarray(samples[:, channel - 1]), False
    mean = samples.mean(axis=1, dtype=np.float32)
    if channels == 1:
        return mean, False
    levels = [float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) for part in (mean, samples)]
    if levels[1] and not mean.any():
        raise DataError(
            f"the channels of {clean(path)} cancel each other, so their average is silent",
            hint="Choose one of them, for example `channel` 1.",
        )
    return mean, levels[0] < CANCELLING * levels[1]


def _read(path: Path, source: BinaryIO) -> tuple[npt.NDArray[np.float32], int]:
    import soundfile

    blocks = []
    try:
        with soundfile.SoundFile(source) as file:
            _check_format(path, file.format)
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
            rate, promised = int(file.samplerate), int(file.frames)
    except (soundfile.SoundFileError, ValueError) as error:
        source.seek(0)
        if kind := other_kind_or_text(source.read(HEAD)):
            raise DataError(f"{clean(path)} is not a recording but {kind[0]}", hint=kind[1]) from error
        raise _unreadable(path, _reason(error)) from error
    samples = np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.float32)
    tolerated = max(_MP3_FRAMES, promised // 100) if path.suffix.lower() == ".mp3" else 0
    if len(samples) < promised - tolerated:
        raise _cut_short(path, f"{promised} frames, but only {len(samples)} can be read")
    return samples, rate


def _check_format(path: Path, name: str) -> None:
    ending = path.suffix.lower()
    if name not in FORMATS.get(ending, {name}):
        fitting = next((e for e, names in FORMATS.items() if name in names), "")
        wanted = "a WAV file" if ending == ".wav" else f"what its ending says ({ending})"
        raise DataError(
            f"{clean(path)} is not {wanted} but {name}",
            hint=f"Rename it to {clean(path.with_suffix(fitting))}." if fitting else _REPLACE,
        )


def _checked(path: Path, raw: BinaryIO) -> tuple[BinaryIO, bool]:
    """The file or a copy with a finished header, and whether the header was unfinished."""
    size = path.stat().st_size
    with contextlib.suppress(struct.error):
        for name, start, promised, order in _chunks(raw):
            if name in {b"data", b"SSND"}:
                available = max(0, size - start)
                if name == b"data" and _is_unfinished(raw, start, promised, size, order):
                    return _finished(raw, start, available, order), True
                if promised > available:
                    raise _cut_short(path, f"{promised} bytes of sound, but there are {available}")
    raw.seek(0)
    return raw, False


def _chunks(raw: BinaryIO) -> Iterator[tuple[bytes, int, int, str]]:
    """(name, place of its content, size, byte order) of each chunk of a WAV or AIFF file, up to the sound."""
    head = raw.read(12)
    orders = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
    if head[:4] not in orders or head[8:12] not in {b"WAVE", b"AIFF", b"AIFC"}:
        return
    order, long_size = orders[head[:4]], None
    for _ in range(_MOST_CHUNKS):
        name, size = struct.unpack(f"{order}4sI", raw.read(_CHUNK_HEAD))
        start = raw.tell()
        if name == b"ds64":  # the sizes of a file of more than 4 GiB
            long_size = struct.unpack("<8xQ", raw.read(16))[0]
        if name == b"data" and long_size is not None and size == _PLACEHOLDER:
            size = long_size
        yield name, start, size, order
        if name in {b"data", b"SSND"}:
            return
        raw.seek(start + size + size % 2)


def _is_unfinished(raw: BinaryIO, start: int, promised: int, size: int, order: str) -> bool:
    """Whether the size of the sound is missing: it is 0 or a placeholder, but data follow."""
    if promised == 0:
        return size > start and not _are_chunks(raw, start, size, order)
    return _PLACEHOLDERS <= promised <= _PLACEHOLDER and start + promised > size


def _are_chunks(raw: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether chunks fill the file from here to its end."""
    while at + _CHUNK_HEAD <= size:
        raw.seek(at)
        name, length = struct.unpack(f"{order}4sI", raw.read(_CHUNK_HEAD))
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        at += _CHUNK_HEAD + length + length % 2
    return at == size


def _finished(raw: BinaryIO, start: int, sound_size: int, order: str) -> BinaryIO:
    raw.seek(0)
    content = bytearray(raw.read())
    content[4:8] = struct.pack(f"{order}I", len(content) - 8)
    content[start - 4 : start] = struct.pack(f"{order}I", sound_size)
    return io.BytesIO(content)


def _cut_short(path: Path, how: str) -> DataError:
    return DataError(f"{clean(path)} is cut short: its header promises {how}", hint=_REPLACE)


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{clean(path)} cannot be read: {why}", hint=_REPLACE)


def _refusal(path: Path, error: OSError) -> str:
    if path.is_dir():
        return "it is a folder"
    if path.is_symlink() and not path.exists():
        return f"it is a link to {clean(path.readlink())}, which does not exist"
    return error.strerror or str(error)


def _reason(error: Any) -> str:
    # libsndfile repeats the path before its message
    text = str(getattr(error, "error_string", "") or (error.args[-1] if error.args else error))
    return clean(text).strip().rstrip(".") or "libsndfile does not recognise it as a sound file"
