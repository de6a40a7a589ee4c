"""Files of other people: harmless ones are read; requests for code or memory, and damage, are refused."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import gzip
import io
import os
import pathlib
import pickle
import struct
import subprocess
import tarfile
import tracemalloc
import uuid
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tracinctl.engine.checkpoints.load import load_checkpoint
from tracinctl.engine.checkpoints.safe_load import read_tensors
from tracinctl.engine.checkpoints.unpickle import Inert
from tracinctl.errors import CheckpointError


class Config(collections.OrderedDict):
    """An ordered dictionary of a project, like those of configuration libraries."""


class Node(dict):
    """A dictionary of a project."""


@dataclasses.dataclass
class Settings:
    margin: float = 1.0


class Phase(enum.Enum):
    WARM = 1


class Point(NamedTuple):
    x: int
    y: int


def read(path):
    return read_tensors(path, bytearray(path.read_bytes()))


def saved(path, content, *, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


HARMLESS = {
    "numpy scalars": {"lr": np.float64(0.5), "epoch": np.int32(3), "name": np.str_("a"), "flag": np.bool_(True)},
    "numpy array": {"history": np.arange(5.0), "order": np.arange(3, dtype=">i4")},
    "namespace": argparse.Namespace(margin=2.0, path=pathlib.Path("a/b")),
    "path": pathlib.PurePosixPath("a/b"),
    "times": [dt.datetime(2024, 5, 1, tzinfo=dt.UTC), dt.timedelta(3), dt.date(2024, 5, 1)],
    "ordered dictionary of one's own": Config(a=1),
    "dictionary of one's own": Node(a=1),
    "dataclass": Settings(),
    "enumeration": Phase.WARM,
    "named tuple": Point(1, 2),
    "containers": [{1, 2}, frozenset({3}), collections.Counter("aab"), collections.deque([1]), slice(1, 2), range(3)],
    "default dictionary": collections.defaultdict(list, a=[1]),
    "numbers": [decimal.Decimal("1.5"), uuid.UUID(int=3), 1 + 2j, b"bytes", bytearray(b"more")],
    "functions that are only named": [len, os.system, nn.functional.relu, functools.partial(print, 3)],
    "torch's own": [torch.Size([2, 3]), torch.float16, torch.device("cpu"), nn.Parameter(torch.ones(2))],
    "the state of random numbers": [np.random.default_rng(0), np.random.RandomState(0), torch.get_rng_state()],
}


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
@pytest.mark.parametrize("what", HARMLESS)
def test_harmless_values_beside_the_weights_are_read(what, legacy, tmp_path):
    state = nn.Linear(3, 2).state_dict()
    path = saved(tmp_path / "x.pt", {"model_state_dict": state, "beside": HARMLESS[what]}, legacy=legacy)
    found = load_checkpoint(path).state
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_numpy_numbers_are_read(tmp_path):
    content = read(saved(tmp_path / "x.pt", HARMLESS["numpy scalars"]))
    assert content == {"lr": 0.5, "epoch": 3, "name": "a", "flag": True}


def test_an_objects_attributes_are_read_without_importing_its_class(tmp_path):
    found = read(saved(tmp_path / "x.pt", {"args": argparse.Namespace(margin=2.0), "own": Config(a=1)}))
    assert isinstance(found["args"], Inert)
    assert found["args"].state == {"margin": 2.0}
    assert dict(found["own"]) == {"a": 1}
    assert type(found["own"]) is not Config


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool", "complex64", "float8_e4m3fn", "uint16"],
)
def test_every_dtype_and_view_is_read_as_torch_reads_it(dtype, legacy, tmp_path):
    if legacy and dtype in {"float8_e4m3fn", "uint16"}:
        pytest.skip("torch does not write these dtypes in its old format")
    whole = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    content = {
        "whole": whole,
        "across": whole.T,
        "part": whole[1:3, 2:4],
        "none": whole[:0],
        "one": whole[0, 1].clone(),
    }
    path = saved(tmp_path / "x.pt", content, legacy=legacy)
    for name, value in read(path).items():
        expected = torch.load(path, weights_only=True)[name]
        assert value.dtype == expected.dtype
        assert value.stride() == expected.stride()
        assert torch.equal(value.reshape(-1).view(torch.uint8), expected.reshape(-1).view(torch.uint8))


def test_a_pickled_model_gives_its_weights_and_runs_nothing(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model.register_buffer("not_saved", torch.ones(1), persistent=False)
    state = load_checkpoint(saved(tmp_path / "x.pt", model)).state
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def call(function, *arguments):
    class Evil:
        def __reduce__(self):
            return function, arguments

    return Evil()


@pytest.mark.parametrize(
    "evil",
    [
        call(os.system, "touch ran"),
        call(subprocess.Popen, "touch ran"),
        call(eval, "open('ran', 'w')"),
        call(getattr, "a", "upper"),
        call(exec, "open('ran', 'w')"),
        call(torch.hub.load, "a", "b"),
        call(torch.load, "x"),
    ],
    ids=["system", "Popen", "eval", "getattr", "exec", "hub", "load"],
)
@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
def test_a_pickle_that_asks_for_a_call_is_refused(evil, legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "x.pt", {"state_dict": nn.Linear(1, 1).state_dict(), "x": evil}, legacy=legacy)
    with pytest.raises(CheckpointError, match=r"x\.pt asks to run code when it is loaded \(") as caught:
        load_checkpoint(path)
    assert caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def archive(pickled, **storages):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for key, value in storages.items():
            file.writestr(f"archive/data/{key.removeprefix('s')}", value)
    return data.getvalue()


def text(letters):
    return b"X" + struct.pack("<I", len(letters)) + letters.encode()


def number(value):
    return b"\x8a\x08" + value.to_bytes(8, "little")


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
LONG = 900_000_000
ROOM = b"\x80\x02c__builtin__\nbytearray\n" + number(3_600_000_000) + b"\x85R."
# one float, viewed as very many
EXPANDED = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    + b"K\x01tQK\x00" + number(LONG) + b"\x85K\x00\x85\x89ccollections\nOrderedDict\n)RtR"
)  # fmt: skip
REBUILT = (
    b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n("
    + EXPANDED
    + b"ctorch\nfloat64\n"
    + text("cpu")
    + b"\x89tR"
)
OF_ONE = {
    name: b"\x80\x02c" + name.encode() + b"\n" + EXPANDED + b"\x85R."
    for name in (
        "collections\nCounter",
        "__builtin__\nset",
        "torch\nSize",
        "__builtin__\nlist",
        "collections\nOrderedDict",
    )
}
# one long text that is encoded again and again, and one long list that is made a set again and again
AGAIN = (
    b"\x80\x02("
    + text("a" * 100_000)
    + b"q\x000"
    + b"c_codecs\nencode\nq\x010("
    + (b"h\x01h\x00" + text("latin1") + b"\x86R") * 20_000
    + b"l."
)
SETS = (
    b"\x80\x02]q\x00("
    + b"".join(b"M" + struct.pack("<H", k) for k in range(60_000))
    + b"ec__builtin__\nset\nq\x010("
    + b"h\x01h\x00\x85R" * 5000
    + b"l."
)
BOMBS = {
    "an empty archive behind a pickle": ROOM + EMPTY_ZIP,
    "a tensor rebuilt": archive(b"\x80\x02" + REBUILT + b".", s0=bytes(4)),
    "room for bytes": archive(ROOM),
    "a place in the memo": archive(b"\x80\x02K\x01r\xff\xff\xff\x7f."),
    "the same in text": archive(b"K\x01p1999999999\n."),
    "a text encoded again and again": archive(AGAIN),
    "sets again and again": archive(SETS),
    "empty sets": archive(b"\x80\x04(" + b"\x8f" * 1_000_000 + b"l."),
    "bytes that are not there": archive(b"\x80\x05\x96" + (1 << 33).to_bytes(8, "little") + b"."),
    "a storage that is not there": archive(b"\x80\x02" + EXPANDED.replace(b"K\x01tQ", number(LONG) + b"tQ") + b"."),
    **{f"{name.split()[-1]} of one".replace("\n", " "): archive(data, s0=bytes(4)) for name, data in OF_ONE.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_that_asks_for_too_much_memory_is_refused_before_it_is_read(name, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"x\.pt"):
            load_checkpoint(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (150 << 20)


def test_one_number_expanded_to_a_shape_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(archive(b"\x80\x02}" + text("w") + EXPANDED + b"s.", s0=bytes(4)))
    with pytest.raises(CheckpointError, match=r"'w' has the shape \(900000000,\)"):
        load_checkpoint(path)


def test_a_view_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(
        archive(b"\x80\x02}" + text("w") + EXPANDED.replace(b"K\x00\x85\x89", b"K\x01\x85\x89") + b"s.", s0=bytes(4))
    )
    with pytest.raises(CheckpointError, match="out of bounds"):
        load_checkpoint(path)


def test_damage_is_noticed_everywhere(tmp_path):
    path = saved(tmp_path / "x.pt", {"state_dict": nn.Linear(30, 20).state_dict(), "epoch": 3})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        at = file.getinfo("x/data/0").header_offset
    for place in range(at + 200, at + 2400, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"x\.pt is damaged: its part x/data/0 has a wrong checksum"):
            load_checkpoint(path)


def test_a_file_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        saved(tmp_path / "x.pt", nn.Linear(3, 2).state_dict())
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(tmp_path / "x.pt").state.keys() == {"weight", "bias"}


def torchscript(path):
    torch.jit.trace(nn.Linear(3, 1), torch.ones(1, 3)).save(path)


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights.bin", b"1")


def tarred(path):
    (path.parent / "inner").write_bytes(b"1")
    with tarfile.open(path, "w") as file:
        file.add(path.parent / "inner", "inner")


def packed_again(path):
    torch.save(nn.Linear(30, 30).state_dict(), path.with_suffix(".first"))
    with zipfile.ZipFile(path.with_suffix(".first")) as first, zipfile.ZipFile(path, "w") as file:
        for name in first.namelist():
            file.writestr(name, first.read(name), zipfile.ZIP_STORED if "data/" in name else zipfile.ZIP_DEFLATED)


SOMETHING_ELSE = {
    "a pointer of Git LFS": lambda p: p.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    ),
    "a web page": lambda p: p.write_text("\n<!DOCTYPE html><html></html>"),
    "packed by gzip": lambda p: p.write_bytes(gzip.compress(b"1" * 100)),
    "a zip archive of weights.bin": zipped,
    "an archive with compressed parts": packed_again,
    "a tar archive": tarred,
    "a NumPy array": lambda p: p.write_bytes(b"\x93NUMPY" + bytes(90)),
    "a text that begins '{\"weight_map\": {}}'": lambda p: p.write_text('{"weight_map": {}}'),
    "a text that begins 'Entry not found'": lambda p: p.write_text("\nEntry not found\n"),
    "a text that begins '/annex/objects/MD5": lambda p: p.write_text("/annex/objects/MD5-s3--é.pt\n"),
    "a file that begins with zeros": lambda p: p.write_bytes(bytes(5000)),
    "an HDF5 file": lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)),
    "a TorchScript model": torchscript,
    "a pickle that torch.save did not write": lambda p: p.write_bytes(pickle.dumps({"a": 1})),
    "another kind of file": lambda p: p.write_bytes(b"SQLite format 3\0" + bytes(90)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("what", SOMETHING_ELSE)
def test_a_file_of_another_kind_is_named(what, ending, tmp_path):
    path = tmp_path / f"x{ending}"
    SOMETHING_ELSE[what](path)
    with pytest.raises(CheckpointError, match=f"x{ending} is not a checkpoint but {what}") as caught:
        load_checkpoint(path)
    assert caught.value.hint[0].isupper()


def test_half_an_archive_is_said_to_be_cut_off(tmp_path):
    path = saved(tmp_path / "x.pt", nn.Linear(30, 20).state_dict())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="it is cut off or damaged"):
        load_checkpoint(path)


def test_arrays_in_place_of_tensors_are_named(tmp_path):
    path = saved(tmp_path / "x.pt", {"weight": np.zeros((1, 3)), "bias": np.zeros(1)})
    with pytest.raises(CheckpointError, match=r"has no state of a model, only weight, bias$") as caught:
        load_checkpoint(path)
    assert "of tensors" in caught.value.hint


def test_the_content_decides_not_the_ending(tmp_path):
    state = nn.Linear(3, 2).state_dict()
    save_file(state, tmp_path / "x.pt")
    saved(tmp_path / "y.safetensors", state)
    for name in ("x.pt", "y.safetensors"):
        assert torch.equal(load_checkpoint(tmp_path / name).state["weight"], state["weight"])


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"cannot read .*x\.pt: it is a device or a pipe"):
        load_checkpoint(tmp_path / "x.pt")


def test_the_weights_are_views_of_the_files_bytes(tmp_path):
    path = saved(tmp_path / "x.pt", {"a": torch.zeros(1_000_000)})
    raw = bytearray(path.read_bytes())
    content = read_tensors(path, raw)
    content["a"].fill_(1)
    assert raw.count(struct.pack("<f", 1.0)) == 1_000_000
