"""Where a project's items and pairs come from."""

from __future__ import annotations

import csv
import json
import os
import sys

import pytest
from wav_trees import tone, write

ASSUMED = "the training pairs are assumed"
PAIRS = "checkpoints/plastic_500hz/pairs.csv"


def settings(project, text):
    path = project / "tracinctl.toml"
    path.write_text(text + path.read_text())


def said(result):
    return " ".join(result.err.split())


def compute(cli, *flags):
    result = cli("compute", "--frequency", "500hz", "--json", *flags)
    assert result.code == 0, result.err
    (outcome,) = json.loads(result.out)
    return outcome, said(result)


def scored_ids(project):
    return list(json.loads((project / "metadata/plastic_500hz_influence_metadata.json").read_text()))


def test_a_warning_says_first_that_pairs_are_assumed(cli, project):
    _, err = compute(cli)
    assert ASSUMED not in err
    (project / PAIRS).unlink()
    _, err = compute(cli)
    assert ASSUMED in err[err.index("warning: ") :].split("warning: ")[1]
    assert "pairs" in err
    assert "drawn" in err
    assert "perhaps" not in err
    (project / "pairs.csv").write_text("split,id1,id2,target\n")
    _, err = compute(cli)
    assert f"perhaps {project / 'pairs.csv'}, with --pairs-file" in err or "perhaps pairs.csv, with --pairs-file" in err


@pytest.mark.parametrize("rule", ["every", "drawn"])
def test_pairs_by_a_rule_are_not_assumed(cli, project, rule):
    from tracinctl.data.loading import load_recordings

    (project / PAIRS).unlink()
    settings(project, f'pairs = "{rule}"\n')
    _, err = compute(cli)
    assert ASSUMED not in err
    data = load_recordings(project / "data", "plastic", "500hz", n_fft=64, hop=64, pairs=rule)
    assert scored_ids(project) == data.train_pairs.row_ids(data.train.ids)


def test_an_unknown_rule_for_pairs_is_refused(cli, project):
    (project / PAIRS).unlink()
    settings(project, 'pairs = "some"\n')
    result = cli("compute", "--frequency", "500hz")
    assert result.code == 2
    assert "every, drawn" in said(result)


def test_a_new_recording_changes_neither_scores_nor_kernels(cli, project):
    compute(cli)
    before = scored_ids(project)
    write(project / "data/deg036/plastic/plastic_deg036_500hz_77.wav", tone(seed=9))
    answer, err = compute(cli)
    assert answer["gradients_computed"] == 0
    assert scored_ids(project) == before
    assert "1 recording ignored, because no pair in pairs.csv has it: plastic_deg036_500hz_77" in err
    assert "added" not in cli("sweep", "--frequency", "500hz").err


def test_a_new_recording_does_not_change_the_training_pairs(cli, project):
    before = (project / PAIRS).read_text()
    write(project / "data/deg036/plastic/plastic_deg036_500hz_77.wav", tone(seed=9))
    result = cli("train", "--frequency", "500hz")
    assert result.code == 0, result.err
    assert "1 recording ignored" in said(result)
    assert (project / PAIRS).read_text() == before


def test_a_missing_recording_is_named_and_its_pairs_can_be_left_out(cli, project):
    with (project / PAIRS).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    gone = rows[0]["id1"]
    next((project / "data").rglob(f"{gone}.wav")).unlink()
    result = cli("compute", "--frequency", "500hz")
    assert result.code == 1
    assert f"{PAIRS}, line 2: there is no item '{gone}'" in said(result)
    settings(project, "skip_missing = true\n")
    _, err = compute(cli)
    remaining = [row for row in rows if row["split"] == "train" and gone not in (row["id1"], row["id2"])]
    assert scored_ids(project) == [f"{row['id1']}_{row['id2']}" for row in remaining]
    assert f"there is no recording {gone}" in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links and pipes")
@pytest.mark.parametrize("name", [PAIRS, "planted.csv", "tracinctl.toml"])
@pytest.mark.parametrize(
    ("put", "said_of_it"),
    [
        (lambda path: path.symlink_to("gone.csv"), "is a link to gone.csv, which does not exist"),
        (lambda path: path.mkdir(), "is not a file but a folder"),
        (os.mkfifo, "is not a file but a device or a pipe"),
    ],
)
def test_a_folder_in_place_of_a_file_is_refused(cli, project, name, put, said_of_it):
    (project / name).unlink(missing_ok=True)
    put(project / name)
    result = cli("workflow", "--frequencies", "500hz")
    assert result.code != 0
    assert f"{name} {said_of_it}" in said(result).replace(f"{project}/", "")


def test_the_order_of_the_classes_is_printed_and_can_be_set(cli, project):
    assert "classes, lowest first: deg000 < deg036 < deg072" in cli("train", "--frequency", "500hz").out
    settings(project, 'classes = ["deg072", "deg000", "deg036"]\n')
    assert "classes, lowest first: deg072 < deg000 < deg036" in cli("compute", "--frequency", "500hz").out
    settings(project, "")
    answer, _ = compute(cli)
    assert answer["classes"] == ["deg072", "deg000", "deg036"]


def test_recordings_may_link_into_a_second_folder(cli, project):
    store = project / "store"
    store.mkdir()
    for number, path in enumerate(sorted((project / "data").rglob("*.wav"))):
        path.rename(store / str(number))
        path.symlink_to(store / str(number))
    result = cli("compute", "--frequency", "500hz")
    assert result.code == 1
    assert "linked_root = " in said(result)
    settings(project, 'linked_root = "store"\n')
    compute(cli)
    assert "removed" not in cli("sweep", "--frequency", "500hz").err


def test_classes_channel_and_pairs_are_flags_too(cli, project):
    order = cli("train", "--frequency", "500hz", "--classes", "deg072,deg036,deg000").out
    assert "classes, lowest first: deg072 < deg036 < deg000" in order
    result = cli("compute", "--frequency", "500hz", "--channel", "2")
    assert result.code == 2
    assert "only one channel, so there is no channel 2" in said(result)
    assert cli("compute", "--frequency", "500hz", "--pairs", "drawn").code == 0
    assert cli("compute", "--frequency", "500hz", "--pairs", "some").code == 2
    assert cli("compute", "--frequency", "500hz", "--train-share", "2").code == 2


def test_a_source_beside_the_settings_is_found_from_a_folder_below(cli, project, monkeypatch):
    (project / "source_beside.py").write_text("def load(frequency, material):\n    raise ValueError('it was called')\n")
    settings(project, 'source = "source_beside:load"\n')
    below = project / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.setattr("sys.path", list(sys.path))
    assert "it was called" in said(cli("compute", "--frequency", "500hz"))


def test_other_features_than_those_of_the_training_are_told(cli, project):
    _, err = compute(cli)
    assert "trained with" not in err
    path = project / "tracinctl.toml"
    path.write_text(path.read_text().replace("n_fft = 64", "n_fft = 128") + "\n[ranker]\nnormalise = false\n")
    _, err = compute(cli)
    assert "model_epoch_2.pt: trained with n_fft 64, but the scores use n_fft 128" in err
    assert "model_epoch_2.pt: trained with normalise true, but the scores use normalise false" in err
    assert "trained with hop" not in err
