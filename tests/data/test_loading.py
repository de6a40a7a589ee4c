"""From recordings to ranking data."""

from __future__ import annotations

import shutil
import tracemalloc
from unicodedata import normalize

import numpy as np
import pytest
import soundfile
from wav_trees import tone, tree, write

from tracinctl.data.leave_out import leave_out
from tracinctl.data.loading import load_recordings
from tracinctl.data.pairs_file import write_pairs_file
from tracinctl.data.split import split_by_seed
from tracinctl.errors import DataError, UsageError

SMALL = {"n_fft": 256, "hop": 64}


def load(root, **how):
    return load_recordings(root, "plastic", "500hz", **SMALL, **how)


def place(root, take, angle="deg000"):
    return root / angle / "plastic" / f"plastic_{angle}_500hz_{take}.wav"


def named(data, side="train"):
    samples, pairs = getattr(data, side), getattr(data, f"{side}_pairs")
    return list(zip(pairs.pair_ids(samples.ids), pairs.target.tolist(), strict=True))


def test_clean_recordings_have_no_notes_and_classes_in_order(tmp_path):
    data = load(tree(tmp_path))
    assert data.notes == ()
    assert data.classes == ("deg000", "deg036", "deg072")


@pytest.mark.parametrize(
    "stray", ["@eaDir/plastic", "background/metal", "old", "background/plastic/notes", "none/plastic"]
)
def test_folders_without_recordings_of_these_names_rank_nothing(tmp_path, stray):
    root = tree(tmp_path)
    before = load(root)
    (root / stray).mkdir(parents=True)
    after = load(root)
    assert (named(after), after.classes) == (named(before), before.classes)


def test_copies_in_a_folder_of_no_class_are_ignored_and_counted(tmp_path):
    root = tree(tmp_path)
    before = load(root)
    shutil.copytree(root / "deg000" / "plastic", root / "old" / "plastic")
    after = load(root)
    assert named(after) == named(before)
    assert "4 sound files" in after.notes[0]
    assert "old/plastic/plastic_deg000_500hz_00.wav" in after.notes[0]


@pytest.mark.parametrize(
    "name",
    [
        "deg000/plastic/Plastic_deg000_500hz_09.wav",
        "deg000/plastic/plastic_deg000-500hz-09.wav",
        "deg000/plastic/plastic_deg000_500hz.wav",
        "deg000/Plastic/Plastic_deg000_500hz_09.wav",
        "deg000/plastic_deg000_500hz_09.wav",
        "deg000/plastic/session/plastic_deg000_500hz_09.wav",
        "notes.flac",
    ],
)
def test_sound_files_whose_names_do_not_fit_are_counted_and_named(tmp_path, name):
    root = tree(tmp_path)
    before = load(root)
    write(root / name, tone())
    after = load(root)
    assert named(after) == named(before)
    assert len(after.notes) == 1
    assert after.notes[0].startswith("1 sound file ")
    assert name in after.notes[0]


def test_recordings_of_another_frequency_or_material_fit(tmp_path):
    root = tree(tmp_path)
    tree(root, frequency="1000hz")
    tree(root, material="box")
    assert load(root).notes == ()


def test_a_given_order_of_classes_turns_targets_round(tmp_path):
    root = tree(tmp_path)
    turned = load(root, classes=["deg072", "deg036", "deg000"])
    assert turned.classes == ("deg072", "deg036", "deg000")
    # items come in another order too, so the pairs are compared as unordered ones
    above = {name.split("_")[1 if y > 0 else 5] + name.split("_")[5 if y > 0 else 1] for name, y in named(turned)}
    assert above == {"deg000deg036", "deg000deg072", "deg036deg072"}


def test_an_alphabetical_order_is_noted(tmp_path):
    for angle in ("near", "far"):
        for take in range(3):
            write(place(tmp_path, take, angle), tone(seed=take))
    assert "alphabetical" in load(tmp_path).notes[0]


@pytest.mark.parametrize("other", [".WAV", ".flac", ".mp3"])
def test_one_recording_in_two_files_is_an_error_that_names_both(tmp_path, other):
    root = tree(tmp_path)
    first = place(root, "00")
    second = first.with_suffix(other)
    shutil.copy(first, second)
    with pytest.raises(DataError, match="are both the recording plastic_deg000_500hz_00") as caught:
        load(root)
    assert str(first) in caught.value.message
    assert str(second) in caught.value.message


def test_formats_may_be_mixed(tmp_path):
    root = tree(tmp_path)
    whole = load(root)
    for path in sorted(root.rglob("*_01.wav")):
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".flac"), samples, rate)
        path.unlink()
    mixed = load(root)
    assert mixed.train.ids == whole.train.ids
    assert np.array_equal(mixed.train.inputs, whole.train.inputs)


