"""Spectrograms of recordings as small pictures, all on the same scale of decibels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracinctl.data.sound import read_sound

FLOOR_DB = -100.0
"""The level of the darkest colour; 0 dB is a full-scale sine."""

_WINDOW = 1024
# sizes (frequencies, times) of the pictures in a page, and of the small ones in a report
LARGE, SMALL = (160, 360), (48, 120)


def png(levels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of levels (row 0 at the top), with a palette from dark blue over magenta to yellow."""
    rows, columns = levels.shape
    x = np.arange(256) / 255
    colours = (1.6 * x, 1.1 * x**2 - 0.1, 0.35 + 0.5 * np.sin(3.4 * x) - 0.55 * x**2)
    palette = np.clip(np.stack(colours, axis=1) * 255, 0, 255).astype(np.uint8)
    # each line begins with a zero: no filter
    lines = np.pad(levels, ((0, 0), (1, 0)))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@dataclass(frozen=True)
class Extent:
    """The length of a recording in seconds, and its highest frequency in hertz."""

    seconds: float
    highest: float


def extent_of(path: Path) -> Extent | None:
    """Length and highest frequency from the file's header; None if it has neither."""
    import soundfile

    try:
        about = soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        return None
    return Extent(about.frames / about.samplerate, about.samplerate / 2)


def levels_of(path: Path, size: tuple[int, int] = LARGE) -> npt.NDArray[np.uint8]:
    """The spectrogram of a recording, at most ``size`` cells, the highest frequency first.

    A level is one byte: 0 is FLOOR_DB, 255 is 0 dB.

    Raises:
        DataError: the recording cannot be read.
    """
    most_rows, most_columns = size
    samples = read_sound(path).samples
    samples = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    columns = min(most_columns, 1 + (len(samples) - _WINDOW) // 64)
    starts = np.linspace(0, len(samples) - _WINDOW, columns).astype(int)
    window = np.hanning(_WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[starts] * window
    magnitude = np.abs(np.fft.rfft(frames, axis=1))[:, 1:] * 2 / window.sum()
    edges = np.linspace(0, magnitude.shape[1], most_rows + 1).astype(int)[:-1]
    peaks = np.maximum.reduceat(magnitude, edges, axis=1)
    decibels = np.clip(20 * np.log10(np.maximum(peaks, 1e-10)), FLOOR_DB, 0)
    levels: npt.NDArray[np.uint8] = np.round((decibels - FLOOR_DB) / -FLOOR_DB * 255).astype(np.uint8).T[::-1]
    return levels
