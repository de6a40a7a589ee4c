"""The ranker's input: a spectrogram in decibels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError

if TYPE_CHECKING:
    import torch

N_FFT = 2048
HOP = 256
FLOOR = 1e-10
"""Least magnitude relative to the recording's maximum (-200 dB)."""


def spectrogram(
    samples: npt.NDArray[np.float32], *, n_fft: int = N_FFT, hop: int = HOP, name: str = "recording"
) -> torch.Tensor:
    """Magnitude spectrogram in dB relative to its own maximum.

    The window is a symmetric Hamming window; frames are centred on multiples of ``hop``, with reflection at the ends.

    ``n_fft`` is the length of the windows in samples, and ``name`` that of the recording for messages. The result has
    shape (1, n_fft // 2 + 1, 1 + frames // hop), float32, from -200 to 0 dB.

    Raises:
        DataError: the recording is silent, or too short to reflect.
    """
    import torch

    if len(samples) <= n_fft // 2:
        raise DataError(
            f"{name} has {len(samples)} frames; a window of n_fft = {n_fft} needs more than {n_fft // 2}",
            hint="Use a longer recording, or set a smaller `n_fft` under [features] in tracinctl.toml.",
        )
    window = torch.hamming_window(n_fft, periodic=False)
    wave = torch.from_numpy(np.ascontiguousarray(samples))
    spectrum = torch.stft(wave, n_fft, hop, window=window, return_complex=True).abs()
    loudest = spectrum.max()
    if not loudest > 0:
        raise DataError(
            f"{name} is silent: every sample is zero",
            hint="Record or export it again, or move it out of the data folder.",
        )
    return 20 * torch.log10(torch.clamp(spectrum / loudest, min=FLOOR))[None]
