"""Small trees of recordings for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
ANGLES = ("deg000", "deg036", "deg072")


def tone(frames: int = 1024, seed: int = 0, hertz: float = 500.0) -> np.ndarray:
    """A tone in noise, well below full scale."""
    noise = np.random.default_rng(seed).normal(0, 0.02, frames)
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(frames) / RATE) + noise


def write(path: Path, samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Path:
    """Write a WAV file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype, format="WAV")
    return path


def tree(root: Path, takes: int = 4, frequency: str = "500hz", material: str = "plastic", frames: int = 1024) -> Path:
    """``takes`` recordings of each of three angles in the users' layout."""
    for k, angle in enumerate(ANGLES):
        for take in range(takes):
            name = f"{material}_{angle}_{frequency}_{take:02d}.wav"
            write(root / angle / material / name, tone(frames, seed=10 * k + take, hertz=500 + 200 * k))
    return root


SETTINGS = """
material = "plastic"
frequencies = ["500hz"]
[features]
n_fft = 64
hop = 64
[train]
epochs = 2
checkpoint_interval = 1
batch_size = 64
"""


def retrainable(folder):
    """A project of 42 recordings, 13 of them held out: just enough scoring and judging items."""
    tree(folder / "data", takes=14)
    (folder / "tracinctl.toml").write_text(SETTINGS)
