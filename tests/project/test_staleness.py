"""Every command that uses scores reports checkpoints and recordings that changed since."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from crash_projects import SETTINGS
from wav_trees import tone, tree, write

WAV = "data/deg036/plastic/plastic_deg036_500hz_02.wav"
PAIRS = "checkpoints/plastic_500hz/pairs.csv"
CHECKPOINT = "checkpoints/plastic_500hz/model_epoch_2.pt"
SINCE = "since these scores were made"


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    from tracinctl.cli.app import app
    from tracinctl.cli.base import run

    folder = tmp_path_factory.mktemp("changed") / "project"
    tree(folder / "data", takes=4)
    (folder / "tracinctl.toml").write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(app, ["-q", "train", "--frequency", "500hz", "--epochs", "2"]) == 0
        assert run(app, ["-q", "compute", "--frequency", "500hz", "--margin", "9"]) == 0
    return folder


@pytest.fixture
def project(computed, tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(computed, folder)
    monkeypatch.chdir(folder)
    return folder


COMMANDS = [["sweep"], ["exclude", "--dry-run"], ["plot", "overview"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_unchanged_files_are_not_mentioned(cli, project, command):
    result = cli(*command, "--frequency", "500hz")
    assert result.code == 0, result.err
    assert SINCE not in result.err
    # writing the same content again is no change
    for name in (WAV, CHECKPOINT):
        (project / name).write_bytes((project / name).read_bytes())
    assert SINCE not in cli(*command, "--frequency", "500hz").err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_changed_file_with_the_old_size_and_date_is_named(cli, project, command):
    about = (project / CHECKPOINT).stat()
    data = bytearray((project / CHECKPOINT).read_bytes())
    data[len(data) // 2] ^= 1
    (project / CHECKPOINT).write_bytes(data)
    os.utime(project / CHECKPOINT, ns=(about.st_atime_ns, about.st_mtime_ns))
    write(project / WAV, tone(seed=99))
    result = cli(*command, "--frequency", "500hz")
    message = " ".join(result.err.split())
    assert result.code == 0, message
    assert "checkpoint changed: model_epoch_2.pt" in message
    assert "recording changed: plastic_deg036_500hz_02" in message
    assert "tracinctl compute --material plastic --frequency 500hz" in message


def test_added_and_removed_files_are_named(cli, project):
    folder = project / "checkpoints/plastic_500hz"
    (folder / "model_epoch_1.pt").rename(folder / "model_epoch_7.pt")
    (folder / "something_else.pt").write_bytes(b"")
    (project / WAV).unlink()
    message = cli("sweep", "--frequency", "500hz").err
    assert "checkpoint removed: model_epoch_1.pt; checkpoint added: model_epoch_7.pt" in message
    assert "recording removed: plastic_deg036_500hz_02" in message


def test_scores_outside_the_project_are_not_checked(cli, project, tmp_path):
    outside = tmp_path / "other"
    shutil.copytree(project / "metadata", outside)
    (project / CHECKPOINT).write_bytes(b"other")
    name = "plastic_500hz_influence_metadata.json"
    assert SINCE not in cli("sweep", "--metadata-file", outside / name).err
    shutil.rmtree(project / "checkpoints")
    shutil.rmtree(project / "data")
    assert SINCE not in cli("sweep", "--frequency", "500hz").err


def test_checking_for_changes_does_not_import_torch(project):
    code = (
        "import sys; from tracinctl.cli.base import run; from tracinctl.cli.app import app;"
        "assert run(app, ['-q', 'sweep', '--frequency', '500hz']) == 0; assert 'torch' not in sys.modules"
    )
    write(project / WAV, tone(seed=99))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def check_that_it_stops(cli, project, name):
    scores = project / "metadata/plastic_500hz_influence_metadata.json"
    before = scores.read_bytes()
    result = cli("compute", "--frequency", "500hz")
    assert result.code == 1
    assert f"{name} changed during the run" in " ".join(result.err.split())
    assert result.err.count("error: ") == 1
    assert scores.read_bytes() == before


def test_a_recording_that_changes_during_the_run_stops_it(cli, project, monkeypatch):
    from tracinctl.data import loading

    read = loading.read_sound

    def read_then_change(path, channel):
        sound = read(path, channel)
        if path.name.endswith("deg036_500hz_02.wav"):
            write(path, tone(seed=99))
        return sound

    monkeypatch.setattr(loading, "read_sound", read_then_change)
    check_that_it_stops(cli, project, "plastic_deg036_500hz_02.wav")


@pytest.mark.parametrize("name", [CHECKPOINT.replace("2.pt", "1.pt"), CHECKPOINT, PAIRS], ids=lambda name: name[-9:])
@pytest.mark.parametrize("how", ["written", "removed"])
def test_a_file_that_changes_after_it_was_read_stops_the_run(cli, project, monkeypatch, name, how):
    from tracinctl.engine import compute_result

    # the last file has been read, and nothing is written yet
    finish = compute_result.weigh_checkpoints

    def change(*arguments):
        if how == "removed":
            (project / name).unlink()
        else:
            data = (project / name).read_bytes()
            (project / name).write_bytes(data + b"\n")
        return finish(*arguments)

    monkeypatch.setattr(compute_result, "weigh_checkpoints", change)
    check_that_it_stops(cli, project, name)


def test_a_checkpoint_that_changes_during_its_kernel_leaves_no_kernel(tmp_path, monkeypatch):
    from small_models import MODELS, make_checkpoints, make_data

    from tracinctl import compute_influence
    from tracinctl.engine.kernel.maker import KernelMaker
    from tracinctl.errors import CheckpointError

    build, kind = MODELS["linear"]
    model, data = build(), make_data(kind)
    paths = make_checkpoints(model, tmp_path, rates=(0.1, 0.1))
    make = KernelMaker.make

    def make_then_change(self, *arguments, checkpoint, **more):
        kernel = make(self, *arguments, checkpoint=checkpoint, **more)
        if checkpoint == paths[1].name:
            paths[1].write_bytes(paths[0].read_bytes() + b"more")
        return kernel

    monkeypatch.setattr(KernelMaker, "make", make_then_change)
    with pytest.raises(CheckpointError, match=rf"{paths[1].name} changed during the run"):
        compute_influence(data, model, paths, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("[!.]*.kernel"))) == 1, "the kernel of the other checkpoint"


@pytest.mark.parametrize("command", [["sweep"], ["exclude", "--min-occurrences", "1"], ["plot", "overview"]])
def test_scores_that_change_while_they_are_read_stop_the_command(cli, project, monkeypatch, command):
    from tracinctl.scores.files import parquet as parquet_format

    assert cli("compute", "--frequency", "500hz", "--margin", "9", "--format", "parquet").code == 0
    scores = project / "metadata/plastic_500hz_influence.parquet"
    read = parquet_format.read_scores

    def read_then_change(*arguments):
        yield from read(*arguments)
        scores.with_suffix(".new").write_bytes(scores.read_bytes())
        scores.with_suffix(".new").replace(scores)

    monkeypatch.setattr(parquet_format, "read_scores", read_then_change)
    result = cli(*command, "--frequency", "500hz")
    assert result.code == 1
    assert "plastic_500hz_influence.parquet changed while it was read" in " ".join(result.err.split())
    assert not (project / "exclusions").exists()


def test_content_decides_not_dates(cli, project, tmp_path, monkeypatch):
    """A copy without dates, a touch and other line ends are no changes."""
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, copy_function=shutil.copyfile)
    monkeypatch.chdir(copy)
    (copy / WAV).touch()
    (copy / PAIRS).write_bytes((copy / PAIRS).read_bytes().replace(b"\n", b"\r\n"))
    assert SINCE not in cli("sweep", "--frequency", "500hz").err


def test_a_clock_that_was_set_back_hides_no_change(cli, project):
    content = bytearray((project / CHECKPOINT).read_bytes())
    assert SINCE not in cli("sweep", "--frequency", "500hz").err
    content[len(content) // 2] ^= 1
    (project / CHECKPOINT).write_bytes(content)
    os.utime(project / CHECKPOINT, (0, 0))
    assert "checkpoint changed: model_epoch_2.pt" in cli("sweep", "--frequency", "500hz").err


def test_renamed_checkpoints_are_reported(cli, project):
    for path in (project / CHECKPOINT).parent.glob("*.pt"):
        path.rename(path.with_name(path.name.replace("epoch", "step")))
    assert "checkpoints removed: model_epoch_1.pt" in cli("sweep", "--frequency", "500hz").err


def test_changed_pairs_are_reported(cli, project):
    lines = (project / PAIRS).read_text().splitlines()
    (project / PAIRS).write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    assert "pairs.csv changed" in cli("sweep", "--frequency", "500hz").err


def test_a_second_check_reads_no_recording_again(cli, project, monkeypatch):
    from tracinctl.project import staleness

    read = []
    monkeypatch.setattr(staleness, "file_digest", lambda path: read.append(path) or "x")
    cli("sweep", "--frequency", "500hz")
    first = len(read)
    cli("sweep", "--frequency", "500hz")
    assert first > 10
    assert len(read) == first
