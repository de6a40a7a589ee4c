"""Records of finished trainings are complete and name their training, data and list."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tracinctl.retraining.records import read_record, write_record
from tracinctl.retraining.trainer import Trained, Training

TRAINING = Training("without the list", 1, 7, ("a_b", "c_d"))
TRAINED = Trained({"x": (0.25, 0.5), "y": (-1.0, 2.0)}, (1, 3), train_pairs=9)
MEANS = Trained({}, accuracy=0.75, loss=0.5)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "0123456789abcdef.json"
    write_record(path, TRAINING, "data", TRAINED)
    return path


def test_a_record_reads_back_as_written(path):
    assert read_record(path, TRAINING, "data") == TRAINED
    write_record(path, TRAINING, "data", MEANS)
    assert read_record(path, TRAINING, "data") == MEANS
    assert json.loads(path.read_text())["arm"] == "without the list"


@pytest.mark.parametrize(
    "other",
    [
        (dataclasses.replace(TRAINING, seed=8), "data"),
        (dataclasses.replace(TRAINING, exclusions=("a_b",)), "data"),
        (TRAINING, "other data"),
    ],
)
def test_a_record_of_another_training_is_not_used(path, other):
    assert read_record(path, *other) is None


def test_a_renamed_record_is_not_used(path):
    moved = path.rename(path.with_name("fedcba9876543210.json"))
    assert read_record(moved, TRAINING, "data") is None


def test_every_changed_byte_is_noticed(path):
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        assert read_record(path, TRAINING, "data") in (None, TRAINED), at
    for at in range(len(whole) - 1):  # without the last line end, the record is still complete
        path.write_bytes(whole[:at])
        assert read_record(path, TRAINING, "data") is None


@pytest.mark.parametrize(
    "trained",
    [
        Trained({}, accuracy=7.0, loss=0.5),
        Trained({}, accuracy=0.5, loss=float("inf")),
        Trained({}),
        Trained({"x": (1.0,)}, (1, 3)),
        Trained({"x": (float("nan"),)}, (1,)),
    ],
)
def test_implausible_results_are_not_used(path, trained):
    write_record(path, TRAINING, "data", trained)
    assert read_record(path, TRAINING, "data") is None
