"""The acoustic model behind the demo's recordings: a speaker behind a sheet of material, turned by an angle.

A recording is ``gain * (sheet(source) + room(source) + noise)``:

- **source**: a tone with all its harmonics below 0.45 x the sample rate, amplitude of the k-th ``k ** -tilt``, and
  hiss; pitch, tilt and a slow tremolo differ a little from take to take.
- **sheet**: the further the speaker is turned away, the more the material shadows high frequencies,
  ``1 / sqrt(1 + (f / cutoff) ** 2)`` with a cutoff that falls by ``octaves`` octaves from 0 to 180 degrees, and the
  longer the way of the sound that bends round it, by ``detour * (1 - cos(angle)) / 2`` metres; a sheet may ring at its
  resonances.
- **room**: a tail of noise that decays by 60 dB in ``ROOM_DECAY`` seconds, excited by the source from all directions,
  so that it does not depend on the angle and masks it in part.
- **noise**: white, at a signal-to-noise ratio that differs from take to take.

All random numbers come from the given generator, so the same state gives the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

RATE: Final = 48_000
SPEED_OF_SOUND: Final = 343.0
ROOM_DECAY: Final = 0.25
ROOM_LEVEL: Final = 0.03
HISS_LEVEL: Final = 0.3
TILT_SPREAD: Final = 0.03
NOISE_DECIBELS: Final = (40.0, 1.5)  # mean and spread of the signal-to-noise ratio


@dataclass(frozen=True)
class Material:
    """A sheet between speaker and microphone.

    Attributes:
        cutoff: cutoff frequency at 0 degrees, in Hz.
        octaves: number of octaves by which the cutoff falls up to 180 degrees.
        jitter: standard deviation of the cutoff from take to take, in octaves.
        echo: amplitude of the sound that bends round the sheet.
        detour: additional length of its way at 180 degrees, in metres.
        resonances: (frequency in Hz, width in Hz, gain) for each.
    """

    cutoff: float
    octaves: float
    jitter: float
    echo: float
    detour: float
    resonances: tuple[tuple[float, float, float], ...] = ()


MATERIALS: Final = {
    "plastic": Material(cutoff=12000, octaves=4.0, jitter=0.1, echo=0.35, detour=0.20),
    "metal": Material(cutoff=6000, octaves=2.2, jitter=0.25, echo=0.25, detour=0.30, resonances=((3200, 250, 2.0),)),
}


def record(
    material: Material, angle: float, hertz: float, random: np.random.Generator, *, seconds: float, channels: int
) -> Samples:
    """Record a tone of ``hertz`` at ``angle`` degrees: shape (frames,) or (frames, channels), within -1 to 1."""
    frames = round(seconds * RATE)
    source = _source(frames, hertz, random)
    spectrum = np.fft.rfft(source, 2 * frames)
    frequencies: Samples = np.asarray(np.fft.rfftfreq(2 * frames, 1 / RATE), dtype=np.float64)
    heard = np.multiply(spectrum, _sheet(material, angle, frequencies, random))
    direct = np.fft.irfft(heard)[:frames]
    ratio = 10 ** (-random.normal(*NOISE_DECIBELS) / 20)
    sides: list[Samples] = []
    for _ in range(channels):
        signal = direct + ROOM_LEVEL * _room(spectrum, frames, random)
        sides.append(signal + ratio * signal.std() * random.normal(size=frames))
    sound = np.stack(sides, axis=1) if channels > 1 else sides[0]
    return np.asarray(0.8 * random.uniform(0.3, 1.0) * sound / np.abs(sound).max())


def _source(frames: int, hertz: float, random: np.random.Generator) -> Samples:
    pitch = hertz * (1 + 0.003 * random.normal())
    tilt = 0.9 + TILT_SPREAD * random.normal()
    time = np.arange(frames) / RATE
    turn = np.exp(2j * np.pi * pitch * time)
    harmonic, sound = np.ones(frames, dtype=np.complex128), np.zeros(frames)
    for k in range(1, int(0.45 * RATE / pitch) + 1):
        harmonic *= turn
        sound += k**-tilt * (harmonic * np.exp(2j * np.pi * random.random())).real
    tremolo = 1 + 0.1 * np.sin(2 * np.pi * (random.uniform(3, 8) * time + random.random()))
    hiss = HISS_LEVEL * sound.std() * random.normal(size=frames)
    return np.asarray(sound * tremolo + hiss)


def _sheet(
    material: Material, angle: float, frequencies: Samples, random: np.random.Generator
) -> npt.NDArray[np.complex128]:
    cutoff = material.cutoff * 2 ** (-material.octaves * angle / 180 + material.jitter * random.normal())
    shadow = 1 / np.sqrt(1 + (frequencies / cutoff) ** 2)
    delay = material.detour * (1 - np.cos(np.radians(angle))) / 2 / SPEED_OF_SOUND
    bent = 1 + material.echo * np.exp(-2j * np.pi * frequencies * delay)
    ringing = np.ones_like(frequencies)
    for centre, width, gain in material.resonances:
        ringing += gain / (1 + ((frequencies - centre) / width) ** 2)
    return np.asarray(shadow * bent * ringing)


def _room(spectrum: npt.NDArray[np.complex128], frames: int, random: np.random.Generator) -> Samples:
    time = np.arange(frames) / RATE
    tail = random.normal(size=frames) * 10 ** (-3 * time / ROOM_DECAY)
    tail /= np.sqrt((tail**2).sum())
    return np.asarray(np.fft.irfft(spectrum * np.fft.rfft(tail, 2 * frames))[:frames])
