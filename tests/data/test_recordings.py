"""The tree of recordings, their split and their pairs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from reference_project import PROJECT, needs_reference
from wav_trees import tone, tree, write

from tracinctl.data.loading import load_recordings
from tracinctl.data.pairs_file import read_pairs_file
from tracinctl.data.recordings import available, find_recordings, rank_recordings
from tracinctl.data.split import split_items
from tracinctl.errors import DataError

SMALL = {"n_fft": 256, "hop": 64}


def test_materials_and_frequencies_are_listed_in_natural_order(tmp_path):
    for material, frequency in (("plastic", "1000hz"), ("plastic", "500hz"), ("box", "3000hz")):
        tree(tmp_path, takes=1, material=material, frequency=frequency)
    (tmp_path / "deg000" / "plastic" / "notes.wav").write_bytes(b"")
    (tmp_path / "README.txt").write_text("x")
    assert available(tmp_path) == {"box": ["3000hz"], "plastic": ["500hz", "1000hz"]}
    assert available(tmp_path / "nowhere") == {}


def test_recordings_are_in_order_of_class_and_take(tmp_path):
    for angle in ("deg36", "deg4", "deg180"):
        for take in ("10", "9"):
            write(tmp_path / angle / "box" / f"box_{angle}_500hz_{take}.wav", tone(64))
    found = [r.id.removeprefix("box_") for r in find_recordings(tmp_path, "box", "500hz")]
    assert found == [f"{a}_500hz_{t}" for a in ("deg4", "deg36", "deg180") for t in ("9", "10")]


def test_listing_recordings_loads_no_heavy_library(tmp_path):
    tree(tmp_path, takes=1)
    code = (
        "import sys; from tracinctl.data.recordings import available, find_recordings;"
        f"assert available({str(tmp_path)!r}); find_recordings({str(tmp_path)!r}, 'plastic', '500hz');"
        "print(sorted({'torch', 'numpy', 'pandas', 'soundfile'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_seven_in_ten_train_and_the_rest_are_held_out(tmp_path):
    data = load_recordings(tree(tmp_path), "plastic", "500hz", **SMALL)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert not set(data.train.ids) & set(data.test.ids)
    assert data.train.inputs.shape == (8, 1, 129, 17)
    assert data.train.inputs.dtype == torch.float32
    for samples in (data.train, data.test):
        assert [f"deg{int(label):03d}" for label in samples.labels] == [k.split("_")[1] for k in samples.ids]
    again = load_recordings(tmp_path, "plastic", "500hz", **SMALL)
    assert again.train.ids == data.train.ids
    assert torch.equal(again.train.inputs, data.train.inputs)
    assert load_recordings(tmp_path, "plastic", "500hz", seed=7, **SMALL).train.ids != data.train.ids


@pytest.mark.parametrize("items", [2, 9, 10, 53, 100])
def test_the_split_is_the_one_of_torch_random_split(items):
    train, held_out = torch.utils.data.random_split(
        range(items), [int(0.7 * items), items - int(0.7 * items)], generator=torch.Generator().manual_seed(42)
    )
    assert split_items(items) == (list(train), list(held_out))


def test_without_a_pairs_file_each_pair_of_different_class_occurs_once_in_item_order(tmp_path):
    data = load_recordings(tree(tmp_path), "plastic", "500hz", **SMALL)
    for samples, pairs in ((data.train, data.train_pairs), (data.test, data.test_pairs)):
        wanted = [
            (i, j, 1 if samples.labels[i] > samples.labels[j] else -1)
            for i in range(len(samples))
            for j in range(i + 1, len(samples))
            if samples.labels[i] != samples.labels[j]
        ]
        got = list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), strict=True))
        assert got == wanted


def test_drawn_pairs_repeat_and_follow_the_seed(tmp_path):
    root = tree(tmp_path)
    data = load_recordings(root, "plastic", "500hz", pairs="drawn", **SMALL)
    pairs = data.train_pairs
    difference = data.train.labels[pairs.first] - data.train.labels[pairs.second]
    assert np.array_equal(np.sign(difference), pairs.target)
    assert len(pairs) < 8 * 7 // 2
    assert max(Counter(zip(pairs.first, pairs.second, strict=True)).values()) > 1
    other = load_recordings(root, "plastic", "500hz", pairs="drawn", seed=43, **SMALL)
    assert other.train_pairs.first.tolist() != pairs.first.tolist()


def test_recordings_of_different_length_are_a_list_of_inputs(tmp_path):
    root = tree(tmp_path)
    write(root / "deg000" / "plastic" / "plastic_deg000_500hz_00.wav", tone(2048))
    data = load_recordings(root, "plastic", "500hz", **SMALL)
    by_id = {k: x for s in (data.train, data.test) for k, x in zip(s.ids, s.inputs, strict=True)}
    assert {k for k, x in by_id.items() if x.shape[-1] == 33} == {"plastic_deg000_500hz_00"}
    assert isinstance(data.train.inputs, list) or isinstance(data.test.inputs, list)


def test_progress_names_each_recording(tmp_path):
    seen = []
    load_recordings(tree(tmp_path, takes=2), "plastic", "500hz", progress=seen.append, **SMALL)
    assert [(p.done, p.total) for p in seen] == [(k, 6) for k in range(1, 7)]
    assert seen[0].name == "plastic_deg000_500hz_00"


@pytest.mark.parametrize(
    ("material", "frequency", "message", "hint"),
    [
        ("plastik", "500hz", "'plastik'.*box, plastic", "plastic"),
        ("plastic", "50hz", "'50hz'.*500hz, 1000hz", "500hz"),
        ("box", "500hz", "box at '500hz'.*there is 3000hz", "Did you mean 3000hz"),
    ],
)
def test_an_unknown_material_or_frequency_is_named_with_those_that_exist(tmp_path, material, frequency, message, hint):
    for there, hertz in (("plastic", "1000hz"), ("plastic", "500hz"), ("box", "3000hz")):
        tree(tmp_path, takes=1, material=there, frequency=hertz)
    with pytest.raises(DataError, match=message) as caught:
        load_recordings(tmp_path, material, frequency)
    assert hint in caught.value.hint


def test_a_missing_empty_or_wrong_data_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, message in (("nowhere", "no data folder"), ("file", "not a folder"), ("empty", "no recordings")):
        with pytest.raises(DataError, match=message) as caught:
            find_recordings(tmp_path / name, "plastic", "500hz")
        assert str(tmp_path / name) in caught.value.message
        assert caught.value.hint


def test_recordings_of_one_class_cannot_be_ranked(tmp_path):
    write(tmp_path / "deg000" / "box" / "box_deg000_500hz_00.wav", tone())
    write(tmp_path / "deg000" / "box" / "box_deg000_500hz_01.wav", tone())
    with pytest.raises(DataError, match="one class, deg000"):
        load_recordings(tmp_path, "box", "500hz", **SMALL)


def test_different_sample_rates_are_an_error_that_names_the_odd_one(tmp_path):
    root = tree(tmp_path)
    odd = write(root / "deg036" / "plastic" / "plastic_deg036_500hz_02.wav", tone(), rate=16000)
    with pytest.raises(DataError, match=r"16000 Hz, but .* 8000 Hz") as caught:
        load_recordings(root, "plastic", "500hz", **SMALL)
    assert str(odd) in caught.value.message


def test_a_recording_whose_name_contradicts_its_folder_is_an_error(tmp_path):
    root = tree(tmp_path)
    write(root / "deg036" / "plastic" / "plastic_deg072_500hz_09.wav", tone())
    with pytest.raises(DataError, match=r"plastic_deg072_500hz_09\.wav does not fit its folders"):
        find_recordings(root, "plastic", "500hz")


def test_a_link_out_of_the_data_folder_is_an_error_and_one_inside_is_not(tmp_path):
    root = tree(tmp_path / "data")
    folder = root / "deg036" / "plastic"
    (folder / "plastic_deg036_500hz_08.wav").symlink_to(folder / "plastic_deg036_500hz_00.wav")
    assert len(find_recordings(root, "plastic", "500hz")) == 13
    secret = write(tmp_path / "secret.wav", tone())
    (folder / "plastic_deg036_500hz_09.wav").symlink_to(secret)
    with pytest.raises(DataError, match="is a link out of the data folder"):
        find_recordings(root, "plastic", "500hz")


def test_sounds_of_formats_that_are_not_read_are_named_unless_they_were_converted(tmp_path):
    root = tree(tmp_path)
    folder = root / "deg000" / "plastic"
    converted = next(folder.glob("*_500hz_*.wav"))
    converted.with_suffix(".m4a").write_bytes(b"the original")
    assert rank_recordings(root, "plastic", "500hz").notes == ()
    (folder / "plastic_deg000_500hz_99.m4a").write_bytes(b"not converted")
    (note,) = rank_recordings(root, "plastic", "500hz").notes
    assert note.startswith("1 sound file in ")
    assert note.endswith(": deg000/plastic/plastic_deg000_500hz_99.m4a")


def test_a_folder_of_sounds_that_are_not_read_asks_for_wav(tmp_path):
    folder = tmp_path / "data" / "deg000" / "plastic"
    folder.mkdir(parents=True)
    (folder / "plastic_deg000_500hz_00.M4A").write_bytes(b"x")
    with pytest.raises(DataError, match="none of 1 sound file is named") as caught:
        find_recordings(tmp_path / "data", "plastic", "500hz")
    assert caught.value.hint == f"Convert {folder / 'plastic_deg000_500hz_00.M4A'} to WAV."


def test_a_link_to_the_parent_folder_is_harmless(tmp_path):
    root = tree(tmp_path / "data")
    (root / "deg999").symlink_to(root, target_is_directory=True)
    assert len(find_recordings(root, "plastic", "500hz")) == 12


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("take", ["0\n1", "\x1b[31m", "\u202e1", "1\xa0"])
def test_names_with_invisible_characters_are_refused_and_shown_escaped(tmp_path, take):
    root = tree(tmp_path)
    write(root / "deg000" / "plastic" / f"plastic_deg000_500hz_{take}.wav", tone())
    with pytest.raises(DataError, match="invisible characters") as caught:
        find_recordings(root, "plastic", "500hz")
    assert caught.value.message.isprintable()


@needs_reference
def test_the_users_project_is_split_as_by_their_code():
    seen = json.loads((PROJECT / "what_their_code_sees.json").read_text())
    data = load_recordings(PROJECT / "data", "plastic", "500hz")
    assert list(data.train.ids) == seen["train"]
    assert list(data.test.ids) == seen["held_out"]


@needs_reference
def test_drawn_pairs_are_those_that_the_users_code_drew():
    drawn = load_recordings(PROJECT / "data", "plastic", "500hz", pairs="drawn")
    train, test = read_pairs_file(PROJECT / "pairs.csv").pairs(drawn.train.ids, drawn.test.ids)
    for got, wanted in ((drawn.train_pairs, train), (drawn.test_pairs, test)):
        assert got.first.tolist() == wanted.first.tolist()
        assert got.second.tolist() == wanted.second.tolist()
        assert got.target.tolist() == wanted.target.tolist()
