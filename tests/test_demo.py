"""The demo project: what is in it, what was planted, and that it is whole or absent."""

from __future__ import annotations

import csv

import pytest

from tracinctl.data.demo import DemoSize, make_demo
from tracinctl.data.recordings import available, load_recordings
from tracinctl.engine.checkpoints import list_checkpoints, load_checkpoint
from tracinctl.errors import DataError, UsageError

SMALL = DemoSize(takes=(5, 2), comparisons=60, flipped=0.25, misfiled=1, epochs=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "project"
    return make_demo(folder, ["500hz", "1000hz"], size=SMALL)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_looks_like_the_users_own_folder(demo):
    folder = demo.directory
    assert available(folder / "data") == {"metal": ["500hz", "1000hz"], "plastic": ["500hz", "1000hz"]}
    assert (folder / "data/deg036/plastic/plastic_deg036_500hz_04.wav").is_file()
    assert (folder / "tracinctl.toml").is_file()
    assert demo.recordings == 2 * 6 * 7 == len(list(folder.rglob("*.wav")))
    assert not list(folder.parent.glob(".*"))


def test_checkpoints_say_their_learning_rate(demo):
    paths = list_checkpoints(demo.directory / "checkpoints" / "plastic_1000hz")
    assert load_checkpoint(paths[-1]).learning_rate > 0


def test_planted_pairs_are_those_whose_target_contradicts_the_angles(demo):
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
    data = load_recordings(demo.directory / "data", "plastic", "500hz", n_fft=512, hop=128)
    items = {r["id"] for r in rows(demo.directory / "planted.csv") if r["kind"] == "item" and r["frequency"] == "500hz"}
    assert len(items) == 1
    assert items <= set(data.train.ids)


def test_the_same_seed_gives_the_same_bytes(demo, tmp_path):
    again = make_demo(tmp_path / "again", ["500hz", "1000hz"], size=SMALL)
    for path in sorted(demo.directory.rglob("*")):
        if path.is_file():
            assert (again.directory / path.relative_to(demo.directory)).read_bytes() == path.read_bytes(), path.name


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        make_demo(tmp_path, size=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_will_do(tmp_path):
    (tmp_path / "empty").mkdir()
    make_demo(tmp_path / "empty", ["500hz"], size=DemoSize((5, 2), 30, 0.25, 1, 1))
    assert (tmp_path / "empty" / "planted.csv").is_file()


def test_an_interrupted_demo_leaves_nothing(tmp_path):
    def stop(report):
        if report.task != "recording":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo", ["500hz"], size=SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["500", "x", "1hz", "90000hz", "../500hz"])
def test_a_frequency_that_cannot_be_made_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be synthesised"):
        make_demo(tmp_path / "demo", [name], size=SMALL)
    assert not (tmp_path / "demo").exists()
