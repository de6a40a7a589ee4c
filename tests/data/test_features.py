"""Reading WAV files and turning them into spectrograms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from reference_project import PROJECT, needs_reference
from wav_trees import RATE, tone, write

from tracinctl.data.features import read_wav, spectrogram
from tracinctl.errors import DataError


@pytest.mark.parametrize(
    ("subtype", "step"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 2**-24),
        ("DOUBLE", 2**-24),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_bit_depth_is_read_at_its_own_precision(tmp_path, subtype, step, channels):
    left, right = tone(seed=1), tone(seed=2)
    stereo = np.stack([left, right], axis=1)
    path = write(tmp_path / "a.wav", stereo if channels == 2 else left, subtype)
    samples, rate = read_wav(path)
    wanted = stereo.mean(axis=1) if channels == 2 else left
    assert rate == RATE
    assert samples.dtype == np.float32
    assert samples.shape == left.shape
    assert np.abs(samples - wanted).max() <= step


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


def test_parts_without_sound_stop_at_the_floor():
    samples = np.concatenate([tone(), np.zeros(1024)]).astype(np.float32)
    assert spectrogram(samples, n_fft=256, hop=64).min() == -200


def _not_riff(path):
    path.write_bytes(b"this is a text\n" * 20)


def _empty_file(path):
    path.write_bytes(b"")


def _zero_frames(path):
    write(path, np.zeros(0))


def _unsupported_coding(path):
    data = bytearray(write(path, tone()).read_bytes())
    at = data.index(b"fmt ") + 8
    data[at : at + 2] = (0x0162).to_bytes(2, "little")  # Windows Media Audio
    path.write_bytes(bytes(data))


def _not_a_number(path):
    samples = tone()
    samples[7] = np.nan
    write(path, samples, "FLOAT")


def _a_folder(path):
    path.mkdir()


def _flac(path):
    import soundfile

    with path.open("wb") as file:
        soundfile.write(file, tone(), RATE, format="FLAC")


def _nothing(path):
    pass


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_not_riff, "cannot be read"),
        (_empty_file, "cannot be read"),
        (_zero_frames, "no frames"),
        (_unsupported_coding, "cannot be read"),
        (_not_a_number, "frame 7"),
        (_a_folder, "it is a folder"),
        (_flac, "not a WAV file but FLAC"),
        (_nothing, "no such file"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path, spoil, reason):
    path = tmp_path / "plastic_deg000_500hz_00.wav"
    spoil(path)
    with pytest.raises(DataError, match=reason) as caught:
        read_wav(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_header_that_promises_more_than_the_file_holds_costs_no_memory(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    data = bytearray(path.read_bytes())
    for name, size in ((b"RIFF", 0x7FFFFFF0), (b"data", 0x7FFFFF00)):
        at = data.index(name) + 4
        data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    samples, _ = read_wav(path)
    assert len(samples) == 1024


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
        samples, _ = read_wav(path)
        got, want = spectrogram(samples, name=path.name), wanted[path.stem]
        assert list(got.shape) == want["shape"]
        assert got.double().mean().item() == pytest.approx(want["mean"], abs=1e-4)
        assert got.double().std().item() == pytest.approx(want["std"], abs=1e-4)
        assert got[0, 21, 10].item() == pytest.approx(want["at_0_21_10"], abs=1e-4)
        assert got[0, 500, 30].item() == pytest.approx(want["at_0_500_30"], abs=1e-4)
