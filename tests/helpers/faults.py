"""The faults of ``test_bad_input``: one row per fault, its change of a project, and texts of the message."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from wav_trees import RATE, tone, write

SCORES = "metadata/plastic_500hz_influence_metadata.json"
CHECKPOINT = "checkpoints/plastic_500hz/model_epoch_2.pt"
PAIRS = "checkpoints/plastic_500hz/pairs.csv"
WAV = "data/deg036/plastic/plastic_deg036_500hz_02.wav"
COMPUTE = ("compute", "--frequency", "500hz")
EXCLUDE = ("exclude", "--frequency", "500hz")
SWEEP = ("sweep", "--frequency", "500hz")
TRAIN = ("train", "--frequency", "500hz", "--exclusions-file", "list.txt")
MARKER = "the-code-in-the-checkpoint-was-run"


@dataclass(frozen=True)
class Fault:
    """A fault: its name, how to make it, the command that meets it, the exit code, and texts of the message."""

    name: str
    make: Callable[[Path], object]
    arguments: tuple[str, ...]
    said: tuple[str, ...]
    code: int = 1

    def __str__(self):
        return self.name


def put(path, content):
    def make(project):
        place = project / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            place.write_text(content)

    return make


def cut(path, share=0.5):
    def make(project):
        data = (project / path).read_bytes()
        (project / path).write_bytes(data[: int(share * len(data))])

    return make


def becomes_folder(path):
    def make(project):
        (project / path).unlink(missing_ok=True)
        (project / path).mkdir(parents=True)

    return make


def becomes_file(path):
    def make(project):
        place = project / path
        if place.is_dir():
            place.rename(project / "moved away")
        place.write_text("a file")

    return make


def nothing(project):
    del project


def scores(change):
    """Change the content of the score file; NaN is written as by Python."""

    def make(project):
        path = project / SCORES
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    return make


def first(content):
    """The first training pair, its record, and the name of its first score."""
    pair = next(iter(content))
    return pair, content[pair], next(iter(content[pair]))


def score(value):
    def change(content):
        _, record, name = first(content)
        record[name] = value

    return scores(change)


def without_a_test_pair(content):
    _, record, name = first(content)
    del record[name]


def with_another_material(content):
    _, record, _ = first(content)
    content["metal_deg000_500hz_00_metal_deg036_500hz_01"] = dict(record)


def key_twice(project):
    path = project / SCORES
    text = path.read_text()
    start, end = text.index("{") + 1, text.index("},") + 2
    path.write_text(text[:start] + text[start:end] + text[start:])


def state(change):
    """Change the content of the checkpoint."""

    def make(project):
        import torch

        path = project / CHECKPOINT
        content = torch.load(path, weights_only=True)
        torch.save(change(content) or content, path)

    return make


def weight_is(value):
    def change(content):
        name = next(k for k, v in content["model_state_dict"].items() if v.is_floating_point())
        content["model_state_dict"][name].view(-1)[0] = value

    return state(change)


def without_a_key(content):
    content["model_state_dict"].pop(list(content["model_state_dict"])[-1])


def without_rate(content):
    del content["optimizer_state_dict"]


def of_another_model(content):
    import torch

    del content
    return torch.nn.Linear(3, 2).state_dict()


class Trap:
    """An object that would write a file if it were unpickled."""

    def __reduce__(self):
        return (os.mkdir, (MARKER,))


def code_in_a_pickle(project):
    (project / CHECKPOINT).write_bytes(pickle.dumps({"model_state_dict": Trap()}))


def code_in_a_checkpoint(project):
    import torch

    torch.save({"model_state_dict": Trap()}, project / CHECKPOINT)


def zip_bomb(project):
    with zipfile.ZipFile(project / CHECKPOINT, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.dumps({}))
        file.writestr("archive/version", "3\n")
        with file.open("archive/data/0", "w", force_zip64=True) as inner:
            for _ in range(256):
                inner.write(bytes(1 << 20))


def lying_shape(project):
    """A checkpoint with a tensor that claims far more numbers than it has."""
    import io

    import torch

    data = io.BytesIO()
    torch.save({"model_state_dict": {"w": torch.zeros(1000)}}, data)
    changed = data.getvalue().replace(b"M\xe8\x03\x85", b"J\xff\xff\xff\x7f\x85"[:4])
    (project / CHECKPOINT).write_bytes(changed.replace(b"K\x01\x85", b"K\xff\x85"))


def safetensors(header, size=None, body=b""):
    def make(project):
        for path in (project / "checkpoints/plastic_500hz").glob("*.pt"):
            path.unlink()
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text) if size is None else size) + text + body
        (project / "checkpoints/plastic_500hz/model_epoch_1.safetensors").write_bytes(data)

    return make


def header(tag=1, bits=16, rate=RATE, frames=2000, claimed=None):
    """A silent WAV file with this coding, which may claim to be longer."""
    size = frames * bits // 8
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, tag, 1, rate, rate * bits // 8, bits // 8, bits)
        + b"data"
        + struct.pack("<I", size if claimed is None else claimed)
        + bytes(size)
    )


def recording(samples, **how):
    return lambda project: write(project / WAV, samples, **how)


def with_nan():
    samples = tone()
    samples[100] = np.nan
    return samples


def all_pairs_listed(project):
    lines = (project / PAIRS).read_text().splitlines()[1:]
    ids = [f"{a}_{b}" for _, a, b, _ in (line.split(",") for line in lines)]
    (project / "list.txt").write_text("\n".join(ids))


def pairs(*lines):
    return put(PAIRS, "split,id1,id2,target\n" + "".join(f"{line}\n" for line in lines))


A, B = "plastic_deg000_500hz_00", "plastic_deg036_500hz_00"


def some_train_pair(change):
    def make(project):
        lines = (project / PAIRS).read_text().splitlines()
        (project / PAIRS).write_text("\n".join([*lines, change(lines[1])]) + "\n")

    return make


def with_itself(line):
    split, one, _, target = line.split(",")
    return f"{split},{one},{one},{target}"


FAULTS = [
    # score files
    Fault("scores cut off", cut(SCORES), SWEEP, (SCORES, "is not whole JSON", "tracinctl compute")),
    Fault("scores not JSON", put(SCORES, "id score\n"), EXCLUDE, (SCORES, "is not whole JSON")),
    Fault("scores a list", put(SCORES, "[1, 2]"), SWEEP, (SCORES, "holds a list")),
    Fault("scores empty", put(SCORES, ""), SWEEP, (SCORES, "is empty")),
    Fault("scores an empty object", put(SCORES, "{}"), EXCLUDE, (SCORES, "holds no influence scores")),
    Fault("scores binary", put(SCORES, b"\xff\xfe\x00\x01"), SWEEP, (SCORES, "is not UTF-8 text")),
    Fault("scores nested", put(SCORES, '{"a": ' + "[" * 100_000), SWEEP, (SCORES, "nested too deeply")),
    Fault("scores a number of many digits", put(SCORES, "1" * 5000), SWEEP, (SCORES,)),
    Fault("scores a text", score("high"), SWEEP, (SCORES, "is 'high', not a finite number", "of 'plastic_deg")),
    Fault("scores null", score(None), SWEEP, (SCORES, "is missing (null)", "of 'plastic_deg")),
    Fault("scores true", score(True), SWEEP, (SCORES, "is True", "of 'plastic_deg")),
    Fault("scores NaN", score(float("nan")), EXCLUDE, (SCORES, "is nan, not a finite number", "of 'plastic_deg")),
    Fault("scores infinite", score(float("-inf")), SWEEP, (SCORES, "is -inf", "of 'plastic_deg")),
    Fault("scores beyond floats", score(10**400), SWEEP, (SCORES, "not a finite number", "of 'plastic_deg")),
    Fault("scores with other test pairs", scores(without_a_test_pair), SWEEP, (SCORES, "has a score on test pair")),
    Fault("scores with a key twice", key_twice, SWEEP, (SCORES, "occurs twice")),
    Fault("scores of two materials", scores(with_another_material), EXCLUDE, (SCORES, "was changed after")),
    Fault("scores a folder", becomes_folder(SCORES), SWEEP, ("no influence scores", SCORES), 2),
    Fault("scores plotted, cut off", cut(SCORES), ("plot", "--frequency", "500hz"), (SCORES, "is not whole JSON")),
    # recordings
    Fault("recording no RIFF", put(WAV, b"OggS" + bytes(2000)), COMPUTE, (WAV, "cannot be read")),
    Fault("recording empty", put(WAV, b""), COMPUTE, (WAV, "is not a recording but an empty file")),
    Fault("recording of no frames", put(WAV, header(frames=0)), COMPUTE, (WAV, "is empty")),
    Fault("recording of another coding", put(WAV, header(tag=0x1234)), COMPUTE, (WAV, "cannot be read")),
    Fault("recording of another rate", recording(tone(), rate=11025), COMPUTE, (WAV, "11025 Hz", "8000 Hz")),
    Fault("recording silent", recording(np.zeros(1024)), COMPUTE, (WAV, "is silent")),
    Fault("recording with NaN", recording(with_nan(), subtype="FLOAT"), COMPUTE, (WAV, "NaN or infinite", "frame 100")),
    Fault("recording too short", recording(tone(20)), COMPUTE, (WAV, "20 frames", "n_fft = 64")),
    Fault("recording a folder", becomes_folder(WAV), COMPUTE, (WAV, "it is a folder")),
    # checkpoints
    Fault("checkpoint empty", put(CHECKPOINT, b""), COMPUTE, (CHECKPOINT, "is empty")),
    Fault(
        "checkpoint cut off",
        cut(CHECKPOINT),
        COMPUTE,
        (CHECKPOINT, "is not a readable checkpoint"),
    ),
    Fault("checkpoint no checkpoint", put(CHECKPOINT, b"hello"), COMPUTE, (CHECKPOINT,)),
    Fault(
        "checkpoint of another model", state(of_another_model), COMPUTE, ("model_epoch_2.pt", "does not fit the model")
    ),
    Fault("checkpoint lacks a key", state(without_a_key), COMPUTE, ("model_epoch_2.pt", "missing: ")),
    Fault("checkpoint with NaN", weight_is(float("nan")), COMPUTE, ("model_epoch_2.pt", "has NaN or infinite weights")),
    Fault("checkpoint infinite", weight_is(float("inf")), COMPUTE, ("model_epoch_2.pt", "has NaN or infinite weights")),
    Fault(
        "checkpoint without a rate",
        state(without_rate),
        (*COMPUTE, "--checkpoint-weights", "absolute"),
        ("model_epoch_2.pt", "has no learning rate"),
    ),
    Fault(
        "checkpoint with code", code_in_a_checkpoint, COMPUTE, (CHECKPOINT, "only tensors are loaded", "posix.mkdir")
    ),
    Fault(
        "checkpoint a bare pickle with code",
        code_in_a_pickle,
        COMPUTE,
        (CHECKPOINT, "a pickle that torch.save did not write"),
    ),
    Fault("checkpoint a zip bomb", zip_bomb, COMPUTE, (CHECKPOINT,)),
    Fault("checkpoint with a lying shape", lying_shape, COMPUTE, (CHECKPOINT,)),
    Fault("safetensors header too long", safetensors({}, size=1 << 60), COMPUTE, ("model_epoch_1.safetensors",)),
    Fault(
        "safetensors with a lying shape",
        safetensors({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, body=bytes(4)),
        COMPUTE,
        ("model_epoch_1.safetensors",),
    ),
    Fault("checkpoint folder a file", becomes_file("checkpoints"), COMPUTE, ("no checkpoints", "checkpoints")),
    # pairs files
    Fault("pairs without a column", put(PAIRS, "id1,id2\na,b\n"), COMPUTE, (PAIRS, "has no column split, target")),
    Fault("pairs empty", put(PAIRS, ""), COMPUTE, (PAIRS, "is empty")),
    Fault("pairs of an unknown item", pairs(f"train,{A},nobody,1"), COMPUTE, (f"{PAIRS}, line 2",)),
    Fault("pairs with a wrong target", some_train_pair(lambda line: line[:-1] + "7"), COMPUTE, (PAIRS, "7'")),
    Fault("pairs of an item with itself", some_train_pair(with_itself), COMPUTE, (PAIRS, "paired with itself")),
    Fault("pairs binary", put(PAIRS, b"\xff\xfe\x00"), COMPUTE, (PAIRS, "text in UTF-16")),
    Fault("pairs with a null character", put(PAIRS, "split,id1,id2,target\n\0,\0,\0,\0\n"), COMPUTE, (PAIRS,)),
    # settings
    Fault(
        "settings not TOML", put("tracinctl.toml", "material = plastic"), SWEEP, ("tracinctl.toml", "not valid TOML"), 2
    ),
    Fault("settings binary", put("tracinctl.toml", b"\xff\xfe"), SWEEP, ("tracinctl.toml", "not UTF-8"), 2),
    Fault(
        "settings unknown",
        put("tracinctl.toml", "materials = 'x'"),
        SWEEP,
        ("`materials`", "Did you mean `material`"),
        2,
    ),
    Fault(
        "settings of a wrong type", put("tracinctl.toml", "[train]\nepochs = 'x'"), SWEEP, ("`epochs` in [train]",), 2
    ),
    Fault("settings not there", nothing, ("--config", "no.toml", *SWEEP), ("no.toml", "No such file"), 2),
    Fault("settings a folder", nothing, ("--config", "data", *SWEEP), ("data", "Is a directory"), 2),
    # exclusion lists
    Fault("list not there", nothing, TRAIN, ("list.txt", "No such file"), 2),
    Fault("list a folder", becomes_folder("list.txt"), TRAIN, ("list.txt", "Is a directory"), 2),
    Fault("list binary", put("list.txt", b"\xff\xfe\x00"), TRAIN, ("list.txt", "is not UTF-8 text")),
    Fault("list of everything", all_pairs_listed, TRAIN, ("none of the", "the exclusion list leaves none")),
    # thresholds
    *(
        Fault(f"threshold {text!r}", nothing, (*EXCLUDE, f"--threshold={text}"), said, 2)
        for text, said in {
            "abc": ("'abc'",),
            "--5": ("'--5'",),
            "": ("threshold",),
            "200%": ("200%",),
            "-1%": ("-1%",),
            "nan": ("nan",),
            "-inf": ("inf",),
            "1e999": ("1e999",),
            "-5,-10": ("-5,-10",),
            "5": ("'5' is above zero", "upper threshold"),
        }.items()
    ),
    *(
        Fault(f"{command[0]} {flag} {text!r}", nothing, (*command, f"--{flag}={text}"), said, 2)
        for command, flag in (
            (SWEEP, "thresholds"),
            (("workflow", "--frequencies", "500hz"), "threshold"),
            (("plot", "sweep", "--frequency", "500hz"), "thresholds"),
        )
        for text, said in {"abc": ("'abc'",), "--5": ("'--5'",), "200%": ("200%",), "5": ("'5' is above zero",)}.items()
    ),
    Fault("thresholds with a gap", nothing, (*SWEEP, "--thresholds", "-5,,-10"), ("threshold '' is neither",), 2),
    Fault("votes no number", nothing, (*EXCLUDE, "--min-occurrences", "many"), ("many",), 2),
    Fault("votes zero", nothing, (*EXCLUDE, "--min-occurrences", "0"), ("0",), 2),
    Fault("votes over all", nothing, (*EXCLUDE, "--min-occurrences", "101%"), ("101%",), 2),
    # paths
    Fault("data a file", becomes_file("data"), COMPUTE, ("data",)),
    Fault("metadata a file", becomes_file("metadata"), COMPUTE, ("metadata is a file, not a folder",)),
    Fault("lists in a file", becomes_file("exclusions"), EXCLUDE, ("exclusions is a file, not a folder",)),
    Fault(
        "list into a folder", nothing, (*EXCLUDE, "--output-file", "data"), ("cannot write data: it is a folder",), 2
    ),
    Fault("material leads out", nothing, ("compute", "--material", "../x", "--frequency", "500hz"), ("../x",), 2),
    Fault("frequency leads out", nothing, ("compute", "--frequency", "../500hz"), ("../500hz",), 2),
    Fault(
        "planted truth broken",
        put("planted.csv", "kind\nmurder\n"),
        ("workflow", "--frequencies", "500hz"),
        ("planted.csv",),
    ),
]
