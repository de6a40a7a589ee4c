"""Read the content of a checkpoint file as tensors and plain values, without running code in it.

Tensors are views of the file's bytes, so the content takes the memory of the file once.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from tracinctl.engine.checkpoints.first_bytes import format_of, not_a_checkpoint
from tracinctl.engine.checkpoints.unpickle import AsksForCodeError, Budget, NoPlainTensor, SafePickle, SwellsError
from tracinctl.errors import CheckpointError
from tracinctl.text import clean, first_few
from tracinctl.user_code import first_line

_TRAIN_AGAIN: Final = "Delete it or train again; it may be cut off or another kind of file."
_SAVE_PLAIN: Final = "Save it again with a state dict and plain numbers only: torch.save(model.state_dict(), ...)."
_LOCAL_HEADER: Final = 30  # bytes before the name in an archive's entry
_STORAGE_ID: Final = 5  # fields of a reference to a storage: mark, class, key, place, length


def read_tensors(path: Path, raw: bytearray) -> Any:
    """Read a checkpoint file as tensors on the CPU and plain values; no code in it is run.

    Tensors are views of ``raw``, the bytes of the file.

    Raises:
        CheckpointError: the file is something else, is damaged, asks to run code, or would take far more memory than
            its bytes.
    """
    kind = format_of(path, raw)
    try:
        if kind == "safetensors":
            from safetensors.torch import load

            return load(bytes(raw))
        return _read_archive(path, raw) if kind == "archive" else _read_legacy(raw)
    except CheckpointError:
        raise
    except AsksForCodeError as error:
        raise CheckpointError(
            f"{path} asks to run code when it is loaded ({clean(error)}), but only tensors are loaded",
            hint=_SAVE_PLAIN,
        ) from error
    except SwellsError as error:
        raise _swells(path, f"its {len(raw):,} bytes would take far more memory") from error
    except Exception as error:
        why = first_line(error)[:200] or type(error).__name__
        raise CheckpointError(f"{path} is not a readable checkpoint: {why}", hint=_TRAIN_AGAIN) from error


def check_state(path: Path, state: Mapping[str, Any], size: int) -> None:
    """Check that the numbers of a state's tensors are in the file.

    Raises:
        CheckpointError: some are not; ``size`` is the file's size in bytes.
    """
    for name, tensor in state.items():
        if isinstance(tensor, NoPlainTensor) or tensor.layout != torch.strided or tensor.is_quantized:
            kind = tensor.kind if isinstance(tensor, NoPlainTensor) else str(tensor.layout)
            raise CheckpointError(
                f"{path}: {name!r} is not a plain tensor, but {kind}",
                hint="Save it again as dense tensors that are not quantized.",
            )
        if tensor.numel() * tensor.element_size() > size:
            raise CheckpointError(
                f"{path}: {name!r} has the shape {tuple(tensor.shape)}, which is larger than the file",
                hint=_TRAIN_AGAIN,
            )


def _read_archive(path: Path, raw: bytearray) -> Any:
    """Read torch's present format: a zip archive of a pickle and storages."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()  # their places in ``raw`` are checked below
    except zipfile.BadZipFile as error:
        raise ValueError("it is cut off or damaged") from error
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        hint = "Save a state dict: torch.save(torch.jit.load(...).state_dict(), ...)."
        raise not_a_checkpoint(path, "a TorchScript model", hint)
    if "data.pkl" not in names:
        content = first_few([clean(entry.filename) for entry in entries])
        raise not_a_checkpoint(
            path, f"a zip archive of {content}", "If a checkpoint is inside, unpack it and give that."
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > len(raw):
        raise _swells(path, f"its {len(raw):,} bytes unpack to {unpacked:,}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise not_a_checkpoint(path, "an archive with compressed parts, which torch.save does not write", _SAVE_PLAIN)
    places = {entry.filename.partition("/")[2]: (entry, _place(raw, entry)) for entry in entries}
    _check_sums(path, raw, places)
    _, at = places["data.pkl"]
    if "byteorder" in places and raw[places["byteorder"][1]] == b"big":
        raise not_a_checkpoint(path, "of a machine with another order of bytes", "Save it again on this machine.")

    def storage(pid: Any) -> Any:
        dtype, key, numel = _storage_of(pid)
        place = places[f"data/{key}"][1]
        if dtype.itemsize * numel > place.stop - place.start:
            raise ValueError(f"its storage {key} is cut off")
        return _numbers(raw, place.start, dtype, numel)

    return SafePickle(io.BytesIO(raw[at]), Budget(len(raw)), storage).load()


def _place(raw: bytearray, entry: zipfile.ZipInfo) -> slice:
    name, extra = struct.unpack_from("<HH", raw, entry.header_offset + _LOCAL_HEADER - 4)
    begin = entry.header_offset + _LOCAL_HEADER + name + extra
    if begin + entry.file_size > len(raw):
        raise ValueError(f"its part {entry.filename} is cut off")
    return slice(begin, begin + entry.file_size)


def _check_sums(path: Path, raw: bytearray, places: Mapping[str, tuple[zipfile.ZipInfo, slice]]) -> None:
    """Raise CheckpointError if a part's checksum is wrong. Torch can be set to write no checksums."""
    if not any(entry.CRC for entry, _ in places.values()):
        return
    view = memoryview(raw)
    for entry, place in places.values():
        if zlib.crc32(view[place]) != entry.CRC:
            raise CheckpointError(
                f"{path} is damaged: its part {clean(entry.filename)} has a wrong checksum",
                hint="Copy it again, or train again.",
            )


def _read_legacy(raw: bytearray) -> Any:
    """Read torch's format before version 1.6: five pickles, then the storages one after another."""
    stream, budget = io.BytesIO(raw), Budget(len(raw))
    storages: dict[str, torch.Tensor] = {}

    def storage(pid: Any) -> Any:
        dtype, key, numel = _storage_of(pid)
        if key not in storages:
            budget.spend(dtype.itemsize * numel)
            if dtype.itemsize * numel > len(raw):
                raise ValueError(f"its storage {key} is cut off")
            storages[key] = torch.zeros(numel, dtype=dtype)
        return storages[key]

    for _ in ("magic number", "protocol", "system"):
        SafePickle(stream, budget).load()
    content = SafePickle(stream, budget, storage).load()
    at_end: Any = SafePickle(stream, budget).load()
    at = stream.tell()
    for key in at_end:
        numbers = storages[str(key)]
        (count,) = struct.unpack_from("<q", raw, at)
        if count != numbers.numel():
            raise ValueError(f"its storage {key} has another length than in its tensors")
        if count:
            numbers.copy_(_numbers(raw, at + 8, numbers.dtype, count))
        at += 8 + count * numbers.dtype.itemsize
    return content


def _storage_of(pid: Any) -> tuple[torch.dtype, str, int]:
    """Dtype, key and length of a storage that a pickle refers to."""
    mark, dtype, key, _, numel = pid[:_STORAGE_ID]
    named = isinstance(mark, str) and mark == "storage" and isinstance(dtype, torch.dtype)
    if not named or not isinstance(numel, int) or numel < 0 or any(pid[_STORAGE_ID:]):
        raise pickle.UnpicklingError("it refers to something that is not a storage")
    return dtype, str(key), numel


def _numbers(raw: bytearray, at: int, dtype: torch.dtype, count: int) -> torch.Tensor:
    """Numbers at a place of the file's bytes, as a view if they are aligned."""
    if not count:
        return torch.zeros(0, dtype=dtype)
    if at % dtype.itemsize:
        return torch.frombuffer(raw[at : at + count * dtype.itemsize], dtype=dtype)
    return torch.frombuffer(raw, dtype=dtype, count=count, offset=at)


def _swells(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} was refused: {why}, which no checkpoint needs", hint=_SAVE_PLAIN)
