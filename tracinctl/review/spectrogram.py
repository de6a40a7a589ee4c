"""A recording as a small picture of decibels, on the same scale for every recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracinctl.data.sound import read_sound

FLOOR_DB = -100.0
"""What is drawn darkest; 0 dB is a sine of full scale."""

_WINDOW = 1024
_COLUMNS = 360
_ROWS = 160


@dataclass(frozen=True)
class Picture:
    """A spectrogram to draw.

    Attributes:
        rows, columns: its size; the first row is the highest frequency.
        levels: one byte a cell, row by row: 0 is FLOOR_DB, 255 is 0 dB.
        seconds: length of the recording.
        highest: frequency of the first row, in hertz.
    """

    rows: int
    columns: int
    levels: bytes
    seconds: float
    highest: float


def picture_of(path: Path) -> Picture:
    """The spectrogram of a recording, at most 160 x 360 cells.

    Raises:
        DataError: the recording cannot be read.
    """
    sound = read_sound(path)
    samples, rate = sound.samples, sound.rate
    seconds = len(samples) / rate
    if len(samples) < _WINDOW:
        samples = np.pad(samples, (0, _WINDOW - len(samples)))
    starts = np.linspace(0, len(samples) - _WINDOW, min(_COLUMNS, 1 + (len(samples) - _WINDOW) // 64)).astype(int)
    window = np.hanning(_WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[starts] * window
    magnitude = np.abs(np.fft.rfft(frames, axis=1))[:, 1:] * 2 / window.sum()
    edges = np.linspace(0, magnitude.shape[1], _ROWS + 1).astype(int)[:-1]
    peaks = np.maximum.reduceat(magnitude, edges, axis=1)
    level = np.clip(20 * np.log10(np.maximum(peaks, 1e-10)), FLOOR_DB, 0)
    cells = np.round((level - FLOOR_DB) / -FLOOR_DB * 255).astype(np.uint8).T[::-1]
    return Picture(cells.shape[0], cells.shape[1], cells.tobytes(), seconds, rate / 2)
