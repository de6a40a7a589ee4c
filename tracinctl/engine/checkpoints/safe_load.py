"""What a checkpoint from a stranger may be: tensors that its bytes can hold, plain values, and no code.

``torch.load(weights_only=True)`` runs no code, but it unpacks what is packed and makes what is asked for, so a few
hundred bytes can fill the memory. What is checked here is therefore checked before torch reads the file.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tracinctl.errors import CheckpointError

_TRAIN_AGAIN = "it may be cut off or of another kind; delete it or train again"
_LEGACY_PICKLES = 5  # before there were archives: magic number, protocol, system, content, storage keys
# what makes more bytes of bytes, so that a few calls, one in the other, make as many as one likes
_GROWING = frozenset({"hex", "base64", "uu", "quopri", "bz2", "zlib", "zip", "quotedprintable"})


def read_tensors(path: Path, raw: bytes) -> Any:
    """The content of a checkpoint file: tensors on the CPU and plain values. No code in it is run.

    Args:
        path: to be named in messages; its ending tells safetensors from what ``torch.save`` writes.
        raw: the file's bytes.

    Raises:
        CheckpointError: it is broken, asks to run code, or would take far more memory than its bytes.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(raw)
        _check_packing(path, raw)
        with warnings.catch_warnings(action="ignore"):  # what torch would say of a strange file, the error says
            return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        text = str(error)
        if "Unsupported global" in text or "weights_only" in text.lower() or "Unsupported operand" in text:
            named = re.search(r"GLOBAL ([\w.]+)", text)
            what = f" ({named.group(1)})" if named else ""
            raise CheckpointError(
                f"{path} asks to run code when it is loaded{what}, and was refused: only tensors are loaded",
                hint="save it again with a state dict and plain numbers only (torch.save(model.state_dict(), ...))",
            ) from error
        first = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read: {_printable(first)}", hint=_TRAIN_AGAIN
        ) from error


def check_state(path: Path, state: Mapping[str, torch.Tensor], size: int) -> None:
    """Make sure that a state's tensors are made of numbers that the file holds.

    A tensor may repeat one number over any shape, and may be of a kind that has no numbers; either would only show
    where it is calculated with.

    Raises:
        CheckpointError: one is not; ``size`` is that of the file in bytes.
    """
    for name, tensor in state.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain:
            raise CheckpointError(
                f"{path}: {name!r} is no plain tensor, but {tensor.layout} on {tensor.device}",
                hint="save it again as dense tensors that are not quantized",
            )
        if tensor.numel() * tensor.element_size() > size:
            raise CheckpointError(
                f"{path}: {name!r} claims the shape {tuple(tensor.shape)}, more than the file can hold",
                hint=_TRAIN_AGAIN,
            )


def _check_packing(path: Path, raw: bytes) -> None:
    for pickled in _pickles(path, raw):
        if b"bytearray\n" in pickled:
            raise _swells(path, "it asks for room for bytes")
        if b"_codecs\nencode\n" in pickled and _texts(pickled) & _GROWING:
            raise _swells(path, "it asks to encode bytes as more bytes")


def _pickles(path: Path, raw: bytes) -> list[bytes]:
    """The parts of a file that say what is to be made; torch never compresses an archive, so none may be compressed."""
    if not zipfile.is_zipfile(io.BytesIO(raw)):
        return [raw]
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > len(raw) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise _swells(path, f"its {len(raw):,} bytes unpack to {unpacked:,}")
        return [archive.read(entry) for entry in entries if entry.filename.endswith("data.pkl")]


def _texts(pickled: bytes) -> set[str]:
    """All texts in one or several pickles, as codecs are named by them."""
    stream = io.BytesIO(pickled)
    found: set[str] = set()
    try:
        for _ in range(_LEGACY_PICKLES):
            for _, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str):
                    found.add(re.sub(r"[\W_]|codec$", "", argument.lower()).removesuffix("codec"))
    except ValueError:
        pass  # the end of the pickles, or broken: torch says what is wrong then
    return found


def _swells(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} was refused: {why}, and no checkpoint needs that",
        hint="save it again with a state dict and plain numbers only (torch.save(model.state_dict(), ...))",
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
