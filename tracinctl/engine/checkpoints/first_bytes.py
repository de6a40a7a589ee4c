"""Recognise a file by its first bytes: a checkpoint of torch or safetensors, or another kind of file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, Literal

from tracinctl.errors import CheckpointError
from tracinctl.files import HEAD, other_kind_or_text

Format = Literal["safetensors", "archive", "pickle"]

_SAVE: Final = "Save a state dict: torch.save(model.state_dict(), ...) or safetensors."
_OTHERS: Final = (
    (b"\x89HDF", "an HDF5 file, such as Keras writes", _SAVE),
    (b"\x93NUMPY", "a NumPy array", _SAVE),
    (b"GGUF", "a GGUF file of quantized weights, which have no gradient", _SAVE),
    (b"RIFF", "a recording", "Give the checkpoint itself."),
)
_PICKLE: Final = b"\x80"
_MAGIC: Final = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # near the beginning of torch's old format
_LONGEST_HEADER: Final = 100_000_000  # bytes that safetensors allows


def format_of(path: Path, raw: bytes | bytearray) -> Format:
    """The format of a file's content.

    Raises:
        CheckpointError: the file is empty or not a checkpoint; the message names its kind.
    """
    head = bytes(raw[:HEAD])
    if not raw:
        raise CheckpointError(
            f"{path} is empty", hint="Delete it or train again, because it was not written completely."
        )
    if _is_safetensors(raw):
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "archive"
    for mark, kind, hint in _OTHERS:
        if head.startswith(mark):
            raise not_a_checkpoint(path, kind, hint)
    if other := other_kind_or_text(head):
        raise not_a_checkpoint(path, *other)
    if not head.startswith(_PICKLE):
        raise not_a_checkpoint(path, "another kind of file", "Copy it again, or give a file of torch or safetensors.")
    if _MAGIC not in head:
        raise not_a_checkpoint(path, "a pickle that torch.save did not write", _SAVE)
    return "pickle"


def not_a_checkpoint(path: Path, kind: str, hint: str) -> CheckpointError:
    """The error that a file is something else than a checkpoint."""
    return CheckpointError(f"{path} is not a checkpoint but {kind}", hint=hint)


def _is_safetensors(raw: bytes | bytearray) -> bool:
    """Whether the file begins with the length of a JSON header and that header."""
    if len(raw) < 10:  # noqa: PLR2004 - a length and an empty header
        return False
    (length,) = struct.unpack_from("<Q", raw)
    return raw[8:9] == b"{" and 0 < length <= _LONGEST_HEADER