def test_an_underscore_in_a_take_is_the_stated_reason(tmp_path):
    root = tree(tmp_path)
    place(root, "00").rename(place(root, "00_ch1"))
    with pytest.raises(DataError, match="a take has no underscore, but 00_ch1 has one"):
        load(root)
    for path in root.rglob("*_0?.wav"):
        path.rename(path.with_stem(f"{path.stem}_ch1"))
    with pytest.raises(DataError, match="no recordings") as caught:
        load(root)
    assert "a take has no underscore" in caught.value.hint


def test_names_are_the_same_in_any_unicode_form(tmp_path):
    composed, apart = (normalize(form, "m\u00e9tal") for form in ("NFC", "NFD"))
    assert composed != apart
    root = tree(tmp_path / "data", material=apart)
    data = load_recordings(root, composed, "500hz", **SMALL)
    assert all(name.startswith(composed) for name in data.train.ids)
    assert load_recordings(root, apart, "500hz", **SMALL).train.ids == data.train.ids
    path = tmp_path / "pairs.csv"
    write_pairs_file(path, data)
    for form in ("NFC", "NFD"):
        path.write_text(normalize(form, path.read_text()))
        assert named(load_recordings(root, composed, "500hz", pairs_file=path, **SMALL)) == named(data)


def test_links_may_lead_into_linked_root(tmp_path):
    root = tree(tmp_path / "data")
    cache = tmp_path / "cache" / "files"
    before = load(root)
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        kept = cache / f"{number:02x}" / f"{number:030x}"  # as DVC and git-annex keep files
        kept.parent.mkdir(parents=True)
        shutil.move(path, kept)
        path.symlink_to(kept)
    with pytest.raises(DataError, match="is a link out of the data folder") as caught:
        load(root)
    assert f"linked_root = {str(cache)!r}" in caught.value.hint
    linked = load(root, linked_root=tmp_path / "cache")
    assert np.array_equal(linked.train.inputs, before.train.inputs)
    with pytest.raises(DataError, match="is a link out"):
        load(root, linked_root=tmp_path / "elsewhere")


def test_odd_recordings_are_named(tmp_path):
    root = tree(tmp_path)
    write(place(root, "00"), tone(300))
    write(place(root, "01"), tone(4000))
    write(place(root, "02"), np.stack([tone(), 0.001 - tone()], axis=1))
    header = bytearray(place(root, "03").read_bytes())
    header[40:44] = bytes(4)
    place(root, "03").write_bytes(bytes(header))
    notes = load(root).notes
    assert len(notes) == 3
    wanted = (("unfinished header", ("03",)), ("nearly cancel", ("02",)), ("the median (1,024 frames)", ("00", "01")))
    for note, (what, takes) in zip(notes, wanted, strict=True):
        assert what in note
        assert note.endswith(": " + ", ".join(f"plastic_deg000_500hz_{take}" for take in takes))
    assert len(load(root, channel=1).notes) == 2


