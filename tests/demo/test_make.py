"""The demo project: its files, its planted errors, and that it is complete or absent."""

from __future__ import annotations

import csv

import pytest
import soundfile
import torch

from tracinctl.data.features import spectrogram
from tracinctl.data.loading import load_recordings
from tracinctl.data.recordings import available
from tracinctl.data.sound import read_sound
from tracinctl.demo.acoustics import MATERIALS
from tracinctl.demo.make import HOP, N_FFT, DemoSize, make_demo
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.checkpoints.weights import learning_rates
from tracinctl.errors import UsageError
from tracinctl.project.config import load_settings

SMALL = DemoSize(takes=(5, 2), comparisons=60, flipped=0.25, misfiled=1, epochs=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "project"
    return make_demo(folder, ["500hz", "1000hz"], size=SMALL)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_demo_has_the_layout_of_a_users_folder(demo):
    folder = demo.directory
    assert available(folder / "data") == {"metal": ["500hz", "1000hz"], "plastic": ["500hz", "1000hz"]}
    assert (folder / "data/deg036/plastic/plastic_deg036_500hz_04.wav").is_file()
    assert (folder / "tracinctl.toml").is_file()
    for made in demo.sets:
        recordings = folder.rglob(f"{made.material}_*_{made.frequency}_*.wav")
        assert made.recordings == len(list(recordings)) == (30 if made.material == "plastic" else 12)
    assert len(demo.sets) == 4
    assert not list(folder.parent.glob(".*"))


def test_checkpoints_record_their_learning_rate(demo):
    paths = list_checkpoints(demo.directory / "checkpoints" / "plastic_1000hz")
    (rate,) = learning_rates([load_checkpoint(paths[-1]).record.rates])
    assert rate > 0


def test_planted_pairs_contradict_the_angles(demo):
    planted = rows(demo.directory / "planted.csv")
    for frequency in ("500hz", "1000hz"):
        flipped = {r["id"] for r in planted if (r["kind"], r["frequency"]) == ("pair", frequency)}
        assert len(flipped) == 15
        pairs = rows(demo.directory / "checkpoints" / f"plastic_{frequency}" / "pairs.csv")
        for row in pairs:
            above = row["id1"].split("_")[1] > row["id2"].split("_")[1]
            right = int(row["target"]) == (1 if above else -1)
            assert right == (row["split"] == "held-out" or f"{row['id1']}_{row['id2']}" not in flipped)


def test_misfiled_recordings_are_training_items(demo):
    data = load_recordings(demo.directory / "data", "plastic", "500hz", n_fft=N_FFT, hop=HOP)
    items = {r["id"] for r in rows(demo.directory / "planted.csv") if r["kind"] == "item" and r["frequency"] == "500hz"}
    assert len(items) == 1
    assert items <= set(data.train.ids)


def test_the_same_seed_gives_the_same_bytes(demo, tmp_path):
    again = make_demo(tmp_path / "again", ["500hz", "1000hz"], size=SMALL)
    for path in sorted(demo.directory.rglob("*")):
        if path.is_file():
            assert (again.directory / path.relative_to(demo.directory)).read_bytes() == path.read_bytes(), path.name


def test_a_folder_with_files_is_refused_and_unchanged(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        make_demo(tmp_path, size=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled_and_not_replaced(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    before = folder.stat().st_ino
    make_demo(folder, ["500hz"], size=DemoSize((5, 2), 30, 0.25, 1, 1))
    assert folder.stat().st_ino == before
    assert (folder / "planted.csv").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_the_settings_file_has_the_checkpoints_training_settings(demo):
    settings = load_settings(demo.directory / "tracinctl.toml")
    path = list_checkpoints(demo.directory / "checkpoints" / "plastic_500hz")[-1]
    trained = torch.load(path, weights_only=True)["args"]
    for key in ("epochs", "learning_rate", "batch_size"):
        assert settings.get("train", key) == trained[key]
    assert (settings.get("features", "n_fft"), settings.get("features", "hop")) == (N_FFT, HOP)
    assert settings.defaults_for("train")["material"] == "plastic"


def test_some_recordings_are_stereo_and_all_are_sixteen_bit_at_one_rate(demo):
    infos = [soundfile.info(path) for path in demo.directory.rglob("*.wav")]
    assert {info.channels for info in infos} == {1, 2}
    assert {(info.samplerate, info.subtype, info.frames) for info in infos} == {(48000, "PCM_16", 12000)}


@pytest.mark.parametrize("material", sorted(MATERIALS))
def test_a_recording_loses_high_frequencies_as_its_angle_grows(demo, tmp_path, material):
    from tracinctl.demo import acoustics

    def brightness(angle):
        import numpy as np

        random = np.random.default_rng(0)
        sound = acoustics.record(MATERIALS[material], angle, 500, random, seconds=0.25, channels=1)
        assert np.abs(sound).max() <= 1
        power = np.abs(np.fft.rfft(sound)) ** 2
        return power[len(power) // 8 :].sum() / power.sum()

    assert brightness(0) > brightness(72) > brightness(144) > brightness(180)


def test_misfiled_recordings_sound_like_their_true_angle(demo):
    import numpy as np

    def brightness(path):
        return spectrogram(read_sound(path).samples, n_fft=N_FFT, hop=HOP)[0, 40:].mean().item()

    angles = np.array([0, 36, 72, 108, 144, 180])
    for row in rows(demo.directory / "planted.csv"):
        if row["kind"] != "item":
            continue
        filed = int(row["id"].split("_")[1][3:])
        true = int(row["what"].split()[2])
        others = [
            np.median(
                [brightness(p) for p in demo.directory.glob(f"data/deg{a:03d}/plastic/*_{row['frequency']}_*.wav")]
            )
            for a in angles
        ]
        mine = brightness(next(demo.directory.glob(f"data/*/plastic/{row['id']}.wav")))
        sounds_like = angles[np.argmin(np.abs(np.array(others) - mine))]
        assert abs(sounds_like - true) <= 36 < abs(filed - true)


def test_reports_name_the_target_and_threads_are_restored(tmp_path):
    reports = []
    threads = torch.get_num_threads()
    make_demo(tmp_path / "d", ["500hz"], size=DemoSize((5, 2), 30, 0.25, 1, 1), progress=reports.append)
    assert {report.name for report in reports if report.task == "training"} == {"plastic 500hz"}
    assert (reports[-1].done, reports[-1].total) == (1, 1)
    assert torch.get_num_threads() == threads


def test_an_interrupted_demo_leaves_nothing(tmp_path):
    def stop(report):
        if report.task != "recording":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo", ["500hz"], size=SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["500", "x", "1hz", "90000hz", "../500hz"])
def test_an_impossible_frequency_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be synthesised"):
        make_demo(tmp_path / "demo", [name], size=SMALL)
    assert not (tmp_path / "demo").exists()
