"""From a WAV file to what the ranker sees: samples, then a spectrogram in decibels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracinctl.errors import DataError

if TYPE_CHECKING:
    import torch

N_FFT = 2048
HOP = 256
FLOOR = 1e-10
"""Magnitudes relative to the recording's maximum are not taken below this (-200 dB)."""

_WAV_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64"})
_MOST_SAMPLES_A_BYTE = 64  # no coding that is found in WAV files packs more; beyond it, the header lies


def read_wav(path: str | Path) -> tuple[npt.NDArray[np.float32], int]:
    """Read a WAV file of 8, 16, 24 or 32 bit or float samples; channels are averaged.

    Returns:
        Samples of shape (frames,), float32, full scale = 1, and the sample rate in Hz.

    Raises:
        DataError: the file is missing, is no WAV file, has an unsupported coding or no frames, or a sample is NaN
            or infinite.
    """
    import soundfile

    path = Path(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            _check_header(path, file)
            samples = file.read(file.frames, dtype="float32", always_2d=True)  # some codings cannot tell what is left
            rate = int(file.samplerate)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise DataError(f"{_shown(path)} cannot be read: {_reason(path, error)}", hint=_REPLACE) from error
    if len(samples) == 0:
        raise DataError(f"{_shown(path)} has no frames: the recording is empty", hint=_REPLACE)
    if not np.isfinite(samples).all():
        frame = int(np.flatnonzero(~np.isfinite(samples).all(axis=1))[0])
        raise DataError(
            f"{_shown(path)} has samples that are NaN or infinite, the first at frame {frame}", hint=_REPLACE
        )
    return samples.mean(axis=1, dtype=np.float32), rate


_REPLACE = "Record or export it again as PCM WAV, or move it out of the data folder."


def _check_header(path: Path, file: Any) -> None:
    if file.format not in _WAV_FORMATS:
        raise DataError(f"{_shown(path)} is not a WAV file but {file.format}", hint=_REPLACE)
    if file.frames * file.channels > _MOST_SAMPLES_A_BYTE * path.stat().st_size:
        raise DataError(
            f"{_shown(path)} says that it holds {file.frames} frames, far more than its size allows", hint=_REPLACE
        )


def _reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder"
    try:
        path.open("rb").close()
    except OSError as refused:  # libsndfile says no more than "System error"
        return refused.strerror or str(refused)
    # libsndfile repeats the path in front of what it has to say
    text = str(getattr(error, "error_string", "") or error.args[-1] if error.args else error)
    return "".join(c if c.isprintable() else " " for c in text).strip().rstrip(".")


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else repr(text)


def spectrogram(
    samples: npt.NDArray[np.float32], *, n_fft: int = N_FFT, hop: int = HOP, name: str = "recording"
) -> torch.Tensor:
    """Magnitude spectrogram in dB relative to its own maximum.

    Symmetric Hamming window of ``n_fft`` samples, frames centred on multiples of ``hop`` with reflection at the ends.

    Args:
        samples: shape (frames,), float32.
        n_fft: window and transform length in samples.
        hop: distance of the windows in samples.
        name: what to call the recording in a message.

    Returns:
        Shape (1, n_fft // 2 + 1, 1 + frames // hop), float32, from -200 to 0 dB.

    Raises:
        DataError: the recording is silent, or too short to be reflected.
    """
    import torch

    if len(samples) <= n_fft // 2:
        raise DataError(
            f"{name} has {len(samples)} frames; a window of n_fft = {n_fft} needs more than {n_fft // 2}",
            hint="Use a longer recording, or a smaller n_fft under [features] in tracinctl.toml.",
        )
    window = torch.hamming_window(n_fft, periodic=False)
    spectrum = torch.stft(
        torch.from_numpy(np.ascontiguousarray(samples)),
        n_fft,
        hop,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    ).abs()
    loudest = spectrum.max()
    if not loudest > 0:
        raise DataError(f"{name} is silent: every sample is zero", hint=_REPLACE)
    return 20 * torch.log10(torch.clamp(spectrum / loudest, min=FLOOR))[None]