class TestPairs:
    """The pairs file divides the items; without one the seed does."""

    @pytest.fixture
    def root(self, tmp_path):
        return tree(tmp_path / "data")

    @pytest.fixture
    def file(self, root, tmp_path):
        write_pairs_file(tmp_path / "pairs.csv", load(root))
        return tmp_path / "pairs.csv"

    def test_a_written_pairs_file_gives_the_same_data_as_the_seed(self, root, file):
        alone, again = load(root), load(root, pairs_file=file)
        assert (again.train.ids, again.test.ids, again.notes) == (alone.train.ids, alone.test.ids, ())
        assert named(again) == named(alone)
        assert named(load(root, pairs_file=file, seed=5)) == named(alone)

    def test_new_recordings_are_ignored_and_counted(self, root, file):
        before = load(root, pairs_file=file)
        for take in ("10", "11"):
            write(place(root, take, "deg036"), tone(seed=7))
        after = load(root, pairs_file=file)
        assert (after.train.ids, after.test.ids) == (before.train.ids, before.test.ids)
        assert named(after) == named(before)
        (note,) = after.notes
        assert note.startswith("2 recordings ignored, because no pair in pairs.csv has them: ")
        assert note.endswith(": plastic_deg036_500hz_10, plastic_deg036_500hz_11")

    def test_a_pair_of_a_missing_recording_is_refused_or_left_out(self, root, file):
        before = load(root, pairs_file=file)
        gone = before.train.ids[0]
        next(root.rglob(f"{gone}.wav")).unlink()
        with pytest.raises(DataError, match=rf"pairs\.csv, line 2: there is no item '{gone}'") as caught:
            load(root, pairs_file=file)
        assert "`skip_missing`" in caught.value.hint
        after = load(root, pairs_file=file, skip_missing=True)
        assert set(after.train.ids) == set(before.train.ids) - {gone}
        assert named(after) == [pair for pair in named(before) if gone not in pair[0]]
        assert named(after, "test") == named(before, "test")
        assert after.notes[0].endswith(f"there is no recording {gone}")

    def test_an_item_is_in_one_split_only(self, root, file):
        data = load(root)
        with file.open("a") as stream:
            stream.write(f"held-out,{data.test.ids[0]},{data.train.ids[0]},1\n")
        with pytest.raises(DataError, match="is held out here, but trains on line"):
            load(root, pairs_file=file)

    def test_a_pair_with_both_targets_counts_both_ways_and_is_named(self, root, file):
        data = load(root)
        first, target = named(data)[0]
        line = file.read_text().splitlines()[1]
        file.write_text(f"{file.read_text()}{line.rpartition(',')[0]},{-target}\n")
        again = load(root, pairs_file=file)
        assert named(again) == [*named(data), (first, -target)]
        assert again.notes[0].endswith(first)
        rows = file.read_text().splitlines()
        file.write_text("\n".join([f"{rows[0]},annotator", *(f"{row},anna" for row in rows[1:])]))
        assert load(root, pairs_file=file).notes == ()

    def test_drawn_pairs_repeat_and_are_rows_of_their_own(self, root, tmp_path):
        drawn = load(root, pairs="drawn")
        write_pairs_file(tmp_path / "pairs.csv", drawn)
        again = load(root, pairs_file=tmp_path / "pairs.csv")
        assert named(again) == named(drawn)
        assert len(set(named(drawn))) < len(drawn.train_pairs)
        assert load(root, pairs_file=tmp_path / "pairs.csv", pairs="drawn").notes == ()

    def test_a_rule_without_effect_is_noted(self, root, file):
        assert load(root, pairs_file=file, pairs="every").notes == ()
        (note,) = load(root, pairs_file=file, pairs="drawn").notes
        assert "`pairs` = drawn" in note

    def test_pairs_above_the_limit_are_drawn(self, root, monkeypatch):
        from tracinctl.data import split

        whole = load(root)
        monkeypatch.setattr(split, "MOST_TRAIN_PAIRS", 9)
        data = load(root)
        assert len(set(named(data))) == 9
        assert set(named(data)) < set(named(whole))
        assert [pair for pair in named(whole) if pair in named(data)] == named(data)
        assert named(data, "test") == named(whole, "test")
        assert data.notes[0].startswith(f"9 of {len(whole.train_pairs)} training pairs were drawn")
        assert named(load(root, seed=1)) != named(data)

    def test_twenty_thousand_items_take_little_memory(self):
        labels = np.repeat(np.arange(8.0), 2500)
        tracemalloc.start()
        made = split_by_seed(labels)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (len(made.train_pairs), len(made.test_pairs)) == (100_000, 5_000)
        assert peak < 64 << 20

    @pytest.mark.parametrize("how", [{"pairs": "some"}, {"train_share": 0}, {"train_share": 1.5}])
    def test_wrong_settings_are_refused(self, root, how):
        with pytest.raises(UsageError, match=next(iter(how))):
            load(root, **how)

    def test_the_share_of_training_items_is_a_setting(self, root):
        assert len(load(root, train_share=0.5).train) == 6


def their_dataset(labels, names, excluded, seed=42):
    """The first users' rule in a slow form: make every draw, then drop the excluded ones."""
    np.random.seed(seed)  # noqa: NPY002  it is the rule
    rows = []
    for part, ids in zip(labels, names, strict=True):
        kept = []
        for _ in range(len(part) * (len(part) - 1) // 2):
            i, j = np.random.choice(len(part), 2, replace=False)  # noqa: NPY002
            if part[i] == part[j] or f"{ids[i]}_{ids[j]}" in excluded:
                continue
            kept.append((ids[i], ids[j], 1 if part[i] > part[j] else -1))
        rows.append(kept)
    return rows


def test_a_list_removes_exactly_the_named_draws(tmp_path):
    data = load(tree(tmp_path), pairs="drawn")
    excluded = {name for name, _ in named(data)[3:9]}
    train, held_out = their_dataset((data.train.labels, data.test.labels), (data.train.ids, data.test.ids), excluded)
    left = leave_out(data, excluded).pairs
    ids = data.train.ids
    assert [(ids[i], ids[j], y) for i, j, y in zip(left.first, left.second, left.target, strict=True)] == train
    assert [name for name, _ in named(data, "test")] == [f"{a}_{b}" for a, b, _ in held_out]
