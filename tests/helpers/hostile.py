"""Hostile files and names: rows of ``test_bad_input``, like those of ``faults``."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import faults
from faults import CHECKPOINT, COMPUTE, SWEEP, WAV, Fault, nothing, put, safetensors, state

METADATA = "metadata/plastic_500hz_metadata.json"
DEEP = "[" * 100_000 + "]" * 100_000


def archive(pickled, content=None, packed=zipfile.ZIP_STORED):
    """A file as torch writes it, with any pickle in it."""

    def make(project):
        with zipfile.ZipFile(project / CHECKPOINT, "w", packed) as file:
            file.writestr("archive/data.pkl", pickled)
            file.writestr("archive/version", "3\n")
            file.writestr("archive/byteorder", "little")
            for name, data in (content or {}).items():
                file.writestr(f"archive/data/{name}", data)

    return make


def text(letters):
    return b"X" + struct.pack("<I", len(letters)) + letters.encode()


ROOM_FOR_BYTES = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (4 << 30).to_bytes(5, "little") + b"\x85R."
TIMES = 31  # 2 GiB of one letter


def doubled(codec):
    head = b"\x80\x02c_codecs\nencode\nq\x00" + b"h\x00" * TIMES
    return head + text("a") + text("latin1") + b"\x86R" + (text(codec) + b"\x86R") * TIMES + b"."


def wrapper_without_numbers():
    shape = b"ctorch\nTensor\nctorch\nfloat32\nK\x05\x85K\x01\x85K\x00"
    kind = b"ctorch.serialization\n_get_layout\n" + text("torch.strided") + b"\x85R"
    where = b"ctorch\ndevice\n" + text("cpu") + b"\x85R\x89"
    return b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_wrapper_subclass\n(" + shape + kind + where + b"tRs."


def overlapping(project):
    """An archive with many entries of the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
        file.writestr("archive/data/0", bytes(1 << 16))
        for k in range(1, 1000):
            again = zipfile.ZipInfo(f"archive/data/{k}")
            first = file.getinfo("archive/data/0")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(again, name, getattr(first, name))
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again
    (project / CHECKPOINT).write_bytes(data.getvalue())


def weights(change):
    """Change the first weight of the checkpoint."""

    def make(content):
        import torch

        name = next(k for k, v in content["model_state_dict"].items() if v.is_floating_point())
        content["model_state_dict"][name] = change(torch, content["model_state_dict"][name])

    return state(make)


def rate(value):
    def change(content):
        content["optimizer_state_dict"]["param_groups"][0]["lr"] = value

    return state(change)


def numbered_keys(content):
    content["model_state_dict"] = dict(enumerate(content["model_state_dict"].values()))


def pipe(path):
    def make(project):
        (project / path).unlink()
        os.mkfifo(project / path)

    return make


def raw_safetensors(header):
    def make(project):
        safetensors({})(project)
        data = struct.pack("<Q", len(header)) + header
        (project / "checkpoints/plastic_500hz/model_epoch_1.safetensors").write_bytes(data)

    return make


