"""Reading sound files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile
from wav_trees import RATE, tone, write

from tracinctl.data.sound import read_sound
from tracinctl.errors import DataError, UsageError


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
def test_every_bit_depth_is_read_at_full_precision(tmp_path, subtype, step, channels):
    left, right = tone(seed=1), tone(seed=2)
    stereo = np.stack([left, right], axis=1)
    path = write(tmp_path / "a.wav", stereo if channels == 2 else left, subtype)
    sound = read_sound(path)
    samples, rate = sound.samples, sound.rate
    wanted = stereo.mean(axis=1) if channels == 2 else left
    assert rate == RATE
    assert samples.dtype == np.float32
    assert samples.shape == left.shape
    assert np.abs(samples - wanted).max() <= step


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

    with path.open("wb") as file:
        soundfile.write(file, tone(), RATE, format="FLAC")


def _nothing(path):
    pass


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_not_riff, "is not a recording but a text that begins 'this is a text'"),
        (_empty_file, "is not a recording but an empty file"),
        (lambda path: path.write_bytes(bytes(6044)), "is not a recording but a file that begins with zeros"),
        (lambda path: path.write_text("404: Not Found"), "is not a recording but a text that begins '404: Not Found'"),
        (lambda path: path.write_text("<!DOCTYPE html>"), "is not a recording but a web page"),
        (_zero_frames, "is empty"),
        (_unsupported_coding, "cannot be read"),
        (_not_a_number, "frame 7"),
        (_a_folder, "it is a folder"),
        (_flac, "not a WAV file but FLAC"),
        (_nothing, "No such file"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, spoil, reason):
    path = tmp_path / "plastic_deg000_500hz_00.wav"
    spoil(path)
    with pytest.raises(DataError, match=reason) as caught:
        read_sound(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    data = bytearray(path.read_bytes())
    for name, size in ((b"RIFF", 0x7FFFFFF0), (b"data", 0x7FFFFF00)):
        at = data.index(name) + 4
        data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    sound = read_sound(path)
    assert sound.unfinished
    samples = sound.samples
    assert len(samples) == 1024


def patched(path, **sizes):
    """Replace the sizes of chunks in a WAV file."""
    data = bytearray(path.read_bytes())
    for name, size in sizes.items():
        at = data.index(name.encode()) + 4
        data[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    "sizes",
    [
        {"RIFF": 0, "data": 0},
        {"RIFF": 36, "data": 0},  # as Python's wave module writes it
        {"RIFF": 0xFFFFFFFF, "data": 0xFFFFFFFF},
        {"data": 0xFFFFFFFF},
        {"data": 0},
        {"RIFF": 0x7FFFF024, "data": 0x7FFFF000},  # as sox writes it into a pipe
    ],
)
def test_a_file_with_an_unfinished_header_is_read_to_its_end(tmp_path, sizes):
    path = write(tmp_path / "a.wav", tone())
    whole = read_sound(path)
    assert not whole.unfinished
    unfinished = read_sound(patched(path, **sizes))
    assert unfinished.unfinished
    assert np.array_equal(unfinished.samples, whole.samples)


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "AIFF"])
@pytest.mark.parametrize("missing", [1, 1000])
def test_a_file_whose_sound_is_cut_short_is_refused(tmp_path, form, missing):
    path = tmp_path / ("a.aiff" if form == "AIFF" else "a.wav")
    soundfile.write(path, tone(), RATE, format=form)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(DataError, match="cut short: its header promises") as caught:
        read_sound(path)
    assert str(path) in caught.value.message


def test_chunks_after_the_sound_are_harmless(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    whole = read_sound(path)
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert np.array_equal(read_sound(path).samples, whole.samples)
    empty = write(tmp_path / "empty.wav", np.zeros(0))
    empty.write_bytes(empty.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    patched(empty, RIFF=empty.stat().st_size - 8)
    with pytest.raises(DataError, match="is empty"):
        read_sound(empty)


@pytest.mark.parametrize("ending", [".flac", ".ogg", ".aiff", ".aif", ".mp3", ".FLAC"])
def test_other_formats_are_read(tmp_path, ending):
    form = {".aif": "AIFF"}.get(ending.lower(), ending[1:].upper())
    path = tmp_path / f"a{ending}"
    with path.open("wb") as file:
        soundfile.write(file, tone(8000), RATE, format=form)
    sound = read_sound(path)
    assert sound.rate == RATE
    assert len(sound.samples) == pytest.approx(8000, abs=200)
    level = np.sqrt(np.mean(sound.samples**2))
    assert level == pytest.approx(np.sqrt(np.mean(tone(8000) ** 2)), rel=0.1)


@pytest.mark.parametrize("subtype", sorted(set(soundfile.available_subtypes("WAV")) - {"MPEG_LAYER_III"}))
def test_every_coding_of_wav_files_is_read_whole(tmp_path, subtype):
    path = write(tmp_path / "a.wav", tone(9000), subtype)
    assert len(read_sound(path).samples) >= 9000


@pytest.mark.parametrize("channel", [1, 2])
def test_one_channel_can_be_chosen(tmp_path, channel):
    sides = [tone(seed=1), tone(seed=2, hertz=900)]
    path = write(tmp_path / "a.wav", np.stack(sides, axis=1), "FLOAT")
    assert np.allclose(read_sound(path, channel).samples, sides[channel - 1], atol=1e-6)
    with pytest.raises(UsageError, match="has 2 channels, so there is no channel 3"):
        read_sound(path, 3)
    with pytest.raises(UsageError, match="only one channel"):
        read_sound(write(tmp_path / "b.wav", tone()), 2)


@pytest.mark.parametrize(
    ("other", "cancelling"),
    [
        (lambda x, noise: -x + 0.001 * noise, True),
        (lambda x, noise: -x + 0.1 * noise, False),
        (lambda x, noise: 0 * x, False),
        (lambda x, noise: 0.3 * noise, False),
        (lambda x, noise: x, False),
    ],
)
def test_channels_that_nearly_cancel_each_other_are_marked(tmp_path, other, cancelling):
    left, noise = tone(), np.random.default_rng(0).normal(size=1024)
    path = write(tmp_path / "a.wav", np.stack([left, other(left, noise)], axis=1), "FLOAT")
    assert read_sound(path).cancelling == cancelling
    assert not read_sound(path, 1).cancelling


def test_channels_that_cancel_each_other_completely_are_an_error(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1), "FLOAT")
    with pytest.raises(DataError, match="cancel each other") as caught:
        read_sound(path)
    assert "`channel`" in caught.value.hint


def test_a_folder_or_broken_link_in_place_of_a_recording_is_named(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6044\n")
    with pytest.raises(DataError, match="is not a recording but a pointer of Git LFS"):
        read_sound(path)
    path.unlink()
    path.symlink_to(tmp_path / "gone.wav")
    with pytest.raises(DataError, match=r"link to .*gone\.wav, which does not exist") as caught:
        read_sound(path)
    assert caught.value.hint.startswith("Fetch the file")
