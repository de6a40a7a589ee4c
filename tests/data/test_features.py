"""Turning samples into spectrograms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from reference_project import PROJECT, needs_reference
from wav_trees import RATE, tone

from tracinctl.data.features import spectrogram
from tracinctl.data.sound import read_sound
from tracinctl.errors import DataError


def test_a_spectrogram_is_in_decibels_below_its_own_maximum():
    quiet, loud = (spectrogram((g * tone()).astype(np.float32), n_fft=256, hop=64) for g in (2**-7, 1.0))
    assert quiet.shape == (1, 129, 1 + 1024 // 64)
    assert quiet.dtype == torch.float32
    assert quiet.max() == 0
    assert torch.allclose(quiet, loud, atol=1e-4)
    assert int(quiet[0].mean(1).argmax()) == 500 * 256 // RATE


def test_a_spectrogram_is_the_transform_of_symmetric_hamming_windows_centred_on_multiples_of_the_hop():
    samples = tone().astype(np.float32)
    got = spectrogram(samples, n_fft=256, hop=64)[0, :, 5].numpy()
    frame = samples[5 * 64 - 128 : 5 * 64 + 128].astype(np.float64) * np.hamming(256)
    wanted = 20 * np.log10(np.abs(np.fft.rfft(frame)))
    assert np.ptp(got - wanted) < 1e-3


def test_silent_parts_are_at_the_floor():
    samples = np.concatenate([tone(), np.zeros(1024)]).astype(np.float32)
    assert spectrogram(samples, n_fft=256, hop=64).min() == -200


@pytest.mark.parametrize(("samples", "reason"), [(np.zeros(4096), "silent"), (tone(128), "more than 128")])
def test_silence_and_too_short_recordings_have_no_spectrogram(samples, reason):
    with pytest.raises(DataError, match=reason) as caught:
        spectrogram(samples.astype(np.float32), n_fft=256, hop=64, name="x.wav")
    assert "x.wav" in caught.value.message


@needs_reference
def test_the_users_recordings_give_the_features_that_their_code_sees():
    wanted = json.loads((PROJECT / "what_their_code_sees.json").read_text())["features"]
    assert len(wanted) == 53
    for path in sorted(PROJECT.glob("data/*/plastic/*.wav")):
        samples = read_sound(path).samples
        got, want = spectrogram(samples, name=path.name), wanted[path.stem]
        assert list(got.shape) == want["shape"]
        assert got.double().mean().item() == pytest.approx(want["mean"], abs=1e-4)
        assert got.double().std().item() == pytest.approx(want["std"], abs=1e-4)
        assert got[0, 21, 10].item() == pytest.approx(want["at_0_21_10"], abs=1e-4)
        assert got[0, 500, 30].item() == pytest.approx(want["at_0_500_30"], abs=1e-4)