HOSTILE = [
    # checkpoints
    Fault("checkpoint that unpacks to more", faults.zip_bomb, COMPUTE, (CHECKPOINT, "was refused", "unpack to")),
    Fault(
        "checkpoint packed", archive(b"\x80\x02}.", {}, zipfile.ZIP_DEFLATED), COMPUTE, (CHECKPOINT, "compressed parts")
    ),
    Fault("checkpoint of entries that overlap", overlapping, COMPUTE, (CHECKPOINT, "unpack to")),
    Fault(
        "checkpoint that asks for room",
        archive(ROOM_FOR_BYTES),
        COMPUTE,
        (CHECKPOINT, "was refused", "far more memory"),
    ),
    Fault(
        "the same without an archive",
        put(CHECKPOINT, ROOM_FOR_BYTES),
        COMPUTE,
        (CHECKPOINT, "a pickle that torch.save did not write"),
    ),
    *(
        Fault(
            f"checkpoint that encodes by {codec}",
            archive(doubled(codec)),
            COMPUTE,
            (CHECKPOINT, "was refused", "far more memory"),
        )
        for codec in ("hex", "Hex_Codec", "base-64", "quopri", "quoted-printable", "uu_codec")
    ),
    Fault("checkpoint nested", archive(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."), COMPUTE, (CHECKPOINT,)),
    Fault("checkpoint of no numbers", archive(wrapper_without_numbers()), COMPUTE, (CHECKPOINT,)),
    Fault(
        "checkpoint of one number over a shape",
        weights(lambda torch, w: torch.zeros(1).expand(1 << 40)),
        COMPUTE,
        (CHECKPOINT, "has the shape"),
    ),
    Fault(
        "checkpoint on no device",
        weights(lambda torch, w: torch.empty(w.shape, device="meta")),
        COMPUTE,
        (CHECKPOINT, "is not a plain tensor"),
    ),
    Fault(
        "checkpoint with a sparse tensor",
        weights(lambda torch, w: w.to_sparse()),
        COMPUTE,
        (CHECKPOINT, "is not a plain tensor"),
    ),
    Fault(
        "checkpoint with complex weights",
        weights(lambda torch, w: w.to(torch.complex64)),
        COMPUTE,
        ("model_epoch_2.pt does not fit the model", "complex: "),
    ),
    Fault("checkpoint with numbers for names", state(numbered_keys), COMPUTE, (CHECKPOINT, "has no state")),
    *(
        Fault(f"checkpoint whose rate is {value}", rate(value), COMPUTE, (CHECKPOINT, "learning rate is"))
        for value in (float("nan"), float("inf"), -0.1, 10**400)
    ),
    Fault("safetensors header nested", raw_safetensors(DEEP.encode()), COMPUTE, ("model_epoch_1.safetensors",)),
    Fault("safetensors of nothing", raw_safetensors(b"{}"), COMPUTE, ("model_epoch_1.safetensors", "has no state")),
    # other readers
    Fault("settings nested", put("tracinctl.toml", "x = " + DEEP), SWEEP, ("tracinctl.toml", "nested too deeply"), 2),
    Fault("settings a long number", put("tracinctl.toml", "x = " + "9" * 5000), SWEEP, ("tracinctl.toml",), 2),
    Fault(
        "settings a null", put("tracinctl.toml", 'data_root = "a\\u0000b"'), SWEEP, ("`data_root` must be a path",), 2
    ),
    Fault("metadata nested", put(METADATA, '{"id": ' + DEEP + "}"), COMPUTE, (METADATA, "nested too deeply")),
    Fault(
        "metadata cut off", faults.cut(METADATA), COMPUTE, (METADATA, "is not whole JSON", "Nothing was added to it")
    ),
    Fault(
        "metadata cut off, to be marked",
        faults.cut(METADATA),
        ("exclude", "--frequency", "500hz", "--update-metadata"),
        (METADATA, "is not whole JSON"),
    ),
    Fault("recording a pipe", pipe(WAV), COMPUTE, (WAV, "a device or a pipe")),
    # names
    *(
        Fault(f"{flag} {value!r} for {command[0]}", nothing, (*command, f"--{flag}", value), said, code)
        for flag, command, said, code in (
            ("material", COMPUTE, ("There are the materials plastic",), 2),
            ("frequency", ("compute",), ("There are the frequencies 500hz",), 2),
            ("frequency", ("train",), ("There are the frequencies 500hz",), 2),
            ("frequency", ("sweep",), ("cannot be part of a file name",), 2),
            ("frequencies", ("workflow",), ("cannot be part of a file name",), 2),
        )
        for value in ("..", "a/b", "..\\b", "50\n0hz", "\x1b[31mred")
    ),
]
